"""Plugins that log what becomes of them; several of them can share a VM."""

import logging
from typing import Any

from proxy_wasm import ConfigurationError, Headers, HttpContext, PluginContext, sleep
from proxy_wasm.abi import MapType

logger = logging.getLogger(__name__)

alive: dict[tuple[bytes | None, int], str] = {}
"""The plugins of this VM (in a native test, of this Python): what they were configured with, by `vm_id` and context."""


class Recorder(PluginContext):
    """Logs its life, and lets its streams say whose they are."""

    vm_id: bytes | None = None

    def __init__(self) -> None:
        logger.info("new %s", self.root_id)

    def on_vm_start(self) -> None:
        logger.info("VM started with %s", self.vm_configuration.text)
        if self.vm_configuration.text == "refused":
            raise ConfigurationError("vm: this one is refused")

    def on_configure(self) -> None:
        if self.configuration.text == "refused":
            raise ConfigurationError("plugin: this one is refused")
        logger.info("configured with %s", self.configuration.text)
        self.vm_id = self.get_property("plugin_vm_id")
        alive[self.vm_id, self.context_id] = self.configuration.text
        self.requests = self.counter("lifecycle.requests", plugin=self.root_id)

    def on_done(self) -> object:
        logger.info("done")
        return None

    def __del__(self) -> None:
        alive.pop((self.vm_id, self.context_id), None)
        logger.info("forgotten %s", self.root_id)

    def http_context(self) -> HttpContext[Any]:
        return RecordedStream(self)


class RecordedStream(HttpContext[Recorder]):
    """Marks its request."""

    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        self.plugin.requests.increment()
        headers["x-plugin"] = f"{self.plugin.root_id} {self.plugin.configuration.text}"
        here = [text for (vm_id, _), text in alive.items() if vm_id == self.plugin.vm_id]
        headers["x-in-this-vm"] = " ".join(sorted(here))

    def on_log(self) -> None:
        logger.info("stream log")

    def on_done(self) -> None:
        logger.info("stream done")


class Awaiting(Recorder):
    """Needs time for its end, and awaits it."""

    async def on_done(self) -> None:
        logger.info("needs time")
        await sleep(0.1)
        logger.info("done")


class Later(Recorder):
    """Needs time for its end, and says when it is over."""

    def on_done(self) -> bool:
        logger.info("needs time")
        self.call_later(0.1, self.finish)
        return False

    def finish(self) -> None:
        """What took time is over."""
        logger.info("done")
        self.done()


class Failing(Recorder):
    """Fails at its end, after a while."""

    async def on_done(self) -> None:
        logger.info("needs time")
        await sleep(0.1)
        raise LookupError("at the end")


class AccessLogger(PluginContext):
    """Is no filter, but logs requests."""

    def on_configure(self) -> None:
        self.logged = self.counter("lifecycle.logged")

    def on_log(self) -> None:
        self.logged.increment()
        agent = self.hostcalls.get_header_map_value(int(MapType.HTTP_REQUEST_HEADERS), b"user-agent") or b""
        request, response = self.properties.request, self.properties.response
        logger.info("%s %s %s by %s", request.method, request.path, response.code, agent.decode())
