"""What functions are charged for recursion: seen in linked modules that run."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_wasm.build.errors import LinkError
from proxy_wasm.build.linker import link
from proxy_wasm.build.linker.instructions import skip_locals
from proxy_wasm.build.linker.stack import native_frame
from proxy_wasm.build.wasm.binary import Reader
from proxy_wasm.build.wasm.module import Kind, read_module

if TYPE_CHECKING:
    from conftest import Expose, Run, Small, Vm

TOP = 1 << 20
MEMORY = f'(memory (export "memory") 17) (global $sp (export "__stack_pointer") (mut i32) (i32.const {TOP}))'
SEEN = 64
"""Where functions store the stack pointer that they see."""

# Prologues as compilers write them, and the local that the epilogue takes the frame from.
PROLOGUES = {
    "tee": ("global.get $sp i32.const {size} i32.sub local.tee $a global.set $sp", "$a"),
    "tee and copy": (
        "global.get $sp i32.const {size} i32.sub local.tee $a local.set $b local.get $a global.set $sp",
        "$b",
    ),
    "tee, copy unused": (
        "global.get $sp i32.const {size} i32.sub local.tee $a local.set $b local.get $a global.set $sp",
        "$a",
    ),
    "set": ("global.get $sp i32.const {size} i32.sub local.set $a local.get $a global.set $sp", "$a"),
}
TICK = '(func (export "on_tick") (param i32) local.get 0 call $f)'


def framed(name: str, body: str, form: str = "tee", size: int = 32) -> str:
    prologue, pointer = PROLOGUES[form]
    return f"""(func ${name} (param $n i32) (local $a i32) (local $b i32)
      {prologue.format(size=size)}
      {body}
      local.get {pointer} i32.const {size} i32.add global.set $sp)"""


def plain(name: str, body: str) -> str:
    return f"(func ${name} (param $n i32) {body})"


def recurse(target: str) -> str:
    """Calls `target` with one less until nothing is left; stores the stack pointer seen last."""
    return f"""(i32.store (i32.const {SEEN}) (global.get $sp))
      (if (local.get $n) (then (call ${target} (i32.sub (local.get $n) (i32.const 1)))))"""


def through_table(slot: int) -> str:
    return f"""(i32.store (i32.const {SEEN}) (global.get $sp))
      (if (local.get $n) (then (call_indirect (type $t) (i32.sub (local.get $n) (i32.const 1)) (i32.const {slot}))))"""


def names(module: bytes) -> set[str]:
    return set(read_module(module).function_names().values())


def wrapped(module: bytes) -> set[str]:
    """Functions whose code begins by lowering the stack pointer for what the linker charges them."""
    parsed = read_module(module)
    imported, found = parsed.count(Kind.FUNCTION) - len(parsed.functions), set[str]()
    for index, (start, end) in enumerate(parsed.code, imported):
        reader = Reader(module, "code", start, end)
        skip_locals(reader)
        if _LOWERING.match(module, reader.position, end):
            found.add(parsed.function_names().get(index, str(index)))
    return found


_LOWERING = re.compile(rb"\x23\x00\x41[\x80-\xff]*[\x00-\x7f]\x6b\x24\x00[\x02\x23]", re.DOTALL)


def pointer(vm: "Vm") -> int:
    """The stack pointer; it is a constant where nothing is charged."""
    value: int = vm.global_value("global 0") if "global 0" in vm.exports else TOP
    return value


def charge(vm: "Vm", cycle: int = 1) -> int:
    """By how much one more round of recursion lowers the stack pointer. Checks that calls leave it as it was."""
    seen: list[int] = []
    for depth in (cycle, 2 * cycle, 3 * cycle):
        vm.call("proxy_on_tick", depth)
        assert vm.global_value("global 0") == TOP
        seen.append(vm.word(SEEN))
    assert seen[0] - seen[1] == seen[1] - seen[2]
    return seen[0] - seen[1]


@pytest.mark.parametrize("form", PROLOGUES)
def test_a_function_with_a_frame_has_it_enlarged(small: "Small", run: "Run", expose: "Expose", form: str) -> None:
    module = link(small(framed("f", recurse("f"), form), memory=MEMORY, callback=TICK))
    assert wrapped(module) == set()
    rounds = charge(run(expose(module)))
    assert rounds >= native_frame(1, 2, 1)
    assert rounds % 16 == 0


def test_a_frame_that_is_large_enough_stays_as_it_is(small: "Small", run: "Run", expose: "Expose") -> None:
    module = link(small(framed("f", recurse("f"), size=4096), memory=MEMORY, callback=TICK))
    assert charge(run(expose(module))) == 4096


def test_a_frame_of_several_returns_is_enlarged_everywhere(small: "Small", run: "Run", expose: "Expose") -> None:
    early = "(if (i32.eq (local.get $n) (i32.const 2)) (then local.get $a i32.const 32 i32.add global.set $sp return))"
    module = link(small(framed("f", early + recurse("f")), memory=MEMORY, callback=TICK))
    assert wrapped(module) == set()
    vm = run(expose(module))
    for depth in (0, 1, 2, 3, 9):
        vm.call("proxy_on_tick", depth)
        assert vm.global_value("global 0") == TOP


def test_a_pointer_that_is_set_back_to_the_frame_belongs_to_it(small: "Small", run: "Run", expose: "Expose") -> None:
    module = link(small(framed("f", "local.get $a global.set $sp" + recurse("f")), memory=MEMORY, callback=TICK))
    assert wrapped(module) == set()
    assert charge(run(expose(module))) >= native_frame(1, 2, 1)


@pytest.mark.parametrize(
    "body",
    [
        "(local.set $a (i32.add (local.get $a) (i32.const 0)))",
        "(drop (local.tee $a (i32.add (local.get $a) (i32.const 0))))",
        # room of a size that is known late only
        "(global.set $sp (i32.sub (local.get $a) (i32.const 64))) (global.set $sp (i32.add (global.get $sp) (i32.const 64)))",
    ],
)
def test_a_function_that_changes_its_pointer_is_wrapped(
    small: "Small", run: "Run", expose: "Expose", body: str
) -> None:
    module = link(small(framed("f", body + recurse("f")), memory=MEMORY, callback=TICK))
    assert wrapped(module) == {"f"}
    assert charge(run(expose(module))) >= native_frame(1, 2, 1)


def test_a_function_without_frame_is_wrapped_where_it_calls_itself(
    small: "Small", run: "Run", expose: "Expose"
) -> None:
    module = link(small(plain("f", recurse("f")), memory=MEMORY, callback=TICK))
    assert wrapped(module) == {"f"}
    assert charge(run(expose(module))) >= native_frame(1, 0, 1) + native_frame(1, 0, 0)


def test_one_function_of_a_cycle_pays_for_all(small: "Small", run: "Run", expose: "Expose") -> None:
    fields = plain("f", recurse("g")) + plain("g", recurse("h")) + plain("h", recurse("f"))
    module = link(small(fields, memory=MEMORY, callback=TICK))
    assert len(wrapped(module)) == 1
    assert charge(run(expose(module)), cycle=3) >= 3 * native_frame(1, 0, 1)


def test_cycles_that_share_a_function_are_all_broken(small: "Small") -> None:
    both = recurse("g") + recurse("h")
    fields = plain("f", both) + plain("g", recurse("f") + recurse("g")) + plain("h", recurse("g"))
    assert len(wrapped(link(small(fields, memory=MEMORY, callback=TICK)))) == 2


def test_a_function_with_a_frame_pays_for_those_without_on_its_cycle(
    small: "Small", run: "Run", expose: "Expose"
) -> None:
    fields = framed("f", recurse("g")) + plain("g", recurse("h")) + plain("h", recurse("f"))
    module = link(small(fields, memory=MEMORY, callback=TICK))
    assert wrapped(module) == set()
    assert charge(run(expose(module)), cycle=3) >= 2 * native_frame(1, 0, 1) + native_frame(1, 2, 1)


def test_what_does_not_recurse_is_left_alone(small: "Small") -> None:
    fields = plain("f", recurse("g")) + plain("g", "")
    assert wrapped(link(small(fields, memory=MEMORY, callback=TICK))) == set()


TABLE = "(type $t (func (param i32))) (table 4 funcref) (elem (i32.const 1) func $f $g)"


def test_table_functions_that_call_through_the_table_are_wrapped(small: "Small", run: "Run", expose: "Expose") -> None:
    fields = TABLE + plain("f", through_table(2)) + plain("g", recurse("inner")) + plain("inner", through_table(1))
    module = link(small(fields, memory=MEMORY, callback=TICK))
    assert wrapped(module) == {"f", "g"}
    assert charge(run(expose(module)), cycle=3) >= 3 * native_frame(1, 0, 1)


def test_table_functions_that_call_nothing_through_the_table_are_left_alone(small: "Small") -> None:
    fields = TABLE + plain("f", through_table(2)) + plain("g", recurse("leaf")) + plain("leaf", "")
    assert wrapped(link(small(fields, memory=MEMORY, callback=TICK))) == {"f"}


def test_framed_table_functions_stop_the_search(small: "Small", run: "Run", expose: "Expose") -> None:
    fields = TABLE + framed("f", through_table(2)) + plain("g", recurse("f"))
    module = link(small(fields, memory=MEMORY, callback=TICK))
    assert wrapped(module) == set()
    assert charge(run(expose(module)), cycle=2) >= native_frame(1, 0, 1) + native_frame(1, 2, 1)


@pytest.mark.parametrize("callers", [1, 250])
def test_a_path_that_is_too_long_for_one_to_pay_is_divided(
    small: "Small", run: "Run", expose: "Expose", callers: int
) -> None:
    chain = [plain(f"c{index}", recurse(f"c{index + 1}")) for index in range(20)]
    more = "".join(plain(f"m{index}", "(call $c5 (i32.const 0))") for index in range(callers))
    all_more = "".join(f"(call $m{index} (i32.const 0))" for index in range(callers))
    fields = (
        "(type $t (func (param i32))) (table 4 funcref) (elem (i32.const 1) func $f)"
        + framed("f", recurse("c0"))
        + "".join(chain)
        + plain("c20", through_table(1))
        + more
        + plain("never", all_more)
    )
    tick = '(func (export "on_tick") (param i32) local.get 0 call $f (if (i32.eqz (i32.const 1)) (then (call $never (i32.const 0)))))'
    module = link(small(fields, memory=MEMORY, callback=tick))
    assert wrapped(module)
    assert wrapped(module) <= {f"c{index}" for index in range(21)}
    assert charge(run(expose(module)), cycle=22) >= 21 * native_frame(1, 0, 1) + native_frame(1, 2, 1)


def test_a_long_path_that_recursion_does_not_pass_costs_nothing(small: "Small") -> None:
    chain = "".join(plain(f"c{index}", recurse(f"c{index + 1}")) for index in range(20)) + plain("c20", "")
    assert wrapped(link(small(framed("f", recurse("c0")) + chain, memory=MEMORY, callback=TICK))) == set()


def test_functions_that_leave_a_frame_to_post_return_are_never_wrapped(
    small: "Small", run: "Run", expose: "Expose"
) -> None:
    """What componentize-py generates for exports lowers the pointer; their post-return function raises it."""
    fields = """(type $t (func (param i32))) (table 4 funcref) (elem (i32.const 1) func $tick $after)
      (func $after (type $t) (global.set $sp (i32.add (global.get $sp) (i32.const 48))))"""
    tick = """(func $tick (export "on_tick") (param i32)
      (global.set $sp (i32.sub (global.get $sp) (i32.const 48)))
      (if (local.get 0) (then (call_indirect (type $t) (i32.const 0) (i32.const 1)) (call_indirect (type $t) (i32.const 0) (i32.const 2)))))"""
    module = link(small(fields, memory=MEMORY, callback=tick))
    assert wrapped(module) == set()
    vm = run(expose(module))
    vm.call("proxy_on_tick", 1)
    assert vm.global_value("global 0") == TOP - 48


def test_a_component_without_stack_pointer_is_not_charged(small: "Small") -> None:
    assert wrapped(link(small("(func $f (param i32) (call $f (local.get 0)))", callback=TICK))) == set()


def test_wrapped_functions_keep_parameters_and_results(small: "Small", run: "Run") -> None:
    fields = """(func $f (param i32 i64 f32 f64) (result i64 f64)
      (if (local.get 0) (then (return (call $f (i32.const 0) (local.get 1) (local.get 2) (local.get 3)))))
      (i64.add (local.get 1) (i64.trunc_f32_s (local.get 2)))
      (local.get 3))"""
    module = link(
        small(
            fields,
            memory=MEMORY,
            callback="""(func (export "on_tick") (param i32) (local f64) (local i64)
              (call $f (local.get 0) (i64.const 0x100000000) (f32.const 2) (f64.const 1.5))
              local.set 1 local.set 2
              (i64.store (i32.const 8) (local.get 2))
              (f64.store (i32.const 16) (local.get 1)))""",
        )
    )
    assert wrapped(module) == {"f"}
    vm = run(module)
    vm.call("proxy_on_tick", 1)
    assert vm.read(8, 16) == (0x100000002).to_bytes(8, "little") + bytes.fromhex("000000000000f83f")


def test_every_way_out_of_a_wrapped_function_raises_the_pointer(small: "Small", run: "Run", expose: "Expose") -> None:
    fields = """(func $f (param $n i32) (result i32)
      (if (i32.eqz (local.get $n)) (then (return (i32.const 1))))
      (if (i32.and (local.get $n) (i32.const 1)) (then (br 1 (call $f (i32.sub (local.get $n) (i32.const 1))))))
      (block (block (br_table 0 1 (i32.and (call $f (i32.sub (local.get $n) (i32.const 1))) (i32.const 2))))
        (return (i32.const 0x0f0f)))
      (i32.const 15))"""
    tick = '(func (export "on_tick") (param i32) (i32.store (i32.const 8) (call $f (local.get 0))))'
    module = link(small(fields, memory=MEMORY, callback=tick))
    assert wrapped(module) == {"f"}
    seen: list[int] = []
    for depth in range(5):
        vm = run(expose(module))
        vm.call("proxy_on_tick", depth)
        assert pointer(vm) == TOP
        seen.append(vm.word(8))
    assert seen == [1, 1, 0x0F0F, 0x0F0F, 15]


def test_a_tail_call_in_a_wrapped_function_is_refused(small: "Small") -> None:
    fields = "(func $f (param i32) (if (local.get 0) (then (call $f (i32.const 0)))) (return_call $f (local.get 0)))"
    with pytest.raises(LinkError, match=r"core module 0, function 2: .* ends in a tail call"):
        link(small(fields, memory=MEMORY, callback=TICK))


@dataclass(frozen=True)
class Node:
    """A function of a random program: whom it calls, and how; the depth that is left chooses among its calls."""

    calls: tuple[tuple[int, bool], ...]
    form: str | None
    extra_locals: int

    def text(self, index: int) -> str:
        choices = "".join(
            f"""(if (i32.eq (i32.rem_u (local.get $n) (i32.const {len(self.calls)})) (i32.const {position})) (then
              {self._call(target, indirect)}))"""
            for position, (target, indirect) in enumerate(self.calls)
        )
        body = f"""(drop (call $host (i32.const {index})))
          (if (local.get $n) (then {choices}))
          (drop (call $host (i32.const -1)))"""
        text = framed(f"n{index}", body, self.form) if self.form else plain(f"n{index}", body)
        return text.replace("(param $n i32)", f"(param $n i32) {'(local i64)' * self.extra_locals}")

    @staticmethod
    def _call(target: int, indirect: bool) -> str:
        less = "(i32.sub (local.get $n) (i32.const 1))"
        return f"(call_indirect (type $t) {less} (i32.const {target}))" if indirect else f"(call $n{target} {less})"

    @property
    def native(self) -> int:
        return native_frame(1, self.extra_locals + (2 if self.form else 0), 2 + len(self.calls))


nodes = st.integers(1, 6).flatmap(
    lambda count: st.lists(
        st.builds(
            Node,
            st.lists(st.tuples(st.integers(0, count - 1), st.booleans()), max_size=3).map(tuple),
            st.sampled_from([None, None, *PROLOGUES]),
            st.integers(0, 20),
        ),
        min_size=count,
        max_size=count,
    )
)


@given(nodes, st.integers(0, 120))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_no_path_takes_more_native_stack_than_it_is_charged(
    small: "Small", run: "Run", expose: "Expose", program: list[Node], depth: int
) -> None:
    path: list[Node] = []
    once = sum(node.native for node in program)

    def enter(vm: "Vm", index: int) -> int:
        if index < 0:
            path.pop()
            return 0
        path.append(program[index])
        charged = TOP - pointer(vm)
        # What is uncharged at the end of a path holds no function twice.
        assert sum(node.native for node in path) <= charged + once
        return 0

    fields = f"""(type $t (func (param i32)))
      (table {len(program)} funcref) (elem (i32.const 0) func {" ".join(f"$n{index}" for index in range(len(program)))})
      {"".join(node.text(index) for index, node in enumerate(program))}"""
    component = small(
        fields,
        memory=MEMORY,
        callback='(func (export "on_tick") (param i32) local.get 0 call $n0)',
        hostcall="proxy-set-tick-period-milliseconds",
    )
    vm = run(expose(link(component)), proxy_set_tick_period_milliseconds=enter)
    vm.call("proxy_on_tick", depth)
    assert path == []
    assert pointer(vm) == TOP
