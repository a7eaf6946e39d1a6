"""What the linker leaves out of a snapshot, and what it must not."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_wasm.build.linker.snapshot import Layout, live_segments

HEAP = 0x1000
SIZE = 0x10000
_FIRST = 8
"""From the heap's beginning to its first chunk: what `malloc` returns is aligned to 16 bytes, behind a header of 8."""


def memory_of(segments: list[tuple[int, bytes]]) -> bytearray:
    memory = bytearray(SIZE)
    for address, contents in segments:
        memory[address : address + len(contents)] = contents
    return memory


def heap(*chunks: tuple[int, bool]) -> bytearray:
    """Chunks of these sizes, in use or free, as wasi-libc's `malloc` lays them out, every other byte 0xAA."""
    memory = bytearray(HEAP + _FIRST)
    used_before = True
    size_before = 0
    for size, used in chunks:
        foot = b"\xaa" * 4 if used_before else struct.pack("<I", size_before)
        memory += foot + struct.pack("<I", size | used_before | used << 1) + b"\xaa" * (size - 8)
        used_before, size_before = used, size
    return memory


def live(memory: bytes | bytearray, layout: Layout) -> bytearray:
    return memory_of(live_segments([(0, bytes(memory))], SIZE, layout))


@given(st.lists(st.tuples(st.integers(0, SIZE - 400), st.binary(max_size=300)), max_size=8))
def test_a_memory_without_a_known_layout_keeps_all_its_bytes(segments: list[tuple[int, bytes]]) -> None:
    assert memory_of(live_segments(segments, SIZE, Layout())) == memory_of(segments)


def test_long_runs_of_zeros_are_no_part_of_any_segment() -> None:
    contents = b"a" + bytes(31) + b"b" + bytes(32) + b"c" + bytes(500)
    assert live_segments([(64, contents)], SIZE, Layout()) == [(64, b"a" + bytes(31) + b"b"), (64 + 65, b"c")]


def test_a_memory_of_zeros_needs_no_segment() -> None:
    assert live_segments([(64, bytes(500))], SIZE, Layout()) == []


def test_what_lies_below_the_stack_pointer_is_forgotten() -> None:
    memory = b"\xaa" * 0x800
    assert live(memory, Layout(stack=(0, 0x400))) == bytearray(0x400) + b"\xaa" * 0x400 + bytes(SIZE - 0x800)


def test_free_chunks_keep_what_malloc_reads_of_them() -> None:
    memory = heap((64, True), (64, False), (32, True), (512, False), (32, True), (0, True))
    kept = live(memory, Layout(heap=HEAP))
    start = HEAP + _FIRST
    small, tree = start + 64, start + 64 + 64 + 32
    expected = bytearray(memory) + bytes(SIZE - len(memory))
    expected[small + 16 : small + 64] = bytes(48)
    expected[tree + 32 : tree + 512] = bytes(480)
    assert kept == expected


def test_a_heap_that_is_not_understood_is_left_alone() -> None:
    memory = heap((64, True), (64, False), (32, True), (48, False), (32, True))
    wrong = bytearray(memory)
    struct.pack_into("<I", wrong, HEAP + _FIRST + 64 + 64, 80)  # the size of the free chunk before, told otherwise
    assert live(memory, Layout(heap=HEAP)) != bytearray(memory) + bytes(SIZE - len(memory))
    assert live(wrong, Layout(heap=HEAP)) == bytearray(wrong) + bytes(SIZE - len(wrong))


def test_flags_that_contradict_each_other_are_not_understood() -> None:
    memory = heap((64, True), (64, False), (32, True), (48, False), (32, True))
    memory[HEAP + _FIRST + 64 + 64 + 4] |= 1  # says that the chunk before, which is free, is in use
    assert live(memory, Layout(heap=HEAP)) == bytearray(memory) + bytes(SIZE - len(memory))


def test_a_chunk_that_reaches_beyond_the_memory_is_not_understood() -> None:
    memory = heap((64, False), (0xFFFF8, True))[: HEAP + 200]
    assert live(memory, Layout(heap=HEAP)) == bytearray(memory) + bytes(SIZE - len(memory))


def test_the_code_of_frozen_modules_that_were_imported_is_forgotten() -> None:
    memory = bytearray(SIZE)
    memory[0x100:0x105] = b"here\0"
    memory[0x110:0x116] = b"there\0"
    memory[0x200:0x240] = b"\xaa" * 0x40
    memory[0x300:0x310] = struct.pack("<4I", 0x100, 0x200, 0x20, 0)
    memory[0x310:0x320] = struct.pack("<4I", 0x110, 0x220, 0x20, 0)
    memory[0x400:0x404] = struct.pack("<I", 0x300)
    expected = memory.copy()
    expected[0x200:0x220] = bytes(0x20)
    assert live(memory, Layout(frozen=(0x400,), loaded=frozenset({"here", "elsewhere"}))) == expected


def test_tables_that_nothing_reads_are_forgotten() -> None:
    memory = b"\xaa" * 0x400
    kept = live(memory, Layout(unread=((0x100, 0x180), (0x200, 0x300))))
    assert kept == b"\xaa" * 0x100 + bytes(0x80) + b"\xaa" * 0x80 + bytes(0x100) + b"\xaa" * 0x100 + bytes(SIZE - 0x400)


DOCSTRING = b"Return the number of items in a container."


def test_docstrings_of_cpython_are_forgotten_but_for_the_signatures() -> None:
    signature = b"\0len($module, obj, /)\n--\n\n"
    assert live(signature + DOCSTRING + b"\0next", Layout(constants=(0, SIZE))) == live(
        signature + bytes(len(DOCSTRING)) + b"\0next", Layout()
    )


@pytest.mark.parametrize(
    ("before", "constants"),
    [
        (b"\0len($module, obj, /)\n\n", (0, SIZE)),
        (b"\0Options:\n--\n\n", (0, SIZE)),
        (b"\0(not a name)\n--\n\n", (0, SIZE)),
        (b"\0len($module, obj, /)\n--\n\n", (0x1000, SIZE)),
        (b"\0len($module, obj, /)\n--\n\n", None),
    ],
    ids=["no end of a signature", "no signature", "no name", "data of another library", "no CPython"],
)
def test_what_is_no_docstring_of_cpython_stays(before: bytes, constants: tuple[int, int] | None) -> None:
    memory = before + DOCSTRING + b"\0"
    assert live(memory, Layout(constants=constants)) == memory + bytes(SIZE - len(memory))
