"""Makes one callout after another, all of them together within one deadline."""

from proxy_wasm import Action, Headers, HttpContext, PluginContext, timeout


class CallDeadline(PluginContext):
    def http_context(self) -> "HurriedStream":
        return HurriedStream(self)


class HurriedStream(HttpContext[CallDeadline]):
    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        try:
            async with timeout(0.5):
                session = await self.http_call("sessions", path="/session")
                user = await self.http_call("users", path="/user", headers={"x-session": session.text})
        except TimeoutError:
            return self.send_local_response(504, body="who you are takes too long to find out\n")
        headers["x-user"] = user.text
        return None
