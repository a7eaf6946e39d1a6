"""WASI as Envoy provides it since 1.39 (proxy-wasm-cpp-host, `exports.cc`): standard streams are the log, and there is little else.

Two of the functions have fewer parameters than WASI gives them, `path_link` and `path_symlink`: a module that imports them as WASI has
them does not load.
"""

import os
from collections.abc import Callable, Mapping

from proxy_wasm.abi.enums import LogLevel, Status
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.abi.signatures import CoreSignature, CoreType
from proxy_wasm.emulator.guest import GuestHost
from proxy_wasm.emulator.wasm_memory import GuestMemory

WASI_MODULES = ("wasi_unstable", "wasi_snapshot_preview1")
"""Under both names Envoy provides the same functions."""

MAX_RANDOM_BYTES = 64 * 1024

_SUCCESS, _BADF, _FAULT, _INVAL, _NOENT, _NOSYS, _NOTDIR, _NOTSUP = 0, 8, 21, 28, 44, 52, 20, 58
_RIGHT_TO_WRITE = 64
_LEVELS = {1: LogLevel.INFO, 2: LogLevel.ERROR}
_CLOCKS = 2

_PARAMETERS: dict[str, str] = {
    "args_get": "ii",
    "args_sizes_get": "ii",
    "clock_res_get": "ii",
    "clock_time_get": "iIi",
    "environ_get": "ii",
    "environ_sizes_get": "ii",
    "fd_advise": "iIIi",
    "fd_allocate": "iII",
    "fd_close": "i",
    "fd_datasync": "i",
    "fd_fdstat_get": "ii",
    "fd_fdstat_set_flags": "ii",
    "fd_fdstat_set_rights": "iII",
    "fd_filestat_get": "ii",
    "fd_filestat_set_size": "iI",
    "fd_filestat_set_times": "iIIi",
    "fd_pread": "iiiIi",
    "fd_prestat_dir_name": "iii",
    "fd_prestat_get": "ii",
    "fd_pwrite": "iiiIi",
    "fd_read": "iiii",
    "fd_readdir": "iiiIi",
    "fd_renumber": "ii",
    "fd_seek": "iIii",
    "fd_sync": "i",
    "fd_tell": "ii",
    "fd_write": "iiii",
    "path_create_directory": "iii",
    "path_filestat_get": "iiiii",
    "path_filestat_set_times": "iiiiIIi",
    "path_link": "iiiiii",
    "path_open": "iiiiiIIii",
    "path_readlink": "iiiiii",
    "path_remove_directory": "iii",
    "path_rename": "iiiiii",
    "path_symlink": "iiii",
    "path_unlink_file": "iii",
    "poll_oneoff": "iiii",
    "proc_exit": "i",
    "random_get": "ii",
    "sched_yield": "",
    "sock_accept": "iii",
    "sock_recv": "iiiiii",
    "sock_send": "iiiii",
    "sock_shutdown": "ii",
}
"""The parameters of each function: `i` is an `i32`, `I` an `i64`."""
_CORE: dict[str, CoreType] = {"i": "i32", "I": "i64"}

WASI: Mapping[str, CoreSignature] = {
    name: CoreSignature(tuple(_CORE[letter] for letter in letters), () if name == "proc_exit" else ("i32",))
    for name, letters in _PARAMETERS.items()
}
"""The functions that modules may import, with the types that Envoy gives them."""

BEFORE_1_39 = frozenset(
    {
        *(
            "args_get",
            "args_sizes_get",
            "clock_time_get",
            "environ_get",
            "environ_sizes_get",
            "fd_close",
            "fd_fdstat_get",
        ),
        *(
            "fd_fdstat_set_flags",
            "fd_prestat_dir_name",
            "fd_prestat_get",
            "fd_read",
            "fd_seek",
            "fd_write",
            "path_open",
        ),
        *("poll_oneoff", "proc_exit", "random_get", "sched_yield"),
    }
)
"""Those that Envoy has had since 1.33."""

_ALWAYS: dict[str, int] = {
    "args_get": _SUCCESS,
    "fd_advise": _SUCCESS,
    "fd_fdstat_set_flags": _NOSYS,
    "fd_filestat_get": _BADF,
    "fd_pread": _NOSYS,
    "fd_prestat_dir_name": _NOSYS,
    "fd_prestat_get": _BADF,
    "fd_read": _NOSYS,
    "path_create_directory": _NOTSUP,
    "path_filestat_get": _NOTSUP,
    "path_filestat_set_times": _NOTSUP,
    "path_link": _NOTSUP,
    "path_open": _NOENT,
    "path_remove_directory": _NOTSUP,
    "path_rename": _NOTSUP,
    "path_symlink": _NOTSUP,
    "path_unlink_file": _NOTSUP,
    "sched_yield": _SUCCESS,
    "sock_shutdown": _NOTSUP,
}
"""What functions return that look at nothing."""
_NOTHING_TO_DO = frozenset(
    {"fd_allocate", "fd_datasync", "fd_fdstat_set_rights", "fd_filestat_set_size", "fd_filestat_set_times", "fd_sync"}
)
"""These succeed on the standard streams, and know no other file."""


class Wasi:
    """WASI for one guest. Functions take unsigned numbers and return an errno."""

    def __init__(self, memory: GuestMemory, host: GuestHost) -> None:
        self._memory = memory
        self._host = host

    def call(self, name: str, *arguments: int) -> int | None:
        """The errno of the function called `name`; `None` where it returns nothing."""
        if name in _ALWAYS:
            return _ALWAYS[name]
        if name in _NOTHING_TO_DO:
            return _SUCCESS if arguments[0] in _LEVELS else _BADF
        function: Callable[..., int | None] = getattr(self, name)
        try:
            return function(*arguments)
        except HostError as error:
            if error.status == Status.INVALID_MEMORY_ACCESS:
                return _FAULT
            raise

    def fd_write(self, fd: int, vectors: int, count: int, written: int) -> int:
        """Standard output is logged at info, standard error at error: a message a call, less one newline at its end.

        Vectors that overlap can make a message of any size: one that is larger than the guest's memory is refused here, where Envoy takes what
        memory it gets and then crashes.
        """
        if fd not in _LEVELS:
            return _BADF
        data = bytearray()
        for pointer, size in self._memory.read_pairs(vectors, count):
            if size:
                data += self._memory.read(pointer, size)
                if len(data) > self._memory.size:
                    return _INVAL
        if data:
            self._host.write(_LEVELS[fd], bytes(data).removesuffix(b"\n"))
        self._memory.write_u32(written, len(data))
        return _SUCCESS

    def fd_pwrite(self, fd: int, vectors: int, count: int, offset: int, written: int) -> int:
        """As `fd_write`, wherever `offset` points."""
        del offset
        return self.fd_write(fd, vectors, count, written)

    def fd_fdstat_get(self, fd: int, result: int) -> int:
        """The standard streams are of no known type, and can be written to. Nobody is told of a `result` outside of memory."""
        if fd not in _LEVELS:
            return _BADF
        try:
            self._memory.write(result, bytes(8) + _RIGHT_TO_WRITE.to_bytes(8, "little") + bytes(8))
        except HostError:
            return _SUCCESS
        return _SUCCESS

    def fd_seek(self, fd: int, offset: int, whence: int, result: int) -> int:
        """Succeeds and does nothing; `result` is left alone."""
        del fd, offset, whence, result
        self._host.report(LogLevel.TRACE, "wasi_unstable fd_seek")
        return _SUCCESS

    def fd_close(self, fd: int) -> int:
        """Succeeds and does nothing."""
        del fd
        self._host.report(LogLevel.TRACE, "wasi_unstable fd_close")
        return _SUCCESS

    def fd_tell(self, fd: int, result: int) -> int:
        """The standard streams are at their beginning."""
        if fd not in _LEVELS:
            return _BADF
        self._memory.write_u64(result, 0)
        return _SUCCESS

    def fd_readdir(self, fd: int, buffer: int, size: int, cookie: int, used: int) -> int:
        """There are no directories."""
        del fd, buffer, size, cookie
        self._memory.write_u32(used, 0)
        return _NOTDIR

    def fd_renumber(self, fd: int, to: int) -> int:
        """The standard streams stay where they are."""
        return _NOTSUP if fd in _LEVELS and to in _LEVELS else _BADF

    def path_readlink(self, fd: int, path: int, path_size: int, buffer: int, size: int, used: int) -> int:
        """There are no links."""
        del fd, path, path_size, buffer, size
        self._memory.write_u32(used, 0)
        return _NOTSUP

    def sock_accept(self, fd: int, flags: int, result: int) -> int:
        """There are no sockets. Envoy writes eight bytes where four are."""
        del fd, flags
        self._memory.write_u64(result, 0)
        return _NOTSUP

    def sock_recv(self, fd: int, vectors: int, count: int, flags: int, size: int, out_flags: int) -> int:
        """There are no sockets."""
        del fd, vectors, count, flags
        self._memory.write_u32(size, 0)
        self._memory.write(out_flags, bytes(2))
        return _NOTSUP

    def sock_send(self, fd: int, vectors: int, count: int, flags: int, size: int) -> int:
        """There are no sockets."""
        del fd, vectors, count, flags
        self._memory.write_u32(size, 0)
        return _NOTSUP

    def clock_time_get(self, clock: int, precision: int, result: int) -> int:
        """The wall clock (0) and the monotonic clock (1)."""
        del precision
        times = (self._host.clock.time_nanoseconds, self._host.clock.monotonic_nanoseconds)
        if clock >= _CLOCKS:
            return _NOTSUP
        self._memory.write_u64(result, times[clock])
        return _SUCCESS

    def clock_res_get(self, clock: int, result: int) -> int:
        """A nanosecond, for both clocks."""
        if clock >= _CLOCKS:
            return _NOTSUP
        self._memory.write_u64(result, 1)
        return _SUCCESS

    def random_get(self, pointer: int, size: int) -> int:
        """At most 64 KiB a call."""
        if size > MAX_RANDOM_BYTES:
            return _INVAL
        if size:
            self._memory.write(pointer, os.urandom(size))
        return _SUCCESS

    def poll_oneoff(self, subscriptions: int, events: int, count: int, result: int) -> int:
        """Nothing is waited for, and nothing happens."""
        del subscriptions, events, count
        self._memory.write_u32(result, 0)
        return _SUCCESS

    def proc_exit(self, code: int) -> None:
        """Returns to the guest, which goes on."""
        del code
        self._host.report(LogLevel.TRACE, "wasi_unstable proc_exit")

    def args_sizes_get(self, count: int, size: int) -> int:
        """There are no arguments."""
        self._memory.write_u32(count, 0)
        self._memory.write_u32(size, 0)
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
