"""Logs all headers, answers one path by itself, and changes requests and responses."""

import logging

from proxy_wasm import Action, Headers, HttpContext, PluginContext

logger = logging.getLogger(__name__)


class HttpHeaders(PluginContext):
    def http_context(self) -> "HeadersStream":
        return HeadersStream(self)


class HeadersStream(HttpContext[HttpHeaders]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        for name, value in headers.multi_items():
            logger.info("#%d -> %s: %s", self.context_id, name, value)
        if headers[":path"] == "/hello":
            return self.send_local_response(200, headers={"hello": "World"}, body="Hello, World!\n")
        headers["test"] = "best"
        headers.discard("x-internal")
        return None

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
        headers.add("powered-by", "proxy-wasm")
        for name, value in headers.multi_items():
            logger.info("#%d <- %s: %s", self.context_id, name, value)

    def on_log(self) -> None:
        logger.info("#%d completed", self.context_id)
