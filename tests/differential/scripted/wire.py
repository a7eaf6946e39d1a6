"""HTTP/1.1 as far as it has arrived: what a filter made of a message need not be one that a parser accepts."""

from collections.abc import Sequence
from dataclasses import dataclass

from proxy_wasm.abi.header_map import Pair
from scripted.case import BODILESS_STATUSES, Body, Part

_LOWEST_WITH_BODY = 200
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message, or its beginning."""

    start: tuple[bytes, ...]
    headers: tuple[Pair, ...]
    body: bytes
    trailers: tuple[Pair, ...]
    whole: bool


def arrived(data: bytes, *, is_response: bool, to_head: bool = False) -> Arrived | None:
    """What `data` holds of a message; `None` where its head is not whole."""
    while True:
        head, end, rest = data.partition(_HEAD_END)
        if not end:
            return None
        lines = head.split(b"\r\n")
        start = tuple(lines[0].split(b" ", 2))
        if not (is_response and start[1:2] and start[1][:1] == b"1" and len(start[1]) == len("100")):
            break
        data = rest  # an interim response
    headers = _fields(lines[1:])
    if is_response and (to_head or (start[1].isdigit() and int(start[1]) in BODILESS_STATUSES)):
        return Arrived(start, headers, b"", (), whole=True)
    framing = {name.lower(): value for name, value in headers}
    if b"transfer-encoding" in framing:
        body, trailers, whole = _chunks(rest)
    elif b"content-length" in framing:
        length = framing[b"content-length"]
        body, trailers, whole = rest, (), length.isdigit() and len(rest) >= int(length)
    else:
        # Requests of no length have none, and neither have responses whose status is none that may have a body.
        body, trailers, whole = rest, (), not is_response or (start[1].isdigit() and int(start[1]) < _LOWEST_WITH_BODY)
    return Arrived(start, headers, body, trailers, whole)


def _fields(lines: Sequence[bytes]) -> tuple[Pair, ...]:
    fields: list[Pair] = []
    for line in lines:
        start = int(line.startswith(b":") and not line.startswith(b": "))  # a pseudo-header among trailers
        name, _, value = line[start:].partition(b":")
        name = line[:start] + name
        fields.append((name, value.strip(b" \t")))
    return tuple(fields)


def _chunks(data: bytes) -> tuple[bytes, tuple[Pair, ...], bool]:
    body = b""
    while True:
        line, end, rest = data.partition(b"\r\n")
        if not end:
            return body, (), False
        try:
            size = int(line, 16)
        except ValueError:
            return body + data, (), False
        if not size:
            trailers, end, _ = (b"\r\n" + rest).partition(_HEAD_END)
            return body, _fields(trailers.split(b"\r\n")[1:]) if end else (), bool(end)
        body += rest[:size]
        data = rest[size + 2 :]


def encoded(part: Part, start: bytes, body: Body | None) -> bytes:
    """A part on the wire; `start` is what comes before the fields, `body` what frames the message."""
    if part.headers is not None:
        return start + _encoded_fields(part.headers) + b"\r\n"
    if body is not None and body.has_length:
        return part.piece
    if not part.end:
        return b"%x\r\n%b\r\n" % (len(part.piece), part.piece) if part.piece else b""
    return b"0\r\n" + _encoded_fields(part.trailers) + b"\r\n"


def _encoded_fields(fields: Sequence[Pair]) -> bytes:
    return b"".join(b"%b: %b\r\n" % field for field in fields)
