"""Asks the cluster `users` who a request comes from, and tells the upstream."""

from proxy_wasm import Action, Headers, HttpContext, PluginContext


class Callout(PluginContext):
    def http_context(self) -> HttpContext["Callout"]:
        return CalloutStream(self)


class CalloutStream(HttpContext[Callout]):
    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | int | None:
        token = headers.get("authorization", "")
        response = await self.http_call("users", "GET", "/v1/me", headers={"authorization": token}, timeout=5)
        if response.status != 200:  # noqa: PLR2004 - OK
            return self.send_local_response(403)
        headers["x-user"] = response.content
        return None
