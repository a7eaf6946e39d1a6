"""Refuses requests without a user so that gRPC clients understand it, too: as status UNAUTHENTICATED."""

from proxy_wasm import Action, GrpcStatus, Headers, HttpContext, PluginContext


class GrpcDenial(PluginContext):
    def http_context(self) -> "DeniedStream":
        return DeniedStream(self)


class DeniedStream(HttpContext[GrpcDenial]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        if "x-user" in headers:
            return None
        return self.send_local_response(401, body="who are you?", grpc_status=GrpcStatus.UNAUTHENTICATED)
