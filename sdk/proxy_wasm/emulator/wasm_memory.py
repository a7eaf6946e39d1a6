"""A compiled guest's memory, read and written through its address: wasmtime's own slices copy byte by byte."""

import ctypes
from collections.abc import Callable, Iterator
from struct import iter_unpack

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.hostcalls import HostError

Locate = Callable[[], tuple[int, int]]
"""Gives the memory's address and size as they are now: both change when the guest grows it."""

_PAIR = 8
_BLOCK = 1 << 16
"""Bytes that are read at once where a guest names how many."""


class GuestMemory:
    """Every access is checked; one outside, be it of no bytes, raises `HostError` with `INVALID_MEMORY_ACCESS`."""

    __slots__ = ("_locate",)

    def __init__(self, locate: Locate) -> None:
        self._locate = locate

    def read(self, pointer: int, size: int) -> bytes:
        address = self._address(pointer, size)
        return ctypes.string_at(address, size) if size else b""

    def read_pairs(self, pointer: int, count: int) -> Iterator[tuple[int, int]]:
        """`count` pairs of `u32`."""
        self._address(pointer, _PAIR * count)
        for start in range(0, _PAIR * count, _BLOCK):
            yield from iter_unpack("<II", self.read(pointer + start, min(_BLOCK, _PAIR * count - start)))

    @property
    def size(self) -> int:
        """Bytes of memory as it is now."""
        return self._locate()[1]

    def write(self, pointer: int, data: bytes) -> None:
        ctypes.memmove(self._address(pointer, len(data)), data, len(data))

    def write_u32(self, pointer: int, value: int) -> None:
        self.write(pointer, (value & 0xFFFFFFFF).to_bytes(4, "little"))

    def write_u64(self, pointer: int, value: int) -> None:
        self.write(pointer, (value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little"))

    def _address(self, pointer: int, size: int) -> int:
        base, limit = self._locate()
        if pointer + size > limit:
            raise HostError("memory", Status.INVALID_MEMORY_ACCESS)
        return base + pointer
