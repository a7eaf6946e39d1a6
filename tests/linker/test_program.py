"""How modules become one program, and what does not fit into one."""

from typing import TYPE_CHECKING

import pytest

from proxy_wasm.build.errors import LinkError
from proxy_wasm.build.linker import LinkOptions, link
from proxy_wasm.build.wasm.binary import MalformedError
from proxy_wasm.build.wasm.component import read_component
from proxy_wasm.build.wasm.module import Module, read_module

if TYPE_CHECKING:
    from conftest import Assemble, Run, Small

LIBRARY = """
  (core module $library {imports} {fields})
  (core instance $env (export "memory" (memory $main "memory")) {items})
  (core instance $library (instantiate $library (with "env" (instance $env))))
"""


def library(fields: str = "", imports: str = "", items: str = "") -> str:
    """A second module, which is part of the program because it fills memory."""
    uses = '(import "env" "memory" (memory 1)) (data (i32.const 0) "x")'
    first, second = uses[:34], uses[34:]
    return LIBRARY.format(imports=imports + first, fields=second + fields, items=items)


def slots(module: Module) -> dict[int, str]:
    """Table slots with their functions' names."""
    names = module.function_names()
    return {
        segment.offset.instructions[0][1] + index: names[function]
        for segment in module.elements
        if segment.offset
        for index, function in enumerate(segment.items)
        if function is not None
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("(func $s) (start $s)", "core module 0, a start function is left: the component was not pre-initialized"),
        (
            "(global funcref (ref.null func))",
            "core module 0, global section: a global of type funcref is not supported",
        ),
        ("(memory 1)", "core module 0, a second memory, where a module has one"),
        ("(table 1 funcref) (table 1 funcref)", "core module 0, a second table, where a module has one"),
        ("(table 2 funcref) (func $f) (elem (i32.const 1) $f $f)", "element segments reach slot 2, the table has 2"),
        ("(table 2 funcref) (elem (i32.const 2) funcref (ref.null func))", "reach slot 2, the table has 2"),
        ('(data "passive")', "core module 0, data section: passive segments are not supported"),
        ('(data (i32.const 65535) "ab")', "core module 0, data section: a segment at 0xffff reaches beyond the memory"),
        ('(data (i32.const -1) "a")', "core module 0, data section: a segment at 0xffffffff reaches beyond the memory"),
    ],
)
def test_a_module_that_does_not_fit_into_one_is_refused(small: "Small", fields: str, message: str) -> None:
    with pytest.raises(LinkError, match=message):
        link(small(fields))


@pytest.mark.parametrize(
    ("imports", "items", "message"),
    [
        (
            '(import "env" "f" (func (param i32)))',
            '(export "f" (func $main "cabi_realloc"))',
            r"core module 1, import env f: its type is \(i32\) -> \(\), the definition has \(i32, i32, i32, i32\) -> \(i32\)",
        ),
        (
            '(import "env" "g" (global i32))',
            '(export "g" (global $main "g"))',
            r"core module 1, import env g: its type is i32, the definition has mutable i64",
        ),
        (
            '(import "wasi:io/streams@0.2.0" "g" (global i32))',
            "",
            r"core module 1, import wasi:io/streams@0.2.0 g: a global that no module defines",
        ),
        (
            '(import "wasi:io/streams@0.2.0" "t" (table 1 funcref))',
            "",
            r"core module 1, import section: a table that no module defines",
        ),
        (
            '(import "env" "t" (table 1 funcref))',
            '(export "t" (table $other "t"))',
            r"core module 1, a second table, where a module has one",
        ),
    ],
)
def test_imports_that_do_not_fit_their_definition_are_refused(
    small: "Small", imports: str, items: str, message: str
) -> None:
    fields = '(global (export "g") (mut i64) (i64.const 0)) (table (export "t") 1 funcref)'
    other = ""
    if "$other" in items:
        other = '(core module (table (export "t") 1 funcref)) (core instance $other (instantiate 1))'
    with pytest.raises(LinkError, match=message):
        link(small(fields, other + library(imports=imports, items=items)))


def test_a_second_memory_with_data_of_its_own_is_refused(small: "Small") -> None:
    other = '(core module (memory 1) (data (i32.const 0) "x")) (core instance (instantiate 1))'
    with pytest.raises(LinkError, match=r"core module 1, a second memory, where a module has one"):
        link(small(more=other))


def test_a_module_that_no_callback_reaches_may_have_what_it_wants(small: "Small") -> None:
    other = "(core module (memory 1) (func $s) (start $s)) (core instance (instantiate 1))"
    assert link(small(more=other)) == link(small())


def test_null_elements_empty_their_slots(small: "Small") -> None:
    module = read_module(
        link(
            small("""(table 8 funcref) (func $a) (func $b)
            (elem (i32.const 1) func $a $a $a)
            (elem (i32.const 2) funcref (ref.null func) (ref.func $b))
            (elem (i32.const 6) funcref (ref.null func))
            (elem func $b) (elem declare func $b)""")
        )
    )
    assert slots(module) == {1: "a", 3: "b"}


@pytest.mark.parametrize("fields", ["", "(table 5 7 funcref)"])
def test_a_component_may_have_no_functions_in_its_table(small: "Small", fields: str) -> None:
    module = read_module(link(small(fields)))
    assert module.elements == []
    assert [str(item.limits) for item in module.tables] == (["5..7"] if fields else ["0.."])


def test_segments_are_placed_by_constants_that_are_computed(small: "Small", run: "Run") -> None:
    vm = run(
        link(
            small("""
            (global $a i32 (i32.const -65536))
            (global $b i32 (i32.sub (i32.mul (global.get $a) (i32.const 0x7fffffff)) (i32.const 65534)))
            (global $c i64 (i64.add (i64.sub (i64.const 0x7fffffffffffffff) (i64.const -2)) (i64.const 0)))
            (global $d (mut i64) (i64.mul (global.get $c) (i64.const 1)))
            (data (global.get $b) "\\2a")
            (data (i32.add (global.get $a) (i32.const 65552)) "\\2b")""",
            callback="""(func (export "on_tick") (param i32)
              (i64.store (i32.const 32) (global.get $c)) (i64.store (i32.const 40) (global.get $d))
              (global.set $d (i64.const 0)))""")
        )
    )  # fmt: skip
    assert (vm.read(2, 1), vm.read(16, 1)) == (b"\x2a", b"\x2b")
    vm.call("proxy_on_tick", 0)
    assert vm.read(32, 16) == (0x8000000000000001).to_bytes(8, "little") * 2


def test_additions_to_constant_globals_are_folded(small: "Small", run: "Run") -> None:
    module = link(
        small(
            "(global $base i32 (i32.const 0x7ffffff0))",
            callback="""(func (export "on_tick") (param i32)
              (i32.store (i32.const 8) (i32.add (global.get $base) (i32.const 32)))
              (i32.store (i32.const 12) (i32.sub (global.get $base) (i32.const 32))))""",
        )
    )
    vm = run(module)
    vm.call("proxy_on_tick", 0)
    assert (vm.word(8), vm.word(12)) == (0x80000010, 0x7FFFFFD0)
    assert read_module(module).globals == []


def test_additions_to_variables_stay(small: "Small", run: "Run") -> None:
    vm = run(
        link(
            small(
                "(global $g (mut i32) (i32.const 5))",
                callback="""(func (export "on_tick") (param i32)
                  (global.set $g (i32.add (global.get $g) (i32.const 3)))
                  (i32.store (i32.const 8) (global.get $g)))""",
            )
        )
    )
    vm.call("proxy_on_tick", 0)
    vm.call("proxy_on_tick", 0)
    assert vm.word(8) == 11


FORWARDING = """
  (type $unary (func (param i32) (result i32)))
  (type $binary (func (param i32 i32) (result i32)))
  (type $other (func (param i64) (result i32)))
  (table 10 funcref)
  (elem (i32.const 1) func $target $chained $loop_a $loop_b $itself $wrong)
  (func $target (type $unary) (i32.add (local.get 0) (i32.const 100)))
  (func $wrong (type $other) i32.const 1)
"""


@pytest.mark.parametrize(
    ("forwarder", "kept"),
    [
        ("(func $f (type $unary) local.get 0 i32.const 1 call_indirect (type $unary))", False),
        ("(func $f (type $unary) local.get 0 i32.const 2 call_indirect (type $unary))", False),
        ("(func $f (type $unary) local.get 0 i32.const 9 call_indirect (type $unary))", True),
        ("(func $f (type $unary) local.get 0 i32.const 6 call_indirect (type $unary))", True),
        ("(func $f (type $unary) (local i32) local.get 1 i32.const 1 call_indirect (type $unary))", True),
        ("(func $f (type $binary) local.get 1 i32.const 1 call_indirect (type $unary))", True),
        ("(func $f (type $unary) i32.const 7 i32.const 1 call_indirect (type $unary))", True),
        ("(func $f (type $unary) local.get 0 local.get 0 i32.const 1 call_indirect (type $binary))", True),
        ("(func $f (type $unary) i32.const 5 i32.const 1 i32.add)", True),
    ],
)
def test_only_a_function_that_hands_its_parameters_to_a_slot_is_replaced_by_what_is_there(
    small: "Small", forwarder: str, kept: bool
) -> None:
    arguments = "i32.const 4 i32.const 5" if "(type $binary)" in forwarder else "i32.const 4"
    linked = link(
        small(
            FORWARDING + forwarder + """
            (func $chained (type $unary) local.get 0 i32.const 1 call_indirect (type $unary))
            (func $loop_a (type $unary) local.get 0 i32.const 4 call_indirect (type $unary))
            (func $loop_b (type $unary) local.get 0 i32.const 3 call_indirect (type $unary))
            (func $itself (type $unary) local.get 0 i32.const 5 call_indirect (type $unary))""",
            callback=f'(func (export "on_tick") (param i32) {arguments} call $f drop)',
        )
    )  # fmt: skip
    names = set(read_module(linked).function_names().values())
    assert ("f" in names) is kept
    assert "chained" not in names
    assert names & {"loop_a", "loop_b"}
    assert "itself" in names


def test_a_forwarder_with_parameters_in_another_order_stays(small: "Small") -> None:
    forwarder = """(type $t (func (param i32 i32))) (table 1 funcref) (elem (i32.const 0) func $target)
      (func $target (type $t)) (func $f (type $t) local.get 1 local.get 0 i32.const 0 call_indirect (type $t))"""
    call = '(func (export "on_tick") (param i32) i32.const 1 i32.const 2 call $f)'
    assert "f" in read_module(link(small(forwarder, callback=call))).function_names().values()


def test_references_to_functions_stay_valid(small: "Small", run: "Run") -> None:
    vm = run(
        link(
            small(
                "(func $unused) (func $named) (func $take (param funcref)) (elem declare func $named)",
                callback='(func (export "on_tick") (param i32) ref.func $named call $take)',
            )
        )
    )
    vm.call("proxy_on_tick", 1)


def test_tail_calls_and_typed_blocks_are_renumbered(small: "Small", run: "Run") -> None:
    vm = run(
        link(
            small(
                """(type $unused (func (param f64 f64))) (type $u (func (param i32) (result i32))) (type $b (func (param i32) (result i32 i32)))
                (func $lost) (table 2 funcref) (elem (i32.const 1) func $add)
                (func $add (type $u) (i32.add (local.get 0) (i32.const 1)))
                (func $tail (type $u) (return_call $add (i32.mul (local.get 0) (i32.const 2))))
                (func $indirect (type $u) (return_call_indirect (type $u) (local.get 0) (i32.const 1)))""",
                callback="""(func (export "on_tick") (param i32)
                  i32.const 8
                  local.get 0
                  loop (type $b) i32.const 3 end
                  i32.add
                  (i32.gt_s (local.get 0) (i32.const 0))
                  if (type $u) (param i32) (result i32) call $tail else call $indirect end
                  i32.store)""",
            )
        )
    )
    vm.call("proxy_on_tick", 5)
    assert vm.word(8) == (5 + 3) * 2 + 1
    vm.call("proxy_on_tick", -4)
    assert vm.word(8) == -4 + 3 + 1


@pytest.mark.parametrize(
    ("instructions", "message"),
    [
        ("nop call 77 drop", r"core module 0, code section, offset {at1}: there is no function 77"),
        ("ref.func 99 drop", r"core module 0, code section, offset {at0}: there is no function 99"),
        ("global.get 3 drop", r"core module 0, code section, offset {at0}: there is no global 3"),
        ("nop nop i32.const 1 global.set 4", r"core module 0, code section, offset {at4}: there is no global 4"),
        ("i32.const 0 call_indirect (type 9)", r"core module 0, code section, offset {at2}: there is no type 9"),
        ("block (type 9) end", r"core module 0, code section, offset {at0}: there is no type 9"),
        ("nop memory.init 0", r"core module 0, code section, offset {at2}: instruction 0xfc 0x08 is not supported"),
    ],
)
def test_a_body_that_names_what_is_not_there_is_refused_where_it_does(
    small: "Small", instructions: str, message: str
) -> None:
    data = small("(table 1 funcref)", callback=f'(func (export "on_tick") (param i32) {instructions})')
    module = read_module(data, *read_component(data).modules[0])
    first = module.code[1][0] + 1
    places = {f"at{offset}": hex(first + offset) for offset in range(5)}
    with pytest.raises(MalformedError, match=message.format(**places)):
        link(data)


def test_a_body_that_nothing_reaches_may_hold_what_is_not_supported(small: "Small") -> None:
    assert link(small("(func $f v128.const i64x2 0 0 drop)")) == link(small())


def test_callbacks_that_are_not_there_are_refused(small: "Small") -> None:
    with pytest.raises(LinkError, match=r"there is no callback 'on_nothing' in Proxy-Wasm"):
        link(small(), LinkOptions(callbacks=("on_tick", "on_nothing")))
    with pytest.raises(LinkError, match=r"the component exports no function 'proxy-on-log'"):
        link(small(), LinkOptions(callbacks=("on_log",)))


def test_a_callback_of_another_type_is_refused(small: "Small") -> None:
    with pytest.raises(
        LinkError, match=r"adapters, import callback on_tick: its type is \(i32\) -> \(\), the definition"
    ):
        link(small(callback='(func (export "on_tick") (param i64))'))


def test_a_component_without_memory_or_allocator_is_refused(assemble: "Assemble", small: "Small") -> None:
    with pytest.raises(LinkError, match=r"the component has no memory that its callbacks share"):
        link(small(memory=""))
    with pytest.raises(LinkError, match=r"the component exports no cabi_realloc: was it made by componentize-py\?"):
        link(assemble("(component)"))
    with pytest.raises(LinkError, match=r"the component has no memory that its callbacks share"):
        link(small(memory='(import "wasi:memory" "memory" (memory 1))'))


def test_the_memory_may_be_the_allocators_alone(assemble: "Assemble", run: "Run") -> None:
    vm = run(
        link(
            assemble("""(component
              (core module $memory (memory (export "memory") 1)
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024))
              (core module $main (func (export "on_tick") (param i32)))
              (core instance $memory (instantiate $memory))
              (core instance $main (instantiate $main))
              (func (export "proxy-on-tick") (param "context-id" u32) (canon lift (core func $main "on_tick"))))""")
        )
    )
    assert vm.call("proxy_on_memory_allocate", 5) == 1024


def test_what_a_component_passes_to_hostcalls_stays_its_own_to_free(assemble: "Assemble", run: "Run") -> None:
    vm = run(
        link(
            assemble("""(component
              (import "proxy-log" (func $log (param "level" u32) (param "message" (list u8)) (result u32)))
              (core module $memory (memory (export "memory") 1))
              (core module $libc
                (import "env" "memory" (memory 1))
                (func (export "free") (param i32) (i32.store (i32.const 64) (local.get 0))))
              (core module $main
                (import "env" "memory" (memory 1))
                (import "$root" "proxy-log" (func $log (param i32 i32 i32) (result i32)))
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
                (func (export "on_tick") (param i32) (drop (call $log (i32.const 2) (i32.const 512) (i32.const 3)))))
              (core instance $memory (instantiate $memory))
              (alias core export $memory "memory" (core memory $m))
              (core func $log (canon lower (func $log) (memory $m)))
              (core instance (instantiate $libc (with "env" (instance $memory))))
              (core instance $main (instantiate $main
                (with "env" (instance $memory)) (with "$root" (instance (export "proxy-log" (func $log))))))
              (func (export "proxy-on-tick") (param "context-id" u32) (canon lift (core func $main "on_tick"))))""")
        )
    )
    vm.call("proxy_on_tick", 1)
    assert (vm.logged(), vm.word(64)) == ([(2, 512, 3)], 0)


def test_a_component_without_callbacks_is_a_module_without_callbacks(assemble: "Assemble", run: "Run") -> None:
    vm = run(
        link(
            assemble("""(component
              (core module $m (memory (export "memory") 1)
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024))
              (core instance $m (instantiate $m)))""")
        )
    )
    assert vm.exports == ["memory", "proxy_abi_version_0_2_1", "proxy_on_memory_allocate"]


def importing(module: str, name: str, function_type: str, lower: str = "") -> str:
    """A library that imports one function."""
    return f"""{lower}
      (core module $library
        (import "env" "memory" (memory 1)) (import "{module}" "{name}" (func {function_type}))
        (data (i32.const 0) "x"))
      (core instance $env (export "memory" (memory $main "memory")))
      (core instance (instantiate $library (with "env" (instance $env)) {'(with "$root" (instance $root))' if lower else ""}))"""


def test_an_import_that_is_no_hostcall_is_refused(small: "Small") -> None:
    lower = """(import "proxy-launch" (func $launch)) (core func $launch (canon lower (func $launch)))
      (core instance $root (export "proxy-launch" (func $launch)))"""
    with pytest.raises(LinkError, match=r"the component imports 'proxy-launch', which is no hostcall of Proxy-Wasm"):
        link(small(more=importing("$root", "proxy-launch", "", lower)))


@pytest.mark.parametrize(
    ("imported", "stack", "message"),
    [
        (
            ("wasi:http/types@0.2.0", "f", "(result i32)"),
            True,
            r"the component imports wasi:http/types f \(\) -> \(i32\)",
        ),
        (("wasi:cli/exit@0.2.0", "exit", "(param f32)"), True, r"a WASI function takes or returns a f32"),
        (("wasi:cli/exit@0.2.0", "exit", "(param i32)"), False, r"imports WASI, but exports no __stack_pointer"),
        (("wasi:sockets/tcp", "f", ""), True, r"the adapters for the component's imports cannot be assembled"),
    ],
)
def test_wasi_that_cannot_be_replaced_is_refused(
    small: "Small", imported: tuple[str, str, str], stack: bool, message: str
) -> None:
    fields = '(global (export "__stack_pointer") (mut i32) (i32.const 1024))' if stack else ""
    with pytest.raises(LinkError, match=message):
        link(small(fields, importing(*imported)))


def test_two_imports_of_one_wasi_function_must_agree(small: "Small") -> None:
    fields = '(global (export "__stack_pointer") (mut i32) (i32.const 1024))'
    other = """(core module $other (import "env" "memory" (memory 1)) (import "wasi:cli/exit" "exit" (func (param i64)))
        (data (i32.const 8) "x")) (core instance (instantiate $other (with "env" (instance $env))))"""
    with pytest.raises(
        LinkError, match=r"import wasi:cli/exit exit: its type is \(i32\) -> \(\), the definition has \(i64\)"
    ):
        link(small(fields, importing("wasi:cli/exit", "exit", "(param i32)") + other))
