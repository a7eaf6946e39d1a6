"""A guest of Wasm: the built module, run by wasmtime.

Arguments and results are read and written as `abi.signatures` says, for every hostcall alike. As in V8 under Envoy, most
hostcalls trap while the module initializes itself or allocates memory for the host.
"""

import ctypes
import weakref
from collections.abc import Callable
from struct import pack

import wasmtime

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.abi.signatures import CALLBACKS, HOST_MODULE, HOSTCALLS, WASI_IMPORTS, WASI_MODULE, Hostcall, Wire
from proxy_wasm.emulator.guest import Guest, GuestFailed, GuestHost
from proxy_wasm.emulator.observer import Results
from proxy_wasm.emulator.wasi import Wasi
from proxy_wasm.emulator.wasm_memory import GuestMemory
from proxy_wasm.emulator.wasm_module import ALLOCATORS, IMPORTS, MAX_MEMORY, CompiledModule

WHILE_INITIALIZING = frozenset(
    {"proxy_log", "fd_write", "clock_time_get", "random_get", "environ_get", "environ_sizes_get"}
)
"""What a module may call in `_initialize`, `main` and `_start`."""
WHILE_ALLOCATING = frozenset({"proxy_log", "fd_write", "clock_time_get"})
"""What a module may call while it allocates memory for the host."""

_FRAMES = 20
_U32 = 0xFFFFFFFF
_MASKS = {"i32": _U32, "i64": 0xFFFFFFFFFFFFFFFF}
_SIGNED = {Wire.S32: 32, Wire.S64: 64}
_FORMATS = {Wire.U32: "<I", Wire.S32: "<i", Wire.U64: "<Q", Wire.S64: "<q"}


class _Restricted(Exception):  # noqa: N818 - says what happened
    """A hostcall came when the proxy allows none."""


class WasmGuest(Guest):
    """One instance of a module."""

    def __init__(self, compiled: CompiledModule, host: GuestHost) -> None:
        self._host = host
        self._allowed: frozenset[str] | None = None
        self._store = wasmtime.Store(compiled.engine)
        self._store.set_limits(memory_size=MAX_MEMORY)
        instance = self._link(compiled.engine).instantiate(self._store, compiled.module)
        self._exports = dict(instance.exports(self._store))
        memory = self._exports["memory"]
        assert isinstance(memory, wasmtime.Memory)  # noqa: S101 - `wasm_module` checked it
        self._wasm_memory = memory
        self._memory = GuestMemory(self._locate)
        self._wasi = Wasi(self._memory, host)
        self._allocate = next(function for name in ALLOCATORS if (function := self._function(name)) is not None)
        self._callbacks = {name: self._function(callback.export_name) for name, callback in CALLBACKS.items()}

    def start(self) -> None:
        self._allowed = WHILE_INITIALIZING
        try:
            if self._function("_initialize") is None:
                self._run_if_there("_start")
                return
            self._run_if_there("_initialize")
            if not self._run_if_there("main", 0, 0):
                self._run_if_there("__main_void")
        finally:
            self._allowed = None

    def has(self, callback: str) -> bool:
        return self._callbacks[callback] is not None

    def call(self, callback: str, *arguments: int) -> int:
        function = self._callbacks[callback]
        if function is None:
            return 0
        return (self._run(function, *arguments) or 0) & _U32

    def memory_size(self) -> int:
        return self._wasm_memory.data_len(self._store)

    def _function(self, name: str) -> wasmtime.Func | None:
        export = self._exports.get(name)
        return export if isinstance(export, wasmtime.Func) else None

    def _run_if_there(self, name: str, *arguments: int) -> bool:
        function = self._function(name)
        if function is not None:
            self._run(function, *arguments)
        return function is not None

    def _run(self, function: wasmtime.Func, *arguments: int) -> int | None:
        try:
            return function(self._store, *arguments)
        except _Restricted as error:
            msg = f"restricted_callback: {error}"
            raise GuestFailed(msg) from None
        except wasmtime.Trap as trap:
            raise GuestFailed(_backtrace(trap)) from None
        except wasmtime.WasmtimeError as error:
            raise GuestFailed(str(error).rstrip()) from None

    def _locate(self) -> tuple[int, int]:
        pointer = self._wasm_memory.data_ptr(self._store)
        address = ctypes.cast(pointer, ctypes.c_void_p).value or 0
        return address, self._wasm_memory.data_len(self._store)

    # What the module imports.

    def _link(self, engine: wasmtime.Engine) -> wasmtime.Linker:
        # wasmtime keeps host functions in a table of the process: they must not keep their guest alive.
        guest: weakref.ref[WasmGuest] = weakref.ref(self)
        linker = wasmtime.Linker(engine)
        for hostcall in HOSTCALLS.values():
            self._define(linker, HOST_MODULE, hostcall.import_name, _hostcall(guest, hostcall))
        for name in WASI_IMPORTS:
            self._define(linker, WASI_MODULE, name, _wasi_call(guest, name))
        return linker

    def _define(self, linker: wasmtime.Linker, module: str, name: str, function: Callable[..., int]) -> None:
        signature = IMPORTS[module, name]
        kinds = {"i32": wasmtime.ValType.i32(), "i64": wasmtime.ValType.i64()}
        kind = wasmtime.FuncType(
            [kinds[entry] for entry in signature.parameters], [kinds[entry] for entry in signature.results]
        )
        linker.define_func(module, name, kind, function)

    def check_allowed(self, name: str) -> None:
        """Trap where the proxy allows no such hostcall now."""
        if self._allowed is not None and name not in self._allowed:
            raise _Restricted(name)

    def hostcall(self, hostcall: Hostcall, arguments: tuple[int, ...]) -> int:
        """Read the arguments, make the call, write its results; the status."""
        values: list[int | bytes] = []
        position = 0
        observers = self._host.observers
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
            method: Callable[..., Results] = getattr(self._host.hostcalls, hostcall.name)
            results = method(*values)
            if hostcall.results:
                if results is None:
                    return Status.NOT_FOUND, None
                written = results if isinstance(results, tuple) else (results,)
                self._write_results(hostcall, [pointer & _U32 for pointer in pointers], written)
        except HostError as error:
            return error.status, results
        return Status.OK, results

    def wasi_call(self, name: str, arguments: tuple[int, ...]) -> int:
        signature = WASI_IMPORTS[name]
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
            address = (self._allocate(self._store, len(data)) or 0) & _U32
        finally:
            self._allowed = outer
        if not address:
            raise HostError("memory", Status.INVALID_MEMORY_ACCESS)
        self._memory.write(address, data)
        return address


def _backtrace(trap: wasmtime.Trap) -> str:
    """What went wrong, and where, in the form of Envoy's log."""
    cause = trap.message.rpartition("Caused by:")[2].strip()
    frames = [
        f"{number:3}:  {frame.module_offset:#x} - {frame.func_name or f'unknown(function index:{frame.func_index})'}"
        for number, frame in enumerate(trap.frames[:_FRAMES])
    ]
    return "\n".join([cause, "Proxy-Wasm plugin in-VM backtrace:", *frames])


def _hostcall(guest: weakref.ref[WasmGuest], hostcall: Hostcall) -> Callable[..., int]:
    name = hostcall.import_name

    def function(*arguments: int) -> int:
        caller = guest()
        assert caller is not None  # noqa: S101 - it is running
        caller.check_allowed(name)
        return int(caller.hostcall(hostcall, arguments))

    return function


def _wasi_call(guest: weakref.ref[WasmGuest], name: str) -> Callable[..., int]:
    def function(*arguments: int) -> int:
        caller = guest()
        assert caller is not None  # noqa: S101 - it is running
        caller.check_allowed(name)
        return caller.wasi_call(name, arguments)

    return function
