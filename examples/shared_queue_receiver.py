"""Logs what others put into the queue that its configuration names."""

import logging

from proxy_wasm import PluginContext, SharedQueue

logger = logging.getLogger(__name__)


class SharedQueueReceiver(PluginContext):
    def on_configure(self) -> None:
        self.shared_queue(self.configuration.text)

    def on_queue_ready(self, queue: SharedQueue) -> None:
        for item in queue.drain():
            logger.info("%s: %s", queue.name, item.decode())
