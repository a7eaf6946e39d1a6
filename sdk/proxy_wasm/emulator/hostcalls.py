"""The hostcalls of one VM: which status each one gives, and when (proxy-wasm-cpp-host, `exports.cc`; Envoy, `context.cc`).

A native guest calls these methods itself; for a compiled one, `compiled_guest` reads their arguments from its memory.
"""

from typing import TYPE_CHECKING, TypeVar

from proxy_wasm.abi.enums import BufferType, LogLevel, MapType, Status, StreamType
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.emulator import header_maps
from proxy_wasm.emulator.buffers import ReadableBuffer
from proxy_wasm.emulator.header_map import HeaderMap, to_text
from proxy_wasm.emulator.local_response import LocalResponse

if TYPE_CHECKING:
    from proxy_wasm.emulator.plugin import Plugin
    from proxy_wasm.emulator.vm import Vm

_T = TypeVar("_T", BufferType, MapType, StreamType)
_REQUEST_MAPS = (MapType.HTTP_REQUEST_HEADERS, MapType.HTTP_REQUEST_TRAILERS)


class VmHostcalls:
    """Implements `proxy_wasm.abi.Hostcalls` for the guest of one VM."""

    def __init__(self, vm: "Vm") -> None:
        self._vm = vm

    # Logging, status, time.

    def log(self, level: int, message: bytes) -> None:
        if level > LogLevel.CRITICAL:
            raise HostError("log", Status.BAD_ARGUMENT)
        context = self._vm.context
        root_id = context.plugin.root_id if context.context_id else ""
        self._vm.log.write(level, message, root_id=root_id, context_id=context.context_id, thread=self._vm.thread)

    def get_log_level(self) -> int:
        return int(self._vm.log.level)

    def get_status(self) -> tuple[int, bytes]:
        return self._plugin.status

    def get_current_time_nanoseconds(self) -> int:
        return self._vm.clock.time_nanoseconds

    def set_tick_period_milliseconds(self, period: int) -> None:
        self._vm.set_tick_period(self._vm.context.plugin, period)

    # Properties.

    def get_property(self, path: bytes) -> bytes | None:
        return self._vm.context.get_property(path)

    def set_property(self, path: bytes, value: bytes) -> None:
        self._vm.context.set_property(path, value)

    # Header maps.

    def get_header_map_value(self, map_type: int, key: bytes) -> bytes | None:
        context = self._vm.context
        headers = context.readable_map(_known("get_header_map_value", MapType, map_type))
        if headers is None:
            if context.logging:
                return None
            raise HostError("get_header_map_value", Status.BAD_ARGUMENT)
        values = headers.values_of(header_maps.name_in(map_type, key))
        return values[0] if values else None

    def get_header_map_pairs(self, map_type: int) -> bytes:
        kind = _known("get_header_map_pairs", MapType, map_type)
        return header_maps.pairs_to_guest(self._vm.context.readable_map(kind))

    def get_header_map_size(self, map_type: int) -> int:
        return self._writable("get_header_map_size", map_type).byte_size

    def add_header_map_value(self, map_type: int, key: bytes, value: bytes) -> None:
        headers = self._writable("add_header_map_value", map_type)
        header_maps.add(headers, header_maps.name_in(map_type, key), value, _joined(map_type))

    def replace_header_map_value(self, map_type: int, key: bytes, value: bytes) -> None:
        self._writable("replace_header_map_value", map_type).set(header_maps.name_in(map_type, key), value)

    def remove_header_map_value(self, map_type: int, key: bytes) -> None:
        self._writable("remove_header_map_value", map_type).remove(header_maps.name_in(map_type, key))

    def set_header_map_pairs(self, map_type: int, pairs: bytes) -> None:
        headers = self._writable("set_header_map_pairs", map_type)
        named = [(header_maps.name_in(map_type, name), value) for name, value in header_maps.pairs_from_guest(pairs)]
        header_maps.replace(headers, named, _joined(map_type))

    def _writable(self, hostcall: str, map_type: int) -> HeaderMap:
        headers = self._vm.context.writable_map(_known(hostcall, MapType, map_type))
        if headers is None:
            raise HostError(hostcall, Status.BAD_ARGUMENT)
        return headers

    # Buffers.

    def get_buffer_status(self, buffer_type: int) -> tuple[int, int]:
        return (len(self._buffer("get_buffer_status", buffer_type)), 0)

    def get_buffer_bytes(self, buffer_type: int, start: int, max_size: int) -> bytes:
        return self._buffer("get_buffer_bytes", buffer_type).read(start, max_size)

    def set_buffer_bytes(self, buffer_type: int, start: int, size: int, data: bytes) -> None:
        self._buffer("set_buffer_bytes", buffer_type).write(start, size, data)

    def _buffer(self, hostcall: str, buffer_type: int) -> ReadableBuffer:
        buffer = self._vm.context.buffer(_known(hostcall, BufferType, buffer_type))
        if buffer is None:
            raise HostError(hostcall, Status.NOT_FOUND)
        return buffer

    # Streams and contexts.

    def send_local_response(
        self, status_code: int, details: bytes, body: bytes, headers: bytes, grpc_status: int
    ) -> None:
        pairs = header_maps.pairs_from_guest(headers)
        response = LocalResponse.from_guest(status_code, details, body, pairs, grpc_status)
        self._vm.context.send_local_response(response)
        self._vm.stop_iteration = True

    def continue_stream(self, stream_type: int) -> None:
        kind = _known("continue_stream", StreamType, stream_type)
        if kind == StreamType.UPSTREAM:
            raise HostError("continue_stream", Status.UNIMPLEMENTED)
        self._vm.context.continue_stream(kind)

    def close_stream(self, stream_type: int) -> None:
        self._vm.context.close_stream(_known("close_stream", StreamType, stream_type))

    def set_effective_context(self, context_id: int) -> None:
        if not self._vm.set_effective_context(context_id):
            raise HostError("set_effective_context", Status.BAD_ARGUMENT)

    def continue_request(self) -> None:
        """Of ABI 0.1.0, as those up to `get_configuration`."""
        self._vm.context.continue_stream(StreamType.HTTP_REQUEST)

    def continue_response(self) -> None:
        self._vm.context.continue_stream(StreamType.HTTP_RESPONSE)

    def clear_route_cache(self) -> None:
        """Which route a request takes is not emulated."""

    def get_configuration(self) -> bytes:
        return self._vm.context.configuration()

    def done(self) -> None:
        if not self._vm.context.plugin.finish_closing():
            raise HostError("done", Status.NOT_FOUND)

    # Shared data and queues.

    def get_shared_data(self, key: bytes) -> tuple[bytes, int]:
        return self._vm.shared.data.get(self._vm_id, key)

    def set_shared_data(self, key: bytes, value: bytes, cas: int) -> None:
        self._vm.shared.data.set(self._vm_id, key, value, cas)

    def register_shared_queue(self, name: bytes) -> int:
        plugin = self._vm.context.plugin
        return self._vm.shared.queues.register(self._vm_id, name, plugin.queue_ready)

    def resolve_shared_queue(self, vm_id: bytes, name: bytes) -> int:
        return self._vm.shared.queues.resolve(vm_id or self._vm_id, name)

    def enqueue_shared_queue(self, queue_id: int, value: bytes) -> None:
        self._vm.shared.queues.enqueue(queue_id, value)

    def dequeue_shared_queue(self, queue_id: int) -> bytes:
        return self._vm.shared.queues.dequeue(queue_id)

    @property
    def _vm_id(self) -> bytes:
        return self._vm.vm_id.encode()

    # Metrics.

    def define_metric(self, metric_type: int, name: bytes) -> int:
        return self._vm.metrics.define(metric_type, to_text(name))

    def increment_metric(self, metric_id: int, offset: int) -> None:
        self._vm.metrics.increment(metric_id, offset)

    def record_metric(self, metric_id: int, value: int) -> None:
        self._vm.metrics.record(metric_id, value)

    def get_metric(self, metric_id: int) -> int:
        return self._vm.metrics.get(metric_id)

    # Foreign functions.

    def call_foreign_function(self, name: bytes, arguments: bytes) -> bytes:
        function = self._vm.foreign_functions.get(to_text(name))
        if function is None:
            raise HostError("call_foreign_function", Status.NOT_FOUND)
        return function(arguments)

    # Callouts.

    def http_call(
        self, upstream: bytes, headers: bytes, body: bytes, trailers: bytes, timeout_milliseconds: int
    ) -> int:
        del trailers  # Envoy's client for callouts drops them
        return self._plugin.http_calls.start(upstream, headers, body, timeout_milliseconds)

    def grpc_call(
        self,
        upstream: bytes,
        service: bytes,
        method: bytes,
        initial_metadata: bytes,
        message: bytes,
        timeout_milliseconds: int,
    ) -> int:
        path = b"/" + service + b"/" + method
        return self._plugin.grpc_calls.start_call(upstream, path, initial_metadata, message, timeout_milliseconds)

    def grpc_stream(self, upstream: bytes, service: bytes, method: bytes, initial_metadata: bytes) -> int:
        return self._plugin.grpc_calls.start_stream(upstream, b"/" + service + b"/" + method, initial_metadata)

    def grpc_send(self, stream_id: int, message: bytes, end_of_stream: int) -> None:
        self._plugin.grpc_calls.send(stream_id, message, end_of_stream=bool(end_of_stream))

    def grpc_cancel(self, call_id: int) -> None:
        self._plugin.grpc_calls.cancel(call_id)

    def grpc_close(self, call_id: int) -> None:
        self._plugin.grpc_calls.close(call_id)

    @property
    def _plugin(self) -> "Plugin":
        return self._vm.context.plugin


def _known(hostcall: str, kind: type[_T], number: int) -> _T:
    try:
        return kind(number)
    except ValueError:
        raise HostError(hostcall, Status.BAD_ARGUMENT) from None


def _joined(map_type: int) -> frozenset[bytes]:
    return header_maps.JOINED_IN_REQUESTS if map_type in _REQUEST_MAPS else header_maps.JOINED_IN_RESPONSES
