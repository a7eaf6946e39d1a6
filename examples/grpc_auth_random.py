"""Lets gRPC calls pass as another gRPC service decides, at random: it answers with a status, of which even ones are good."""

from proxy_wasm import Action, GrpcError, GrpcStatus, Headers, HttpContext, PluginContext


class GrpcAuthRandom(PluginContext):
    def http_context(self) -> "AuthorizedCall":
        return AuthorizedCall(self)


class AuthorizedCall(HttpContext[GrpcAuthRandom]):
    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        if not headers.get("content-type", "").startswith("application/grpc"):
            return self.send_local_response(503, body="Service accessible only to gRPC clients.\n")
        if headers[":path"].startswith("/grpc.reflection."):
            return None
        status = GrpcStatus.OK
        try:
            await self.grpc_call("grpcbin", "grpcbin.GRPCBin", "RandomError", b"", timeout=1)
        except GrpcError as error:
            status = error.status
        if status % 2 == 0:
            return None
        return self.send_local_response(403, body="Aborted by Proxy-Wasm!", grpc_status=GrpcStatus.ABORTED)

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
        headers["powered-by"] = "proxy-wasm"
