"""Waits for a whole response body, and replaces it where it holds a secret."""

from proxy_wasm import Body, HttpContext, PluginContext


class HttpBody(PluginContext):
    def http_context(self) -> "RedactedStream":
        return RedactedStream(self)


class RedactedStream(HttpContext[HttpBody]):
    replaces_response_body = True

    async def on_response_body(self, body: Body, end_of_stream: bool) -> None:
        content = await self.read_response_body()
        if b"secret" in content:
            body.replace(f"Original message body ({len(content)} bytes) redacted.\n")
