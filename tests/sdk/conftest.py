"""A small host in memory, with Envoy's manners towards maps, buffers and local responses, that calls a dispatcher."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

import pytest

from proxy_wasm import PluginContext
from proxy_wasm.abi import BufferType, HostError, LogLevel, MapType, MetricType, Status, decode_pairs, encode_pairs
from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.dispatcher import Dispatcher

Pair = tuple[bytes, bytes]
REQUEST: list[Pair] = [(b":method", b"GET"), (b":path", b"/"), (b":authority", b"example.com")]
RESPONSE: list[Pair] = [(b":status", b"200")]


@dataclass
class LocalResponse:
    status: int
    details: str
    body: bytes
    headers: list[Pair]
    grpc_status: int


@dataclass
class Side:
    """What the proxy holds for one stream, and what became of it."""

    maps: dict[int, list[Pair]] = field(default_factory=dict[int, list[Pair]])
    buffers: dict[int, bytearray] = field(default_factory=dict[int, bytearray])
    local_responses: list[LocalResponse] = field(default_factory=list[LocalResponse])
    continued: list[int] = field(default_factory=list[int])
    closed: list[int] = field(default_factory=list[int])
    properties: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])


class MemoryHost:
    """Hostcalls on `Side`s, one for each context."""

    def __init__(self) -> None:
        self.sides: dict[int, Side] = {}
        self.context_id = 0
        self.configuration = b""
        self.vm_configuration = b""
        self.logged: list[tuple[LogLevel, str]] = []
        self.log_level = 0
        self.metrics: list[tuple[MetricType, str, list[int]]] = []
        self.refused: set[str] = set()
        self.calls: list[str] = []

    @property
    def hostcalls(self) -> Hostcalls:
        return cast("Hostcalls", self)

    @property
    def side(self) -> Side:
        return self.sides.setdefault(self.context_id, Side())

    def messages(self, level: LogLevel) -> list[str]:
        return [message for logged, message in self.logged if logged is level]

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.refused:
            raise HostError(name, Status.INTERNAL_FAILURE)

    def log(self, level: int, message: bytes) -> None:
        self._called("log")
        self.logged.append((LogLevel(level), message.decode()))

    def get_log_level(self) -> int:
        self._called("get_log_level")
        return self.log_level

    def get_property(self, path: bytes) -> bytes | None:
        self._called("get_property")
        return self.side.properties.get(path)

    def set_property(self, path: bytes, value: bytes) -> None:
        self.side.properties[path] = value

    def send_local_response(
        self, status_code: int, details: bytes, body: bytes, headers: bytes, grpc_status: int
    ) -> None:
        self._called("send_local_response")
        self.side.local_responses.append(
            LocalResponse(status_code, details.decode(), body, decode_pairs(headers), grpc_status)
        )

    def _map(self, hostcall: str, map_type: int) -> list[Pair]:
        self._called(hostcall)
        if map_type not in self.side.maps:
            raise HostError(hostcall, Status.BAD_ARGUMENT)
        return self.side.maps[map_type]

    def get_header_map_value(self, map_type: int, key: bytes) -> bytes | None:
        pairs = self._map("get_header_map_value", map_type)
        return next((value for name, value in pairs if name.lower() == key.lower()), None)

    def add_header_map_value(self, map_type: int, key: bytes, value: bytes) -> None:
        self._map("add_header_map_value", map_type).append((key.lower(), value))

    def replace_header_map_value(self, map_type: int, key: bytes, value: bytes) -> None:
        pairs = self._map("replace_header_map_value", map_type)
        pairs[:] = [pair for pair in pairs if pair[0].lower() != key.lower()]
        pairs.append((key.lower(), value))

    def remove_header_map_value(self, map_type: int, key: bytes) -> None:
        pairs = self._map("remove_header_map_value", map_type)
        pairs[:] = [pair for pair in pairs if pair[0].lower() != key.lower()]

    def get_header_map_pairs(self, map_type: int) -> bytes:
        self._called("get_header_map_pairs")
        pairs = self.side.maps.get(map_type)
        return encode_pairs(pairs) if pairs else b""

    def set_header_map_pairs(self, map_type: int, pairs: bytes) -> None:
        self._map("set_header_map_pairs", map_type)[:] = decode_pairs(pairs)

    def get_buffer_status(self, buffer_type: int) -> tuple[int, int]:
        return len(self._buffer("get_buffer_status", buffer_type)), 0

    def get_buffer_bytes(self, buffer_type: int, start: int, max_size: int) -> bytes:
        return bytes(self._buffer("get_buffer_bytes", buffer_type)[start : start + max_size])

    def set_buffer_bytes(self, buffer_type: int, start: int, size: int, data: bytes) -> None:
        buffer = self._buffer("set_buffer_bytes", buffer_type)
        if start == 0 and (size == 0 or size >= len(buffer)):
            buffer[:size] = data
        elif start >= len(buffer):
            buffer += data
        else:
            raise HostError("set_buffer_bytes", Status.BAD_ARGUMENT)

    def _buffer(self, hostcall: str, buffer_type: int) -> bytearray:
        self._called(hostcall)
        if buffer_type == BufferType.PLUGIN_CONFIGURATION:
            return bytearray(self.configuration)
        if buffer_type == BufferType.VM_CONFIGURATION:
            return bytearray(self.vm_configuration)
        if buffer_type not in self.side.buffers:
            raise HostError(hostcall, Status.NOT_FOUND)
        return self.side.buffers[buffer_type]

    def define_metric(self, metric_type: int, name: bytes) -> int:
        self.metrics.append(
            (MetricType(metric_type), name.decode(), [0] if metric_type != MetricType.HISTOGRAM else [])
        )
        return len(self.metrics) - 1

    def increment_metric(self, metric_id: int, offset: int) -> None:
        kind, _, values = self.metrics[metric_id]
        if kind is MetricType.COUNTER and offset <= 0:
            raise HostError("increment_metric", Status.BAD_ARGUMENT)
        values[0] += offset

    def record_metric(self, metric_id: int, value: int) -> None:
        kind, _, values = self.metrics[metric_id]
        values[:] = [*values, value] if kind is MetricType.HISTOGRAM else [value]

    def get_metric(self, metric_id: int) -> int:
        return self.metrics[metric_id][2][0]

    def set_effective_context(self, context_id: int) -> None:
        self.context_id = context_id

    def continue_stream(self, stream_type: int) -> None:
        self.side.continued.append(stream_type)

    def close_stream(self, stream_type: int) -> None:
        self._called("close_stream")
        self.side.closed.append(stream_type)


class Stream:
    """One stream: each method enters the guest once, and gives the action it returned."""

    def __init__(self, proxy: "Proxy", context_id: int) -> None:
        self.proxy = proxy
        self.context_id = context_id
        self.side = proxy.host.sides[context_id] = Side()

    def _headers(self, callback: str, map_type: MapType, pairs: list[Pair], *arguments: int) -> int:
        self.side.maps[map_type] = pairs
        action = self.proxy.call(callback, self.context_id, len(pairs), *arguments)
        if action == 0:
            self.side.maps.pop(map_type, None)
        return action

    def _body(self, callback: str, buffer_type: BufferType, data: bytes, end_of_stream: bool) -> int:
        buffer = self.side.buffers.setdefault(buffer_type, bytearray())
        buffer += data
        action = self.proxy.call(callback, self.context_id, len(buffer), int(end_of_stream))
        if action == 0:
            del self.side.buffers[buffer_type]
        return action

    def request_headers(self, pairs: list[Pair] | None = None, *, end_of_stream: bool = True) -> int:
        pairs = list(REQUEST) if pairs is None else pairs
        return self._headers("on_request_headers", MapType.HTTP_REQUEST_HEADERS, pairs, int(end_of_stream))

    def request_body(self, data: bytes = b"", *, end_of_stream: bool = True) -> int:
        return self._body("on_request_body", BufferType.HTTP_REQUEST_BODY, data, end_of_stream)

    def request_trailers(self, pairs: list[Pair] | None = None) -> int:
        return self._headers("on_request_trailers", MapType.HTTP_REQUEST_TRAILERS, pairs or [(b"t", b"1")])

    def response_headers(self, pairs: list[Pair] | None = None, *, end_of_stream: bool = True) -> int:
        pairs = list(RESPONSE) if pairs is None else pairs
        return self._headers("on_response_headers", MapType.HTTP_RESPONSE_HEADERS, pairs, int(end_of_stream))

    def response_body(self, data: bytes = b"", *, end_of_stream: bool = True) -> int:
        return self._body("on_response_body", BufferType.HTTP_RESPONSE_BODY, data, end_of_stream)

    def response_trailers(self, pairs: list[Pair] | None = None) -> int:
        return self._headers("on_response_trailers", MapType.HTTP_RESPONSE_TRAILERS, pairs or [(b"t", b"1")])

    def log(self) -> None:
        self.proxy.call("on_log", self.context_id)

    def end(self) -> None:
        self.proxy.call("on_done", self.context_id)
        self.proxy.call("on_delete", self.context_id)

    @property
    def local_response(self) -> LocalResponse:
        (response,) = self.side.local_responses
        return response


class Proxy:
    """The host together with the dispatcher that it calls."""

    def __init__(self, plugins: Mapping[str, type[PluginContext]], *, native: bool = True) -> None:
        self.host = MemoryHost()
        self.dispatcher = Dispatcher(plugins, self.host.hostcalls, native=native)
        self.next_id = 1

    def call(self, callback: str, context_id: int, *arguments: int) -> int:
        self.host.context_id = context_id
        return getattr(self.dispatcher, callback)(context_id, *arguments)

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def plugin(self, configuration: bytes = b"", vm_configuration: bytes = b"", root_id: bytes = b"") -> int:
        """Start a plugin; its context id, or 0 where it was refused."""
        context_id = self.new_id()
        self.host.configuration, self.host.vm_configuration = configuration, vm_configuration
        self.host.sides[context_id] = Side(properties={b"plugin_root_id": root_id})
        self.call("on_context_create", context_id, 0)
        started = self.call("on_vm_start", context_id, len(vm_configuration))
        return context_id if started and self.call("on_configure", context_id, len(configuration)) else 0

    def stream(self, plugin_id: int = 1) -> Stream:
        stream = Stream(self, self.new_id())
        self.call("on_context_create", stream.context_id, plugin_id)
        return stream

    def plugin_context(self) -> PluginContext:
        """The object of the plugin that was started last."""
        return list(self.dispatcher._plugins.values())[-1]  # pyright: ignore[reportPrivateUsage]

    def live_streams(self) -> int:
        """How many stream objects the dispatcher keeps."""
        return len(self.dispatcher._streams)  # pyright: ignore[reportPrivateUsage]


class StartProxy(Protocol):
    def __call__(self, plugin: type[PluginContext], configuration: bytes = ..., *, native: bool = ...) -> Proxy: ...


MakeProxy = Callable[[Mapping[str, type[PluginContext]]], Proxy]


@pytest.fixture
def start() -> StartProxy:
    """Starts one plugin in a proxy of its own."""

    def start_proxy(plugin: type[PluginContext], configuration: bytes = b"", *, native: bool = True) -> Proxy:
        proxy = Proxy({"": plugin}, native=native)
        assert proxy.plugin(configuration)
        return proxy

    return start_proxy


@pytest.fixture
def proxy_of() -> MakeProxy:
    """Makes a proxy for plugins by root id, none of them started."""
    return Proxy


@pytest.fixture
def host() -> MemoryHost:
    """A host whose stream holds a request's headers, and nothing else."""
    host = MemoryHost()
    host.side.maps[MapType.HTTP_REQUEST_HEADERS] = list(REQUEST)
    return host


@pytest.fixture
def proxy_in_wasm(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeProxy]:
    """Makes a proxy for a guest that owns its interpreter; what it does to `logging` is undone."""
    root = logging.root
    before = root.level, list(root.handlers)
    monkeypatch.setattr(logging.Logger, "isEnabledFor", logging.Logger.isEnabledFor)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    for name in ("logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks"):
        monkeypatch.setattr(logging, name, True, raising=False)
    yield lambda plugins: Proxy(plugins, native=False)
    logging.captureWarnings(capture=False)
    root.setLevel(before[0])
    root.handlers[:] = before[1]
