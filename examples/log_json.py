"""Logs each request as a line of JSON once it is over, whatever became of it."""

import json
import logging

from proxy_wasm import HttpContext, PluginContext

logger = logging.getLogger(__name__)


class LogJson(PluginContext):
    def http_context(self) -> "JsonStream":
        return JsonStream(self)


class JsonStream(HttpContext[LogJson]):
    def on_log(self) -> None:
        request, response = self.properties.request, self.properties.response
        entry = {
            "method": request.method,
            "path": request.path,
            "agent": self.request_headers.get("user-agent"),
            "status": response.code,
            "details": response.code_details,
            "bytes": response.size,
        }
        logger.info("%s", json.dumps(entry))
