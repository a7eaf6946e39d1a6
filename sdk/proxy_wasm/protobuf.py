"""Protobuf messages by field numbers: as much as the proxy's foreign functions and properties need, without a runtime or generated classes.

    data = encode((1, "sha256"), (2, key), (5, None))
    message = Message(data)
    message.text(1), message.octets(2), message.integer(7)

Source: protobuf.dev, "Encoding". Groups, which proto3 does not have, are refused; packed repeated numbers are not unpacked.
"""

from collections.abc import Iterator
from struct import pack, unpack_from

VARINT = 0
FIXED64 = 1
DELIMITED = 2
FIXED32 = 5

_FIXED_SIZES = {FIXED64: 8, FIXED32: 4}
_TYPE_BITS = 3
_LONGEST_VARINT = 10
_MORE = 0x80
"""The bit of each but the last byte of a varint."""
_U64 = (1 << 64) - 1
_SIGN = 1 << 63

FieldValue = int | float | str | bytes | None
Json = None | bool | float | str | list["Json"] | dict[str, "Json"]


def encode(*fields: tuple[int, FieldValue]) -> bytes:
    """A message of `fields`, pairs of number and value, in the order given; a value of `None` leaves its field out.

    `int` and `bool` become varints (of `int32`, `uint64`, `bool`, enums; not of `sint32`), `float` a `double`, text and bytes are
    length-delimited, and so is a nested message, given as what `encode` made of it. Raises `ValueError` for an `int` of more than 64 bits.
    """
    parts: list[bytes] = []
    for number, value in fields:
        if value is None:
            continue
        if isinstance(value, int):
            parts += (_varint(number << _TYPE_BITS | VARINT), _varint(value))
        elif isinstance(value, float):
            parts += (_varint(number << _TYPE_BITS | FIXED64), pack("<d", value))
        else:
            octets = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
            parts += (_varint(number << _TYPE_BITS | DELIMITED), _varint(len(octets)), octets)
    return b"".join(parts)


def _varint(value: int) -> bytes:
    if not -_SIGN <= value <= _U64:
        msg = f"{value} does not fit into 64 bits"
        raise ValueError(msg)
    value &= _U64
    octets = bytearray()
    while value >= _MORE:
        octets.append(value & 0x7F | _MORE)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Number, wire type and value of each field of a message, in its order.

    A varint is an `int` from 0 to 2**64 - 1; everything else is bytes: 8 or 4 of a fixed number, the content of what is length-delimited.
    Raises `ValueError` where `data` is no message.
    """
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position)
        number, wire_type = tag >> _TYPE_BITS, tag & 7
        if wire_type == VARINT:
            value, position = _read_varint(data, position)
            yield number, wire_type, value
            continue
        if wire_type == DELIMITED:
            size, position = _read_varint(data, position)
        elif wire_type in _FIXED_SIZES:
            size = _FIXED_SIZES[wire_type]
        else:
            msg = f"protobuf message: field {number} at byte {position} has the unknown wire type {wire_type}"
            raise ValueError(msg)
        end = position + size
        if end > len(data):
            msg = f"protobuf message: field {number} ends at byte {end}, the message at {len(data)}"
            raise ValueError(msg)
        yield number, wire_type, data[position:end]
        position = end


def _read_varint(data: bytes, start: int) -> tuple[int, int]:
    """The varint at `start`, and where it ends."""
    value = 0
    for index, octet in enumerate(data[start : start + _LONGEST_VARINT]):
        value |= (octet & 0x7F) << 7 * index
        if octet < _MORE:
            return value & _U64, start + index + 1
    msg = f"protobuf message: the varint at byte {start} does not end"
    raise ValueError(msg)


class Message:
    """A message to be read by field numbers.

    As in proto3 a field that is absent, or of another wire type than asked for, has its type's default value; of one that is repeated
    the last counts, where not all are asked for. Raises `ValueError` where `data` is no message.
    """

    __slots__ = ("_fields",)

    def __init__(self, data: bytes) -> None:
        self._fields: dict[tuple[int, int], list[int | bytes]] = {}
        for number, wire_type, value in fields(data):
            self._fields.setdefault((number, wire_type), []).append(value)

    def has(self, number: int) -> bool:
        """Whether the field is there; proto3 writes no numbers, texts and bytes that have their default value."""
        return any(present == number for present, _ in self._fields)

    def integer(self, number: int) -> int:
        """A field of type `int32`, `int64`, `bool` or enum; 0 where absent."""
        value = self._last(number, VARINT)
        if not isinstance(value, int):
            return 0
        return value - (_U64 + 1) if value & _SIGN else value

    def unsigned(self, number: int) -> int:
        """A field of type `uint32` or `uint64`; 0 where absent."""
        value = self._last(number, VARINT)
        return value if isinstance(value, int) else 0

    def flag(self, number: int) -> bool:
        """A field of type `bool`; false where absent."""
        return self.unsigned(number) != 0

    def double(self, number: int) -> float:
        """A field of type `double`; 0.0 where absent."""
        value = self._last(number, FIXED64)
        return unpack_from("<d", value)[0] if isinstance(value, bytes) else 0.0

    def octets(self, number: int) -> bytes:
        """A field of type `bytes`, or a nested message's bytes; empty where absent."""
        value = self._last(number, DELIMITED)
        return value if isinstance(value, bytes) else b""

    def text(self, number: int) -> str:
        """A field of type `string`; empty where absent."""
        return _text(self.octets(number))

    def message(self, number: int) -> "Message":
        """A nested message; one without fields where absent."""
        return Message(self.octets(number))

    def all_octets(self, number: int) -> list[bytes]:
        """A repeated field of type `bytes`, or of messages."""
        return [value for value in self._fields.get((number, DELIMITED), ()) if isinstance(value, bytes)]

    def all_texts(self, number: int) -> list[str]:
        """A repeated field of type `string`."""
        return [_text(value) for value in self.all_octets(number)]

    def map(self, number: int) -> dict[str, bytes]:
        """A field of type `map<string, ...>` with texts, bytes or messages as values."""
        entries = [Message(entry) for entry in self.all_octets(number)]
        return {entry.text(1): entry.octets(2) for entry in entries}

    def _last(self, number: int, wire_type: int) -> int | bytes | None:
        values = self._fields.get((number, wire_type))
        return values[-1] if values else None


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def decode_struct(data: bytes) -> dict[str, Json]:
    """A `google.protobuf.Struct` as a dictionary; its numbers are all `float`. Raises `ValueError` where `data` is no message."""
    return {key: decode_value(value) for key, value in Message(data).map(1).items()}


def decode_value(data: bytes) -> Json:
    """A `google.protobuf.Value` as `None`, `float`, `str`, `bool`, dictionary or list."""
    value: Json = None
    message = Message(data)
    if message.has(_NUMBER):
        value = message.double(_NUMBER)
    elif message.has(_TEXT):
        value = message.text(_TEXT)
    elif message.has(_FLAG):
        value = message.flag(_FLAG)
    elif message.has(_STRUCT):
        value = decode_struct(message.octets(_STRUCT))
    elif message.has(_LIST):
        value = [decode_value(entry) for entry in message.message(_LIST).all_octets(1)]
    return value


_NUMBER, _TEXT, _FLAG, _STRUCT, _LIST = 2, 3, 4, 5, 6
"""Fields of `google.protobuf.Value`, of which one is set; 1 stands for null."""
