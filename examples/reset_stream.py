"""Closes the connection of requests for what only scanners look for, without any answer."""

from proxy_wasm import Action, Headers, HttpContext, PluginContext

TRAPS = ("/.env", "/.git/", "/wp-login.php")


class ResetStream(PluginContext):
    def http_context(self) -> "TrappedStream":
        return TrappedStream(self)


class TrappedStream(HttpContext[ResetStream]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        if not headers[":path"].startswith(TRAPS):
            return None
        self.reset()
        return Action.PAUSE
