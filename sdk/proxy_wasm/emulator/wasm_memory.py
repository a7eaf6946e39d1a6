"""A compiled guest's memory, read and written through its address: wasmtime's own slices copy byte by byte."""

import ctypes
from collections.abc import Callable
from struct import unpack

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.hostcalls import HostError

Locate = Callable[[], tuple[int, int]]
"""Gives the memory's address and size as they are now: both change when the guest grows it."""


class GuestMemory:
    """Every access is checked; one outside, be it of no bytes, raises `HostError` with `INVALID_MEMORY_ACCESS`."""

    __slots__ = ("_locate",)

    def __init__(self, locate: Locate) -> None:
        self._locate = locate

    def read(self, pointer: int, size: int) -> bytes:
        address = self._address(pointer, size)
        return ctypes.string_at(address, size) if size else b""

    def read_u32s(self, pointer: int, count: int) -> tuple[int, ...]:
        return unpack(f"<{count}I", self.read(pointer, 4 * count))

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
