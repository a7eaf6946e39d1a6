"""Function bodies as tokens: the regular expression and the decoder agree, and what neither knows is refused at its offset."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_wasm.build.linker.instructions import Token, before_returns, decode, skip_locals, tokenize
from proxy_wasm.build.wasm.binary import MalformedError, Reader, signed, u32

steady = settings(derandomize=True, deadline=None, max_examples=300)


def tokens(body: bytes) -> list[Token]:
    """Tokens from the middle of a file, without the empty ones that mean nothing."""
    return [token for token in tokenize(b"\xee" + body + b"\xee", 1, 1 + len(body), "code section") if any(token)]


def decoded(body: bytes) -> list[Token]:
    return [token for token in decode(Reader(b"\xee" + body + b"\xee", "code section", 1, 1 + len(body))) if any(token)]


def joined(found: Sequence[Token]) -> bytes:
    return b"".join(run + indexed for run, indexed in found)


def padded(encoded: bytes, size: int, last: int = 0) -> bytes:
    """The same integer in `size` bytes."""
    return bytes(byte | 0x80 for byte in encoded) + b"\x80" * (size - len(encoded) - 1) + bytes([last])


unsigned = st.one_of(
    st.integers(0, 0xFFFFFFFF).map(u32),
    st.integers(0, 300).map(u32),
    st.integers(0, 0x3FFF).map(lambda value: padded(u32(value), 5)),
)
signed_32 = st.integers(-0x80000000, 0x7FFFFFFF).map(signed)
signed_64 = st.integers(-0x8000000000000000, 0x7FFFFFFFFFFFFFFF).map(signed)
value_type = st.sampled_from([b"\x40", b"\x6f", b"\x70", b"\x7b", b"\x7c", b"\x7d", b"\x7e", b"\x7f"])


def opcode(*codes: int) -> st.SearchStrategy[bytes]:
    return st.sampled_from([bytes([code]) for code in codes])


def sequence(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(*parts).map(b"".join)


def branch_table(labels: list[bytes]) -> bytes:
    return b"\x0e" + u32(len(labels) - 1) + b"".join(labels)


plain = st.one_of(
    opcode(0x00, 0x01, 0x05, 0x0B, 0x0F, 0x1A, 0x1B, 0xD1, *range(0x45, 0xC5)),
    sequence(opcode(0x0C, 0x0D, 0x20, 0x21, 0x22), unsigned),
    sequence(opcode(0x41), signed_32),
    sequence(opcode(0x42), signed_64),
    sequence(opcode(0x43), st.binary(min_size=4, max_size=4)),
    sequence(opcode(0x44), st.binary(min_size=8, max_size=8)),
    sequence(opcode(*range(0x28, 0x3F)), st.integers(0, 4).map(u32), unsigned),
    sequence(opcode(0x02, 0x03, 0x04), value_type),
    sequence(opcode(0x3F, 0x40), st.sampled_from([b"\x00", b"\x80\x00"])),
    sequence(
        opcode(0xFC), st.sampled_from([*(bytes([code]) for code in range(8)), b"\x0a\0\0", b"\x0b\0", b"\x8b\0\0"])
    ),
    st.lists(unsigned, min_size=1, max_size=6).map(branch_table),
    st.integers(290, 320).map(lambda count: branch_table([b"\x01"] * count)),
)
indexed = st.one_of(
    sequence(opcode(0x10, 0x12, 0x23, 0x24, 0xD2), unsigned),
    sequence(opcode(0x11, 0x13), unsigned, st.sampled_from([b"\x00", b"\x80\x80\x00"])),
    sequence(opcode(0x02, 0x03, 0x04), st.integers(0, 0xFFFFFFFF).map(signed)),
)


@given(st.lists(st.one_of(plain, indexed), max_size=30))
@steady
def test_instructions_come_apart_at_those_with_an_index(instructions: list[bytes]) -> None:
    body = b"".join(instructions)
    found = tokens(body)
    assert joined(found) == body
    assert found == decoded(body)
    singles = [token for instruction in instructions for _, token in tokens(instruction) if token]
    assert [part for _, token in found for part in parts_of(token)] == singles


def parts_of(token: bytes) -> list[bytes]:
    """An indexed instruction; the addition that may follow a `global.get` left away."""
    if token[:1] != b"\x23":
        return [token] if token else []
    reader = Reader(token, "global", 1)
    reader.u32()
    return [token[: reader.position]]


@given(st.binary(max_size=24), st.lists(st.one_of(plain, indexed), max_size=4))
@steady
def test_the_decoder_and_the_expression_agree_on_any_bytes(noise: bytes, before: list[bytes]) -> None:
    body = b"".join(before) + noise
    assert outcome(tokens, body) == outcome(decoded, body)


def outcome(read: Callable[[bytes], list[Token]], body: bytes) -> list[Token] | str:
    """The tokens, which join to the body, or the error."""
    try:
        found = read(body)
    except MalformedError as error:
        return str(error)
    assert joined(found) == body
    return found


def test_a_body_without_instructions_is_empty() -> None:
    assert tokens(b"") == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("20 00 20 01 6a 0b", [("20 00 20 01 6a 0b", "")]),
        ("20 00 10 05 0b", [("20 00", "10 05"), ("0b", "")]),
        ("10 01 10 02", [("", "10 01"), ("", "10 02")]),
        ("23 03 41 10 6a 0b", [("", "23 03 41 10 6a"), ("0b", "")]),
        ("23 03 41 10 6b 0b", [("", "23 03"), ("41 10 6b 0b", "")]),
        ("11 02 00 0b", [("", "11 02 00"), ("0b", "")]),
        ("11 82 80 80 80 00 80 80 80 80 00", [("", "11 82 80 80 80 00 80 80 80 80 00")]),
        ("02 40 03 7f 0b 0b", [("02 40 03 7f 0b 0b", "")]),
        ("02 05 0b", [("", "02 05"), ("0b", "")]),
        ("02 c0 00 0b", [("", "02 c0 00"), ("0b", "")]),
        ("fc 0a 00 00 fc 0b 00 0b", [("fc 0a 00 00 fc 0b 00 0b", "")]),
        ("fc 0a 80 00 00 10 01", [("fc 0a 80 00 00", "10 01")]),
        ("3f 00 40 80 00 0b", [("3f 00 40 80 00 0b", "")]),
        ("28 82 00 10 0b", [("28 82 00 10 0b", "")]),
        ("43 10 10 10 10 44 10 10 10 10 10 10 10 10 0b", [("43 10 10 10 10 44 10 10 10 10 10 10 10 10 0b", "")]),
        ("0e 02 10 23 24 10 07 0b", [("0e 02 10 23 24", "10 07"), ("0b", "")]),
        ("0e 82 80 00 10 23 24 10 07 0b", [("0e 82 80 00 10 23 24", "10 07"), ("0b", "")]),
        ("d2 00 1a 24 01", [("", "d2 00"), ("1a", "24 01")]),
    ],
)
def test_immediates_that_look_like_instructions_are_none(body: str, expected: list[tuple[str, str]]) -> None:
    found = tokens(bytes.fromhex(body))
    assert [(run.hex(" "), indexed.hex(" ")) for run, indexed in found] == expected
    assert decoded(bytes.fromhex(body)) == found


@pytest.mark.parametrize("count", [1, 127, 128, 129, 299, 300, 301, 400, 5000])
def test_a_branch_table_may_have_any_number_of_labels(count: int) -> None:
    table = b"\x0e" + u32(count) + b"\x10" * count + b"\x23"
    assert tokens(table + b"\x10\x05\x0b") == [(table, b"\x10\x05"), (b"\x0b", b"")]


@pytest.mark.parametrize(
    ("body", "offset", "problem"),
    [
        ("01 06", 2, "instruction 0x06 is not supported"),
        ("01 1c 01 7f", 2, "instruction 0x1c is not supported"),
        ("25 00", 1, "instruction 0x25 is not supported"),
        ("fd 0c", 1, "instruction 0xfd is not supported"),
        ("fe 00", 1, "instruction 0xfe is not supported"),
        ("fc 08 00 00", 2, "instruction 0xfc 0x08 is not supported"),
        ("fc 11 00", 2, "instruction 0xfc 0x11 is not supported"),
        ("fc 0a 01 00", 3, "more than one memory is not supported"),
        ("fc 0a 00 01", 4, "more than one memory is not supported"),
        ("3f 01", 2, "more than one memory is not supported"),
        ("28 42 01 00", 2, "more than one memory is not supported"),
        ("11 00 01", 3, "more than one table is not supported"),
        ("13 00 01", 3, "more than one table is not supported"),
        ("10 80 80 80 80 80 00", 2, "an integer is longer than 32 bits"),
        ("23 80 80 80 80 10", 2, "an integer is longer than 32 bits"),
        ("20 80 80 80 80 10", 2, "an integer is longer than 32 bits"),
        ("41 80 80 80 80 08", 2, "an integer is longer than 32 bits"),
        ("02 63", 2, "a block of unknown type"),
        ("02 c0 7f", 2, "a block of unknown type"),
        ("02", 2, "ends too early"),
        ("01 10", 3, "ends too early"),
        ("41", 2, "ends too early"),
        ("43 00 00", 2, "4 bytes are announced, 2 are left"),
        ("44 00 00", 2, "8 bytes are announced, 2 are left"),
        ("0e 05 00 00", 2, "5 entries are announced, 2 bytes are left"),
        ("0e 01 00", 4, "ends too early"),
    ],
)
def test_what_is_no_supported_instruction_is_refused_where_it_stands(body: str, offset: int, problem: str) -> None:
    with pytest.raises(MalformedError) as caught:
        tokens(bytes.fromhex(body))
    assert (caught.value.section, caught.value.offset) == ("code section", offset)
    assert caught.value.problem == problem


def test_local_declarations_are_counted() -> None:
    reader = Reader(b"\x02\x03\x7f\xac\x02\x7e\x20", "code section")
    assert skip_locals(reader) == 303
    assert reader.peek() == 0x20
    with pytest.raises(MalformedError, match=r"offset 0x2: ends too early"):
        skip_locals(Reader(b"\x01\x03", "code section"))


@pytest.mark.parametrize("labels", [1, 1000])
def test_something_can_stand_before_each_return_and_nowhere_else(labels: int) -> None:
    """A table of 1,000 labels is decoded, where the regular expression ends; the constants hold the opcode of `return`."""
    table = b"\x41\x00\x0e" + u32(labels) + b"\x00" * (labels + 1)
    run = b"\x41\x0f\x0f" + table + b"\x44" + b"\x0f" * 8 + b"\x1a\x0f\x0b"
    expected = b"\x41\x0f\x01\x0f" + table + b"\x44" + b"\x0f" * 8 + b"\x1a\x01\x0f\x0b"
    assert before_returns(run, b"\x01") == expected
    assert before_returns(b"\x01\x0b", b"\x00") == b"\x01\x0b"
