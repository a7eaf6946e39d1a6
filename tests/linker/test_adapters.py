"""The functions on the module's edges, assembled and run against a host that records its calls."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest

from proxy_wasm.abi.signatures import CALLBACKS, HOSTCALLS, CoreSignature, Hostcall
from proxy_wasm.abi.wit import kebab
from proxy_wasm.build.linker import adapters

if TYPE_CHECKING:
    from conftest import Assemble, Handler, Run, Vm

RESULT = 1024
"""Where callers let the adapters lay results out; all bytes around it are 0xFF."""

LAYOUTS: dict[str, list[tuple[int, int]]] = {
    # Offset and size of each result in `tuple<u32, ...>`; a list is a pointer and a size.
    "get_log_level": [(4, 4)],
    "get_status": [(4, 4), (8, 8)],
    "get_property": [(4, 8)],
    "get_shared_data": [(4, 8), (12, 4)],
    "register_shared_queue": [(4, 4)],
    "resolve_shared_queue": [(4, 4)],
    "dequeue_shared_queue": [(4, 8)],
    "get_header_map_value": [(4, 8)],
    "get_header_map_pairs": [(4, 8)],
    "get_header_map_size": [(4, 4)],
    "get_buffer_status": [(4, 4), (8, 4)],
    "get_buffer_bytes": [(4, 8)],
    "http_call": [(4, 4)],
    "grpc_call": [(4, 4)],
    "grpc_stream": [(4, 4)],
    "get_current_time_nanoseconds": [(8, 8)],
    "define_metric": [(4, 4)],
    "get_metric": [(8, 8)],
    "call_foreign_function": [(4, 8)],
}

Start = Callable[..., "Vm"]


@pytest.fixture
def start(assemble: "Assemble", run: "Run") -> Start:
    """Runs the adapters of hostcalls and callbacks; the callbacks' functions are host functions."""

    def started(
        hostcalls: tuple[str, ...] = (),
        callbacks: Mapping[str, bool] | None = None,
        **handlers: "Handler",
    ) -> "Vm":
        imports, functions = adapters.edge_text(hostcalls, callbacks or {})
        memory = '(memory (export "memory") 2)'
        allocate = """(func $cabi_realloc (param i32 i32 i32 i32) (result i32)
          (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1))
          (i32.store (i32.const 8) (local.get 2)) (i32.store (i32.const 12) (local.get 3)) (i32.const 4096))"""
        vm = run(assemble("\n".join(["(module", *imports, memory, allocate, *functions, ")"])), **handlers)
        vm.write(RESULT - 16, b"\xff" * 64)
        return vm

    return started


def arguments_of(hostcall: Hostcall) -> list[int]:
    """A different value for each of the flattened parameters, the last of them negative."""
    count = sum(len(wire.core) for _, wire in hostcall.parameters)
    return [*range(100, 100 + count - 1), -7][:count] if count else []


def test_every_hostcall_with_results_has_a_layout() -> None:
    assert LAYOUTS.keys() == {name for name, hostcall in HOSTCALLS.items() if hostcall.results}


@pytest.mark.parametrize("name", [name for name in HOSTCALLS if name not in LAYOUTS])
def test_a_hostcall_without_results_hands_arguments_and_status_on(start: Start, name: str) -> None:
    hostcall = HOSTCALLS[name]
    vm = start((name,), **{hostcall.import_name: 7})
    assert vm.call(kebab(hostcall.import_name), *arguments_of(hostcall)) == 7
    assert vm.calls == [(hostcall.import_name, tuple(arguments_of(hostcall)))]
    assert vm.imports == {f"env.{hostcall.import_name}"}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_results_of_a_hostcall_lie_where_a_tuple_has_them(start: Start, name: str) -> None:
    hostcall, layout = HOSTCALLS[name], LAYOUTS[name]
    given = arguments_of(hostcall)

    def answer(vm: "Vm", *arguments: int) -> int:
        assert list(arguments[: len(given)]) == given
        pointers = list(arguments[len(given) :])
        for index, (_, wire) in enumerate(hostcall.results):
            fill = bytes([index + 1])
            if len(wire.core) == 2:  # the pointer, then the size
                vm.write(pointers.pop(0), fill * 4)
                vm.write(pointers.pop(0), fill * 4)
            else:
                vm.write(pointers.pop(0), fill * (8 if wire.core == ("i64",) else 4))
        assert pointers == []
        return 0

    vm = start((name,), **{hostcall.import_name: answer})
    assert vm.call(kebab(hostcall.import_name), *given, RESULT) is None
    end = max(offset + size for offset, size in layout)
    expected = bytearray(b"\xff" * end)  # padding stays as it was
    expected[:4] = bytes(4)
    for index, (offset, size) in enumerate(layout):
        expected[offset : offset + size] = bytes([index + 1]) * size
    assert vm.read(RESULT - 16, 64) == b"\xff" * 16 + expected + b"\xff" * (48 - end)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_results_of_a_hostcall_that_fails_are_zero(start: Start, name: str) -> None:
    hostcall, layout = HOSTCALLS[name], LAYOUTS[name]
    vm = start((name,), **{hostcall.import_name: 1})
    vm.call(kebab(hostcall.import_name), *arguments_of(hostcall), RESULT)
    assert vm.word(RESULT) == 1
    for offset, size in layout:
        assert vm.read(RESULT + offset, size) == bytes(size)
    end = max(offset + size for offset, size in layout)
    assert vm.read(RESULT - 16, 16) == b"\xff" * 16
    assert vm.read(RESULT + end, 16) == b"\xff" * 16


@pytest.mark.parametrize("post_return", [True, False])
@pytest.mark.parametrize("name", CALLBACKS)
def test_a_callback_calls_the_component_and_then_its_post_return(start: Start, name: str, post_return: bool) -> None:
    callback = CALLBACKS[name]
    vm = start((), {name: post_return}, **({name: 42} if callback.returns else {}))
    given = tuple(range(5, 5 + len(callback.parameters)))
    assert vm.call(callback.export_name, *given) == (42 if callback.returns else None)
    after = [(f"{name}:post", (42,) if callback.returns else ())] if post_return else []
    assert vm.calls == [(name, given), *after]


def test_a_module_tells_its_abi_version_and_allocates_for_the_host(start: Start) -> None:
    vm = start()
    assert vm.call("proxy_abi_version_0_2_1") is None
    assert vm.call("proxy_on_memory_allocate", 1234) == 4096
    assert [vm.word(address) for address in (0, 4, 8, 12)] == [0, 0, 1, 1234]


def test_the_text_of_a_signature_names_only_what_is_there() -> None:
    assert adapters.signature_text(CoreSignature((), ())).strip() == ""
    assert adapters.signature_text(CoreSignature(("i32", "i64"), ("i32",))) == "(param i32 i64) (result i32)"
