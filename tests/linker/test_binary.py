"""Integers, names and vectors of the binary format, sound and malformed."""

import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_wasm.build.errors import BuildError
from proxy_wasm.build.wasm import binary
from proxy_wasm.build.wasm.binary import MalformedError, Reader

steady = settings(derandomize=True, deadline=None, max_examples=100)

INTEGERS: dict[str, Callable[[Reader], int]] = {
    "u32": Reader.u32,
    "s32": Reader.s32,
    "s33": Reader.s33,
    "s64": Reader.s64,
}


@pytest.mark.parametrize(
    ("kind", "encoded", "value"),
    [
        ("u32", "00", 0),
        ("u32", "7f", 127),
        ("u32", "80 01", 128),
        ("u32", "ff ff ff ff 0f", 0xFFFFFFFF),
        ("u32", "83 80 80 80 00", 3),
        ("s32", "7f", -1),
        ("s32", "40", -64),
        ("s32", "c0 00", 64),
        ("s32", "80 80 80 80 78", -0x80000000),
        ("s32", "ff ff ff ff 07", 0x7FFFFFFF),
        ("s32", "ff ff ff ff 7f", -1),
        ("s33", "40", -64),
        ("s33", "ff ff ff ff 0f", 0xFFFFFFFF),
        ("s33", "80 80 80 80 70", -0x100000000),
        ("s64", "80 80 80 80 80 80 80 80 80 7f", -0x8000000000000000),
        ("s64", "ff ff ff ff ff ff ff ff ff 00", 0x7FFFFFFFFFFFFFFF),
        ("s64", "fe ff ff ff ff ff ff ff ff 7f", -2),
    ],
)
def test_an_integer_is_read_whatever_its_padding(kind: str, encoded: str, value: int) -> None:
    reader = Reader(bytes.fromhex(encoded), "here")
    assert INTEGERS[kind](reader) == value
    assert reader.at_end


@pytest.mark.parametrize(
    ("kind", "encoded"),
    [
        ("u32", "80 80 80 80 80 00"),
        ("u32", "ff ff ff ff 10"),
        ("u32", "80 80 80 80 7f"),
        ("s32", "80 80 80 80 80 00"),
        ("s32", "ff ff ff ff 08"),
        ("s32", "80 80 80 80 77"),
        ("s33", "80 80 80 80 10"),
        ("s33", "80 80 80 80 6f"),
        ("s64", "80 80 80 80 80 80 80 80 80 80 00"),
        ("s64", "ff ff ff ff ff ff ff ff ff 01"),
        ("s64", "80 80 80 80 80 80 80 80 80 7e"),
    ],
)
def test_an_integer_that_is_too_long_or_too_large_is_refused_where_it_begins(kind: str, encoded: str) -> None:
    reader = Reader(b"\xee\xee" + bytes.fromhex(encoded), "here", position=2)
    with pytest.raises(MalformedError, match=r"^here, offset 0x2: an integer is longer than"):
        INTEGERS[kind](reader)


@pytest.mark.parametrize("kind", INTEGERS)
def test_an_integer_that_ends_too_early_is_refused_where_the_bytes_end(kind: str) -> None:
    with pytest.raises(MalformedError, match=r"^here, offset 0x2: ends too early"):
        INTEGERS[kind](Reader(b"\x80\x80", "here"))


@given(st.integers(0, 0xFFFFFFFF))
@steady
def test_unsigned_integers_are_read_as_they_were_written(value: int) -> None:
    assert Reader(binary.u32(value), "here").u32() == value


@given(st.integers(-0x8000000000000000, 0x7FFFFFFFFFFFFFFF))
@steady
def test_signed_integers_are_read_as_they_were_written(value: int) -> None:
    encoded = binary.signed(value)
    assert Reader(encoded, "here").s64() == value
    if -0x80000000 <= value < 0x80000000:
        assert Reader(encoded, "here").s32() == value


@given(st.binary(max_size=12))
@steady
def test_any_bytes_are_an_integer_in_range_or_refused(data: bytes) -> None:
    bounds = {"u32": (0, 1 << 32), "s32": (-1 << 31, 1 << 31), "s33": (-1 << 32, 1 << 32), "s64": (-1 << 63, 1 << 63)}
    for kind, (low, high) in bounds.items():
        with suppress(MalformedError):
            assert low <= INTEGERS[kind](Reader(data, "here")) < high


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (Reader.u8, "ends too early"),
        (Reader.peek, "ends too early"),
        (partial(Reader.bytes, size=1), "1 bytes are announced, 0 are left"),
        (partial(Reader.span, size=1), "1 bytes are announced, 0 are left"),
        (partial(Reader.sub, size=2, section="inner"), "2 bytes are announced, 0 are left"),
    ],
)
def test_nothing_is_read_beyond_the_end(read: Callable[[Reader], object], message: str) -> None:
    reader = Reader(b"\x01\x02\x03", "here", position=1, end=1)
    with pytest.raises(MalformedError, match=rf"^here, offset 0x1: {message}$"):
        read(reader)


def test_a_byte_can_be_looked_at_before_it_is_read() -> None:
    reader = Reader(b"\x2a", "here")
    assert (reader.peek(), reader.u8(), reader.at_end) == (42, 42, True)


def test_more_entries_than_bytes_are_refused_before_they_are_read() -> None:
    assert Reader(b"\x02\x00\x00", "here").count() == 2
    with pytest.raises(MalformedError, match=r"^here, offset 0x0: 3 entries are announced, 2 bytes are left$"):
        Reader(b"\x03\x00\x00", "here").count()
    with pytest.raises(MalformedError, match=r"4294967295 entries are announced"):
        Reader(b"\xff\xff\xff\xff\x0f", "here").count()


def test_names_are_utf8() -> None:
    assert Reader(binary.name("Grüße"), "here").name() == "Grüße"
    assert Reader(b"\x00", "here").name() == ""
    with pytest.raises(MalformedError, match=r"^here, offset 0x1: a name is not UTF-8$"):
        Reader(b"\x00\x02\xc3\x28", "here", position=1).name()
    with pytest.raises(MalformedError, match=r"^here, offset 0x1: 5 bytes are announced, 2 are left$"):
        Reader(b"\x05ab", "here").name()


def test_bytes_left_over_are_refused() -> None:
    reader = Reader(b"\x00\x01\x02", "here")
    reader.u8()
    with pytest.raises(MalformedError, match=r"^here, offset 0x1: 2 bytes are left over$"):
        reader.require_end()
    reader.span(2)
    reader.require_end()


def test_a_part_is_read_with_its_own_name_and_the_files_offsets() -> None:
    outer = Reader(b"\xee\x03\x01\x02\x03\x04", "outer", position=1)
    inner = outer.sub(outer.u32(), "inner")
    assert outer.u8() == 4
    assert inner.bytes(3) == b"\x01\x02\x03"
    with pytest.raises(MalformedError) as caught:
        inner.u8()
    error = caught.value
    assert (error.section, error.offset, error.problem) == ("inner", 5, "ends too early")


def test_a_malformed_file_is_a_build_error_that_tells_where() -> None:
    error = MalformedError("code section", 0x1234, "it is wrong")
    assert isinstance(error, BuildError)
    assert re.fullmatch("code section, offset 0x1234: it is wrong", str(error))


def test_vectors_sections_and_names_carry_their_sizes() -> None:
    assert binary.vector([b"ab", b"c"]) == b"\x02abc"
    assert binary.vector([]) == b"\x00"
    assert binary.section(7, b"ab", b"c") == b"\x07\x03abc"
    assert binary.custom_section("nm", b"x") == b"\x00\x04\x02nmx"
    assert binary.section(1, bytes(200))[:3] == b"\x01\xc8\x01"
