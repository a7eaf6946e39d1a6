"""The bodies of a stream."""

from proxy_wasm.abi.enums import BufferType, Status
from proxy_wasm.abi.hostcalls import Hostcalls, HostError
from proxy_wasm.errors import PhaseError

_ALL = 0x7FFF_FFFF
"""More than any buffer holds, and no overflow for a host that adds it to a start."""

_CALLBACKS = {
    BufferType.HTTP_REQUEST_BODY: ("request body", "on_request_body"),
    BufferType.HTTP_RESPONSE_BODY: ("response body", "on_response_body"),
}


Data = bytes | bytearray | str
"""What a body, or a part of one, can be given as; text is encoded as UTF-8."""


class Body:
    """The part of a request's or response's body that the proxy holds for the stream it is working on.

    That is one chunk, or everything so far where the callback returned `Action.PAUSE` before. Outside of the
    body callbacks there is nothing to read, and writing raises `PhaseError`. Whoever changes the length of a body must remove
    `content-length` in the headers callback: when the body arrives, the headers are gone.
    """

    __slots__ = ("_buffer_type", "_hostcalls")

    def __init__(self, hostcalls: Hostcalls, buffer_type: BufferType) -> None:
        self._hostcalls = hostcalls
        self._buffer_type = int(buffer_type)

    def __repr__(self) -> str:
        return f"<{_CALLBACKS[BufferType(self._buffer_type)][0]}>"

    def __len__(self) -> int:
        """The number of bytes that the proxy holds."""
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
        try:
            return self._hostcalls.get_buffer_bytes(self._buffer_type, start, _ALL if size is None else min(size, _ALL))
        except HostError as error:
            if error.status is Status.NOT_FOUND:
                return b""
            raise

    def append(self, data: Data, /) -> None:
        """Add `data` at the end."""
        self._set(_ALL, 0, data)

    def prepend(self, data: Data, /) -> None:
        """Add `data` at the front."""
        self._set(0, 0, data)

    def replace(self, data: Data, /) -> None:
        """Put `data` in place of all that the proxy holds."""
        self._set(0, _ALL, data)

    def _set(self, start: int, size: int, data: Data) -> None:
        try:
            self._hostcalls.set_buffer_bytes(self._buffer_type, start, size, octets(data))
        except HostError as error:
            if error.status not in (Status.BAD_ARGUMENT, Status.NOT_FOUND):
                raise
            what, callback = _CALLBACKS[BufferType(self._buffer_type)]
            msg = f"no {what} to change here: the proxy offers it in {callback}"
            raise PhaseError(msg) from None


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
