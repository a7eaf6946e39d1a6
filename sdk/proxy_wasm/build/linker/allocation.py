"""Memory for Python's objects: blocks that were given back and are asked for again do not pass through `malloc`.

CPython as componentize-py builds it has no allocator of its own. Each object takes four functions to make and three to let go, the last of
which look at the neighbours of the block and at the lists that it belongs to. A request makes and drops the same few objects as the one before it; so
here a block of up to `LARGEST` bytes goes to a list of its size, from which the next object of that size is taken. To `malloc` such a block
stays in use; its header (`proxy_wasm.build.linker.snapshot`) tells the size.

A list holds up to `LONGEST` blocks, so that at most 140 KB are kept from other uses. The snapshot holds none: the lists are filled from the first
callback on.

CPython lets its allocators be replaced at run time, which `tracemalloc` does: the functions below are put in the place of CPython's only where that
part is left out.
"""

from collections.abc import Collection

from proxy_wasm.abi.signatures import CoreSignature
from proxy_wasm.build.linker.program import Program
from proxy_wasm.build.parts import Part
from proxy_wasm.build.wasm.module import Kind

API: dict[str, CoreSignature] = {
    "malloc": CoreSignature(("i32",), ("i32",)),
    "free": CoreSignature(("i32",), ()),
}
"""What they call of libc."""

LARGEST = 256
"""The largest blocks that lists are kept of, in bytes, their headers included."""
LONGEST = 64
"""How many blocks a list holds."""

_GRAIN = 16
"""Sizes of blocks are multiples of this."""
_HEADER = 4
"""Bytes of a block that are not the object's."""
_LIST = 8
"""Bytes for each list: its first block, and how many it holds."""

WORDS = (LARGEST // _GRAIN + 1) * _LIST // 4
"""Words of memory that the lists begin in, all 0."""

REPLACED = {
    "PyMem_Malloc": "allocate",
    "PyObject_Malloc": "allocate",
    "PyMem_Free": "release_block",
    "PyObject_Free": "release_block",
}
"""Functions of CPython's, and the adapters that take their place."""

REPLACING = "tracemalloc"
"""The part of CPython that replaces allocators at run time."""


def functions_text(lists: int) -> str:
    """The two functions; `lists` is the address of `WORDS` words."""
    return f"""
(func $allocate (export "allocate") (param $size i32) (result i32)
  (local $list i32) (local $block i32)
  (if (i32.le_u (local.get $size) (i32.const {LARGEST - _HEADER})) (then
    (local.set $list (i32.add (i32.const {lists}) (i32.mul (i32.const {_LIST})
      (i32.div_u (i32.add (local.get $size) (i32.const {_HEADER + _GRAIN - 1})) (i32.const {_GRAIN})))))
    (if (local.tee $block (i32.load (local.get $list))) (then
      (i32.store (local.get $list) (i32.load (local.get $block)))
      (i32.store offset=4 (local.get $list) (i32.sub (i32.load offset=4 (local.get $list)) (i32.const 1)))
      (return (local.get $block))))))
  ;; at least one byte: CPython takes an address of 0 for a lack of memory
  (call $malloc (select (local.get $size) (i32.const 1) (local.get $size))))

(func $release_block (export "release_block") (param $block i32)
  (local $list i32) (local $size i32)
  (if (i32.eqz (local.get $block)) (then (return)))
  (local.set $size (i32.and (i32.load (i32.sub (local.get $block) (i32.const {_HEADER}))) (i32.const -8)))
  (if (i32.le_u (local.get $size) (i32.const {LARGEST})) (then
    (local.set $list (i32.add (i32.const {lists}) (i32.mul (i32.const {_LIST}) (i32.div_u (local.get $size) (i32.const {_GRAIN})))))
    (if (i32.lt_u (i32.load offset=4 (local.get $list)) (i32.const {LONGEST})) (then
      (i32.store (local.get $block) (i32.load (local.get $list)))
      (i32.store (local.get $list) (local.get $block))
      (i32.store offset=4 (local.get $list) (i32.add (i32.load offset=4 (local.get $list)) (i32.const 1)))
      (return)))))
  (call $free (local.get $block)))
"""


def redirect(program: Program, left_out: Collection[Part]) -> None:
    """Let CPython call the adapters for its objects' memory, where nothing can replace its allocators at run time."""
    if REPLACING not in {part.name for part in left_out}:
        return
    targets: dict[int, int] = {}
    for unit in program.units[:-1]:
        for export in unit.module.exports:
            if export.kind is Kind.FUNCTION and export.name in REPLACED:
                targets[unit.functions[export.index]] = program.adapter(REPLACED[export.name])
    for unit in program.units[:-1]:
        unit.functions = [targets.get(number, number) for number in unit.functions]
    program.slots = {slot: targets.get(number, number) for slot, number in program.slots.items()}
