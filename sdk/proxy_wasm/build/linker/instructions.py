"""Function bodies as tokens: runs of instructions that refer to nothing, and single instructions that carry an index.

Renumbering a body means replacing the second kind and copying the first. libpython alone has 1.5 million instructions, too many
to decode one by one in Python; a single possessive regular expression swallows each run at the speed of C. What the expression does
not know (an exotic `br_table`, a malformed body) falls back to a decoder that reads instruction by instruction, and that knows
where it stands when it has to refuse.

Source: WebAssembly Core Specification 2.0, section 5.4 ("Instructions").
"""

import re

from proxy_wasm.build.wasm.binary import Reader

Token = tuple[bytes, bytes]
"""A run without indices, and the instruction with an index that ends it (empty at the end of the body)."""

CALL, CALL_INDIRECT, RETURN_CALL, RETURN_CALL_INDIRECT = 0x10, 0x11, 0x12, 0x13
GLOBAL_GET, GLOBAL_SET, REF_FUNC = 0x23, 0x24, 0xD2
BLOCK, LOOP, IF = 0x02, 0x03, 0x04
BR_TABLE, I32_CONST, I64_CONST, F32_CONST, F64_CONST, I32_ADD = 0x0E, 0x41, 0x42, 0x43, 0x44, 0x6A
SELECT_TYPED, PREFIX, SIMD = 0x1C, 0xFC, 0xFD

_LEB = rb"[\x80-\xff]*+[\x00-\x7f]"
_LONGEST_BR_TABLE = 300


def _br_tables() -> bytes:
    """`br_table` for each usual number of labels: a regular expression cannot count."""
    alternatives = [
        re.escape(bytes([count]) if count < 0x80 else bytes([count & 0x7F | 0x80, count >> 7]))  # noqa: PLR2004 - LEB128
        + rb"(?:" + _LEB + rb"){%d}+" % (count + 1)
        for count in range(_LONGEST_BR_TABLE)
    ]  # fmt: skip
    return rb"\x0e(?:" + rb"|".join(alternatives) + rb")"


_RUN = (
    rb"(?:"
    rb"[\x00\x01\x05\x0b\x0f\x1a\x1b\x45-\xc4\xd1]++"  # no immediate
    rb"|[\x20-\x22\x41\x42\x0c\x0d]" + _LEB +  # locals, integer constants, branches
    rb"|[\x28-\x3e][\x00-\x3f]" + _LEB +  # loads and stores: alignment (without a memory index) and offset
    rb"|[\x02-\x04][\x40\x6f\x70\x7b-\x7f]"  # blocks without a type index
    rb"|\x43(?s:.){4}|\x44(?s:.){8}"
    rb"|[\x3f\x40]\x00"  # memory.size, memory.grow
    rb"|\xfc(?:[\x00-\x07]|\x0a\x00\x00|\x0b\x00)"  # saturating truncation, memory.copy, memory.fill
    rb"|" + _br_tables() + rb")*+"
)  # fmt: skip

_INDEXED = (
    rb"[\x10\x12\x24\xd2]" + _LEB +
    rb"|\x23" + _LEB + rb"(?:\x41" + _LEB + rb"\x6a)?+"  # global.get, with the addition that follows most of them
    rb"|[\x11\x13]" + _LEB + rb"\x80*+\x00"  # call_indirect through table 0
    rb"|[\x02-\x04](?![\x40\x6f\x70\x7b-\x7f])" + _LEB +  # blocks with a type index
    rb"|\Z"
)  # fmt: skip

_TOKEN = re.compile(rb"(" + _RUN + rb")(" + _INDEXED + rb")")
_INDEXED_AT = re.compile(rb"(?:" + _INDEXED.removesuffix(rb"|\Z") + rb")")


def tokenize(data: bytes, start: int, end: int, section: str) -> list[Token]:
    """The instructions in `data[start:end]` as tokens; joined again they give the same bytes.

    Raises `MalformedError` for what is no instruction, or is one that the linker does not support.
    """
    tokens: list[Token] = _TOKEN.findall(data, start, end)
    if sum(len(run) + len(indexed) for run, indexed in tokens) == end - start:
        return tokens
    return _decode(Reader(data, section, start, end))


def _decode(reader: Reader) -> list[Token]:
    """What `tokenize` returns, instruction by instruction."""
    tokens: list[Token] = []
    run_start = reader.position
    while not reader.at_end:
        start = reader.position
        indexed = _INDEXED_AT.match(reader.data, start, reader.end)
        if indexed:
            tokens.append((reader.data[run_start:start], indexed.group()))
            reader.position = run_start = indexed.end()
        else:
            _skip_instruction(reader)
    tokens.append((reader.data[run_start : reader.end], b""))
    return tokens


_INTEGERS = {0x0C: 1, 0x0D: 1, 0x20: 1, 0x21: 1, 0x22: 1}
_PLAIN = frozenset([0x00, 0x01, 0x05, 0x0B, 0x0F, 0x1A, 0x1B, 0xD1, *range(0x45, 0xC5)])
_MEMORY_ACCESS = range(0x28, 0x3F)
_MULTI_MEMORY = 0x40
_PREFIXED_ZEROS = {**dict.fromkeys(range(8), 0), 10: 2, 11: 1}
"""Opcodes after 0xFC, and how many memory indices follow, each of which must be 0."""


def _skip_instruction(reader: Reader) -> None:
    start = reader.position
    opcode = reader.u8()
    match opcode:
        case _ if opcode in _PLAIN:
            pass
        case _ if opcode in _INTEGERS:
            reader.u32()
        case 0x41:
            reader.s32()
        case 0x42:
            reader.s64()
        case 0x43:
            reader.span(4)
        case 0x44:
            reader.span(8)
        case 0x0E:
            for _ in range(reader.count() + 1):
                reader.u32()
        case 0x02 | 0x03 | 0x04:
            reader.s33()
        case _ if opcode in _MEMORY_ACCESS:
            if reader.u32() >= _MULTI_MEMORY:
                raise reader.error("more than one memory is not supported", start)
            reader.u32()
        case 0x3F | 0x40:
            _require_zeros(reader, 1)
        case 0xFC:
            extended = reader.u32()
            if extended not in _PREFIXED_ZEROS:
                raise reader.error(f"instruction 0xfc {extended:#04x} is not supported", start)
            _require_zeros(reader, _PREFIXED_ZEROS[extended])
        case _:
            raise reader.error(f"instruction {opcode:#04x} is not supported", start)


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
