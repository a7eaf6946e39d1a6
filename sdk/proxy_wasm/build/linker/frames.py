"""Shadow stack frames in compiled code: where a function lowers the stack pointer, and how to make it lower it by more."""

import re
from dataclasses import dataclass

from proxy_wasm.build.errors import LinkError
from proxy_wasm.build.linker.instructions import GLOBAL_GET, GLOBAL_SET, Token, skip_instruction
from proxy_wasm.build.linker.program import Unit
from proxy_wasm.build.wasm.binary import Reader, signed


@dataclass(frozen=True, slots=True)
class Frame:
    """A prologue that lowers the stack pointer by `size` and keeps it in local `pointer`."""

    size: int
    pointer: bytes


_INDEX = rb"([\x80-\xff]*[\x00-\x7f])"
_PROLOGUE = re.compile(
    rb"\x41" + _INDEX + rb"\x6b(?:\x22" + _INDEX + rb"(?:\x21" + _INDEX + rb"\x20\2)?|\x21" + _INDEX + rb"\x20\4)"
)
"""`i32.const SIZE; i32.sub`, then `local.tee A`, or `local.tee A; local.set B; local.get A`, or `local.set A; local.get A`; `global.get` and
`global.set` stand around it."""


class StackPointerTokens:
    """The instructions of a unit that read and write the stack pointer."""

    def __init__(self, unit: Unit, stack_pointer: int) -> None:
        self.unit = unit
        self.stack_pointer = stack_pointer
        self.known: dict[bytes, bool] = {}

    def is_pointer(self, token: bytes) -> bool:
        if token not in self.known:
            index = Reader(token, "code", 1).u32()
            self.known[token] = self.unit.globals[index : index + 1] == [self.stack_pointer]
        return self.known[token]


def find_frame(tokens: list[Token], pointers: StackPointerTokens) -> Frame | None:
    """The frame of a function that sets the stack pointer in one prologue and its epilogues only."""
    if len(tokens) < 2 or tokens[0][0] or tokens[0][1][:1] != _GET or not pointers.is_pointer(tokens[0][1]):  # noqa: PLR2004
        return None
    prologue = _PROLOGUE.fullmatch(tokens[1][0])
    if not prologue or tokens[1][1][:1] != _SET or not pointers.is_pointer(tokens[1][1]):
        return None
    size = Reader(prologue[1], "prologue").s32()
    sets = [run for run, token in tokens[2:] if token[:1] == _SET and pointers.is_pointer(token)]
    for pointer in filter(None, (prologue[3], prologue[2], prologue[4])):
        epilogue, kept = _epilogue(pointer, size), b"\x20" + pointer
        if all(run.endswith((epilogue, kept)) for run in sets) and not any(
            _writes_local(run, pointer) for run, _ in tokens[2:]
        ):
            return Frame(size, pointer)
    return None


def _writes_local(run: bytes, local: bytes) -> bool:
    if b"\x21" + local not in run and b"\x22" + local not in run:
        return False
    reader = Reader(run, "run")
    while not reader.at_end:
        start = reader.position
        skip_instruction(reader)
        if run[start] in _LOCAL_WRITES and run[start + 1 : reader.position] == local:
            return True
    return False


_LOCAL_WRITES = (0x21, 0x22)


def restores_pointer(tokens: list[Token], pointers: StackPointerTokens) -> bool:
    """Whether a function leaves the stack pointer as it found it.

    Compiled code always does. The functions that componentize-py generates do not: a lifted function only lowers the pointer and leaves its
    frame to the post-return function, which only raises it.
    """
    lowers = raises = False
    before = b""
    for run, token in tokens:
        if token[:1] == _SET and pointers.is_pointer(token):
            lowers |= _LOWERING.search(run) is not None
            raises |= run.endswith(b"\x6a") or (not run and _ADDITION.fullmatch(before) is not None)
        before = token
    return lowers == raises


_LOWERING = re.compile(rb"\x6b(?:\x22" + _INDEX + rb"(?:\x21" + _INDEX + rb"\x20\1)?|\x21" + _INDEX + rb"\x20\3)?\Z")
_ADDITION = re.compile(rb"\x23" + _INDEX + rb"\x41" + _INDEX + rb"\x6a")
"""`global.get; i32.const; i32.add`, which is one token."""


_GET, _SET = bytes([GLOBAL_GET]), bytes([GLOBAL_SET])


def _addition(size: int) -> bytes:
    return b"\x41" + signed(size) + b"\x6a"


def _epilogue(pointer: bytes, size: int) -> bytes:
    return b"\x20" + pointer + _addition(size)


def enlarge(tokens: list[Token], extra: int, pointers: StackPointerTokens) -> list[Token]:
    """The instructions of a function with a frame, its frame `extra` bytes larger."""
    prologue = _PROLOGUE.fullmatch(tokens[1][0])
    if prologue is None:
        raise LinkError("only a function with a frame of its own can have it enlarged")
    size = Reader(prologue[1], "prologue").s32()
    first = b"\x41" + signed(size + extra) + tokens[1][0][1 + len(prologue[1]) :]
    enlarged = [tokens[0], (first, tokens[1][1])]
    old, new = _addition(size), _addition(size + extra)
    for run, token in tokens[2:]:
        if token[:1] == _SET and run.endswith(old) and pointers.is_pointer(token):
            enlarged.append((run[: -len(old)] + new, token))
        else:
            enlarged.append((run, token))
    return enlarged
