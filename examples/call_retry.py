"""Tries a callout up to three times, and waits longer after each failure."""

from proxy_wasm import Action, CalloutError, Headers, HttpContext, HttpResponse, PluginContext, sleep

FIRST_SERVER_ERROR = 500


class CallRetry(PluginContext):
    def http_context(self) -> "RetryingStream":
        return RetryingStream(self)


class RetryingStream(HttpContext[CallRetry]):
    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        response = await self.get("flaky", "/quota")
        if response is None:
            return self.send_local_response(503)
        headers["x-quota"] = response.text
        return None

    async def get(self, cluster: str, path: str) -> HttpResponse | None:
        for pause in (0.05, 0.1, 0):
            try:
                response = await self.http_call(cluster, path=path, timeout=0.5)
            except CalloutError:
                response = None
            if response is not None and response.status < FIRST_SERVER_ERROR:
                return response
            await sleep(pause)
        return None
