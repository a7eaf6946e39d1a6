"""A filter on the raw hostcalls: a request's header `act` says what to do with them, answers are JSON."""

import json
import logging
from typing import Any

from proxy_wasm import Action, Body, ConfigurationError, Headers, HttpContext, PluginContext
from proxy_wasm.abi.enums import NO_GRPC_STATUS, BufferType, LogLevel, MapType, MetricType, StreamType
from proxy_wasm.abi.header_map import decode_pairs, encode_pairs
from proxy_wasm.abi.hostcalls import HostError

logger = logging.getLogger(__name__)

REQUEST = int(MapType.HTTP_REQUEST_HEADERS)
RESPONSE = int(MapType.HTTP_RESPONSE_HEADERS)
BODY = int(BufferType.HTTP_REQUEST_BODY)


class RawAbi(PluginContext):
    def validate_configuration(self) -> None:
        logger.info("asked about %s", self.configuration.text)
        if not isinstance(self.configuration.json(), list):
            raise ConfigurationError("must be a list")

    def on_foreign_function(self, function_id: int, arguments: bytes) -> None:
        logger.info("function %d was called with %r", function_id, arguments)

    def http_context(self) -> HttpContext[Any]:
        return RawStream(self)


class RawStream(HttpContext[RawAbi]):
    act = ""

    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        self.act = (self.hostcalls.get_header_map_value(REQUEST, b"act") or b"").decode()
        return getattr(self, self.act, lambda: None)()

    def answer(self, content: object) -> Action:
        body = json.dumps(content).encode()
        self.hostcalls.send_local_response(200, b"", body, encode_pairs([]), NO_GRPC_STATUS)
        return Action.PAUSE

    # Header maps

    def change_headers(self) -> None:
        host = self.hostcalls
        before = host.get_header_map_size(REQUEST)
        host.add_header_map_value(REQUEST, b"x-added", b"1")
        host.add_header_map_value(REQUEST, b"x-added", b"2")
        grown = host.get_header_map_size(REQUEST) - before
        host.replace_header_map_value(REQUEST, b"x-replaced", b"new")
        host.remove_header_map_value(REQUEST, b"x-removed")
        host.add_header_map_value(REQUEST, b"x-grown", str(grown).encode())

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
        if self.act == "replace_pairs":
            pairs = decode_pairs(self.hostcalls.get_header_map_pairs(RESPONSE))
            kept = [(name, value) for name, value in pairs if not name.startswith(b"x-")]
            self.hostcalls.set_header_map_pairs(RESPONSE, encode_pairs([*kept, (b"x-a", b"1"), (b"x-a", b"2")]))

    # Buffers

    def body(self) -> None:
        self.hostcalls.remove_header_map_value(REQUEST, b"content-length")

    def on_request_body(self, body: Body, end_of_stream: bool) -> Action:
        host = self.hostcalls
        if self.act == "body" and not end_of_stream:
            return Action.PAUSE
        if self.act == "body":
            length, flags = host.get_buffer_status(BODY)
            content = host.get_buffer_bytes(BODY, 1, length - 2)
            host.set_buffer_bytes(BODY, 0, length, f"{length} {flags} {content.decode()}".encode())
        return Action.CONTINUE

    # HTTP/2 METADATA

    def on_request_metadata(self, num_elements: int) -> None:
        logger.info("request metadata: %d", num_elements)

    def on_response_metadata(self, num_elements: int) -> None:
        logger.info("response metadata: %d", num_elements)

    # Streams and contexts

    def respond(self) -> Action:
        headers = encode_pairs([(b"x-raw", b"yes")])
        self.hostcalls.send_local_response(418, b"short_and_stout", b"teapot", headers, NO_GRPC_STATUS)
        return Action.PAUSE

    def wait(self) -> Action:
        self.plugin.call_later(0.01, lambda: self.in_context(self.hostcalls.continue_stream))
        return Action.PAUSE

    def close(self) -> Action:
        self.plugin.call_later(0.01, lambda: self.in_context(self.hostcalls.close_stream))
        return Action.PAUSE

    def in_context(self, act: Any) -> None:  # noqa: ANN401 - one of two hostcalls
        self.hostcalls.set_effective_context(self.context_id)
        self.hostcalls.add_header_map_value(REQUEST, b"x-later", b"yes")
        act(int(StreamType.HTTP_REQUEST))

    # What the proxy keeps

    def count(self) -> Action:
        host = self.hostcalls
        counter = host.define_metric(int(MetricType.COUNTER), b"raw_abi_counter")
        host.increment_metric(counter, 3)
        gauge = host.define_metric(int(MetricType.GAUGE), b"raw_abi_gauge")
        host.record_metric(gauge, 7)
        host.increment_metric(gauge, -2)
        return self.answer([host.get_metric(counter), host.get_metric(gauge)])

    def swap_data(self) -> Action:
        host = self.hostcalls
        host.set_shared_data(b"key", b"value", 0)
        value, cas = host.get_shared_data(b"key")
        host.set_shared_data(b"key", b"changed", cas)
        try:
            host.set_shared_data(b"key", b"too late", cas)
        except HostError as error:
            return self.answer([value.decode(), host.get_shared_data(b"key")[0].decode(), str(error)])
        return self.answer([])

    def use_queue(self) -> Action:
        host = self.hostcalls
        registered = host.register_shared_queue(b"raw")
        resolved = host.resolve_shared_queue(b"", b"raw")
        host.enqueue_shared_queue(resolved, b"item")
        return self.answer([registered == resolved, host.dequeue_shared_queue(registered).decode()])

    def use_properties(self) -> Action:
        host = self.hostcalls
        host.set_property(b"raw", b"kept")
        return self.answer([(host.get_property(path) or b"").decode() for path in (b"raw", b"request\0method")])

    # The rest

    def log(self) -> Action:
        host = self.hostcalls
        for level in LogLevel:
            host.log(int(level), f"level {level.name}".encode())
        return self.answer(host.get_log_level())

    def time(self) -> Action:
        host = self.hostcalls
        return self.answer([host.get_current_time_nanoseconds(), host.get_current_time_nanoseconds()])

    def status(self) -> Action:
        code, message = self.hostcalls.get_status()
        return self.answer([code, message.decode()])

    def foreign_function(self) -> Action:
        host = self.hostcalls
        compressed = host.call_foreign_function(b"compress", b"a" * 1000)
        return self.answer([len(compressed) < 100, len(host.call_foreign_function(b"uncompress", compressed))])
