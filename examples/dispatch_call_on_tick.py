"""Calls a service every second, whether or not there are requests, and logs what it says."""

import logging

from proxy_wasm import CalloutError, PluginContext

logger = logging.getLogger(__name__)


class DispatchCallOnTick(PluginContext):
    calls = 0

    def on_configure(self) -> None:
        self.every(1, self.call)

    async def call(self) -> None:
        self.calls += 1
        try:
            response = await self.http_call("web_service", path="/ok", headers={"accept": "*/*"}, timeout=0.5)
        except CalloutError as error:
            logger.warning("call %d: %s", self.calls, error)
        else:
            logger.info("call %d: %d %s", self.calls, response.status, dict(response.headers))
