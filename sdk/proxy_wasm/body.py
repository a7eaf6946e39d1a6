"""The bodies of a stream."""

from proxy_wasm.abi.enums import BufferType, Status
from proxy_wasm.abi.hostcalls import Hostcalls, HostError
from proxy_wasm.errors import PhaseError
from proxy_wasm.headers import Headers

_ALL = 0x7FFF_FFFF
"""More than any buffer holds, and no overflow for a host that adds it to a start."""

_CALLBACKS = {
    BufferType.HTTP_REQUEST_BODY: ("request body", "on_request_body"),
    BufferType.HTTP_RESPONSE_BODY: ("response body", "on_response_body"),
    BufferType.DOWNSTREAM_DATA: ("data from downstream", "on_downstream_data"),
    BufferType.UPSTREAM_DATA: ("data from upstream", "on_upstream_data"),
}


Data = bytes | bytearray | str
"""What a body, or a part of one, can be given as; text is encoded as UTF-8."""


class Body:
    """The part of a request's or response's body that the proxy holds for the stream it is working on.

    That is one chunk, or everything so far where the callback returned `Action.PAUSE` before. What arrives while an async callback
    waits is held back, and shown to the next callback. Outside of the body callbacks there is nothing to read, and writing raises `PhaseError`.

    Whoever changes the length of a body that has a `content-length` must take that header away while the headers are there:
    `replaces_request_body` and `replaces_response_body` of `HttpContext` do. Where headers wait for their body
    (`read_request_body`), `content-length` follows the body of itself.
    """

    __slots__ = ("_after", "_before", "_buffer_type", "_headers", "_hostcalls")

    def __init__(self, hostcalls: Hostcalls, buffer_type: BufferType) -> None:
        self._hostcalls = hostcalls
        self._buffer_type = int(buffer_type)
        self._before = 0
        """Bytes at the front that the stream's callbacks are done with."""
        self._after = 0
        """Bytes at the end that are for the next callback."""
        self._headers: Headers | None = None
        """The headers, where they wait for this body."""

    def __repr__(self) -> str:
        return f"<{_CALLBACKS[BufferType(self._buffer_type)][0]}>"

    def __len__(self) -> int:
        """The number of bytes that the proxy holds."""
        return max(self._held() - self._before - self._after, 0)

    def _held(self) -> int:
        try:
            return self._hostcalls.get_buffer_status(self._buffer_type)[0]
        except HostError as error:
            if error.status is Status.NOT_FOUND:
                return 0
            raise

    def __bool__(self) -> bool:
        return len(self) > 0

    def __bytes__(self) -> bytes:
        return self.read()

    def read(self, start: int = 0, size: int | None = None) -> bytes:
        """At most `size` bytes (all of them unless told) from `start`; fewer where the body ends before."""
        if start < 0 or (size is not None and size < 0):
            msg = f"read({start}, {size}): start and size count bytes from the front"
            raise ValueError(msg)
        if size == 0 or start > _ALL:
            return b""
        wanted = _ALL if size is None else min(size, _ALL)
        if self._before or self._after:
            wanted = min(wanted, max(len(self) - start, 0))
            start += self._before
        return self._read(start, wanted) if wanted else b""

    def _read(self, start: int, size: int) -> bytes:
        try:
            return self._hostcalls.get_buffer_bytes(self._buffer_type, start, size)
        except HostError as error:
            if error.status is Status.NOT_FOUND:
                return b""
            raise

    def append(self, data: Data, /) -> None:
        """Add `data` at the end."""
        if self._after:
            self._splice(self.read() + octets(data))
        else:
            self._set(_ALL, 0, octets(data))

    def prepend(self, data: Data, /) -> None:
        """Add `data` at the front."""
        if self._before:
            self._splice(octets(data) + self.read())
        else:
            self._set(0, 0, octets(data))

    def replace(self, data: Data, /) -> None:
        """Put `data` in place of all that the proxy holds."""
        if self._before or self._after:
            self._splice(octets(data))
        else:
            self._set(0, _ALL, octets(data))

    def _splice(self, data: bytes) -> None:
        """Put `data` between what the callbacks are done with and what is not for them yet."""
        held = self._read(0, _ALL)
        self._set(0, _ALL, held[: self._before] + data + held[len(held) - self._after :])

    def _set(self, start: int, size: int, data: bytes) -> None:
        try:
            self._hostcalls.set_buffer_bytes(self._buffer_type, start, size, data)
        except HostError as error:
            if error.status not in (Status.BAD_ARGUMENT, Status.NOT_FOUND):
                raise
            what, callback = _CALLBACKS[BufferType(self._buffer_type)]
            msg = f"no {what} to change here: the proxy offers it in {callback}"
            raise PhaseError(msg) from None
        if self._headers is not None and "content-length" in self._headers:
            self._headers["content-length"] = str(self._held())


def octets(data: object) -> bytes:
    """The bytes of `data`: text as UTF-8 with `surrogateescape`; `TypeError` for anything else."""
    if isinstance(data, str):
        return data.encode("utf-8", "surrogateescape")
    if isinstance(data, bytes):
        return data
    if isinstance(data, bytearray):
        return bytes(data)
    msg = f"bytes or str are needed, not {type(data).__name__}"
    raise TypeError(msg)
