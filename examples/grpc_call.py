"""Looks a user up in a gRPC service; messages are made and read by their fields' numbers, generated classes work as well."""

from proxy_wasm import Action, GrpcError, GrpcStatus, Headers, HttpContext, PluginContext
from proxy_wasm.protobuf import Message, encode


class GrpcCall(PluginContext):
    def http_context(self) -> "UserStream":
        return UserStream(self)


class UserStream(HttpContext[GrpcCall]):
    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        request = encode((1, headers.get("x-user", "")))
        try:
            reply = Message(await self.grpc_call("users", "example.Users", "Get", request, timeout=0.5))
        except GrpcError as error:
            return self.send_local_response(404 if error.status is GrpcStatus.NOT_FOUND else 503, body=error.message)
        headers["x-user-name"] = reply.text(1)
        headers["x-user-age"] = str(reply.integer(2))
        return None
