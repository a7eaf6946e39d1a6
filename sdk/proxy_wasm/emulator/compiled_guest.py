"""A guest of Wasm: a module of any language and of any version of the ABI, run by wasmtime.

Arguments and results are read and written as the tables of the module's ABI version say, for every hostcall alike. As in V8 under Envoy, most
hostcalls trap while the module initializes itself or allocates memory for the host, and what it may not do at all it is refused
(`GuestHost.capabilities`). A trap while memory is allocated fails the VM, but the callback that made the hostcall goes on: the hostcall
returns `INVALID_MEMORY_ACCESS`.
"""

import ctypes
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from struct import pack

import wasmtime

from proxy_wasm.abi.enums import LogLevel, Status
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.abi.signatures import HOST_MODULE, CoreSignature, Hostcall, Wire
from proxy_wasm.emulator.abi_versions import BY_EXPORT
from proxy_wasm.emulator.errors import ModuleRefused
from proxy_wasm.emulator.guest import MAX_MEMORY, Guest, GuestFailed, GuestHost, restricted
from proxy_wasm.emulator.observer import Results
from proxy_wasm.emulator.wasi import WASI, WASI_MODULES, Wasi
from proxy_wasm.emulator.wasm_memory import GuestMemory
from proxy_wasm.emulator.wasm_module import (
    ALLOCATORS,
    RUNTIME,
    CompiledModule,
    imports,
    initializers,
)

WHILE_INITIALIZING = frozenset({"proxy_log", "emscripten_notify_memory_growth", *WASI}) - {
    "fd_read",
    "fd_seek",
    "fd_close",
    "path_open",
    "sched_yield",
    "proc_exit",
}
"""What a module may call in `_initialize`, `main` and `_start`."""
WHILE_ALLOCATING = frozenset({"proxy_log", "fd_write", "clock_time_get", "poll_oneoff"})
"""What a module may call while it allocates memory for the host."""

NOT_CAPABLE = 76
"""What a function of WASI returns that the module is not allowed."""

_FRAMES = 20
_MAX_DEPTH = 24
"""Hostcalls that call the module back, which makes another: more, and Python's own stack would overflow before that of the guest."""
_MAX_TABLE = 10_000_000
"""Elements that a table may have, as in V8."""
_U32 = 0xFFFFFFFF
_MASKS = {"i32": _U32, "i64": 0xFFFFFFFFFFFFFFFF}
_SIGNED = {Wire.S32: 32, Wire.S64: 64}
_KINDS = {"i32": wasmtime.ValType.i32(), "i64": wasmtime.ValType.i64()}
_CAUSES = {
    wasmtime.TrapCode.UNREACHABLE: "unreachable",
    wasmtime.TrapCode.MEMORY_OUT_OF_BOUNDS: "memory access out of bounds",
    wasmtime.TrapCode.TABLE_OUT_OF_BOUNDS: "table index is out of bounds",
    wasmtime.TrapCode.INDIRECT_CALL_TO_NULL: "function signature mismatch",
    wasmtime.TrapCode.BAD_SIGNATURE: "function signature mismatch",
    wasmtime.TrapCode.INTEGER_OVERFLOW: "divide result unrepresentable",
    wasmtime.TrapCode.INTEGER_DIVISION_BY_ZERO: "divide by zero",
    wasmtime.TrapCode.BAD_CONVERSION_TO_INTEGER: "float unrepresentable in integer range",
}
"""Why guests trap, in V8's words."""
_OUT_OF_STACK = "Uncaught RangeError: Maximum call stack size exceeded"
_LARGEST = {"map_type": 7, "buffer_type": 8, "level": 5}
"""Parameters that are looked at before memory is, and their largest values."""
_FORMATS = {Wire.U32: "<I", Wire.S32: "<i", Wire.U64: "<Q", Wire.S64: "<q"}


class _Restricted(Exception):  # noqa: N818 - says what happened
    """A hostcall came when the proxy allows none."""


class WasmGuest(Guest):
    """One instance of a module."""

    def __init__(self, compiled: CompiledModule, host: GuestHost) -> None:
        self._host = host
        self._version = compiled.version
        self._allowed: frozenset[str] | None = WHILE_INITIALIZING
        self._depth = 0
        """How many calls into the module are under way, one within the other."""
        self._wasm_memory: wasmtime.Memory | None = None
        self._store = wasmtime.Store(compiled.engine)
        self._store.set_limits(memory_size=MAX_MEMORY, table_elements=_MAX_TABLE)
        self._memory = GuestMemory(self._locate)
        self._wasi = Wasi(self._memory, host)
        instance = self._instantiate(compiled)
        self._exports = dict(instance.exports(self._store))
        for export in self._exports.values():
            if isinstance(export, wasmtime.Memory):
                self._wasm_memory = export
        self._allocator = next(name for name in ALLOCATORS if self._function(name) is not None)
        self._allocate = self._exported(self._allocator)
        self._callbacks = {
            name: self._function(callback.export_name) if host.allows(callback.export_name) else None
            for name, callback in self._version.callbacks.items()
        }

    def start(self) -> None:
        functions = [name for name in self._exports if self._function(name) is not None]
        try:
            for name in initializers(functions):
                self._initialize(name)
        finally:
            self._allowed = None

    def _initialize(self, name: str) -> None:
        try:
            self._run(self._exported(name), *((0, 0) if name == "main" else ()))
        except GuestFailed as failure:
            raise GuestFailed(str(failure), name) from None

    def has(self, callback: str) -> bool:
        return self._callbacks.get(callback) is not None

    def call(self, callback: str, *arguments: int) -> int:
        function = self._callbacks[callback]
        if function is None:
            return 0
        count = len(self._version.callbacks[callback].parameters)
        return (self._run(function, *arguments[:count]) or 0) & _U32

    def memory_size(self) -> int:
        return 0 if self._wasm_memory is None else self._wasm_memory.data_len(self._store)

    def _function(self, name: str) -> wasmtime.Func | None:
        export = self._exports.get(name)
        return export if isinstance(export, wasmtime.Func) else None

    def _exported(self, name: str) -> wasmtime.Func:
        function = self._function(name)
        assert function is not None  # noqa: S101 - the caller or `wasm_module` looked
        return function

    def _run(self, function: wasmtime.Func, *arguments: int) -> int | None:
        if self._depth == _MAX_DEPTH:
            raise GuestFailed(_OUT_OF_STACK)
        self._depth += 1
        _running.guests.append(self)
        try:
            return function(self._store, *arguments)
        except _Restricted as error:
            msg = f"Uncaught Error: restricted_callback: {error}"
            raise GuestFailed(msg) from None
        except wasmtime.Trap as trap:
            raise GuestFailed(_backtrace(trap)) from None
        except wasmtime.WasmtimeError as error:
            raise GuestFailed(str(error).rstrip()) from None
        finally:
            _running.guests.pop()
            self._depth -= 1

    def _locate(self) -> tuple[int, int]:
        if self._wasm_memory is None:
            return 0, 0
        pointer = self._wasm_memory.data_ptr(self._store)
        address = ctypes.cast(pointer, ctypes.c_void_p).value or 0
        return address, self._wasm_memory.data_len(self._store)

    # What the module imports.

    def _instantiate(self, compiled: CompiledModule) -> wasmtime.Instance:
        """The instance; `ModuleRefused` where it asks for too much, or traps before it is one."""
        _running.guests.append(self)
        try:
            return self._linked(compiled).instantiate(self._store)
        except (_Restricted, wasmtime.Trap, wasmtime.WasmtimeError) as error:
            msg = f"Failed to create new Wasm instance: {error}"
            raise ModuleRefused(msg) from error
        finally:
            _running.guests.pop()

    def _linked(self, compiled: CompiledModule) -> wasmtime.InstancePre:
        """The module with its imports; a memory among them becomes the guest's, which other guests must not share."""
        if compiled.linked:
            return compiled.linked[0]
        functions, signatures = _functions(self._version.number), imports(self._version)
        linker = wasmtime.Linker(compiled.engine)
        linker.allow_shadowing = True  # a module may import a thing twice
        is_shared = True
        for key, kind in compiled.imports:
            if kind is None:
                linker.define_func(*key, _type(compiled.engine, signatures[key]), functions[key])
                continue
            is_shared = False
            if isinstance(kind, wasmtime.MemoryType):
                self._wasm_memory = wasmtime.Memory(self._store, kind)
                linker.define(self._store, *key, self._wasm_memory)
            else:
                linker.define(self._store, *key, wasmtime.Table(self._store, kind, None))
        linked = linker.instantiate_pre(compiled.module)
        if is_shared:
            compiled.linked.append(linked)
        return linked

    def check_allowed(self, name: str) -> None:
        """Trap where the proxy allows no such hostcall now."""
        if self._allowed is not None and name not in self._allowed:
            raise _Restricted(name)

    def hostcall(self, hostcall: Hostcall, arguments: tuple[int, ...]) -> int:
        """Read the arguments, make the call, write its results; the status."""
        values: list[int | bytes] = []
        position = 0
        observers = self._host.observers
        refused = self._refused(hostcall, arguments)
        if refused is not None:
            for observer in observers:
                observer.called(hostcall.name, ())
                observer.answered(hostcall.name, refused, None)
            return refused
        try:
            for _, wire in hostcall.parameters:
                value = arguments[position]
                if wire is Wire.BYTES:
                    values.append(self._memory.read(value & _U32, arguments[position + 1] & _U32))
                else:
                    values.append(value if wire in _SIGNED else value & _MASKS[wire.core[0]])
                position += len(wire.core)
        except HostError as error:
            for observer in observers:
                observer.called(hostcall.name, tuple(values))
                observer.answered(hostcall.name, error.status, None)
            return error.status
        for observer in observers:
            observer.called(hostcall.name, tuple(values))
        status, results = self._make(hostcall, values, arguments[position:])
        for observer in observers:
            observer.answered(hostcall.name, status, results)
        return status

    def _make(self, hostcall: Hostcall, values: list[int | bytes], pointers: tuple[int, ...]) -> tuple[int, Results]:
        results: Results = None
        try:
            if hostcall.name == "http_call":  # whether there is a place for its id is found out before it is made
                self._memory.write_u32(pointers[0] & _U32, 0)
            method: Callable[..., Results] = getattr(self._host.hostcalls, hostcall.name)
            results = method(*values)
            if hostcall.results:
                if results is None:
                    return Status.NOT_FOUND, None
                written = results if isinstance(results, tuple) else (results,)
                self._write_results(hostcall, [pointer & _U32 for pointer in pointers], written)
        except HostError as error:
            if hostcall.name == "call_foreign_function" and error.status != Status.NOT_FOUND:
                self._write_nothing(pointers)
            return error.status, results
        return Status.OK, results

    def _write_nothing(self, pointers: tuple[int, ...]) -> None:
        """A foreign function that failed has a result of no bytes, where that is wanted."""
        for pointer in pointers:
            if pointer:
                with suppress(HostError):
                    self._memory.write_u32(pointer & _U32, 0)

    def _refused(self, hostcall: Hostcall, arguments: tuple[int, ...]) -> Status | None:
        """What a hostcall returns that the host refuses whatever is in memory."""
        if not self._host.allows(hostcall.import_name):
            self._host.report(LogLevel.ERROR, restricted(hostcall.import_name))
            return Status.INTERNAL_FAILURE
        if arguments and hostcall.parameters and arguments[0] & _U32 > _LARGEST.get(hostcall.parameters[0][0], _U32):
            return Status.BAD_ARGUMENT
        return None

    def wasi_call(self, name: str, arguments: tuple[int, ...]) -> int | None:
        """Call a function of WASI with numbers as the guest passes them; what it returns, if anything."""
        signature = WASI[name]
        if not self._host.allows(name):
            self._host.report(LogLevel.ERROR, restricted(name))
            return NOT_CAPABLE if signature.results else None
        pairs = zip(arguments, signature.parameters, strict=True)
        return self._wasi.call(name, *(value & _MASKS[core] for value, core in pairs))

    def _write_results(self, hostcall: Hostcall, pointers: list[int], results: tuple[int | bytes, ...]) -> None:
        position = 0
        for (_, wire), result in zip(hostcall.results, results, strict=True):
            if isinstance(result, bytes):
                address = self._copy(result)
                # A null pointer says that the result is not wanted (only foreign functions know that).
                for pointer, value in zip(pointers[position : position + 2], (address, len(result)), strict=True):
                    if pointer or hostcall.name != "call_foreign_function":
                        self._memory.write_u32(pointer, value)
                position += 2
            else:
                self._memory.write(pointers[position], pack(_FORMATS[wire], result))
                position += 1

    def _copy(self, data: bytes) -> int:
        """The address of memory that the module allocated for `data`; 0 for no bytes."""
        if not data:
            return 0
        outer, self._allowed = self._allowed, WHILE_ALLOCATING
        try:
            address = self._host.as_vm(lambda: (self._run(self._allocate, len(data)) or 0) & _U32)
        except GuestFailed as failure:
            self._host.fail(self._allocator, str(failure))
            address = 0
        finally:
            self._allowed = outer
        if not address:
            raise HostError("memory", Status.INVALID_MEMORY_ACCESS)
        self._memory.write(address, data)
        return address


def _backtrace(trap: wasmtime.Trap) -> str:
    """What went wrong, and where, in the form of Envoy's log."""
    frames = [
        f"{number:3}:  {frame.module_offset:#x} - {frame.func_name or f'unknown(function index:{frame.func_index})'}"
        for number, frame in enumerate(trap.frames[:_FRAMES])
    ]
    return "\n".join([_cause(trap), "Proxy-Wasm plugin in-VM backtrace:", *frames])


def _cause(trap: wasmtime.Trap) -> str:
    if trap.trap_code == wasmtime.TrapCode.STACK_OVERFLOW:
        return _OUT_OF_STACK
    known = _CAUSES.get(trap.trap_code) if trap.trap_code is not None else None
    return f"Uncaught RuntimeError: {known or trap.message.rpartition('Caused by:')[2].strip()}"


@cache
def _type(engine: wasmtime.Engine, signature: CoreSignature) -> wasmtime.FuncType:
    """A function's type; wasmtime ties one to the engine that it is first used with, and aborts where it is another."""
    del engine
    return wasmtime.FuncType(
        [_KINDS[kind] for kind in signature.parameters], [_KINDS[kind] for kind in signature.results]
    )


class _Running(threading.local):
    """The guests that run, each called by a hostcall of the one before: host functions are made once for all guests."""

    def __init__(self) -> None:
        self.guests: list[WasmGuest] = []


_running = _Running()


@cache
def _functions(version: str) -> dict[tuple[str, str], Callable[..., object]]:
    """The function behind each import that there may be."""
    hostcalls = next(known for known in BY_EXPORT.values() if known.number == version).hostcalls
    return {
        **{(HOST_MODULE, hostcall.import_name): _hostcall(hostcall) for hostcall in hostcalls.values()},
        **{(HOST_MODULE, name): _runtime_call(name) for name in RUNTIME},
        **{(module, name): _wasi_call(name) for module in WASI_MODULES for name in WASI},
    }


def _hostcall(hostcall: Hostcall) -> Callable[..., int]:
    name = hostcall.import_name

    def function(*arguments: int) -> int:
        caller = _running.guests[-1]
        caller.check_allowed(name)
        return int(caller.hostcall(hostcall, arguments))

    return function


def _wasi_call(name: str) -> Callable[..., int | None]:
    def function(*arguments: int) -> int | None:
        caller = _running.guests[-1]
        caller.check_allowed(name)
        return caller.wasi_call(name, arguments)

    return function


def _runtime_call(name: str) -> Callable[..., int | None]:
    def function(*arguments: int) -> int | None:
        _running.guests[-1].check_allowed(name)
        return int(arguments[0] == arguments[1]) if RUNTIME[name].results else None

    return function
