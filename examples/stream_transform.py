"""Turns text responses into capitals while they pass, chunk by chunk, even where a chunk ends within a character."""

from codecs import getincrementaldecoder

from proxy_wasm import Body, Headers, HttpContext, PluginContext


class StreamTransform(PluginContext):
    def http_context(self) -> "ShoutedStream":
        return ShoutedStream(self)


class ShoutedStream(HttpContext[StreamTransform]):
    replaces_response_body = True  # some capitals are longer

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
        self.is_text = headers.get("content-type", "").startswith("text/")
        self.decoder = getincrementaldecoder("utf-8")("replace")

    def on_response_body(self, body: Body, end_of_stream: bool) -> None:
        if self.is_text:
            body.replace(self.decoder.decode(bytes(body), final=end_of_stream).upper())
