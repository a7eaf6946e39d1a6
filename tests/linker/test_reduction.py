"""Parts of CPython that are left out: what goes, what stays, and what a function says that should never be called. CPython is played by a few functions."""

import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import wasmtime

from proxy_wasm.build.errors import LinkError
from proxy_wasm.build.linker import LinkOptions, link
from proxy_wasm.build.linker.reduction import MESSAGES
from proxy_wasm.build.parts import FAILURE, NAMES, NULL, Part, Table, imported_for, left_out, refused
from proxy_wasm.build.wasm.module import read_module

if TYPE_CHECKING:
    from conftest import Assemble, Run, Vm

PART = Part("spam", "spam", (("spam_first", "spam_last"),))
TABLE = b"characters and what they are called in Unicode".ljust(64, b".")
CRITICAL = 5
MISSING = (
    "a function of CPython was called that this build leaves out (with 'spam'): please report it; "
    'the setting stdlib = ["all"] of [tool.proxy-wasm] keeps everything'
)
SLOTS = {name: number for number, name in enumerate(("PyInit_spam", "spam_first", "spam_called", "spam_last", "kept"))}
LIBRARY = """
  (func $_Py_InitializeRecursionLimits)
  (func $PyErr_SetString (param i32 i32) (i32.store (i32.const 72) (local.get 0)) (i32.store (i32.const 76) (local.get 1)))
  (func $PyModuleDef_Init (param i32) (result i32) (local.get 0))
  (func $PyInit_spam (result i32) (call $PyModuleDef_Init (i32.add (global.get $memory_base) (i32.const 16))))
  (func $spam_first (type $unary) (i32.const 101))
  (func $spam_called (type $unary) (i32.const 102))
  (func $spam_last (type $binary) (i32.const 103))
  (func $kept (type $unary) (i32.const 104))
  (func $compile (type $unary) (i32.const 105))
  (func $finalize (type $unary) (i32.const 106))
  (func $nothing)"""


@pytest.fixture(scope="module")
def python(assemble: "Assemble") -> "Python":
    return Python(assemble)


class Python:
    """Makes components of a memory and a library whose slots begin at 4 and whose data begin at 256."""

    def __init__(self, assemble: "Assemble") -> None:
        self.assemble = assemble

    def __call__(self, tick: str = "", *, data: str = "", library: str = LIBRARY) -> bytes:
        """A component whose callback stores what slot 4 + the callback's argument returns, or runs `tick`."""
        call = "(i32.store (i32.const 64) (call_indirect (type $unary) (i32.const 7) (i32.add (local.get 0) (i32.const 4))))"
        return self.assemble(f"""(component
          (core module $main
            (memory (export "memory") 2) (table (export "table") 16 funcref)
            (global (export "memory_base") i32 (i32.const 256)) (global (export "table_base") i32 (i32.const 4))
            (global (export "exception") (mut i32) (i32.const 512))
            (data (i32.const 512) "\\2a\\00\\00\\00") {data})
          (core module $python
            (import "env" "memory" (memory 2)) (import "env" "table" (table 16 funcref))
            (import "env" "__memory_base" (global $memory_base i32)) (import "env" "__table_base" (global $table_base i32))
            (import "GOT.mem" "PyExc_ImportError" (global $exception (mut i32)))
            (type $unary (func (param i32) (result i32))) (type $binary (func (param i32 i32) (result i32)))
            {library}
            (elem (global.get $table_base) func {" ".join(f"${name}" for name in SLOTS)})
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
            (func (export "on_tick") (param i32) {tick}))
          (core module $caller
            (import "env" "memory" (memory 2)) (import "env" "table" (table 16 funcref))
            (import "python" "on_tick" (func $tick (param i32)))
            (type $unary (func (param i32) (result i32)))
            (func (export "on_tick") (param i32) {"(call $tick (local.get 0))" if tick else call}))
          (core instance $main (instantiate $main))
          (core instance $python (instantiate $python (with "env" (instance
              (export "memory" (memory $main "memory")) (export "table" (table $main "table"))
              (export "__memory_base" (global $main "memory_base")) (export "__table_base" (global $main "table_base"))))
            (with "GOT.mem" (instance (export "PyExc_ImportError" (global $main "exception"))))))
          (core instance $caller (instantiate $caller (with "env" (instance $main)) (with "python" (instance $python))))
          (func (export "proxy-on-tick") (param "context-id" u32) (canon lift (core func $caller "on_tick"))))""")


def reduced(component: bytes, *parts: Part) -> bytes:
    module = link(component, LinkOptions(left_out=parts))
    wasmtime.Module.validate(wasmtime.Engine(), module)
    return module


def names(module: bytes) -> set[str]:
    return set(read_module(module).function_names().values())


def said(vm: "Vm") -> list[tuple[int, str]]:
    return [(level, vm.read(address, size).decode()) for level, address, size in vm.logged()]


def test_functions_of_a_part_go_though_the_table_holds_them(python: Python) -> None:
    whole, module = link(python("(nop)")), reduced(python("(nop)"), PART)
    assert {"spam_first", "spam_called", "spam_last", "kept"} <= names(whole)
    assert names(whole) - names(module) == {"spam_first", "spam_called", "spam_last"}


@pytest.mark.parametrize(("initialized", "left"), [(False, bytes(64)), (True, TABLE)], ids=["left out", "initialized"])
def test_a_part_takes_its_tables_along(python: Python, run: "Run", *, initialized: bool, left: bytes) -> None:
    number = '(data (i32.const 284) "\\01")' if initialized else ""
    component = python("(nop)", data=f'(data (i32.const 40960) "{TABLE.decode()}") {number}')
    part = replace(PART, tables=(Table(40960 - 256, 40960 - 256 + 64, zlib.crc32(TABLE)),))
    vm = run(reduced(component, part))
    assert (vm.read(40960, 64), vm.word(512)) == (left, 42)


@pytest.mark.parametrize("function", ["spam_first", "spam_called"])
def test_a_function_that_is_called_nevertheless_says_what_is_missing_and_traps(
    python: Python, run: "Run", function: str
) -> None:
    vm = run(reduced(python(), PART))
    vm.call("proxy_on_tick", SLOTS["kept"])
    assert (vm.word(64), said(vm)) == (104, [])
    with pytest.raises(wasmtime.Trap, match=r"left_out_of_this_build:spam"):
        vm.call("proxy_on_tick", SLOTS[function])
    assert said(vm) == [(CRITICAL, MISSING)]


def test_slots_of_one_type_share_what_they_say(python: Python) -> None:
    stubs = [
        name for name in read_module(reduced(python("(nop)"), PART)).function_names().values() if "left_out" in name
    ]
    assert stubs == ["left_out_of_this_build:spam"] * 2


CALLS = {
    "a call": "(drop (call $spam_called (i32.const 1)))",
    "an address": "(i32.store (i32.const 0) (i32.add (global.get $table_base) (i32.const 2)))",
    "an address by way of a local": """(local $base i32) (local.set $base (global.get $table_base))
        (i32.store (i32.const 0) (i32.add (local.get $base) (i32.const 2)))""",
    "an address before its base": "(i32.store (i32.const 0) (i32.add (i32.const 2) (global.get $table_base)))",
}


@pytest.mark.parametrize("tick", CALLS.values(), ids=CALLS)
def test_a_function_that_other_code_names_stays(python: Python, tick: str) -> None:
    kept = names(reduced(python(tick), PART))
    assert "spam_called" in kept
    assert not {"spam_first", "spam_last"} & kept


def test_a_module_that_was_initialized_stays(python: Python) -> None:
    definition = 256 + 16
    used = python(
        "(nop)", data=f'(data (i32.const {definition}) "\\01\\00\\00\\00" "\\00\\00\\00\\00\\00\\00\\00\\00" "\\07")'
    )
    assert reduced(used, PART) == reduced(used, replace(PART, code=()))
    assert "spam_first" in names(reduced(used, PART))
    assert "spam_first" not in names(reduced(used, replace(PART, module=None)))


def test_a_function_can_raise_or_do_nothing_in_place_of_what_it_did(python: Python, run: "Run") -> None:
    part = Part("spam", raising={"compile": FAILURE, "kept": NULL}, idle={"finalize": 7})
    tick = """(i32.store (i32.const 64) (call $compile (i32.const 1))) (i32.store (i32.const 68) (call $finalize (i32.const 1)))"""
    vm = run(reduced(python(tick), part))
    vm.call("proxy_on_tick", 0)
    assert (vm.word(64), vm.word(68), vm.word(72)) == (0xFFFFFFFF, 7, 42)
    assert vm.read(vm.word(76), 200).partition(b"\0")[0] == (
        b"compile(), eval() and exec() of source text are left out of this build; bring them back with "
        b'[tool.proxy-wasm] stdlib = ["spam"]'
    )
    vm = run(reduced(python(), part))
    vm.call("proxy_on_tick", SLOTS["kept"])
    assert (vm.word(64), vm.word(72)) == (0, 42)


def test_a_function_in_a_slot_that_no_library_knows_of_is_left_out(python: Python, run: "Run") -> None:
    component = python(library=LIBRARY + "(elem (i32.const 12) func $finalize $compile)")
    assert names(link(component)) - names(reduced(component, Part("spam"))) == {"finalize", "compile"}
    vm = run(reduced(component, Part("spam")))
    vm.call("proxy_on_tick", SLOTS["kept"])
    assert vm.word(64) == 104
    with pytest.raises(wasmtime.Trap, match=r"left_out_of_this_build:all"):
        vm.call("proxy_on_tick", 12 - 4)


WRONG = {
    "no function": (replace(PART, code=(("spam_first", "eggs"),)), "'spam': no function is named eggs"),
    "a range from its end": (
        replace(PART, code=(("spam_last", "spam_first"),)),
        "'spam': spam_last stands behind spam_first",
    ),
    "no module": (replace(PART, module="eggs"), "'spam': no function is named PyInit_eggs"),
    "a module without definition": (replace(PART, module="empty"), "'spam': PyInit_empty returns no definition"),
    "another table": (
        replace(PART, tables=(Table(768, 832, 1),)),
        "'spam': its table is not at 768 of libpython's data",
    ),
    "no result": (Part("spam", idle={"nothing": 0}), "'spam': nothing does not return one i32"),
}


@pytest.mark.parametrize(("part", "message"), WRONG.values(), ids=WRONG)
def test_a_part_that_does_not_fit_the_library_is_refused(python: Python, part: Part, message: str) -> None:
    component = python("(nop)", library=LIBRARY + "(func $PyInit_empty (result i32) (i32.const 0))")
    with pytest.raises(LinkError, match=message):
        link(component, LinkOptions(left_out=(part,)))


def test_a_function_cannot_raise_where_the_library_has_no_exception(python: Python) -> None:
    text = LIBRARY.replace("$PyErr_SetString", "$other")
    with pytest.raises(LinkError, match="'spam': no function is named PyErr_SetString"):
        link(python("(nop)", library=text), LinkOptions(left_out=(Part("spam", raising={"kept": NULL}),)))


def test_parts_are_left_out_of_cpython_alone(python: Python) -> None:
    with pytest.raises(LinkError, match="no function is named _Py_InitializeRecursionLimits"):
        link(python("(nop)", library=LIBRARY.replace("$_Py_Init", "$Init")), LinkOptions(left_out=(PART,)))


def test_messages_have_to_fit_below_the_stack(python: Python) -> None:
    parts = tuple(Part(f"{number:0500}") for number in range(200))
    with pytest.raises(LinkError, match="there is room for 31744"):
        link(python("(nop)"), LinkOptions(left_out=parts))


def test_messages_lie_where_nothing_else_does(python: Python) -> None:
    module = read_module(reduced(python("(nop)"), PART))
    places = {segment.offset.instructions[0][1] for segment in module.segments if segment.offset}
    assert MESSAGES in places


def test_what_the_settings_name_is_kept_and_imported() -> None:
    everything = {part.name for part in left_out((), ())}
    assert everything == set(NAMES)
    assert {part.name for part in left_out(("compile", "math"), ("_decimal",))} == everything - {
        "compile",
        "math",
        "decimal",
    }
    assert left_out(("all",), ()) == ()
    assert imported_for(("all", "compile", "sqlite3")) == ("sqlite3",)
    assert "encodings.gbk" in imported_for(("encodings.cjk",))
    assert refused(("all",)) == {}
    assert refused(("math",)).get("_decimal") == "decimal"
    assert "math" not in refused(("math",))
