"""What one link keeps for the next: it saves time and changes nothing."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from proxy_wasm.build.linker import LinkOptions, link
from proxy_wasm.build.linker.renumbering import Frame
from proxy_wasm.build.wasm.binary import MalformedError

if TYPE_CHECKING:
    from conftest import Assemble, Small

STACK = '(memory (export "memory") 1) (global $sp (export "__stack_pointer") (mut i32) (i32.const 4096))'


@dataclass
class Memory:
    """A cache in memory that notes which entries were found."""

    entries: dict[str, bytes] = field(default_factory=dict[str, bytes])
    found: list[str] = field(default_factory=list[str])

    def get(self, key: str) -> bytes | None:
        if key in self.entries:
            self.found.append(key)
        return self.entries.get(key)

    def put(self, key: str, value: bytes) -> None:
        self.entries[key] = value


@pytest.fixture(scope="module")
def libraries(component: "Assemble") -> bytes:
    return component("two_libraries")


def test_a_link_with_a_cache_is_the_same_cold_and_warm(libraries: bytes) -> None:
    cache = Memory()
    cold = link(libraries, cache=cache)
    assert (len(cache.entries), cache.found) == (1, [])
    assert link(libraries, cache=cache) == cold
    assert (len(cache.entries), len(cache.found)) == (1, 1)
    assert link(libraries) == cold


@pytest.mark.parametrize("keep", [0, 1, 10, -1])
def test_a_damaged_entry_is_made_anew(libraries: bytes, keep: int) -> None:
    cache = Memory()
    expected = link(libraries, cache=cache)
    ((key, sound),) = cache.entries.items()
    cache.put(key, sound[:keep])
    assert link(libraries, cache=cache) == expected
    assert cache.entries == {key: sound}


def test_an_entry_with_something_behind_it_is_damaged(libraries: bytes) -> None:
    cache = Memory()
    expected = link(libraries, cache=cache)
    ((key, sound),) = cache.entries.items()
    cache.put(key, sound + b"\0")
    assert link(libraries, cache=cache) == expected
    assert cache.entries == {key: sound}


def test_names_and_custom_sections_are_no_part_of_an_entry(libraries: bytes) -> None:
    cache = Memory()
    link(libraries, cache=cache)
    options = LinkOptions(strip=True, custom_sections={"note": b"text"})
    assert link(libraries, options, cache) == link(libraries, options)
    assert len(cache.found) == 1


def test_another_snapshot_shares_the_entry(small: "Small") -> None:
    cache = Memory()
    one, two = (small(f'(data (i32.const 16) "{text}")') for text in ("one", "three"))
    link(one, cache=cache)
    assert link(two, cache=cache) == link(two)
    assert len(cache.found) == 1


CHANGES = {
    "code": {"callback": '(func (export "on_tick") (param i32) nop)'},
    "a name": {"callback": '(func $named (export "on_tick") (param i32))'},
    "a constant": {"fields": "(global i32 (i32.const 7))"},
    "the table's bounds": {"fields": "(table 3 4 funcref)"},
    "the table's contents": {"fields": "(table 3 4 funcref) (elem (i32.const 0) func 0)"},
    "a slot": {"fields": "(table 3 4 funcref) (elem (i32.const 1) func 0)"},
    "the stack pointer": {"memory": STACK},
    "its value": {"memory": STACK.replace("4096", "4112")},
    "a hostcall": {"hostcall": "proxy-close-stream"},
}


def test_whatever_changes_the_frame_makes_another_entry(small: "Small") -> None:
    cache = Memory()
    for count, change in enumerate([{}, *CHANGES.values()], 1):
        component = small(**change)
        assert link(component, cache=cache) == link(component)
        assert len(cache.entries) == count, change
    assert cache.found == []


def test_a_module_without_code_takes_part(assemble: "Assemble") -> None:
    component = assemble("""(component
      (core module $memory (memory (export "memory") 1))
      (core module $main
        (import "env" "memory" (memory 1))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
        (func (export "on_tick") (param i32)))
      (core instance $memory (instantiate $memory))
      (core instance $main (instantiate $main (with "env" (instance $memory))))
      (func (export "proxy-on-tick") (param "context-id" u32) (canon lift (core func $main "on_tick"))))""")
    cache = Memory()
    assert link(component, cache=cache) == link(component, cache=cache) == link(component)
    assert len(cache.found) == 1


def test_other_callbacks_make_another_entry(libraries: bytes) -> None:
    cache = Memory()
    options = LinkOptions(callbacks=("on_done",))
    link(libraries, cache=cache)
    assert link(libraries, options, cache) == link(libraries, options)
    assert len(cache.entries) == 2


def test_a_frame_survives_being_stored() -> None:
    frame = Frame(b"before" * 100, b"", b"names")
    assert Frame.decode(frame.encode()) == frame
    with pytest.raises(MalformedError, match=r"cached frame, offset"):
        Frame.decode(frame.encode()[:-1])


def test_another_stack_pointer_makes_another_entry(small: "Small") -> None:
    cache = Memory()
    fields = """(type $t (func (param i32) (result i32))) (func $f (type $t)
        (if (result i32) (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))) (else (i32.const 0))))"""
    tick = '(func (export "on_tick") (param i32) (drop (call $f (local.get 0))))'
    globals_ = "(global {0} (mut i32) (i32.const 4096)) (global {1} (mut i32) (i32.const 4096))"
    name = '(export "__stack_pointer")'
    for first, second in ((name, ""), ("", name)):
        memory = '(memory (export "memory") 1)' + globals_.format(first, second)
        component = small(fields, memory=memory, callback=tick)
        assert link(component, cache=cache) == link(component)
