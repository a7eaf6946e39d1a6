"""The tables of the ABI against each other, and against the specification where it gives numbers."""

import inspect
from typing import cast

import pytest

from proxy_wasm.abi import (
    Action,
    BufferType,
    Callbacks,
    Hostcalls,
    HostError,
    LogLevel,
    MapType,
    MetricType,
    PeerType,
    Status,
    StreamType,
    hostcalls,
    wit,
)
from proxy_wasm.abi.callbacks import LIFECYCLE_CALLBACKS
from proxy_wasm.abi.signatures import CALLBACKS, HOSTCALLS, CoreSignature


def test_every_enum_counts_from_zero_as_the_specification_does() -> None:
    sizes = {Status: 13, LogLevel: 6, Action: 2, BufferType: 9, MapType: 8, StreamType: 4, MetricType: 3, PeerType: 3}
    for enum, size in sizes.items():
        assert [int(member) for member in enum] == list(range(size)), enum


def test_the_python_methods_follow_the_table_of_hostcalls() -> None:
    for name, hostcall in HOSTCALLS.items():
        parameters = list(inspect.signature(getattr(Hostcalls, name)).parameters)[1:]
        assert parameters == [parameter for parameter, _ in hostcall.parameters], name


def test_the_python_methods_follow_the_table_of_callbacks() -> None:
    for name, callback in CALLBACKS.items():
        signature = inspect.signature(getattr(Callbacks, name))
        assert list(signature.parameters)[1:] == list(callback.parameters), name
        assert (signature.return_annotation is int) == callback.returns, name


def test_bytes_travel_as_pointer_and_size_and_results_through_pointers() -> None:
    assert HOSTCALLS["get_header_map_value"].core == CoreSignature(("i32",) * 5, ("i32",))
    assert HOSTCALLS["increment_metric"].core == CoreSignature(("i32", "i64"), ("i32",))
    assert HOSTCALLS["get_current_time_nanoseconds"].core == CoreSignature(("i32",), ("i32",))
    assert HOSTCALLS["send_local_response"].core == CoreSignature(("i32",) * 8, ("i32",))
    assert str(CALLBACKS["on_log"].core) == "(i32) -> ()"
    assert str(CALLBACKS["on_request_headers"].core) == "(i32, i32, i32) -> (i32)"


def test_names_on_the_wire_have_the_prefix() -> None:
    assert HOSTCALLS["log"].import_name == "proxy_log"
    assert CALLBACKS["on_log"].export_name == "proxy_on_log"
    assert set(LIFECYCLE_CALLBACKS) <= set(CALLBACKS)


def test_the_world_leaves_the_edges_to_the_linker() -> None:
    assert " import " not in wit.TEXT
    assert [line.strip() for line in wit.TEXT.splitlines() if "export" in line] == ["export start: func();"]


def test_a_host_error_names_the_hostcall_and_the_status() -> None:
    assert str(HostError("get_property", 10)) == "proxy_get_property: INTERNAL_FAILURE"
    assert str(HostError("get_property", 99)) == "proxy_get_property: unknown status 99"
    assert HostError("get_property", 10).status is Status.INTERNAL_FAILURE


def test_hostcalls_are_those_of_the_host_that_is_calling() -> None:
    host = cast("Hostcalls", object())
    hostcalls.bind(host)
    try:
        assert hostcalls.current() is host
    finally:
        hostcalls.bind(None)
    with pytest.raises(RuntimeError, match="only inside a callback"):
        hostcalls.current()
