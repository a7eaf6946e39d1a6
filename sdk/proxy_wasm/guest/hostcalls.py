"""The hostcalls on the module's own imports.

Each import returns its status first, then its results (`proxy_wasm.abi.wit`). Written out rather than generated, since a request makes
several of these calls.
"""

import wit_world  # pyright: ignore[reportMissingModuleSource] - it exists only in Wasm

from proxy_wasm.abi.hostcalls import HostError

_NOT_FOUND = 1


class ImportedHostcalls:
    """`proxy_wasm.abi.hostcalls.Hostcalls` for a compiled guest."""

    __slots__ = ()

    def log(self, level: int, message: bytes) -> None:
        status = wit_world.proxy_log(level, message)
        if status:
            raise HostError("log", status)

    def get_log_level(self) -> int:
        status, level = wit_world.proxy_get_log_level()
        if status:
            raise HostError("get_log_level", status)
        return level

    def get_status(self) -> tuple[int, bytes]:
        status, code, message = wit_world.proxy_get_status()
        if status:
            raise HostError("get_status", status)
        return code, message

    def get_property(self, path: bytes) -> bytes | None:
        status, value = wit_world.proxy_get_property(path)
        if status == _NOT_FOUND:
            return None
        if status:
            raise HostError("get_property", status)
        return value

    def set_property(self, path: bytes, value: bytes) -> None:
        status = wit_world.proxy_set_property(path, value)
        if status:
            raise HostError("set_property", status)

    def send_local_response(
        self, status_code: int, details: bytes, body: bytes, headers: bytes, grpc_status: int
    ) -> None:
        status = wit_world.proxy_send_local_response(status_code, details, body, headers, grpc_status)
        if status:
            raise HostError("send_local_response", status)

    def get_shared_data(self, key: bytes) -> tuple[bytes, int]:
        status, value, cas = wit_world.proxy_get_shared_data(key)
        if status:
            raise HostError("get_shared_data", status)
        return value, cas

    def set_shared_data(self, key: bytes, value: bytes, cas: int) -> None:
        status = wit_world.proxy_set_shared_data(key, value, cas)
        if status:
            raise HostError("set_shared_data", status)

    def register_shared_queue(self, name: bytes) -> int:
        status, queue_id = wit_world.proxy_register_shared_queue(name)
        if status:
            raise HostError("register_shared_queue", status)
        return queue_id

    def resolve_shared_queue(self, vm_id: bytes, name: bytes) -> int:
        status, queue_id = wit_world.proxy_resolve_shared_queue(vm_id, name)
        if status:
            raise HostError("resolve_shared_queue", status)
        return queue_id

    def dequeue_shared_queue(self, queue_id: int) -> bytes:
        status, value = wit_world.proxy_dequeue_shared_queue(queue_id)
        if status:
            raise HostError("dequeue_shared_queue", status)
        return value

    def enqueue_shared_queue(self, queue_id: int, value: bytes) -> None:
        status = wit_world.proxy_enqueue_shared_queue(queue_id, value)
        if status:
            raise HostError("enqueue_shared_queue", status)

    def get_header_map_value(self, map_type: int, key: bytes) -> bytes | None:
        status, value = wit_world.proxy_get_header_map_value(map_type, key)
        if status == _NOT_FOUND:
            return None
        if status:
            raise HostError("get_header_map_value", status)
        return value

    def add_header_map_value(self, map_type: int, key: bytes, value: bytes) -> None:
        status = wit_world.proxy_add_header_map_value(map_type, key, value)
        if status:
            raise HostError("add_header_map_value", status)

    def replace_header_map_value(self, map_type: int, key: bytes, value: bytes) -> None:
        status = wit_world.proxy_replace_header_map_value(map_type, key, value)
        if status:
            raise HostError("replace_header_map_value", status)

    def remove_header_map_value(self, map_type: int, key: bytes) -> None:
        status = wit_world.proxy_remove_header_map_value(map_type, key)
        if status:
            raise HostError("remove_header_map_value", status)

    def get_header_map_pairs(self, map_type: int) -> bytes:
        status, pairs = wit_world.proxy_get_header_map_pairs(map_type)
        if status:
            raise HostError("get_header_map_pairs", status)
        return pairs

    def set_header_map_pairs(self, map_type: int, pairs: bytes) -> None:
        status = wit_world.proxy_set_header_map_pairs(map_type, pairs)
        if status:
            raise HostError("set_header_map_pairs", status)

    def get_header_map_size(self, map_type: int) -> int:
        status, size = wit_world.proxy_get_header_map_size(map_type)
        if status:
            raise HostError("get_header_map_size", status)
        return size

    def get_buffer_status(self, buffer_type: int) -> tuple[int, int]:
        status, length, flags = wit_world.proxy_get_buffer_status(buffer_type)
        if status:
            raise HostError("get_buffer_status", status)
        return length, flags

    def get_buffer_bytes(self, buffer_type: int, start: int, max_size: int) -> bytes:
        status, data = wit_world.proxy_get_buffer_bytes(buffer_type, start, max_size)
        if status:
            raise HostError("get_buffer_bytes", status)
        return data

    def set_buffer_bytes(self, buffer_type: int, start: int, size: int, data: bytes) -> None:
        status = wit_world.proxy_set_buffer_bytes(buffer_type, start, size, data)
        if status:
            raise HostError("set_buffer_bytes", status)

    def http_call(
        self, upstream: bytes, headers: bytes, body: bytes, trailers: bytes, timeout_milliseconds: int
    ) -> int:
        status, call_id = wit_world.proxy_http_call(upstream, headers, body, trailers, timeout_milliseconds)
        if status:
            raise HostError("http_call", status)
        return call_id

    def grpc_call(
        self,
        upstream: bytes,
        service: bytes,
        method: bytes,
        initial_metadata: bytes,
        message: bytes,
        timeout_milliseconds: int,
    ) -> int:
        status, call_id = wit_world.proxy_grpc_call(
            upstream, service, method, initial_metadata, message, timeout_milliseconds
        )
        if status:
            raise HostError("grpc_call", status)
        return call_id

    def grpc_stream(self, upstream: bytes, service: bytes, method: bytes, initial_metadata: bytes) -> int:
        status, stream_id = wit_world.proxy_grpc_stream(upstream, service, method, initial_metadata)
        if status:
            raise HostError("grpc_stream", status)
        return stream_id

    def grpc_send(self, stream_id: int, message: bytes, end_of_stream: int) -> None:
        status = wit_world.proxy_grpc_send(stream_id, message, end_of_stream)
        if status:
            raise HostError("grpc_send", status)

    def grpc_cancel(self, call_id: int) -> None:
        status = wit_world.proxy_grpc_cancel(call_id)
        if status:
            raise HostError("grpc_cancel", status)

    def grpc_close(self, call_id: int) -> None:
        status = wit_world.proxy_grpc_close(call_id)
        if status:
            raise HostError("grpc_close", status)

    def set_tick_period_milliseconds(self, period: int) -> None:
        status = wit_world.proxy_set_tick_period_milliseconds(period)
        if status:
            raise HostError("set_tick_period_milliseconds", status)

    def get_current_time_nanoseconds(self) -> int:
        status, time = wit_world.proxy_get_current_time_nanoseconds()
        if status:
            raise HostError("get_current_time_nanoseconds", status)
        return time

    def define_metric(self, metric_type: int, name: bytes) -> int:
        status, metric_id = wit_world.proxy_define_metric(metric_type, name)
        if status:
            raise HostError("define_metric", status)
        return metric_id

    def increment_metric(self, metric_id: int, offset: int) -> None:
        status = wit_world.proxy_increment_metric(metric_id, offset)
        if status:
            raise HostError("increment_metric", status)

    def record_metric(self, metric_id: int, value: int) -> None:
        status = wit_world.proxy_record_metric(metric_id, value)
        if status:
            raise HostError("record_metric", status)

    def get_metric(self, metric_id: int) -> int:
        status, value = wit_world.proxy_get_metric(metric_id)
        if status:
            raise HostError("get_metric", status)
        return value

    def set_effective_context(self, context_id: int) -> None:
        status = wit_world.proxy_set_effective_context(context_id)
        if status:
            raise HostError("set_effective_context", status)

    def done(self) -> None:
        status = wit_world.proxy_done()
        if status:
            raise HostError("done", status)

    def continue_stream(self, stream_type: int) -> None:
        status = wit_world.proxy_continue_stream(stream_type)
        if status:
            raise HostError("continue_stream", status)

    def close_stream(self, stream_type: int) -> None:
        status = wit_world.proxy_close_stream(stream_type)
        if status:
            raise HostError("close_stream", status)

    def call_foreign_function(self, name: bytes, arguments: bytes) -> bytes:
        status, result = wit_world.proxy_call_foreign_function(name, arguments)
        if status:
            raise HostError("call_foreign_function", status)
        return result
