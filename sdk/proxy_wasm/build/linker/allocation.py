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
    "calloc": CoreSignature(("i32", "i32"), ("i32",)),
    "realloc": CoreSignature(("i32", "i32"), ("i32",)),
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
    **{
        f"{domain}_{name}": adapter
        for domain in ("PyMem", "PyObject")
        for name, adapter in (
            ("Malloc", "allocate"),
            ("Calloc", "allocate_zeros"),
            ("Realloc", "reallocate"),
            ("Free", "release_block"),
        )
    },
}
"""Functions of CPython's, and the adapters that take their place."""

REPLACING = "tracemalloc"
"""The part of CPython that replaces allocators at run time."""


def functions_text(lists: int) -> str:
    """The functions; `lists` is the address of `WORDS` words."""
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
{_FURTHER}"""


_FURTHER = f"""
(func $allocate_zeros (export "allocate_zeros") (param $count i32) (param $size i32) (result i32)
  (local $block i32) (local $total i64)
  (local.set $total (i64.mul (i64.extend_i32_u (local.get $count)) (i64.extend_i32_u (local.get $size))))
  (if (i64.gt_u (local.get $total) (i64.const {LARGEST - _HEADER})) (then
    (return (call $calloc (local.get $count) (local.get $size)))))
  (if (local.tee $block (call $allocate (i32.wrap_i64 (local.get $total)))) (then
    (memory.fill (local.get $block) (i32.const 0) (i32.wrap_i64 (local.get $total)))))
  (local.get $block))

(func $reallocate (export "reallocate") (param $block i32) (param $size i32) (result i32)
  (local $held i32) (local $new i32)
  (if (i32.eqz (local.get $block)) (then (return (call $allocate (local.get $size)))))
  (local.set $held (i32.and (i32.load (i32.sub (local.get $block) (i32.const {_HEADER}))) (i32.const -8)))
  ;; between lists: another block is made and the contents are copied, unless they stay where they are
  (if (i32.and
        (i32.le_u (local.get $held) (i32.const {LARGEST}))
        (i32.le_u (local.get $size) (i32.const {LARGEST - _HEADER})))
    (then
      (local.set $held (i32.sub (local.get $held) (i32.const {_HEADER})))
      (if (i32.and
            (i32.le_u (local.get $size) (local.get $held))
            (i32.ge_u (i32.shl (local.get $size) (i32.const 1)) (local.get $held)))
        (then (return (local.get $block))))
      (if (local.tee $new (call $allocate (local.get $size))) (then
        (memory.copy (local.get $new) (local.get $block)
          (select (local.get $size) (local.get $held) (i32.lt_u (local.get $size) (local.get $held))))
        (call $release_block (local.get $block))))
      (return (local.get $new))))
  (call $realloc (local.get $block) (select (local.get $size) (i32.const 1) (local.get $size))))
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
