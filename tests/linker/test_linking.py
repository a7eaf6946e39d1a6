"""A component of two libraries, linked and run: it does what the component does."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import wasmtime
import wasmtime.component

from proxy_wasm.build.linker import LinkOptions, link
from proxy_wasm.build.wasm.module import read_module

if TYPE_CHECKING:
    from conftest import Assemble, Expose, Run, Vm

HEADERS = {0: b"world", 1: b"", 2: b"x" * 300}


@pytest.fixture(scope="module")
def libraries(component: "Assemble") -> bytes:
    return component("two_libraries")


@pytest.fixture(scope="module")
def linked(libraries: bytes) -> bytes:
    return link(libraries)


@pytest.fixture
def vm(linked: bytes, run: "Run") -> "Vm":
    return run(linked, proxy_get_header_map_value=header, proxy_get_current_time_nanoseconds=time)


def header(vm: "Vm", map_type: int, key: int, key_size: int, value_pointer: int, value_size: int) -> int:
    assert vm.read(key, key_size) == b"x-name"
    value = HEADERS.get(map_type, b"")
    vm.write_word(value_pointer, vm.allocate(value))
    vm.write_word(value_size, len(value))
    return 0


def time(vm: "Vm", address: int) -> int:
    vm.write(address, (7_000_000_005).to_bytes(8, "little"))
    return 0


def in_the_component(component: bytes, *calls: tuple[str, tuple[int, ...]]) -> tuple[list[int | None], list[bytes]]:
    """Results and messages of the same calls in wasmtime's own runtime for components."""
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    linker: Any = wasmtime.component.Linker(engine)
    messages: list[bytes] = []

    def log(_: object, level: int, message: bytes) -> int:
        assert level == 2
        messages.append(bytes(message))
        return 0

    def value(_: object, map_type: int, key: bytes) -> tuple[int, bytes]:
        assert key == b"x-name"
        return 0, HEADERS[map_type]

    with linker.root() as root:
        root.add_func("proxy-log", log)
        root.add_func("proxy-get-header-map-value", value)
    instance = linker.instantiate(store, wasmtime.component.Component(engine, component))
    results: list[int | None] = []
    for name, arguments in calls:
        function = instance.get_func(store, name)
        results.append(function(store, *arguments))
        function.post_return(store)
    return results, messages


def test_the_module_does_what_the_component_does(libraries: bytes, vm: "Vm") -> None:
    calls = (
        ("proxy-on-request-headers", (7, 5, 0)),
        ("proxy-on-done", (3,)),
        ("proxy-on-request-headers", (9, 1000, 2)),
        ("proxy-on-tick", (2,)),
        ("proxy-on-log", (1,)),
        ("proxy-on-done", (3,)),
        ("proxy-on-request-headers", (9, 0x7FFFFFF, 1)),
    )
    expected, messages = in_the_component(libraries, *calls)
    assert [vm.call(name.replace("-", "_"), *arguments) for name, arguments in calls] == expected
    assert [vm.read(address, size) for _, address, size in vm.logged()] == messages
    assert messages == [b"world", b"x" * 300, b"x" * 300, b""]


def test_every_result_is_as_computed_by_hand(vm: "Vm") -> None:
    assert vm.call("proxy_on_request_headers", 7, 5, 0) == len(b"world") + 3 * 5 + 3 * 100 - 7
    # 7 in memory, 3 * 4, the counter's first value, 41 calls + 1, 0.5 * 100 - 0.25
    assert vm.call("proxy_on_done", 3) == 7 + 12 + 1 + 42 + 49
    assert vm.call("proxy_on_done", 3) == 7 + 12 + 2 + 43 + 49


def test_wasi_reaches_the_proxy(vm: "Vm") -> None:
    assert vm.call("proxy_on_vm_start", 1, 0) == 7 + 5


def test_recursion_through_the_table_ends_where_it_began(vm: "Vm") -> None:
    before = vm.call("proxy_on_request_headers", 0, 0, 0)
    vm.call("proxy_on_tick", 500)
    assert vm.word(2048 + 16) == 500
    assert vm.call("proxy_on_request_headers", 0, 0, 0) == before


def test_post_return_follows_each_call_that_has_one(vm: "Vm") -> None:
    vm.call("proxy_on_vm_start", 1, 0)
    vm.call("proxy_on_log", 1)
    assert vm.word(2048 + 24) == 0
    vm.call("proxy_on_done", 1)
    vm.call("proxy_on_tick", 1)
    vm.call("proxy_on_request_headers", 1, 1, 1)
    assert vm.word(2048 + 24) == 3


def test_the_allocator_is_the_components(vm: "Vm") -> None:
    first = vm.call("proxy_on_memory_allocate", 10)
    assert vm.call("proxy_on_memory_allocate", 1) == first + 10


def test_only_functions_of_the_proxy_are_imported(vm: "Vm") -> None:
    assert vm.imports == {
        "env.proxy_log",
        "env.proxy_get_header_map_value",
        "env.proxy_get_current_time_nanoseconds",
    }


def test_the_memory_and_what_the_host_calls_is_exported(vm: "Vm") -> None:
    assert set(vm.exports) == {
        "memory",
        "proxy_abi_version_0_2_1",
        "proxy_on_memory_allocate",
        *(f"proxy_on_{name}" for name in ("request_headers", "vm_start", "done", "tick", "log")),
    }


def test_what_cannot_run_is_left_out(linked: bytes) -> None:
    names = set(read_module(linked).function_names().values())
    assert names >= {"recurse", "only_in_table", "log_name"}
    assert not {"unreached", "lost", "lost_too"} & names


def test_globals_that_never_change_are_constants_and_the_others_keep_their_value(linked: bytes) -> None:
    module = read_module(linked)
    assert [(str(item.type), item.initializer.instructions) for item in module.globals] == [
        ("mutable i32", ((0x41, 65536),)),
        ("mutable i32", ((0x41, 131072),)),
        ("mutable i64", ((0x42, 40),)),
    ]


def test_table_and_memory_keep_their_bounds_and_contents(linked: bytes) -> None:
    module = read_module(linked)
    assert [str(item) for item in module.memories] == ["3..20"]
    assert [str(item.limits) for item in module.tables] == ["12.."]
    placed = [
        (segment.offset.instructions[0][1], module.data[segment.start : segment.end])
        for segment in module.segments
        if segment.offset
    ]
    assert placed == [(1024, b"x-name"), (2048, b"\x07")]
    names = module.function_names()
    slots = {
        segment.offset.instructions[0][1] + index: names[function]
        for segment in module.elements
        if segment.offset
        for index, function in enumerate(segment.items)
        if function is not None
    }
    assert slots == {2: "double", 3: "negate", 4: "only_in_table", 6: "triple", 7: "recurse"}


def test_no_type_is_there_twice(linked: bytes) -> None:
    types = read_module(linked).types
    assert len(types) == len(set(types))


def test_callers_of_a_forwarder_call_what_it_forwards_to(linked: bytes) -> None:
    names = list(read_module(linked).function_names().values())
    assert names.count("triple") == 1


def test_the_callbacks_can_be_chosen(libraries: bytes, run: "Run") -> None:
    vm = run(link(libraries, LinkOptions(callbacks=("on_done",))))
    assert vm.exports == ["memory", "proxy_on_done", "proxy_abi_version_0_2_1", "proxy_on_memory_allocate"]
    assert vm.call("proxy_on_done", 3) == 111


def test_names_can_be_stripped(libraries: bytes, linked: bytes) -> None:
    stripped = link(libraries, LinkOptions(strip=True))
    assert read_module(stripped).custom == []
    assert linked.startswith(stripped)


def test_custom_sections_are_added_in_order(libraries: bytes, linked: bytes) -> None:
    module = read_module(link(libraries, LinkOptions(custom_sections={"z": b"last", "a": b"first"})))
    assert [(item.name, module.data[item.start : item.end]) for item in module.custom[1:]] == [
        ("a", b"first"),
        ("z", b"last"),
    ]
    assert module.data.startswith(linked)


def test_two_processes_link_the_same_bytes(libraries: bytes, linked: bytes, tmp_path: Path) -> None:
    source = tmp_path / "component.wasm"
    source.write_bytes(libraries)
    program = "import sys; from proxy_wasm.build.linker import link; sys.stdout.buffer.write(link(open(sys.argv[1], 'rb').read()))"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program, source],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert done.stdout == linked


def test_the_stack_pointer_is_as_before_after_every_call(linked: bytes, run: "Run", expose: "Expose") -> None:
    vm = run(expose(linked), proxy_get_header_map_value=header, proxy_get_current_time_nanoseconds=time)
    for name, arguments in (
        ("proxy_on_request_headers", (7, 5, 0)),
        ("proxy_on_vm_start", (1, 0)),
        ("proxy_on_tick", (300,)),
        ("proxy_on_log", (1,)),
        ("proxy_on_done", (3,)),
    ):
        vm.call(name, *arguments)
        assert vm.global_value("global 0") == 65536
