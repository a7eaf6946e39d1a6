"""Answers each request with its own body."""

from proxy_wasm import Action, Body, HttpContext, PluginContext


class HttpBodyEcho(PluginContext):
    def http_context(self) -> "EchoStream":
        return EchoStream(self)


class EchoStream(HttpContext[HttpBodyEcho]):
    async def on_request_body(self, body: Body, end_of_stream: bool) -> Action:
        return self.send_local_response(200, body=await self.read_request_body())
