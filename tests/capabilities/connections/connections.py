"""A filter of connections that does in each callback what its configuration says, and logs what it sees.

The configuration is JSON: for each callback (`new`, `down`, `up`, `down closed`, `up closed`, `done`, `log`) a list of acts; the first call takes the
first, and the last one serves all further calls. An act may

    wait        seconds to sleep, which makes the callback `async`
    ask         a cluster that decides by its status: the connection is closed unless that is 200
    beside      seconds that a task of the connection sleeps
    change      what to put in place of the data; `{}` stands for what was there
    until       bytes that have to be there, or the callback pauses
    pause       return `Action.PAUSE`
    later       seconds until a timer changes what is held by `later change` and lets it go on
    close       close the connection, now or so many seconds later
    fails       raise an exception
    tell        what to log besides: a property's path, or `shared`, a number that all VMs count together
"""

# ruff: noqa: ANN401 - callbacks that are coroutines or not

import logging
from collections.abc import Mapping
from typing import Any

from proxy_wasm import (
    Action,
    Body,
    Cancelled,
    Headers,
    HttpContext,
    PeerType,
    PhaseError,
    PluginContext,
    TcpContext,
    sleep,
)

logger = logging.getLogger(__name__)
_WAITING = ("wait", "ask")

Act = Mapping[str, Any]


class Connections(PluginContext):
    """Knows what connections are to do."""

    def on_configure(self) -> None:
        settings: dict[str, Any] = self.configuration.json()
        self.fail_open = settings.pop("fail open", False)
        self.script: dict[str, list[Act]] = settings

    def tcp_context(self) -> TcpContext[Any]:
        return Scripted(self)


class Scripted(TcpContext[Connections]):
    """Follows the script."""

    def __init__(self, plugin: Connections) -> None:
        super().__init__(plugin)
        self.script = {name: list(acts) for name, acts in plugin.script.items()}

    def on_new_connection(self) -> Any:
        return self.step("new", None)

    def on_downstream_data(self, data: Body, end_of_stream: bool) -> Any:
        return self.step("down", data, end_of_stream=end_of_stream)

    def on_upstream_data(self, data: Body, end_of_stream: bool) -> Any:
        return self.step("up", data, end_of_stream=end_of_stream)

    def on_downstream_connection_close(self, peer_type: PeerType) -> None:
        logger.info("down closed %s", peer_type.name)
        self.step("down closed", None)

    def on_upstream_connection_close(self, peer_type: PeerType) -> None:
        logger.info("up closed %s", peer_type.name)
        self.step("up closed", None)

    def on_done(self) -> None:
        logger.info("done")
        self.step("done", None)

    def on_log(self) -> None:
        logger.info("log")
        self.step("log", None)

    def step(self, callback: str, data: Body | None, *, end_of_stream: bool = False) -> Any:
        """Take the act for a callback, and begin with it."""
        if callback in ("new", "down", "up"):
            logger.info(
                "%s%s%s", callback, "" if data is None else f" {bytes(data)!r}", " end" if end_of_stream else ""
            )
        acts = self.script.get(callback)
        if not acts:
            return None
        act = acts.pop(0) if len(acts) > 1 else acts[0]
        self.tell(act)
        if "later" in act:
            self.plugin.call_later(act["later"], lambda: self.create_task(self.go_on(act)))
        if "beside" in act:
            self.create_task(self.wait({"wait": act["beside"]}))
        if isinstance(act.get("close"), float):
            self.plugin.call_later(act["close"], self.close)
        if any(name in act for name in _WAITING):
            return self.wait(act)
        return self.finish(act, data)

    def tell(self, act: Act) -> None:
        """Log what else is there."""
        told = act.get("tell")
        if told == "shared":
            count = self.shared_data.update("connections", lambda value: str(int(value or b"0") + 1))
            logger.info("shared %s", count)
        elif told:
            value = self.get_property(*told.split("."))
            logger.info("%s %r", told, value)

    async def wait(self, act: Act) -> Action | None:
        """Wait for whatever the act says."""
        try:
            if "wait" in act:
                await sleep(act["wait"])
            if "ask" in act:
                response = await self.http_call(act["ask"], timeout=None)
                logger.info("asked %d", response.status)
                if response.status != 200:
                    self.close()
        except Cancelled:
            logger.info("cancelled")
            raise
        return self.finish(act, None)

    def finish(self, act: Act, data: Body | None) -> Action | None:
        """Do what is left when nothing is waited for any more."""
        if act.get("fails"):
            raise LookupError("as the configuration says")
        if act.get("close") is True:
            self.close()
        if data is not None and "until" in act and act["until"].encode() not in bytes(data):
            return Action.PAUSE
        if data is not None and "change" in act:
            data.replace(act["change"].format(bytes(data).decode()))
        return Action.PAUSE if act.get("pause") else None

    async def go_on(self, act: Act) -> None:
        """Change what is held, and let it go on."""
        try:
            if "later change" in act:
                self.downstream_data.replace(act["later change"].format(bytes(self.downstream_data).decode()))
            self.continue_downstream()
        except PhaseError as error:
            logger.info("%s: %s", type(error).__name__, error)


class Hasty(PluginContext):
    """Awaits where it cannot be done."""

    def tcp_context(self) -> TcpContext[Any]:
        return HastyConnection(self)


class HastyConnection(TcpContext[Hasty]):
    """Awaits inside of data."""

    async def on_downstream_data(self, data: Body, end_of_stream: bool) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        await sleep(0.01)


class Both(Connections):
    """Filters connections and HTTP streams alike."""

    def http_context(self) -> HttpContext[Any]:
        return Marked(self)


class Marked(HttpContext[Both]):
    """Says that it was here."""

    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        headers["x-marked"] = "yes"

    def on_log(self) -> None:
        logger.info("http log")
