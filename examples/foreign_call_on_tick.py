"""Calls a function of the proxy by its name every second: here one of Envoy's, that compresses."""

import logging

from proxy_wasm import PluginContext

logger = logging.getLogger(__name__)


class ForeignCallOnTick(PluginContext):
    def on_configure(self) -> None:
        self.tick_period = 1

    def on_tick(self) -> None:
        compressed = self.foreign_functions.call("compress", "hello world!")
        logger.info("compress: %s", compressed.hex())
