"""Compiled guests: what a proxy would refuse of a module, and machine code that is made once.

Compiling ten megabytes takes wasmtime many seconds, so the result is kept, in this process and in the user's cache folder,
under the hash of the module and of what compiled it.
"""

import hashlib
import platform
from collections import OrderedDict
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import wasmtime

from proxy_wasm.abi.signatures import (
    ABI_VERSION_EXPORT,
    CALLBACKS,
    HOST_MODULE,
    HOSTCALLS,
    MEMORY_ALLOCATE,
    MEMORY_ALLOCATE_EXPORT,
    WASI_IMPORTS,
    WASI_MODULE,
    CoreSignature,
    CoreType,
)
from proxy_wasm.build.cache import Cache
from proxy_wasm.build.errors import CacheError
from proxy_wasm.emulator.errors import ModuleRefused

MAX_WASM_STACK = 1280 << 10
"""Bytes of native stack that a guest may use, unless told.

Enough that recursion in CPython ends in `RecursionError` here where it does in Envoy: the linker charges each function what V8 needs, and the
programs of `tests/inside` come to an end on 640 KiB of wasmtime's frames (x86-64), but not on 512. This is twice as much, for other
processors. It must fit, with the Python that calls the guest, into the stack of the calling thread: 8 MiB mostly.
"""

MAX_MEMORY = 1 << 30
"""Bytes of memory that a guest may have, as in Envoy."""

IMPORTS: dict[tuple[str, str], CoreSignature] = {
    **{(HOST_MODULE, hostcall.import_name): hostcall.core for hostcall in HOSTCALLS.values()},
    **{(WASI_MODULE, name): signature for name, signature in WASI_IMPORTS.items()},
}
"""Everything that a module may import."""

ALLOCATORS = ("malloc", MEMORY_ALLOCATE_EXPORT)
"""The export that gives the host memory: the first there is, as in Envoy."""

_NOTHING = CoreSignature((), ())
_EXPORTS: dict[str, CoreSignature] = {
    **{callback.export_name: callback.core for callback in CALLBACKS.values()},
    **dict.fromkeys(ALLOCATORS, MEMORY_ALLOCATE),
    "_initialize": _NOTHING,
    "_start": _NOTHING,
}
_KEPT_IN_PROCESS = 4
_FILE = "machine-code"


@dataclass(frozen=True, slots=True)
class CompiledModule:
    """Machine code, and the engine that it is for."""

    engine: wasmtime.Engine
    module: wasmtime.Module


_engines: dict[int, wasmtime.Engine] = {}
_modules: "OrderedDict[str, CompiledModule]" = OrderedDict()


def compiled(module: bytes, *, max_wasm_stack: int = MAX_WASM_STACK) -> CompiledModule:
    """The machine code of `module`; `ModuleRefused` where it is no module or Envoy would not load it."""
    key = _key(module, max_wasm_stack)
    found = _modules.get(key)
    if found is None:
        engine = _engine(max_wasm_stack)
        found = CompiledModule(engine, _from_cache_or_compiler(module, key, engine))
        _check_imports(found.module)
        _check_exports(found.module)
        _modules[key] = found
        while len(_modules) > _KEPT_IN_PROCESS:
            _modules.popitem(last=False)
    _modules.move_to_end(key)
    return found


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
    try:
        return wasmtime.Module(engine, module)
    except wasmtime.WasmtimeError as error:
        msg = f"not a core Wasm module: {error}"
        raise ModuleRefused(msg) from error


def _check_imports(module: wasmtime.Module) -> None:
    for entry in module.imports:
        name = f"{entry.module}.{entry.name}"
        expected = IMPORTS.get((entry.module, entry.name or ""))
        if expected is None:
            msg = f"import {name}: no proxy is sure to provide it"
            raise ModuleRefused(msg)
        actual = _signature(entry.type)
        if actual != expected:
            msg = f"import {name}: the proxy provides {expected}, the module wants {actual}"
            raise ModuleRefused(msg)


def _check_exports(module: wasmtime.Module) -> None:
    exports = {entry.name: entry.type for entry in module.exports}
    if not isinstance(exports.get(ABI_VERSION_EXPORT), wasmtime.FuncType):
        msg = f"export {ABI_VERSION_EXPORT}: missing, so no proxy knows the module's ABI version"
        raise ModuleRefused(msg)
    if not isinstance(exports.get("memory"), wasmtime.MemoryType):
        msg = "export memory: missing, the proxy could not read what the module passes"
        raise ModuleRefused(msg)
    if not any(name in exports for name in ALLOCATORS):
        msg = f"export {MEMORY_ALLOCATE_EXPORT}: missing, the proxy could not pass anything to the module"
        raise ModuleRefused(msg)
    for name, expected in _EXPORTS.items():
        if name in exports and (actual := _signature(exports[name])) != expected:
            msg = f"export {name}: the proxy expects {expected}, the module has {actual}"
            raise ModuleRefused(msg)


def _signature(kind: object) -> CoreSignature | str:
    """A function's type in the terms of `abi.signatures`; anything else as text."""
    if not isinstance(kind, wasmtime.FuncType):
        return type(kind).__name__
    parameters, results = ([str(entry) for entry in kind.params], [str(entry) for entry in kind.results])
    core = (_core_types(parameters), _core_types(results))
    if None in core:
        return f"({', '.join(parameters)}) -> ({', '.join(results)})"
    return CoreSignature(core[0] or (), core[1] or ())


def _core_types(names: list[str]) -> tuple[CoreType, ...] | None:
    """`None` where there are other types than those of the ABI."""
    known: dict[str, CoreType] = {"i32": "i32", "i64": "i64"}
    return tuple(known[name] for name in names) if known.keys() >= set(names) else None
