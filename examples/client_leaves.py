"""Knows how many requests wait for a slow service: `finally` runs even where the client has left meanwhile."""

from proxy_wasm import Headers, HttpContext, PluginContext


class ClientLeaves(PluginContext):
    def on_configure(self) -> None:
        self.waiting = self.gauge("client_leaves.waiting")

    def http_context(self) -> "WaitingStream":
        return WaitingStream(self)


class WaitingStream(HttpContext[ClientLeaves]):
    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        self.plugin.waiting.increment()
        try:
            response = await self.http_call("slow", timeout=None)
            headers["x-slow"] = response.text
        finally:
            self.plugin.waiting.increment(-1)
