"""WASI as Envoy provides it (proxy-wasm-cpp-host, `exports.cc`): standard streams are the log, and there is little else."""

import os
from collections.abc import Mapping

from proxy_wasm.abi.enums import LogLevel, Status
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.emulator.guest import GuestHost
from proxy_wasm.emulator.wasm_memory import GuestMemory

MAX_RANDOM_BYTES = 64 * 1024

_SUCCESS, _BADF, _FAULT, _INVAL, _NOTSUP = 0, 8, 21, 28, 58
_LEVELS = {1: LogLevel.INFO, 2: LogLevel.ERROR}
_IOVEC = 8


class Wasi:
    """One method for each function that modules may import; all return an errno."""

    def __init__(self, memory: GuestMemory, host: GuestHost) -> None:
        self._memory = memory
        self._host = host

    def call(self, name: str, *arguments: int) -> int:
        """The errno of the function called `name`."""
        function = getattr(self, name)
        try:
            return function(*arguments)
        except HostError as error:
            if error.status == Status.INVALID_MEMORY_ACCESS:
                return _FAULT
            raise

    def fd_write(self, fd: int, vectors: int, count: int, written: int) -> int:
        """Standard output is logged at info, standard error at error: a message a call, less one newline at its end."""
        if fd not in _LEVELS:
            return _BADF
        spans = [self._memory.read_u32s(vectors + _IOVEC * index, 2) for index in range(count)]
        data = b"".join(self._memory.read(pointer, size) for pointer, size in spans)
        if data:
            self._host.hostcalls.log(_LEVELS[fd], data.removesuffix(b"\n"))
        self._memory.write_u32(written, len(data))
        return _SUCCESS

    def clock_time_get(self, clock: int, precision: int, result: int) -> int:
        """The wall clock (0) and the monotonic clock (1)."""
        del precision
        times = (self._host.clock.time_nanoseconds, self._host.clock.monotonic_nanoseconds)
        if clock >= len(times):
            return _NOTSUP
        self._memory.write_u64(result, times[clock])
        return _SUCCESS

    def random_get(self, pointer: int, size: int) -> int:
        """At most 64 KiB a call."""
        if size > MAX_RANDOM_BYTES:
            return _INVAL
        self._memory.write(pointer, os.urandom(size))
        return _SUCCESS

    def environ_sizes_get(self, count: int, size: int) -> int:
        variables = _variables(self._host.environment)
        self._memory.write_u32(count, len(variables))
        self._memory.write_u32(size, sum(map(len, variables)))
        return _SUCCESS

    def environ_get(self, pointers: int, data: int) -> int:
        for index, variable in enumerate(_variables(self._host.environment)):
            self._memory.write_u32(pointers + 4 * index, data)
            self._memory.write(data, variable)
            data += len(variable)
        return _SUCCESS


def _variables(environment: Mapping[str, str]) -> list[bytes]:
    return [f"{name}={value}\0".encode("utf-8", "surrogateescape") for name, value in environment.items()]
