"""Tells the upstream what the proxy knows of the client, and logs how long the request took."""

import logging

from proxy_wasm import Headers, HttpContext, PluginContext

logger = logging.getLogger(__name__)


class TypedProperties(PluginContext):
    def http_context(self) -> "DescribedStream":
        return DescribedStream(self)


class DescribedStream(HttpContext[TypedProperties]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        request, source = self.properties.request, self.properties.source
        headers["x-client-address"] = source.address or "unknown"
        headers["x-received"] = request.time.isoformat() if request.time else "unknown"
        headers["x-query"] = request.query or ""

    def on_log(self) -> None:
        request, response = self.properties.request, self.properties.response
        seconds = request.duration.total_seconds() if request.duration else 0
        logger.info("%s %s -> %s in %.3f s", request.method, request.url_path, response.code, seconds)
