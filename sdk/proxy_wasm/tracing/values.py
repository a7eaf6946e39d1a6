"""Arguments and results as people read them: numbers by their names, maps as pairs, bytes as text where they are text.

What a client sent may stand in them. Whatever it is, `show` gives text of one line that any terminal can print.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias

from proxy_wasm.abi.enums import (
    Action,
    BufferType,
    GrpcStatus,
    LogLevel,
    MapType,
    MetricType,
    PeerType,
    Status,
    StreamType,
)
from proxy_wasm.abi.header_map import decode_pairs

KEPT = 4096
"""How many bytes of a value, and how many pairs of a map, a trace keeps."""
SHOWN = 120
"""How many characters of a value are shown in one line."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A number that has a name."""

    number: int
    name: str


@dataclass(frozen=True, slots=True)
class Octets:
    """Bytes: all of them, or the first `KEPT`, or, where only their number is known, none."""

    size: int
    data: bytes = b""
    seen: bool = True
    """Whether it is known what they are."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """A header map, or the first `KEPT` pairs of one."""

    count: int
    pairs: tuple[tuple[Octets, Octets], ...]


Value: TypeAlias = int | Symbol | Octets | Pairs
"""`True` and `False` are those of flags."""
Fields: TypeAlias = tuple[tuple[str, Value], ...]
"""Arguments or results, by name."""

_SYMBOLS: Mapping[str, type[IntEnum]] = {
    "map_type": MapType,
    "buffer_type": BufferType,
    "stream_type": StreamType,
    "metric_type": MetricType,
    "peer_type": PeerType,
    "level": LogLevel,
    "grpc_status": GrpcStatus,
}
_MAPS = frozenset({"headers", "trailers", "initial_metadata", "pairs"})
_FLAGS = frozenset({"end_of_stream"})
_FIXED_SIZE = 8
"""Of numbers, times and durations among properties (Envoy, `source/extensions/common/wasm/context.cc`)."""

_HEADERS_ACTIONS = {
    2: "CONTINUE_AND_END_STREAM",
    3: "STOP_ALL_ITERATION_AND_BUFFER",
    4: "STOP_ALL_ITERATION_AND_WATERMARK",
}
_BODY_ACTIONS = {2: "STOP_ITERATION_AND_WATERMARK", 3: "STOP_ITERATION_NO_BUFFER"}
_ACTIONS: Mapping[str, Mapping[int, str]] = {
    "on_request_headers": _HEADERS_ACTIONS,
    "on_response_headers": _HEADERS_ACTIONS,
    "on_request_body": _BODY_ACTIONS,
    "on_response_body": _BODY_ACTIONS,
    "on_request_trailers": {},
    "on_response_trailers": {},
    "on_request_metadata": {},
    "on_response_metadata": {},
    "on_new_connection": {},
    "on_downstream_data": {},
    "on_upstream_data": {},
}
"""The callbacks that return what is to become of the stream, with Envoy's names of what the specification does not name."""


def symbol(kind: type[IntEnum], number: int) -> Value:
    """`number` with its name; without one where it has none."""
    try:
        return Symbol(number, kind(number).name)
    except ValueError:
        return number


def status(number: int) -> Value:
    """What a hostcall returned."""
    return symbol(Status, number)


def returned(callback: str, number: int) -> Value:
    """What a callback returned."""
    further = _ACTIONS.get(callback)
    if further is None:
        return number
    return Symbol(number, further[number]) if number in further else symbol(Action, number)


def value(call: str, name: str, raw: int | bytes) -> Value:
    """An argument or a result of a callback or hostcall, by its name in `proxy_wasm.abi.signatures`."""
    if isinstance(raw, int):
        return _number(call, name, raw)
    if name == "path":
        return octets(raw.rstrip(b"\0").replace(b"\0", b"."))
    return _pairs(raw) if name in _MAPS else octets(raw)


def _number(call: str, name: str, raw: int) -> Value:
    if name in _FLAGS:
        return bool(raw)
    if (call, name) == ("on_grpc_close", "status_code"):
        return symbol(GrpcStatus, raw)
    return symbol(_SYMBOLS[name], raw) if name in _SYMBOLS else raw


def _pairs(raw: bytes) -> Value:
    try:
        pairs = decode_pairs(raw)
    except ValueError:
        return octets(raw)
    return Pairs(len(pairs), tuple((octets(key), octets(text)) for key, text in pairs[:KEPT]))


def octets(raw: bytes) -> Octets:
    """Bytes, of which the first are kept."""
    return Octets(len(raw), raw[:KEPT])


def show(shown: Value, limit: int = SHOWN) -> str:
    """A value in one line of printable characters, shortened to about `limit`."""
    match shown:
        case bool():
            return "true" if shown else "false"
        case int():
            return str(shown)
        case Symbol():
            return shown.name
        case Octets():
            return _show_octets(shown, limit)
        case Pairs():
            return _show_pairs(shown, limit)


def _show_octets(shown: Octets, limit: int) -> str:
    if not shown.seen:
        return _size(shown)
    text = _text(shown)
    if text is None:
        hexadecimal = shown.data[: limit // 2].hex()
        number = f" = {int.from_bytes(shown.data, 'little')}" if shown.size == _FIXED_SIZE else ""
        rest = f"… ({_size(shown)})" if shown.size > limit // 2 else ""
        return f"0x{hexadecimal}{number}{rest}"
    if len(text) <= limit and len(shown.data) == shown.size:
        return f'"{escaped(text)}"'
    return f'"{escaped(text[:limit])}…" ({_size(shown)})'


def _show_pairs(shown: Pairs, limit: int) -> str:
    words: list[str] = []
    room = limit
    for key, text in shown.pairs:
        word = f"{_bare(key, limit)}: {_bare(text, limit)}"
        room -= len(word)
        if words and room < 0:
            break
        words.append(word)
    left = shown.count - len(words)
    return "{" + ", ".join(words) + (f", … {left} more" if left else "") + "}"


def _bare(shown: Octets, limit: int) -> str:
    return _show_octets(shown, limit).removeprefix('"').removesuffix('"')


def _text(shown: Octets) -> str | None:
    """The bytes as text, if they are: UTF-8 without a NUL, which numbers and messages have."""
    data = shown.data
    if b"\0" in data:
        return None
    for cut in range(4 if shown.size > len(data) else 1):  # a character may be cut in two where bytes were left out
        with suppress(UnicodeDecodeError):
            return data[: len(data) - cut].decode()
    return None


def _size(shown: Octets) -> str:
    return f"{shown.size:,} byte{'' if shown.size == 1 else 's'}"


def escaped(text: str) -> str:
    """`text` in one line, with everything that does not print, stray bytes among it, as Python would write it."""
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def printable(text: str) -> list[str]:
    """The lines of a message, each as any terminal can show it."""
    return [escaped(line.expandtabs(4)) for line in text.rstrip("\n").split("\n")]


def plain(shown: Value) -> Any:  # noqa: ANN401 - JSON is any of six types
    """A value for JSON: symbols as their names; bytes that are no text in hexadecimal, those that were left out as their number."""
    match shown:
        case bool() | int():
            return shown
        case Symbol():
            return shown.name
        case Octets():
            return _plain_octets(shown)
        case Pairs():
            return [[plain(key), plain(text)] for key, text in shown.pairs]


def _plain_octets(shown: Octets) -> object:
    if not shown.seen:
        return {"size": shown.size}
    text = _text(shown)
    if text is not None and len(shown.data) == shown.size:
        return text
    content = {"hex": shown.data.hex()} if text is None else {"text": text}
    return {**content, "size": shown.size}
