"""HTTP/1.1 messages, byte for byte: for the client and the upstream between which a filter is tested.

Libraries refuse, normalize or reorder what a proxy must be tested with: bytes that are no text, repeated and empty fields,
thousands of them. So this reads and writes messages (RFC 9112) as they are, and is strict only about what frames them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from proxy_wasm.abi.header_map import Pair

LONGEST_LINE = 16 << 20
"""The longest line that is read, in bytes."""


class MalformedMessage(Exception):  # noqa: N818 - named for what arrived
    """What arrived is no HTTP/1.1 message, or ended before its end."""

    partial: "Message | None" = None
    """The message as far as it came, where its head was whole."""
    body: bytes = b""
    """What came of the body."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a response."""

    start: tuple[bytes, bytes, bytes]
    """The three parts of the first line: method, target, version; or version, status, reason."""
    headers: tuple[Pair, ...]
    body: bytes = b""
    trailers: tuple[Pair, ...] = ()

    def header(self, name: bytes) -> bytes | None:
        """The last value of a header, if it is there."""
        return _last(self.headers, name)


def read_request(stream: BinaryIO) -> Message | None:
    """The next request on a connection; `None` where the connection ended before one began."""
    start = _start_line(stream)
    if start is None:
        return None
    headers = _fields(stream)
    body, trailers = _framed(stream, headers) or (b"", ())
    return Message(start, headers, body, trailers)


def read_response(stream: BinaryIO, *, method: str = "GET") -> Message:
    """The response to a request with `method`; interim (1xx) responses are passed over."""
    while True:
        start = _start_line(stream)
        if start is None:
            msg = "the connection was closed before a response"
            raise MalformedMessage(msg)
        headers = _fields(stream)
        if not start[1].startswith(b"1"):
            break
    if method == "HEAD" or start[1] in (b"204", b"304"):
        return Message(start, headers)
    try:
        framed = _framed(stream, headers)
    except MalformedMessage as error:
        error.partial = Message(start, headers, error.body)
        raise
    body, trailers = (stream.read(), ()) if framed is None else framed
    return Message(start, headers, body, trailers)


def _last(fields: Iterable[Pair], name: bytes) -> bytes | None:
    found = None
    for field, value in fields:
        if field.lower() == name:
            found = value
    return found


def _line(stream: BinaryIO) -> bytes | None:
    line = stream.readline(LONGEST_LINE)
    if not line:
        return None
    if not line.endswith(b"\n"):
        msg = f"the connection ended inside a line: {line[:80]!r}"
        raise MalformedMessage(msg)
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _start_line(stream: BinaryIO) -> tuple[bytes, bytes, bytes] | None:
    line = _line(stream)
    if line is None:
        return None
    match line.split(b" ", 2):
        case [first, second, third]:
            return first, second, third
        case [first, second]:
            return first, second, b""
        case _:
            msg = f"no start line: {line[:80]!r}"
            raise MalformedMessage(msg)


def _fields(stream: BinaryIO) -> tuple[Pair, ...]:
    fields: list[Pair] = []
    while line := _line(stream):
        name, colon, value = line.partition(b":")
        if not colon:
            msg = f"no header field: {line[:80]!r}"
            raise MalformedMessage(msg)
        fields.append((name, value.strip(b" \t")))
    if line is None:
        msg = "the connection ended inside the headers"
        raise MalformedMessage(msg)
    return tuple(fields)


def _framed(stream: BinaryIO, headers: Sequence[Pair]) -> tuple[bytes, tuple[Pair, ...]] | None:
    """Body and trailers where the headers frame them; `None` where they do not."""
    coding = _last(headers, b"transfer-encoding")
    if coding is not None and coding.lower().endswith(b"chunked"):
        return _chunked(stream)
    length = _last(headers, b"content-length")
    return None if length is None else (_exactly(stream, _number(length, 10)), ())


def _chunked(stream: BinaryIO) -> tuple[bytes, tuple[Pair, ...]]:
    chunks: list[bytes] = []
    try:
        trailers = _read_chunks(stream, chunks)
    except MalformedMessage as error:
        error.body = b"".join([*chunks, error.body])
        raise
    return b"".join(chunks), trailers


def _read_chunks(stream: BinaryIO, chunks: list[bytes]) -> tuple[Pair, ...]:
    """Read a chunked body into `chunks`; its trailers."""
    while True:
        line = _line(stream)
        if line is None:
            msg = "the connection ended between chunks"
            raise MalformedMessage(msg)
        size = _number(line.partition(b";")[0].strip(), 16)
        if size == 0:
            return _fields(stream)
        chunks.append(_exactly(stream, size))
        _line(stream)


def _number(text: bytes, base: int) -> int:
    try:
        return int(text, base)
    except ValueError:
        msg = f"no size: {text[:80]!r}"
        raise MalformedMessage(msg) from None


def _exactly(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        msg = f"the connection ended after {len(content)} of {size} bytes of body"
        error = MalformedMessage(msg)
        error.body = content
        raise error
    return content


def encode_request(
    method: str, target: str, headers: Iterable[Pair], body: bytes = b"", trailers: Sequence[Pair] = ()
) -> bytes:
    """A request on the wire; a frame is added for its body unless its headers already have one."""
    return b"".join(encode_request_in_pieces(method, target, headers, (body,), trailers))


def encode_request_in_pieces(
    method: str, target: str, headers: Iterable[Pair], body: Sequence[bytes], trailers: Sequence[Pair] = ()
) -> list[bytes]:
    """As `encode_request`: the head, each piece of the body with its frame, and the end, if one is written."""
    start = b" ".join((_wire(method), _wire(target), b"HTTP/1.1"))
    return _encode(start, headers, body, trailers, empty_frame=False)


def encode_response(
    status: int, headers: Iterable[Pair], body: bytes = b"", trailers: Sequence[Pair] = (), *, method: str = "GET"
) -> bytes:
    """The response on the wire to a request with `method`; a frame is added unless its headers already have one."""
    return b"".join(encode_response_in_pieces(status, headers, (body,), trailers, method=method))


def encode_response_in_pieces(
    status: int,
    headers: Iterable[Pair],
    body: Sequence[bytes],
    trailers: Sequence[Pair] = (),
    *,
    method: str = "GET",
    ends: bool = True,
) -> list[bytes]:
    """As `encode_response`: the head, each piece of the body with its frame, and the end, if one is written.

    Unless it `ends`, what it lacks to be whole is left out: the end of a chunked body, which is the frame that it then gets.
    """
    start = b"HTTP/1.1 %d " % status
    if method == "HEAD" or status in (204, 304):
        return _encode(start, headers, (), (), empty_frame=False)
    return _encode(start, headers, body, trailers, empty_frame=True, ends=ends)


def _wire(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _encode(
    start: bytes,
    headers: Iterable[Pair],
    body: Sequence[bytes],
    trailers: Sequence[Pair],
    *,
    empty_frame: bool,
    ends: bool = True,
) -> list[bytes]:
    fields = list(headers)
    pieces = [piece for piece in body if piece]
    has_length = _last(fields, b"content-length") is not None
    chunked = bool(trailers) or _last(fields, b"transfer-encoding") is not None or not (ends or has_length)
    if chunked:
        if _last(fields, b"transfer-encoding") is None:
            fields.append((b"transfer-encoding", b"chunked"))
    elif (pieces or empty_frame) and not has_length:
        fields.append((b"content-length", b"%d" % sum(map(len, pieces))))
    head = start + b"\r\n" + _encode_fields(fields) + b"\r\n"
    if not chunked:
        return [head, *pieces]
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    return [head, *chunks, b"0\r\n" + _encode_fields(trailers) + b"\r\n"] if ends else [head, *chunks]


def _encode_fields(fields: Iterable[Pair]) -> bytes:
    return b"".join(b"%b: %b\r\n" % field for field in fields)
