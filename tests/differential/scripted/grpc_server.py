"""gRPC over HTTP/2 (RFC 9113), as little of it as answering Envoy takes: bytes in, bytes out.

What a request's headers say is not read, since answers depend on messages alone; what is sent is not compressed (RFC 7541, 6.2.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import pack, unpack

from proxy_wasm.abi.header_map import Pair
from proxy_wasm.emulator import HeaderMap
from proxy_wasm.emulator.clusters import GrpcServer
from proxy_wasm.emulator.header_map import Headers

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_FRAME_HEAD = 9
_MESSAGE_HEAD = 5


@dataclass(slots=True)
class _Call:
    """`proxy_wasm.emulator.clusters.GrpcCall`."""

    connection: "GrpcConnection"
    stream: int
    received: bytes = b""
    has_begun: bool = False
    closed: bool = False
    method: str = ""
    metadata: HeaderMap = field(default_factory=HeaderMap)

    def send_initial_metadata(self, metadata: Headers = ()) -> None:
        """See `GrpcCall`."""
        if not self.closed and not self.has_begun:
            self.has_begun = True
            self._headers([*_BEGINNING, *HeaderMap(metadata).raw])

    def send(self, message: bytes) -> None:
        """See `GrpcCall`."""
        if not self.closed:
            self.send_initial_metadata()
            self.connection.send(_DATA, 0, self.stream, pack(">BI", 0, len(message)) + message)

    def close(self, status: int = 0, message: str = "", metadata: Headers = ()) -> None:
        """See `GrpcCall`."""
        if self.closed:
            return
        told = [(b"grpc-status", b"%d" % status)]
        if message:
            told.append((b"grpc-message", message.encode()))
        begun = () if self.has_begun else _BEGINNING
        self._headers([*begun, *told, *HeaderMap(metadata).raw], end=True)
        self.closed = True

    def _headers(self, fields: Sequence[Pair], *, end: bool = False) -> None:
        block = b"".join(b"\0%c%b%c%b" % (len(name), name, len(value), value) for name, value in fields)
        self.connection.send(_HEADERS, _END_HEADERS | (_END_STREAM if end else 0), self.stream, block)


_BEGINNING: tuple[Pair, ...] = ((b":status", b"200"), (b"content-type", b"application/grpc"))


@dataclass(slots=True)
class GrpcConnection:
    """One connection, whose calls `server` answers."""

    server: GrpcServer
    outgoing: bytes = b""
    _incoming: bytes = b""
    _calls: dict[int, _Call] = field(default_factory=dict[int, _Call])
    _has_begun: bool = False

    def receive(self, data: bytes) -> bytes:
        """What is to be sent after `data` has come."""
        self._incoming += data
        if not self._has_begun:
            if len(self._incoming) < len(_PREFACE):
                return b""
            self._has_begun = True
            self._incoming = self._incoming.removeprefix(_PREFACE)
            self.send(_SETTINGS, 0, 0, b"")
        while len(self._incoming) >= _FRAME_HEAD:
            high, low, kind, flags, stream = unpack(">BHBBI", self._incoming[:_FRAME_HEAD])
            end = _FRAME_HEAD + (high << 16 | low)
            if len(self._incoming) < end:
                break
            payload, self._incoming = self._incoming[_FRAME_HEAD:end], self._incoming[end:]
            self._take(kind, flags, stream, payload)
        outgoing, self.outgoing = self.outgoing, b""
        return outgoing

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Queue a frame."""
        size = len(payload)
        self.outgoing += pack(">BHBBI", size >> 16, size & 0xFFFF, kind, flags, stream) + payload

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (_SETTINGS, _PING) and not flags & _ACK:
            self.send(kind, _ACK, 0, payload if kind == _PING else b"")
        elif kind == _HEADERS:
            call = self._calls[stream] = _Call(self, stream)
            self.server.on_call(call)
        elif kind == _RESET and stream in self._calls:
            call = self._calls.pop(stream)
            if not call.closed:
                call.closed = True
                self.server.on_cancel(call)
        elif kind == _DATA and stream in self._calls:
            self._take_data(self._calls[stream], payload)
        if kind in (_HEADERS, _DATA) and flags & _END_STREAM and stream in self._calls:
            call = self._calls.pop(stream)
            self.server.on_half_close(call)

    def _take_data(self, call: _Call, payload: bytes) -> None:
        if payload:
            self.send(_WINDOW_UPDATE, 0, 0, pack(">I", len(payload)))
        call.received += payload
        while len(call.received) >= _MESSAGE_HEAD:
            _, size = unpack(">BI", call.received[:_MESSAGE_HEAD])
            end = _MESSAGE_HEAD + size
            if len(call.received) < end:
                break
            message, call.received = call.received[_MESSAGE_HEAD:end], call.received[end:]
            self.server.on_message(call, message)
