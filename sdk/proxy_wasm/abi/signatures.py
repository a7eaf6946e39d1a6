"""Every hostcall and callback of Proxy-Wasm ABI 0.2.1 with its parameters and results, as data.

One table from which everything else about the wire follows: the linker's functions on both edges of a module,
the checker's exact signatures, and how the emulator reads a compiled guest's arguments. Nothing that runs in Wasm imports
this module.

How a value travels (specification, "Functions implemented in the host"): an integer is one `i32` or `i64`; bytes are a
pointer and a size. A hostcall returns a status; each of its results is written through a pointer that follows the
parameters (two pointers, to pointer and size, where the result is bytes).
"""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

CoreType = Literal["i32", "i64"]

ABI_VERSION_EXPORT = "proxy_abi_version_0_2_1"
"""The function export by which a host tells the ABI version of a module."""

HOST_MODULE = "env"
"""The import module in which hosts look for `proxy_*`."""


class Wire(Enum):
    """How one value crosses the boundary; the value of each member is its WIT type."""

    U32 = "u32"
    S32 = "s32"
    U64 = "u64"
    S64 = "s64"
    BYTES = "list<u8>"

    @property
    def core(self) -> tuple[CoreType, ...]:
        """The core Wasm types of a value passed as a parameter."""
        return _PARAMETER_TYPES[self]


_PARAMETER_TYPES: dict[Wire, tuple[CoreType, ...]] = {
    Wire.U32: ("i32",),
    Wire.S32: ("i32",),
    Wire.U64: ("i64",),
    Wire.S64: ("i64",),
    Wire.BYTES: ("i32", "i32"),
}

_POINTERS: dict[bool, tuple[CoreType, ...]] = {False: ("i32",), True: ("i32", "i32")}

Field = tuple[str, Wire]


@dataclass(frozen=True, slots=True)
class CoreSignature:
    """A core Wasm function type."""

    parameters: tuple[CoreType, ...]
    results: tuple[CoreType, ...]

    def __str__(self) -> str:
        return f"({', '.join(self.parameters)}) -> ({', '.join(self.results)})"


@dataclass(frozen=True, slots=True)
class Hostcall:
    """A function that the host provides."""

    name: str
    """Without the prefix `proxy_`."""
    parameters: tuple[Field, ...] = ()
    results: tuple[Field, ...] = ()

    @property
    def import_name(self) -> str:
        """The name under which the module imports it from `env`."""
        return f"proxy_{self.name}"

    @property
    def core(self) -> CoreSignature:
        """The exact type that hosts demand of the import."""
        flat: list[CoreType] = [core for _, wire in self.parameters for core in wire.core]
        for _, wire in self.results:
            flat.extend(_POINTERS[wire is Wire.BYTES])
        return CoreSignature(tuple(flat), ("i32",))


@dataclass(frozen=True, slots=True)
class Callback:
    """A function that the module exports and the host calls."""

    name: str
    """Without the prefix `proxy_`."""
    parameters: tuple[str, ...]
    """Names; every parameter of every callback is a 32-bit integer."""
    returns: bool
    """Whether it returns a 32-bit integer."""

    @property
    def export_name(self) -> str:
        """The name under which the module exports it."""
        return f"proxy_{self.name}"

    @property
    def core(self) -> CoreSignature:
        """The exact type that hosts demand of the export."""
        return CoreSignature(("i32",) * len(self.parameters), ("i32",) if self.returns else ())


_U32, _S32, _U64, _S64, _BYTES = Wire.U32, Wire.S32, Wire.U64, Wire.S64, Wire.BYTES

HOSTCALLS: dict[str, Hostcall] = {
    hostcall.name: hostcall
    for hostcall in (
        Hostcall("log", (("level", _U32), ("message", _BYTES))),
        Hostcall("get_log_level", (), (("level", _U32),)),
        Hostcall("get_status", (), (("code", _U32), ("message", _BYTES))),
        Hostcall("get_property", (("path", _BYTES),), (("value", _BYTES),)),
        Hostcall("set_property", (("path", _BYTES), ("value", _BYTES))),
        Hostcall(
            "send_local_response",
            (
                ("status_code", _U32),
                ("details", _BYTES),
                ("body", _BYTES),
                ("headers", _BYTES),
                ("grpc_status", _S32),
            ),
        ),
        Hostcall("get_shared_data", (("key", _BYTES),), (("value", _BYTES), ("cas", _U32))),
        Hostcall("set_shared_data", (("key", _BYTES), ("value", _BYTES), ("cas", _U32))),
        Hostcall("register_shared_queue", (("name", _BYTES),), (("queue_id", _U32),)),
        Hostcall("resolve_shared_queue", (("vm_id", _BYTES), ("name", _BYTES)), (("queue_id", _U32),)),
        Hostcall("dequeue_shared_queue", (("queue_id", _U32),), (("value", _BYTES),)),
        Hostcall("enqueue_shared_queue", (("queue_id", _U32), ("value", _BYTES))),
        Hostcall("get_header_map_value", (("map_type", _U32), ("key", _BYTES)), (("value", _BYTES),)),
        Hostcall("add_header_map_value", (("map_type", _U32), ("key", _BYTES), ("value", _BYTES))),
        Hostcall("replace_header_map_value", (("map_type", _U32), ("key", _BYTES), ("value", _BYTES))),
        Hostcall("remove_header_map_value", (("map_type", _U32), ("key", _BYTES))),
        Hostcall("get_header_map_pairs", (("map_type", _U32),), (("pairs", _BYTES),)),
        Hostcall("set_header_map_pairs", (("map_type", _U32), ("pairs", _BYTES))),
        Hostcall("get_header_map_size", (("map_type", _U32),), (("size", _U32),)),
        Hostcall("get_buffer_status", (("buffer_type", _U32),), (("length", _U32), ("flags", _U32))),
        Hostcall(
            "get_buffer_bytes",
            (("buffer_type", _U32), ("start", _U32), ("max_size", _U32)),
            (("data", _BYTES),),
        ),
        Hostcall(
            "set_buffer_bytes",
            (("buffer_type", _U32), ("start", _U32), ("size", _U32), ("data", _BYTES)),
        ),
        Hostcall(
            "http_call",
            (
                ("upstream", _BYTES),
                ("headers", _BYTES),
                ("body", _BYTES),
                ("trailers", _BYTES),
                ("timeout_milliseconds", _U32),
            ),
            (("call_id", _U32),),
        ),
        Hostcall(
            "grpc_call",
            (
                ("upstream", _BYTES),
                ("service", _BYTES),
                ("method", _BYTES),
                ("initial_metadata", _BYTES),
                ("message", _BYTES),
                ("timeout_milliseconds", _U32),
            ),
            (("call_id", _U32),),
        ),
        Hostcall(
            "grpc_stream",
            (("upstream", _BYTES), ("service", _BYTES), ("method", _BYTES), ("initial_metadata", _BYTES)),
            (("stream_id", _U32),),
        ),
        Hostcall("grpc_send", (("stream_id", _U32), ("message", _BYTES), ("end_of_stream", _U32))),
        Hostcall("grpc_cancel", (("call_id", _U32),)),
        Hostcall("grpc_close", (("call_id", _U32),)),
        Hostcall("set_tick_period_milliseconds", (("period", _U32),)),
        Hostcall("get_current_time_nanoseconds", (), (("time", _U64),)),
        Hostcall("define_metric", (("metric_type", _U32), ("name", _BYTES)), (("metric_id", _U32),)),
        Hostcall("increment_metric", (("metric_id", _U32), ("offset", _S64))),
        Hostcall("record_metric", (("metric_id", _U32), ("value", _U64))),
        Hostcall("get_metric", (("metric_id", _U32),), (("value", _U64),)),
        Hostcall("set_effective_context", (("context_id", _U32),)),
        Hostcall("done"),
        Hostcall("continue_stream", (("stream_type", _U32),)),
        Hostcall("close_stream", (("stream_type", _U32),)),
        Hostcall("call_foreign_function", (("name", _BYTES), ("arguments", _BYTES)), (("result", _BYTES),)),
    )
}
"""Every hostcall, by name without prefix."""

_HEADERS = ("context_id", "num_headers", "end_of_stream")
_BODY = ("context_id", "body_size", "end_of_stream")
_TRAILERS = ("context_id", "num_trailers")

CALLBACKS: dict[str, Callback] = {
    callback.name: callback
    for callback in (
        Callback("on_context_create", ("context_id", "parent_context_id"), returns=False),
        Callback("on_vm_start", ("context_id", "configuration_size"), returns=True),
        Callback("validate_configuration", ("context_id", "configuration_size"), returns=True),
        Callback("on_configure", ("context_id", "configuration_size"), returns=True),
        Callback("on_tick", ("context_id",), returns=False),
        Callback("on_new_connection", ("context_id",), returns=True),
        Callback("on_downstream_data", ("context_id", "data_size", "end_of_stream"), returns=True),
        Callback("on_upstream_data", ("context_id", "data_size", "end_of_stream"), returns=True),
        Callback("on_downstream_connection_close", ("context_id", "peer_type"), returns=False),
        Callback("on_upstream_connection_close", ("context_id", "peer_type"), returns=False),
        Callback("on_request_headers", _HEADERS, returns=True),
        Callback("on_request_body", _BODY, returns=True),
        Callback("on_request_trailers", _TRAILERS, returns=True),
        Callback("on_request_metadata", ("context_id", "num_elements"), returns=True),
        Callback("on_response_headers", _HEADERS, returns=True),
        Callback("on_response_body", _BODY, returns=True),
        Callback("on_response_trailers", _TRAILERS, returns=True),
        Callback("on_response_metadata", ("context_id", "num_elements"), returns=True),
        Callback(
            "on_http_call_response",
            ("context_id", "call_id", "num_headers", "body_size", "num_trailers"),
            returns=False,
        ),
        Callback("on_grpc_receive_initial_metadata", ("context_id", "call_id", "num_elements"), returns=False),
        Callback("on_grpc_receive", ("context_id", "call_id", "message_size"), returns=False),
        Callback("on_grpc_receive_trailing_metadata", ("context_id", "call_id", "num_elements"), returns=False),
        Callback("on_grpc_close", ("context_id", "call_id", "status_code"), returns=False),
        Callback("on_queue_ready", ("context_id", "queue_id"), returns=False),
        Callback("on_foreign_function", ("context_id", "function_id", "arguments_size"), returns=False),
        Callback("on_done", ("context_id",), returns=True),
        Callback("on_log", ("context_id",), returns=False),
        Callback("on_delete", ("context_id",), returns=False),
    )
}
"""Every callback, by name without prefix."""

MEMORY_ALLOCATE_EXPORT = "proxy_on_memory_allocate"
MEMORY_ALLOCATE = CoreSignature(("i32",), ("i32",))
"""Through it the host asks the module for memory to write results into."""

WASI_MODULE = "wasi_snapshot_preview1"

WASI_IMPORTS: dict[str, CoreSignature] = {
    "fd_write": CoreSignature(("i32", "i32", "i32", "i32"), ("i32",)),
    "clock_time_get": CoreSignature(("i32", "i64", "i32"), ("i32",)),
    "random_get": CoreSignature(("i32", "i32"), ("i32",)),
    "environ_get": CoreSignature(("i32", "i32"), ("i32",)),
    "environ_sizes_get": CoreSignature(("i32", "i32"), ("i32",)),
}
"""The WASI functions that a module may import: what every proxy since Envoy 1.33 provides and CPython needs."""
