"""Greets in the proxy's log, then tells the time and a lucky number every second."""

import logging
import secrets
from datetime import UTC, datetime

from proxy_wasm import PluginContext

logger = logging.getLogger(__name__)


class HelloWorld(PluginContext):
    def on_configure(self) -> None:
        logger.info("Hello, World!")
        self.every(1, self.tell)

    def tell(self) -> None:
        logger.info("It's %s, your lucky number is %d.", datetime.now(UTC), secrets.randbelow(100))
