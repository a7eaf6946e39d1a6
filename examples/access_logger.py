"""An access logger of the proxy (`envoy.access_loggers.wasm`), which is no filter: it counts and logs what is over."""

import logging

from proxy_wasm import PluginContext

logger = logging.getLogger(__name__)


class AccessLogger(PluginContext):
    def on_configure(self) -> None:
        self.logged = self.counter("access_logger.requests")

    def on_log(self) -> None:
        request, response = self.properties.request, self.properties.response
        logger.info("%s %s -> %s", request.method, request.path, response.code)
        self.logged.increment()
