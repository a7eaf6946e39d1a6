"""The snapshot: what the memory holds when a VM starts, without what nothing will ever read.

Every VM of every worker gets a copy of all data segments, and proxies keep the module itself several times; so what counts is how many bytes
the segments have and how many pages of memory they touch. Six kinds of bytes are dead:

- The stack below the stack pointer: frames of calls that returned before the snapshot was taken.
- Free blocks of the heap, full of what was read, parsed and thrown away. CPython takes its objects from wasi-libc's `malloc`, which is
  Doug Lea's: chunks follow each other from `__heap_base` on, each with its size and two flags in a header. Of a free chunk only links in its
  first bytes are ever read, and the copy of its size at its end, which belongs to the next chunk's header.
- The code of modules that are frozen into CPython and were imported already: nothing imports them a second time.
- Tables of parts that are left out (`proxy_wasm.build.parts`).
- Docstrings of functions and types in C, behind their signatures, which `inspect.signature` reads. Only those that CPython itself tells from their
  signatures, by what stands between the two, are recognized; the functions' `__doc__` is then `None`.
- Zeros, which a memory begins with anyway.

A heap that does not look as described to its last chunk is left as it is.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

PAGE = 65536

_ALIGNMENT = 16
_HEADER = 8
"""Bytes before what `malloc` returns: the size of the previous chunk, if that is free, and the chunk's own size with its flags."""
_PREVIOUS_IN_USE, _IN_USE, _FLAGS = 1, 2, 7
_SMALLEST_CHUNK = 16
_TREE_CHUNK = 256
"""Free chunks from this size on hang in a tree, and have more links than two."""
_LINKS, _TREE_LINKS = 16, 32
"""Bytes of a free chunk, its header included, that `malloc` reads."""

_FROZEN = 16
"""Bytes of an entry in a table of frozen modules."""

_DOCSTRING = re.compile(rb"\x00[A-Za-z_]\w*\([^\x00]*?\)\n--\n\n([^\x00]+)")
"""A name, a signature and the end of it, and the docstring. Source: CPython, `find_signature` and `skip_signature` in Objects/typeobject.c."""

_ZEROS = re.compile(rb"\x00{32,}")
"""Shorter runs are not worth what a segment more takes: some nine bytes in the module, and a few words in each of the host's tables."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in memory things are; `None` for what a component without CPython, as small tests have, does not tell."""

    stack: tuple[int, int] | None = None
    """From the stack's end to the stack pointer: the stack grows down."""
    heap: int | None = None
    """Where the heap begins."""
    frozen: tuple[int, ...] = ()
    """Where the pointers to CPython's tables of frozen modules are."""
    loaded: frozenset[str] = frozenset()
    """The names of modules that were imported."""
    unread: tuple[tuple[int, int], ...] = ()
    """Where constants begin and end that nothing reads."""
    constants: tuple[int, int] | None = None
    """Where CPython's own data begin and end."""


def live_segments(segments: Iterable[tuple[int, bytes]], size: int, layout: Layout) -> list[tuple[int, bytes]]:
    """What a memory of `size` bytes has to be given, by address, so that it holds all of `segments` that can still be read."""
    memory = bytearray(size)
    for address, contents in segments:
        memory[address : address + len(contents)] = contents
    if layout.stack is not None:
        low, pointer = layout.stack
        memory[low:pointer] = bytes(pointer - low)
    if layout.heap is not None:
        _empty_free_chunks(memory, layout.heap)
    for table in layout.frozen:
        _empty_frozen_modules(memory, table, layout.loaded)
    for start, end in layout.unread:
        memory[start:end] = bytes(end - start)
    if layout.constants is not None:
        _empty_docstrings(memory, *layout.constants)
    return _split(memory)


def _empty_docstrings(memory: bytearray, start: int, end: int) -> None:
    for found in list(_DOCSTRING.finditer(memory, start, end)):
        first, last = found.span(1)
        memory[first:last] = bytes(last - first)


def _empty_frozen_modules(memory: bytearray, pointer: int, loaded: frozenset[str]) -> None:
    """Empty the code of frozen modules. Source: CPython, `struct _frozen` in Include/cpython/import.h: name, code, size, whether it is a package."""
    entry = _word(memory, pointer)
    while name := _word(memory, entry):
        code, size = _word(memory, entry + 4), _word(memory, entry + 8)
        if memory[name : memory.index(0, name)].decode("ascii", "replace") in loaded:
            memory[code : code + size] = bytes(size)
        entry += _FROZEN


def _word(memory: bytearray, address: int) -> int:
    return int.from_bytes(memory[address : address + 4], "little")


def _empty_free_chunks(memory: bytearray, heap: int) -> None:
    for start, end in _free_chunks(memory, heap):
        memory[start:end] = bytes(end - start)


def _free_chunks(memory: bytearray, heap: int) -> list[tuple[int, int]]:
    """The parts of free chunks that nobody reads; none at all where the heap is not understood."""
    words = memoryview(memory).cast("I")
    count = len(words)
    free: list[tuple[int, int]] = []
    # What `malloc` returns is aligned, and lies behind the chunk's header.
    chunk = (heap + _HEADER + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT - _HEADER
    index = chunk // 4
    previous_in_use = _PREVIOUS_IN_USE
    while index + 1 < count:
        head = words[index + 1]
        size = head & ~_FLAGS
        following = index + size // 4
        if size == 0:  # the fencepost behind the last chunk, or memory that the heap never got
            return free
        if size < _SMALLEST_CHUNK or following > count or head & _PREVIOUS_IN_USE != previous_in_use:
            return []
        if head & _IN_USE:
            previous_in_use = _PREVIOUS_IN_USE
        else:
            if following < count and words[following] not in (size, 0):
                return []
            kept = _TREE_LINKS if size >= _TREE_CHUNK else _LINKS
            free.append((index * 4 + kept, following * 4))
            previous_in_use = 0
        index = following
    return free


def _split(memory: bytearray) -> list[tuple[int, bytes]]:
    """`memory` without its longer runs of zeros."""
    parts: list[tuple[int, bytes]] = []
    start = 0
    for zeros in _ZEROS.finditer(memory):
        if zeros.start() > start:
            parts.append((start, bytes(memory[start : zeros.start()])))
        start = zeros.end()
    if start < len(memory):
        parts.append((start, bytes(memory[start:])))
    return parts
