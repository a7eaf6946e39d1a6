"""Buffers as the guest reads and writes them."""

from typing import Protocol

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.hostcalls import HostError


class ReadableBuffer(Protocol):
    """What a buffer hostcall works on."""

    def read(self, start: int, max_size: int) -> bytes: ...
    def write(self, start: int, size: int, data: bytes) -> None: ...
    def __len__(self) -> int: ...


class ConstantBuffer:
    """Configurations, foreign-function arguments, and the body that is not there: readable, never writable."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes = b"") -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def read(self, start: int, max_size: int) -> bytes:
        """At most `max_size` bytes from `start`; beyond the end there are none, which is no error."""
        return self._data[start : start + max_size]

    def write(self, start: int, size: int, data: bytes) -> None:
        del start, size, data
        raise HostError("set_buffer_bytes", Status.BAD_ARGUMENT)


class BodyBuffer:
    """The bytes of a body that a filter holds."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes = b"") -> None:
        self._data = bytearray(data)

    def __len__(self) -> int:
        return len(self._data)

    def read(self, start: int, max_size: int) -> bytes:
        """At most `max_size` bytes from `start`; beyond the end there are none, which is no error."""
        return bytes(self._data[start : start + max_size])

    def write(self, start: int, size: int, data: bytes) -> None:
        """Put `data` in the place of the first `size` bytes where `start` is 0, append it where that is at or beyond the end.

        Anywhere else is `BAD_ARGUMENT` (Envoy, context.cc, `Buffer::copyFrom`); older Envoys also refuse a `size` between 0
        and the whole.
        """
        if start == 0:
            self._data[:size] = data
        elif start >= len(self._data):
            self._data += data
        else:
            raise HostError("set_buffer_bytes", Status.BAD_ARGUMENT)

    def append(self, data: bytes) -> None:
        """Add `data` at the end."""
        self._data += data

    def take(self) -> bytes:
        """All bytes, leaving none."""
        data = bytes(self._data)
        self._data.clear()
        return data
