"""Fetches a token once for all requests: whichever comes first starts the task, the others wait for the same one."""

from proxy_wasm import Headers, HttpContext, PluginContext, Task


class SharedTask(PluginContext):
    fetching: Task[str] | None = None

    def token(self) -> Task[str]:
        task = self.fetching
        if task is None or (task.done() and task.exception() is not None):  # the next request tries again
            task = self.fetching = self.create_task(self.fetch())
        return task

    async def fetch(self) -> str:
        response = await self.http_call("tokens", "POST", "/token", timeout=1)
        return response.text

    def http_context(self) -> "TokenStream":
        return TokenStream(self)


class TokenStream(HttpContext[SharedTask]):
    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        headers["authorization"] = f"Bearer {await self.plugin.token()}"
