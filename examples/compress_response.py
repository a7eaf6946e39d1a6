"""Compresses response bodies, in the proxy itself, for clients that accept it."""

from proxy_wasm import Body, Headers, HttpContext, PluginContext


class CompressResponse(PluginContext):
    def http_context(self) -> "CompressedStream":
        return CompressedStream(self)


class CompressedStream(HttpContext[CompressResponse]):
    accepted = False

    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        self.accepted = "deflate" in headers.get("accept-encoding", "")

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
        self.compresses = self.accepted and not end_of_stream and "content-encoding" not in headers
        if self.compresses:
            headers["content-encoding"] = "deflate"
            headers.add("vary", "accept-encoding")
            headers.discard("content-length")

    async def on_response_body(self, body: Body, end_of_stream: bool) -> None:
        if self.compresses:
            body.replace(self.foreign_functions.compress(await self.read_response_body()))
