"""Searches a request body chunk by chunk as it arrives, and refuses the request at the first hit."""

from proxy_wasm import Action, Body, HttpContext, PluginContext

PATTERN = b"pattern"


class HttpBodyChunk(PluginContext):
    def http_context(self) -> "SearchedStream":
        return SearchedStream(self)


class SearchedStream(HttpContext[HttpBodyChunk]):
    chunks = 0
    searched = 0

    def on_request_body(self, body: Body, end_of_stream: bool) -> Action:
        self.chunks += 1
        if PATTERN in body.read(max(self.searched - len(PATTERN) + 1, 0)):  # it may begin in the chunk before
            return self.send_local_response(403, body=f"pattern found in chunk {self.chunks}\n")
        self.searched = len(body)
        return Action.CONTINUE if end_of_stream else Action.PAUSE
