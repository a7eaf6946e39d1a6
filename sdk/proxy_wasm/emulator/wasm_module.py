"""Compiled guests: what a proxy would refuse of a module, and machine code that is made once.

Compiling ten megabytes takes wasmtime many seconds, so the result is kept, in this process and in the user's cache folder,
under the hash of the module and of what compiled it.
"""

import hashlib
import platform
from collections import OrderedDict
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

import wasmtime

from proxy_wasm.abi.signatures import (
    HOST_MODULE,
    MEMORY_ALLOCATE,
    MEMORY_ALLOCATE_EXPORT,
    CoreSignature,
)
from proxy_wasm.build.cache import Cache
from proxy_wasm.build.checker import ABI_VERSIONS
from proxy_wasm.build.errors import CacheError
from proxy_wasm.emulator.abi_versions import BY_EXPORT, AbiVersion
from proxy_wasm.emulator.errors import ModuleRefused
from proxy_wasm.emulator.wasi import BEFORE_1_39, WASI, WASI_MODULES

MAX_WASM_STACK = 1280 << 10
"""Bytes of native stack that a guest may use, unless told.

Enough that recursion in CPython ends in `RecursionError` here where it does in Envoy: the linker charges each function what V8 needs, and the
programs of `tests/inside` come to an end on 640 KiB of wasmtime's frames (x86-64), but not on 512. This is twice as much, for other
processors. It must fit, with the Python that calls the guest, into the stack of the calling thread: 8 MiB mostly.
"""

ALLOCATORS = ("malloc", MEMORY_ALLOCATE_EXPORT)
"""The export that gives the host memory: the first there is, as in Envoy."""

INITIALIZERS: dict[str, CoreSignature] = {
    "_initialize": CoreSignature((), ()),
    "main": CoreSignature(("i32", "i32"), ("i32",)),
    "__main_void": CoreSignature((), ("i32",)),
    "_start": CoreSignature((), ()),
}
"""What the host may run when a VM starts; see `initializers`."""
RUNTIME: dict[str, CoreSignature] = {
    "pthread_equal": CoreSignature(("i32", "i32"), ("i32",)),
    "emscripten_notify_memory_growth": CoreSignature(("i32",), ()),
}
"""What the host provides to runtimes, besides the ABI."""

_MISSING = "Failed to load Wasm module due to a missing import: {}"
_KEPT_IN_PROCESS = 4
_MAGIC = b"\0asm"
_FILE = "machine-code"


Import: TypeAlias = "tuple[tuple[str, str], wasmtime.MemoryType | wasmtime.TableType | None]"
"""What a module imports: the names, and the type unless it is a function. Each VM needs it, and wasmtime takes its time to tell."""


@dataclass(frozen=True, slots=True, eq=False)
class CompiledModule:
    """Machine code, the engine that it is for, and what it was written for."""

    engine: wasmtime.Engine
    module: wasmtime.Module
    version: AbiVersion
    imports: tuple[Import, ...]
    linked: list[wasmtime.InstancePre] = field(default_factory=list[wasmtime.InstancePre])
    """The module with its imports resolved, once a guest has done so, where they are the same for all guests."""


_engines: dict[int, wasmtime.Engine] = {}
_modules: "OrderedDict[str, CompiledModule]" = OrderedDict()


def compiled(module: bytes, *, max_wasm_stack: int = MAX_WASM_STACK) -> CompiledModule:
    """The machine code of `module`; `ModuleRefused` where it is no module or Envoy would not load it."""
    key = _key(module, max_wasm_stack)
    found = _modules.get(key)
    if found is None:
        engine = _engine(max_wasm_stack)
        machine_code = _from_cache_or_compiler(module, key, engine)
        found = CompiledModule(engine, machine_code, _version(machine_code), _imported(machine_code))
        _check_imports(found)
        _check_exports(found)
        _modules[key] = found
        while len(_modules) > _KEPT_IN_PROCESS:
            _modules.popitem(last=False)
    _modules.move_to_end(key)
    return found


def check_older_wasi(module: CompiledModule) -> None:
    """Raise `ModuleRefused` where `module` imports functions of WASI that Envoy has only since 1.39."""
    for entry in module.module.imports:
        if entry.module in WASI_MODULES and entry.name in WASI.keys() - BEFORE_1_39:
            raise ModuleRefused(_MISSING.format(f"{entry.module}.{entry.name}"))


def forget() -> None:
    """Drop what this process keeps; what the cache folder keeps stays."""
    _modules.clear()


def _key(module: bytes, max_wasm_stack: int) -> str:
    made_by = f"wasmtime {version('wasmtime')} {platform.platform()} stack {max_wasm_stack} "
    return hashlib.sha256(made_by.encode() + module).hexdigest()


def _engine(max_wasm_stack: int) -> wasmtime.Engine:
    if max_wasm_stack not in _engines:
        config = wasmtime.Config()
        config.max_wasm_stack = max_wasm_stack
        _engines[max_wasm_stack] = wasmtime.Engine(config)
    return _engines[max_wasm_stack]


def _from_cache_or_compiler(module: bytes, key: str, engine: wasmtime.Engine) -> wasmtime.Module:
    fresh: list[wasmtime.Module] = []

    def fill(folder: Path) -> None:
        fresh.append(_compile(module, engine))
        (folder / _FILE).write_bytes(fresh[0].serialize())

    try:
        folder = Cache().folder("machine-code", key, fill)
        return fresh[0] if fresh else wasmtime.Module.deserialize_file(engine, str(folder / _FILE))
    except (CacheError, OSError, wasmtime.WasmtimeError):
        # Without a cache everything works, slower.
        return fresh[0] if fresh else _compile(module, engine)


def _compile(module: bytes, engine: wasmtime.Engine) -> wasmtime.Module:
    if not module.startswith(_MAGIC):  # wasmtime would take text, too
        msg = "Failed to load Wasm bytecode: it does not begin as a module does"
        raise ModuleRefused(msg)
    try:
        return wasmtime.Module(engine, module)
    except wasmtime.WasmtimeError as error:
        msg = f"Failed to load Wasm bytecode: {error}"
        raise ModuleRefused(msg) from error


def initializers(names: Container[str]) -> tuple[str, ...]:
    """Which of a module's exports the host runs when a VM starts, in this order."""
    if "_initialize" not in names:
        return ("_start",) if "_start" in names else ()
    main = next((name for name in ("main", "__main_void") if name in names), None)
    return ("_initialize",) if main is None else ("_initialize", main)


def imports(version: AbiVersion) -> Mapping[tuple[str, str], CoreSignature]:
    """Everything that a module may import."""
    return _imports(version.number)


@cache
def _imports(number: str) -> Mapping[tuple[str, str], CoreSignature]:
    version = next(version for version in BY_EXPORT.values() if version.number == number)
    return {
        **{(HOST_MODULE, hostcall.import_name): hostcall.core for hostcall in version.hostcalls.values()},
        **{(HOST_MODULE, name): signature for name, signature in RUNTIME.items()},
        **{(module, name): signature for module in WASI_MODULES for name, signature in WASI.items()},
    }


def _imported(module: wasmtime.Module) -> tuple[Import, ...]:
    return tuple(
        (
            (entry.module, entry.name or ""),
            entry.type if isinstance(entry.type, wasmtime.MemoryType | wasmtime.TableType) else None,
        )
        for entry in module.imports
    )


def _version(module: wasmtime.Module) -> AbiVersion:
    for entry in module.exports:
        if entry.name in BY_EXPORT and isinstance(entry.type, wasmtime.FuncType):
            return BY_EXPORT[entry.name]
    msg = f"Missing or unknown Proxy-Wasm ABI version: the module exports none of the functions {', '.join(BY_EXPORT)}"
    others = [entry.name for entry in module.exports if ABI_VERSIONS.fullmatch(entry.name)]
    if others:
        msg += f", but {', '.join(others)}"
    raise ModuleRefused(msg)


def _check_imports(compiled_module: CompiledModule) -> None:
    provided = imports(compiled_module.version)
    for entry in compiled_module.module.imports:
        if isinstance(entry.type, wasmtime.MemoryType | wasmtime.TableType):
            continue
        name = f"{entry.module}.{entry.name}"
        expected = provided.get((entry.module, entry.name or ""))
        if expected is None or not isinstance(entry.type, wasmtime.FuncType):
            raise ModuleRefused(_MISSING.format(name))
        wanted = _signature(entry.type)
        if wanted != _text(expected):
            msg = f"Failed to load Wasm module due to an import type mismatch: {name}, want: {wanted}, but host exports: {_text(expected)}"
            raise ModuleRefused(msg)


def _check_exports(compiled_module: CompiledModule) -> None:
    functions = {
        entry.name: _signature(entry.type)
        for entry in compiled_module.module.exports
        if isinstance(entry.type, wasmtime.FuncType)
    }
    allocator = next((name for name in ALLOCATORS if name in functions), None)
    if allocator is None:
        msg = f"Wasm module is missing malloc function: it exports neither {' nor '.join(ALLOCATORS)}"
        raise ModuleRefused(msg)
    expected = {
        **{name: INITIALIZERS[name] for name in _looked_up(functions)},
        allocator: MEMORY_ALLOCATE,
        **{callback.export_name: callback.core for callback in compiled_module.version.callbacks.values()},
    }
    for name, signature in expected.items():
        if name in functions and functions[name] != _text(signature):
            msg = f"Bad function signature for: {name}, want: {_text(signature)}, but the module exports: {functions[name]}"
            raise ModuleRefused(msg)


def _looked_up(functions: Container[str]) -> tuple[str, ...]:
    """The initializers that the host looks for, be they run or not."""
    return ("_initialize", "main", "__main_void") if "_initialize" in functions else ("_start",)


def _text(signature: CoreSignature) -> str:
    """A function's type in Envoy's words."""
    return f"{' '.join(signature.parameters) or 'void'} -> {' '.join(signature.results) or 'void'}"


def _signature(kind: wasmtime.FuncType) -> str:
    parameters, results = (" ".join(map(str, kinds)) for kinds in (kind.params, kind.results))
    return f"{parameters or 'void'} -> {results or 'void'}"
