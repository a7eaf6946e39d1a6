"""Makes two callouts at the same time, and answers with what both say."""

from proxy_wasm import Action, Headers, HttpContext, PluginContext, gather


class HttpParallelCall(PluginContext):
    def http_context(self) -> "ParallelStream":
        return ParallelStream(self)


class ParallelStream(HttpContext[HttpParallelCall]):
    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action:
        hello, world = await gather(
            self.http_call("httpbin", path="/hello", timeout=1),
            self.http_call("httpbin", path="/world", timeout=1),
        )
        return self.send_local_response(200, body=f"{hello.text}, {world.text}!\n")
