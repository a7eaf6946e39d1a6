"""Makes ten callouts at once before the response goes on, and waits for all of them."""

from proxy_wasm import Headers, HttpContext, PluginContext, gather


class MultipleDispatches(PluginContext):
    def http_context(self) -> "DispatchingStream":
        return DispatchingStream(self)


class DispatchingStream(HttpContext[MultipleDispatches]):
    async def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
        responses = await gather(*(self.http_call("httpbin", path=f"/{number}") for number in range(10)))
        headers["total-dispatched"] = str(len(responses))
