import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_wasm.protobuf import (
    DELIMITED,
    FIXED32,
    FIXED64,
    VARINT,
    Message,
    decode_struct,
    decode_value,
    encode,
    fields,
)


def test_examples_of_the_encoding_guide_are_written_and_read() -> None:
    assert encode((1, 150)) == bytes.fromhex("089601")
    assert encode((2, "testing")) == bytes.fromhex("120774657374696e67")
    assert encode((3, encode((1, 150)))) == bytes.fromhex("1a03089601")
    assert encode((1, -2)) == bytes.fromhex("08feffffffffffffffff01")
    assert Message(bytes.fromhex("1a03089601")).message(3).integer(1) == 150


def test_fields_of_every_type_are_read_back() -> None:
    data = encode((1, "text"), (2, b"\xff"), (3, True), (4, -5), (5, 0.5), (600, 1 << 63))
    message = Message(data)
    assert message.text(1) == "text"
    assert message.octets(2) == b"\xff"
    assert message.flag(3) is True
    assert message.integer(4) == -5
    assert message.double(5) == 0.5
    assert message.unsigned(600) == 1 << 63


def test_a_field_of_none_is_left_out() -> None:
    assert encode((1, None), (2, ""), (3, None)) == b"\x12\x00"
    assert not Message(encode((1, None))).has(1)


def test_absent_fields_have_their_default_value() -> None:
    message = Message(b"")
    assert (message.text(1), message.octets(1), message.flag(1), message.integer(1)) == ("", b"", False, 0)
    assert (message.double(1), message.unsigned(1), message.all_texts(1), message.map(1)) == (0.0, 0, [], {})
    assert message.message(1).message(2).text(3) == ""


def test_a_field_of_another_type_counts_as_absent() -> None:
    message = Message(encode((1, "text"), (2, 7)))
    assert message.integer(1) == 0
    assert message.text(2) == ""
    assert message.has(1)


def test_of_a_repeated_field_all_or_the_last_are_read() -> None:
    message = Message(encode((1, "a"), (2, 1), (1, "b"), (2, 2)))
    assert message.all_texts(1) == ["a", "b"]
    assert message.text(1) == "b"
    assert message.integer(2) == 2


def test_fields_come_in_the_order_of_the_message_with_their_wire_types() -> None:
    data = encode((2, "b"), (1, 1)) + b"\x1d\x01\x02\x03\x04" + encode((4, 1.5))
    assert list(fields(data)) == [
        (2, DELIMITED, b"b"),
        (1, VARINT, 1),
        (3, FIXED32, b"\x01\x02\x03\x04"),
        (4, FIXED64, struct.pack("<d", 1.5)),
    ]


def test_maps_are_read() -> None:
    data = encode((7, encode((1, "a"), (2, "x"))), (7, encode((1, "b"), (2, b"\xff"))), (7, encode((2, "no key"))))
    assert Message(data).map(7) == {"a": b"x", "b": b"\xff", "": b"no key"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x08", "the varint at byte 1 does not end"),
        (b"\x08" + b"\xff" * 11, "the varint at byte 1 does not end"),
        (b"\x0a\x05abc", "field 1 ends at byte 7, the message at 5"),
        (b"\x09\0\0\0", "field 1 ends at byte 9, the message at 4"),
        (b"\x0b", "field 1 at byte 1 has the unknown wire type 3"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Message(data)


@pytest.mark.parametrize("number", [1 << 64, -(1 << 63) - 1])
def test_numbers_of_more_than_64_bits_are_refused(number: int) -> None:
    with pytest.raises(ValueError, match="does not fit into 64 bits"):
        encode((1, number))


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        Message(data)
    except ValueError:
        return
    assert sum(1 for _ in fields(data)) <= len(data)


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.binary(), st.floats(allow_nan=False), st.text())
def test_what_is_written_is_read(number: int, octets: bytes, double: float, text: str) -> None:
    message = Message(encode((1, number), (2, octets), (3, double), (4, text)))
    assert (message.integer(1), message.octets(2), message.double(3), message.text(4)) == (number, octets, double, text)


def struct_of(**values: bytes) -> bytes:
    return encode(*((1, encode((1, key), (2, value))) for key, value in values.items()))


def test_a_struct_becomes_a_dictionary() -> None:
    data = struct_of(
        null=encode((1, 0)),
        number=encode((2, 1.5)),
        text=encode((3, "x")),
        flag=encode((4, False)),
        inner=encode((5, struct_of(deep=encode((3, "y"))))),
        items=encode((6, encode((1, encode((2, 1.0))), (1, encode((3, "z")))))),
    )
    assert decode_struct(data) == {
        "null": None,
        "number": 1.5,
        "text": "x",
        "flag": False,
        "inner": {"deep": "y"},
        "items": [1.0, "z"],
    }
    assert decode_struct(b"") == {}
    assert decode_value(b"") is None
