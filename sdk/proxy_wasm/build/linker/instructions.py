"""Function bodies as tokens: runs of instructions that refer to nothing, and single instructions that carry an index.

Renumbering a body means replacing the second kind and copying the first. libpython alone has 1.5 million instructions, too many
to decode one by one in Python; a single regular expression, without backtracking, swallows each run at the speed of C. What the expression does
not know (an exotic `br_table`, a malformed body) falls back to a decoder that reads instruction by instruction, and that knows
where it stands when it has to refuse.

Source: WebAssembly Core Specification 2.0, section 5.4 ("Instructions").
"""

import re
from collections.abc import Callable

from proxy_wasm.build.wasm.binary import Reader
from proxy_wasm.build.wasm.module import VALUE_TYPES

Token = tuple[bytes, bytes]
"""A run without indices, and the instruction with an index that ends it (empty at the end of the body)."""

CALL, CALL_INDIRECT, RETURN_CALL, RETURN_CALL_INDIRECT = 0x10, 0x11, 0x12, 0x13
GLOBAL_GET, GLOBAL_SET, REF_FUNC = 0x23, 0x24, 0xD2
BLOCK, LOOP, IF = 0x02, 0x03, 0x04
BR_TABLE, I32_CONST, I64_CONST, F32_CONST, F64_CONST, I32_ADD = 0x0E, 0x41, 0x42, 0x43, 0x44, 0x6A
PREFIX = 0xFC

# LEB128, no longer and no larger than the specification allows. S33_INDEX is a signed integer that is an index: not negative.
U32 = rb"(?:[\x80-\xff]{0,3}+[\x00-\x7f]|[\x80-\xff]{4}[\x00-\x0f])"
S32 = rb"(?:[\x80-\xff]{0,3}+[\x00-\x7f]|[\x80-\xff]{4}[\x00-\x07\x78-\x7f])"
_S33_INDEX = rb"(?:[\x80-\xff]{0,3}+[\x00-\x3f]|[\x80-\xff]{4}[\x00-\x0f])"
_S64 = rb"(?:[\x80-\xff]{0,8}+[\x00-\x7f]|[\x80-\xff]{9}[\x00\x7f])"
_LONGEST_BR_TABLE = 300


def _br_tables() -> bytes:
    """`br_table` for each usual number of labels: a regular expression cannot count."""
    alternatives = [
        re.escape(bytes([count]) if count < 0x80 else bytes([count & 0x7F | 0x80, count >> 7]))  # noqa: PLR2004 - LEB128
        + rb"(?:" + U32 + rb"){%d}" % (count + 1)
        for count in range(_LONGEST_BR_TABLE)
    ]  # fmt: skip
    return rb"\x0e(?:" + rb"|".join(alternatives) + rb")"


RETURN = b"\x0f"

# Atomic groups, where possessive ones would do: Python 3.11.2 and older go on behind a repetition that failed halfway (CPython issue 100061).
_WITHOUT_RETURN = (
    rb"[\x00\x01\x05\x0b\x1a\x1b\x45-\xc4\xd1]++"  # no immediate
    rb"|[\x20-\x22\x0c\x0d]" + U32 +  # locals, branches
    rb"|\x41" + S32 + rb"|\x42" + _S64 +
    rb"|[\x28-\x3e][\x00-\x3f]" + U32 +  # loads and stores: alignment (without a memory index) and offset
    rb"|[\x02-\x04][\x40\x6f\x70\x7b-\x7f]"  # blocks without a type index
    rb"|\x43(?s:.){4}|\x44(?s:.){8}"
    rb"|[\x3f\x40]\x00"  # memory.size, memory.grow
    rb"|\xfc(?:[\x00-\x07]|\x0a\x00\x00|\x0b\x00)"  # saturating truncation, memory.copy, memory.fill
    rb"|" + _br_tables()
)  # fmt: skip
_RUN = rb"(?>(?:[\x0f" + _WITHOUT_RETURN.removeprefix(rb"[") + rb")*)"

_INDEXED = (
    rb"[\x10\x12\x24\xd2]" + U32 +
    rb"|\x23" + U32 + rb"(?:\x41" + S32 + rb"\x6a)?"  # global.get, with the addition that follows most of them
    rb"|[\x11\x13]" + U32 + rb"\x80{0,4}+\x00"  # call_indirect through table 0
    rb"|[\x02-\x04]" + _S33_INDEX +
    rb"|\Z"
)  # fmt: skip

_TO_RETURN = re.compile(rb"((?>(?:" + _WITHOUT_RETURN + rb")*))(\x0f|\Z)")

_TOKEN = re.compile(rb"(" + _RUN + rb")(" + _INDEXED + rb")")
_INDEXED_AT = re.compile(rb"(?:" + _INDEXED.removesuffix(rb"|\Z") + rb")")


def tokenize(data: bytes, start: int, end: int, section: str) -> list[Token]:
    """The instructions in `data[start:end]` as tokens; joined again they give the same bytes.

    Raises `MalformedError` for what is no instruction, or is one that the linker does not support.
    """
    tokens: list[Token] = _TOKEN.findall(data, start, end)
    if sum(len(run) + len(indexed) for run, indexed in tokens) == end - start:
        return tokens
    return decode(Reader(data, section, start, end))


def decode(reader: Reader) -> list[Token]:
    """What `tokenize` returns for the rest of `reader`, instruction by instruction."""
    tokens: list[Token] = []
    run_start = reader.position
    while not reader.at_end:
        start = reader.position
        indexed = _INDEXED_AT.match(reader.data, start, reader.end)
        if indexed:
            tokens.append((reader.data[run_start:start], indexed.group()))
            reader.position = run_start = indexed.end()
        else:
            skip_instruction(reader)
    tokens.append((reader.data[run_start : reader.end], b""))
    return tokens


def before_returns(run: bytes, inserted: bytes) -> bytes:
    """A run of instructions with `inserted` in front of each `return`."""
    if RETURN not in run:
        return run
    pieces: list[tuple[bytes, bytes]] = _TO_RETURN.findall(run)
    if sum(len(before) + len(found) for before, found in pieces) == len(run):
        return b"".join([before + inserted + found if found else before for before, found in pieces])
    reader = Reader(run, "run")
    parts: list[bytes] = []
    while not reader.at_end:
        start = reader.position
        skip_instruction(reader)
        if run[start : start + 1] == RETURN:
            parts.append(inserted)
        parts.append(run[start : reader.position])
    return b"".join(parts)


_NO_RESULT = 0x40
_MULTI_MEMORY = 0x40
_MEMORY_INDICES = {**dict.fromkeys(range(8), 0), 10: 2, 11: 1}
"""Opcodes after 0xFC, and how many memory indices follow."""


def _skip_memory_argument(reader: Reader) -> None:
    start = reader.position
    if reader.u32() >= _MULTI_MEMORY:
        raise reader.error("more than one memory is not supported", start)
    reader.u32()


def _refuse_table(reader: Reader) -> None:
    reader.u32()
    start = reader.position
    reader.u32()
    raise reader.error("more than one table is not supported", start)


def _skip_block_type(reader: Reader) -> None:
    start = reader.position
    if reader.u8() not in (_NO_RESULT, *VALUE_TYPES):
        raise reader.error("a block of unknown type", start)


def _skip_labels(reader: Reader) -> None:
    for _ in range(reader.count() + 1):
        reader.u32()


def _skip_prefixed(reader: Reader) -> None:
    start = reader.position
    opcode = reader.u32()
    if opcode not in _MEMORY_INDICES:
        raise reader.error(f"instruction 0xfc {opcode:#04x} is not supported", start)
    _require_zeros(reader, _MEMORY_INDICES[opcode])


_IMMEDIATES: dict[int, Callable[[Reader], object]] = {
    **dict.fromkeys([0x00, 0x01, 0x05, 0x0B, 0x0F, 0x1A, 0x1B, 0xD1, *range(0x45, 0xC5)], lambda _: None),
    **dict.fromkeys([0x0C, 0x0D, 0x20, 0x21, 0x22], Reader.u32),
    **dict.fromkeys(range(0x28, 0x3F), _skip_memory_argument),
    **dict.fromkeys([0x3F, 0x40], lambda reader: _require_zeros(reader, 1)),
    **dict.fromkeys([BLOCK, LOOP, IF], _skip_block_type),
    BR_TABLE: _skip_labels,
    I32_CONST: Reader.s32,
    I64_CONST: Reader.s64,
    F32_CONST: lambda reader: reader.span(4),
    F64_CONST: lambda reader: reader.span(8),
    PREFIX: _skip_prefixed,
    # Those with an index get here only where it is malformed.
    **dict.fromkeys([CALL, RETURN_CALL, GLOBAL_GET, GLOBAL_SET, REF_FUNC], Reader.u32),
    **dict.fromkeys([CALL_INDIRECT, RETURN_CALL_INDIRECT], _refuse_table),
}
"""What follows each opcode."""


def skip_instruction(reader: Reader) -> None:
    """Read one instruction without index. Raises `MalformedError` for any other."""
    start = reader.position
    opcode = reader.u8()
    if opcode not in _IMMEDIATES:
        raise reader.error(f"instruction {opcode:#04x} is not supported", start)
    _IMMEDIATES[opcode](reader)


def _require_zeros(reader: Reader, count: int) -> None:
    for _ in range(count):
        start = reader.position
        if reader.u32():
            raise reader.error("more than one memory is not supported", start)


def skip_locals(reader: Reader) -> int:
    """Read the local declarations at the start of a body; returns how many locals they declare."""
    total = 0
    for _ in range(reader.count()):
        total += reader.u32()
        reader.u8()
    return total
