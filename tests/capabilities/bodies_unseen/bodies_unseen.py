"""Plugins that decide on headers after a while, by the header `x-deny`, and have no callbacks for bodies."""

from typing import Any

from proxy_wasm import Action, Headers, HttpContext, PluginContext, sleep

_A_WHILE = 0.2


class Awaiting(PluginContext):
    """Awaits its decision."""

    def http_context(self) -> HttpContext[Any]:
        return AwaitingStream(self)


class AwaitingStream(HttpContext[Awaiting]):
    """Waits in headers, both ways."""

    denied = False

    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        self.denied = "x-deny" in headers
        await sleep(_A_WHILE)
        return self.send_local_response(403) if self.denied else None

    async def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
        await sleep(_A_WHILE)
        headers["x-late"] = "yes"


class Pausing(PluginContext):
    """Pauses until a timer has decided."""

    def http_context(self) -> HttpContext[Any]:
        return PausingStream(self)


class PausingStream(HttpContext[Pausing]):
    """Is let go, or answered, from elsewhere."""

    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action:
        decide = self.deny if "x-deny" in headers else self.continue_request
        self.plugin.call_later(_A_WHILE, decide)
        return Action.PAUSE

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> Action:
        headers["x-late"] = "yes"
        self.plugin.call_later(_A_WHILE, self.continue_response)
        return Action.PAUSE

    def deny(self) -> None:
        """Answer the request."""
        self.send_local_response(403)
