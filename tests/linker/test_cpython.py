"""What the linker does to CPython's functions, known by their names: limits, checks, the trashcan. CPython is played by a few functions."""

import re
from typing import TYPE_CHECKING

import pytest
import wasmtime

from proxy_wasm.build.errors import LinkError
from proxy_wasm.build.linker import link
from proxy_wasm.build.linker.adapters import signature_text
from proxy_wasm.build.linker.bridge import C_API
from proxy_wasm.build.linker.cpython import FAILURE, NULL, calls_flatly, error_result
from proxy_wasm.build.linker.stack import BUDGET, EMPTY_STRING, RESERVE, initialize_text, limit_offsets, native_frame
from proxy_wasm.build.wasm.module import F64, I32, I64, FunctionType, read_module

if TYPE_CHECKING:
    from conftest import Expose, Run, Small, Vm

TOP = 1 << 20
MEMORY = f'(memory (export "memory") 17) (global $sp (export "__stack_pointer") (mut i32) (i32.const {TOP}))'
STATE = 4096
LIMITS = """(func $_Py_InitializeRecursionLimits (param $state i32)
  (i32.store (i32.add (local.get 0) (i32.const 708)) (global.get $sp))
  (i32.store (i32.add (local.get 0) (i32.const 712)) (global.get $sp))
  (i32.store (i32.add (local.get 0) (i32.const 716)) (global.get $sp)))"""
STATE_FUNCTION = f'(func (export "PyGILState_GetThisThreadState") (result i32) i32.const {STATE})'
API = (
    STATE_FUNCTION
    + "(table 1 funcref)"
    + "".join(f'(func (export "{name}") {signature_text(signature)} unreachable)' for name, signature in C_API.items())
)
"""CPython's functions, as far as the linker calls them: any of them would trap."""
ENTER = """(func $Py_EnterRecursiveCall (param i32) (result i32) (call $host (local.get 0)))
  (table 1 funcref) (elem (i32.const 0) func $Py_EnterRecursiveCall)"""
HOSTCALL = "proxy-set-tick-period-milliseconds"


def function(name: str, body: str, kind: str = "(param i32) (result i32)") -> str:
    return f"(func ${name} {kind} {body})"


def nested(name: str) -> str:
    """Calls itself as often as its argument says; returns the depth reached, or what is not positive."""
    return function(
        name,
        f"""(local $inner i32)
        (if (i32.eqz (local.get 0)) (then (return (i32.const 1))))
        (local.set $inner (call ${name} (i32.sub (local.get 0) (i32.const 1))))
        (if (i32.le_s (local.get $inner) (i32.const 0)) (then (return (local.get $inner))))
        (i32.add (local.get $inner) (i32.const 1))""",
    )


def tick(name: str) -> str:
    return f'(func (export "on_tick") (param i32) (i32.store (i32.const 64) (call ${name} (local.get 0))))'


def result(vm: "Vm", depth: int) -> int:
    """What the nested function returned, as a signed number."""
    vm.call("proxy_on_tick", depth)
    assert vm.global_value("global 0") == TOP
    value = vm.word(64)
    return value - (1 << 32) if value >> 31 else value


def names(module: bytes) -> set[str]:
    return set(read_module(module).function_names().values())


def initialized(state: int) -> tuple[wasmtime.Store, wasmtime.Memory]:
    """Memory after the function that sets the limits has run, with the thread state at an address."""
    text = f"""(module (memory (export "memory") 1) (global $stack_pointer (mut i32) (i32.const {TOP}))
      (func $thread_state (result i32) (i32.const {state})) {initialize_text((708, 712, 716), "(i32.store (i32.const 64) (i32.const 7))")})"""
    store = wasmtime.Store()
    exports = wasmtime.Instance(store, wasmtime.Module(store.engine, bytes(wasmtime.wat2wasm(text))), []).exports(store)
    initialize, memory = exports["_initialize"], exports["memory"]
    assert isinstance(initialize, wasmtime.Func)
    assert isinstance(memory, wasmtime.Memory)
    initialize(store)
    return store, memory


def words(store: wasmtime.Store, memory: wasmtime.Memory, *addresses: int) -> list[int]:
    return [int.from_bytes(memory.read(store, address, address + 4), "little") for address in addresses]


def test_the_limits_are_set_before_anything_runs() -> None:
    store, memory = initialized(STATE)
    assert words(store, memory, *(STATE + offset for offset in (704, 708, 712, 716, 720))) == [
        0,
        TOP,
        TOP - BUDGET,
        TOP - BUDGET - RESERVE,
        0,
    ]
    assert words(store, memory, 64) == [7], "what else has to be done is done"


def test_without_a_thread_state_no_limits_are_set() -> None:
    store, memory = initialized(0)
    assert words(store, memory, 708, 712, 716, 64) == [0, 0, 0, 7]


def test_a_component_without_cpython_has_nothing_to_initialize(small: "Small", run: "Run") -> None:
    assert "_initialize" not in run(link(small(LIMITS, memory=MEMORY))).exports


@pytest.mark.parametrize("limits", ["", LIMITS.replace("$_Py_Init", "$_Py_Start")])
def test_a_cpython_without_the_function_that_sets_limits_is_refused(small: "Small", limits: str) -> None:
    with pytest.raises(LinkError, match=r"holds CPython, but no function is named _Py_InitializeRecursionLimits"):
        link(small(limits + API, memory=MEMORY))


@pytest.mark.parametrize("name", ["PyGILState_Ensure", "PyUnicode_DecodeUTF8", "PyObject_VectorcallMethod"])
def test_a_cpython_without_a_function_that_the_linker_calls_is_refused(small: "Small", name: str) -> None:
    with pytest.raises(LinkError, match=rf"holds CPython, but exports no {name}"):
        link(small(API.replace(f'"{name}"', '"other"'), memory=MEMORY))


def test_a_component_with_cpython_may_not_import_hostcalls(small: "Small") -> None:
    calls = '(func (export "calls") (param i32) (result i32) (call $host (local.get 0)))'
    with pytest.raises(
        LinkError, match=rf"imports '{HOSTCALL}': in one with CPython the linker provides the hostcalls"
    ):
        link(small(API + calls, memory=MEMORY, hostcall=HOSTCALL))


def test_an_import_of_that_name_is_not_taken_for_it(small: "Small") -> None:
    memory = (
        '(import "wasi:io/poll" "[method]pollable.block" (func $_Py_InitializeRecursionLimits (param i32)))' + MEMORY
    )
    with pytest.raises(LinkError, match=r"but no function is named _Py_InitializeRecursionLimits"):
        link(small(API, memory=memory))


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("20 00 41 c4 05 6a 0b", "[708]"),
        ("20 00 41 04 6a 20 00 41 08 6a 20 00 41 10 6a 0b", "[4, 8, 16]"),
        ("20 01 41 04 6a 20 01 41 08 6a 20 01 41 0c 6a 0b", "[]"),
    ],
)
def test_other_code_than_cpython_314s_is_refused(body: str, found: str) -> None:
    with pytest.raises(LinkError) as caught:
        limit_offsets(bytes.fromhex(body))
    assert f"stores to the thread state at {found}, where three neighbouring words are expected" in str(caught.value)


def test_offsets_are_read_from_the_code() -> None:
    assert limit_offsets(bytes.fromhex("20 00 41 cc 05 6a 20 00 41 c8 05 6a 20 00 41 c4 05 6a 0b")) == (708, 712, 716)


@pytest.mark.parametrize(
    ("name", "error"), [("PyObject_Hash", FAILURE), ("map_next", NULL), ("method_vectorcall", NULL)]
)
def test_recursion_without_a_check_ends_in_an_error_beyond_the_limit(
    small: "Small", run: "Run", expose: "Expose", name: str, error: int
) -> None:
    module = link(small(ENTER + nested(name), memory=MEMORY, callback=tick(name), hostcall=HOSTCALL))
    asked: list[int] = []

    def enter(vm: "Vm", message: int) -> int:
        assert vm.read(message, 1) == b"\0"
        asked.append(vm.global_value("global 0"))
        return 1

    vm = run(expose(module), proxy_set_tick_period_milliseconds=enter)
    deepest = BUDGET // (native_frame(1, 1, 1) + native_frame(1, 0, 0)) - 1
    assert result(vm, deepest // 4) == deepest // 4 + 1
    assert asked == []
    assert result(vm, 100_000) == error
    assert len(asked) == 1
    assert TOP - BUDGET - 1024 < asked[0] < TOP - BUDGET
    assert result(vm, 10) == 11


def test_where_cpython_finds_stack_left_the_call_goes_on(small: "Small", run: "Run", expose: "Expose") -> None:
    module = link(
        small(ENTER + nested("PyObject_Hash"), memory=MEMORY, callback=tick("PyObject_Hash"), hostcall=HOSTCALL)
    )
    vm = run(expose(module), proxy_set_tick_period_milliseconds=0)
    depth = 1
    while not vm.calls:
        depth *= 2
        assert result(vm, depth) == depth + 1
    assert {arguments for _, arguments in vm.calls} == {(EMPTY_STRING,)}


def test_a_checked_function_with_a_frame_keeps_it_within_the_other(
    small: "Small", run: "Run", expose: "Expose"
) -> None:
    framed = function(
        "save",
        """(local $a i32) (local $r i32)
        global.get $sp i32.const 64 i32.sub local.tee $a global.set $sp
        (local.set $r (i32.const 1))
        (if (local.get 0) (then (local.set $r (call $save (i32.sub (local.get 0) (i32.const 1))))))
        local.get $a i32.const 64 i32.add global.set $sp
        local.get $r""",
    )
    module = link(small(ENTER + framed, memory=MEMORY, callback=tick("save"), hostcall=HOSTCALL))
    vm = run(expose(module), proxy_set_tick_period_milliseconds=1)
    assert result(vm, 10) == 1
    assert result(vm, 100_000) == -1


def test_a_check_of_another_type_is_refused(small: "Small") -> None:
    fields = """(func $Py_EnterRecursiveCall (param i64) (result i32) i32.const 0)
      (table 1 funcref) (elem (i32.const 0) func $Py_EnterRecursiveCall)"""
    with pytest.raises(LinkError, match=r"Py_EnterRecursiveCall has the type \(i64\) -> \(i32\), the linker calls"):
        link(small(fields, memory=MEMORY))


def test_cpython_whose_check_nothing_reaches_is_refused(small: "Small") -> None:
    fields = """(func $PyGILState_GetThisThreadState (result i32) i32.const 0)
      (table 1 funcref) (elem (i32.const 0) func $PyGILState_GetThisThreadState)"""
    with pytest.raises(LinkError, match=r"holds CPython, but nothing reaches Py_EnterRecursiveCall"):
        link(small(fields, memory=MEMORY))


def test_without_cpythons_check_nothing_is_checked(small: "Small", run: "Run", expose: "Expose") -> None:
    module = link(small(nested("PyObject_Hash"), memory=MEMORY, callback=tick("PyObject_Hash")))
    vm = run(expose(module))
    assert result(vm, 100) == 101


@pytest.mark.parametrize(
    ("name", "parameters", "results", "error"),
    [
        ("PyObject_Hash", [I32], [I32], FAILURE),
        ("PyObject_Hash", [I32], [I64], None),
        ("PyObject_Hash", [I32], [], None),
        ("proxy_call", [I32, I32, I32], [I32], NULL),
        ("map_next", [I32], [I32], NULL),
        ("zip_iternext", [I32], [I32], NULL),
        ("map_next", [I32, I32], [I32], None),
        ("listiter_next", [I32], [I32], None),
        ("count_next", [I32], [I32], None),
        ("map_next_or_so", [I32], [I32], None),
        ("list_append", [I32], [I32], None),
        ("PyObject_Hash", [I32], [F64], None),
    ],
)
def test_functions_that_need_a_check_are_known_by_name_and_type(
    name: str, parameters: list[int], results: list[int], error: int | None
) -> None:
    assert error_result(name, FunctionType(bytes(parameters), bytes(results))) == error


def test_allocators_and_visitors_call_flatly() -> None:
    flat = ("PyMem_RawMalloc", "_PyObject_Free", "long_dealloc", "list_traverse", "visit_decref")
    assert all(calls_flatly(name) for name in flat)
    assert not any(calls_flatly(name) for name in ("list_dealloc", "PyObject_Call", ""))


def test_what_calls_flatly_is_no_part_of_a_recursion(small: "Small") -> None:
    fields = """(type $t (func (param i32))) (table 2 funcref) (elem (i32.const 1) func $%s)
      (func $%s (param i32) (call_indirect (type $t) (local.get 0) (i32.const 1)))"""
    for name, wrapped in (("list_traverse", False), ("list_repr", True)):
        module = link(small(fields % (name, name), memory=MEMORY))
        assert (re.search(rb"\x23\x00\x41[\x80-\xff]*[\x00-\x7f]\x6b\x24\x00", module) is not None) is wrapped


# `margin > 1`, where margin is how often 8 KiB fit between the stack pointer and the limit, as clang compiles it
MARGIN = """(if (i32.gt_s (local.tee $margin (i32.shr_s (local.get 0) (i32.const 13))) (i32.const 1))
  (then (return (i32.const 1))))"""
DEALLOC = "(local $margin i32) {0} i32.const 0"


def test_objects_are_put_aside_later(small: "Small", run: "Run") -> None:
    dealloc = function("_Py_Dealloc", DEALLOC.format(MARGIN))
    tick_it = '(func (export "on_tick") (param i32) (i32.store (i32.const 64) (call $_Py_Dealloc (local.get 0))))'
    vm = run(link(small(dealloc, memory=MEMORY, callback=tick_it)))
    for margin, at_once in ((20000, 1), (16384, 1), (8192, 1), (1, 1), (0, 1), (-1, 0), (-8192, 0)):
        vm.call("proxy_on_tick", margin)
        assert vm.word(64) == at_once


@pytest.mark.parametrize(
    "body",
    [DEALLOC.format(""), DEALLOC.format(MARGIN + MARGIN), DEALLOC.format(MARGIN + "(drop (global.get $sp))" + MARGIN)],
)
def test_a_trashcan_of_another_form_is_refused(small: "Small", body: str) -> None:
    fields = function("_Py_Dealloc", body)
    tick_it = '(func (export "on_tick") (param i32) (drop (call $_Py_Dealloc (local.get 0))))'
    with pytest.raises(LinkError, match=r"_Py_Dealloc does not compare the stack's margin as CPython 3.14"):
        link(small(fields, memory=MEMORY, callback=tick_it))
