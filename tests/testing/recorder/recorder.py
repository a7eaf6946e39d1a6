"""A filter that logs what it is told of, and does what headers named `x-do` ask for."""

import logging
from typing import Any

from proxy_wasm import Action, Body, Headers, HttpContext, PluginContext
from proxy_wasm.abi.header_map import encode_pairs

CALL = encode_pairs([(b":method", b"GET"), (b":path", b"/"), (b":authority", b"callee")])

_logger = logging.getLogger(__name__)


class Recorder(PluginContext):
    def on_configure(self) -> None:
        self.hoard: list[bytearray] = []
        _logger.info("shared before: %r", self.shared_data.get("before"))

    def http_context(self) -> HttpContext[Any]:
        return Recording(self)

    def on_done(self) -> bool:
        return self.configuration.text != "never done"


class Recording(HttpContext[Recorder]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool, /) -> Action | None:
        _logger.info("request%s", " ends" if end_of_stream else "")
        if headers.get("x-do") == "refuse":
            return self.send_local_response(403, body=b"no")
        if headers.get("x-do") == "tag":
            self.properties.set("tag", b"red")
            self.properties.set("tag.second", "blue")
        elif headers.get("x-do") == "share":
            self.plugin.shared_data.set("said", headers["x-value"])
        elif headers.get("x-do") == "call":
            self.plugin.hostcalls.http_call(b"callee", CALL, b"", b"", int(headers["x-timeout"]))
        elif headers.get("x-do") == "grow":
            self.plugin.hoard.append(bytearray(8 << 20))
        return None

    def on_request_body(self, body: Body, end_of_stream: bool, /) -> None:
        _logger.info("request body %r%s", bytes(body), " ends" if end_of_stream else "")

    def on_request_trailers(self, trailers: Headers, /) -> None:
        _logger.info("request trailers %s", trailers.multi_items())

    def on_response_headers(self, headers: Headers, end_of_stream: bool, /) -> None:
        _logger.info("response %s%s", headers[":status"], " ends" if end_of_stream else "")

    def on_response_body(self, body: Body, end_of_stream: bool, /) -> None:
        _logger.info("response body %r%s", bytes(body), " ends" if end_of_stream else "")

    def on_response_trailers(self, trailers: Headers, /) -> None:
        _logger.info("response trailers %s", trailers.multi_items())

    def on_log(self) -> None:
        _logger.info("log")
