"""Whether Proxy-Wasm hosts will load a core module: the rules by which Envoy accepts or refuses one, before it sees it.

Hosts resolve every import by name and exact type and look their callbacks up by name and exact type; one mismatch and the module is
refused as a whole (proxy-wasm-cpp-host, `src/wasm.cc` and `src/v8/v8.cc`). The rules do not depend on the SDK that made the
module.
"""

import re
from collections.abc import Iterator

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
)
from proxy_wasm.build.errors import CheckError, Violation, nearest
from proxy_wasm.build.wasm.binary import MalformedError
from proxy_wasm.build.wasm.module import FunctionType, Import, Kind, Module, read_module

ABI_VERSIONS = re.compile(r"proxy_abi_version_(\d+)_(\d+)_(\d+)")

_MEMORY_EXPORT = "memory"
_IMPORTS: dict[str, dict[str, CoreSignature]] = {
    HOST_MODULE: {hostcall.import_name: hostcall.core for hostcall in HOSTCALLS.values()},
    WASI_MODULE: WASI_IMPORTS,
}
_NOTHING = CoreSignature((), ())
_CALLBACK_EXPORTS: dict[str, CoreSignature] = {
    **{callback.export_name: callback.core for callback in CALLBACKS.values()},
    "proxy_validate_configuration": CoreSignature(("i32", "i32"), ("i32",)),
}
_ALLOCATORS = ("malloc", MEMORY_ALLOCATE_EXPORT)
_EXPORTS: dict[str, CoreSignature] = {
    **_CALLBACK_EXPORTS,
    **dict.fromkeys(_ALLOCATORS, MEMORY_ALLOCATE),
    "_initialize": _NOTHING,
    "_start": _NOTHING,
    ABI_VERSION_EXPORT: _NOTHING,
}


def check(module: bytes) -> None:
    """Raise `CheckError` with every reason for which a host would refuse `module`."""
    if found := violations(module):
        raise CheckError(found)


def violations(module: bytes) -> tuple[Violation, ...]:
    """Every reason for which a host would refuse `module`; nothing where it is as it should be."""
    try:
        parsed = read_module(module)
    except MalformedError as error:
        return (Violation(f"{error.section}, offset {error.offset:#x}", error.problem),)
    found = (*_imports(parsed), *_abi(parsed), *_functions(parsed), *_memory(parsed))
    return found or tuple(_invalid(module))


def _invalid(module: bytes) -> Iterator[Violation]:
    """Whether the module is valid throughout, function bodies included."""
    from wasmtime import Engine, Module, WasmtimeError  # noqa: PLC0415 - a heavy import, needed here alone

    try:
        Module.validate(Engine(), module)
    except WasmtimeError as error:
        yield Violation("module", f"is not valid: {' '.join(str(error).split())}")


def _imports(module: Module) -> Iterator[Violation]:
    for item in module.imports:
        name = f"import {item.module}.{item.name}"
        if item.kind is not Kind.FUNCTION:
            yield Violation(name, f"a {item.kind.name.lower()} is imported; hosts provide functions only")
            continue
        known = _IMPORTS.get(item.module)
        if known is None:
            yield Violation(name, f"hosts provide {HOST_MODULE} and {WASI_MODULE}, not {item.module}")
        elif item.name not in known:
            yield Violation(name, _unknown(item, known))
        else:
            yield from _differs(name, _type(module, item), known[item.name], "hosts provide")


def _unknown(item: Import, known: dict[str, CoreSignature]) -> str:
    if item.module == WASI_MODULE:
        return f"not every proxy provides it; what all provide is {', '.join(known)}"
    return f"hosts of ABI 0.2.1 provide no such function{nearest(item.name, known)}"


def _type(module: Module, item: Import) -> FunctionType:
    assert isinstance(item.type, int)  # noqa: S101 - functions are imported by type index
    return module.types[item.type]


def _differs(name: str, found: FunctionType, expected: CoreSignature, whose: str) -> Iterator[Violation]:
    if str(found) != str(expected):
        yield Violation(name, f"has the type {found}; {whose} {expected}")


def _abi(module: Module) -> Iterator[Violation]:
    versions = [
        item.name for item in module.exports if ABI_VERSIONS.fullmatch(item.name) and item.kind is Kind.FUNCTION
    ]
    if not versions:
        yield Violation(f"export {ABI_VERSION_EXPORT}", "missing; by it hosts tell which ABI a module speaks")
    elif versions[0] != ABI_VERSION_EXPORT:
        yield Violation(f"export {versions[0]}", f"the module speaks this ABI; {ABI_VERSION_EXPORT} is expected first")


def _functions(module: Module) -> Iterator[Violation]:
    functions = len(module.imported(Kind.FUNCTION)) + len(module.functions)
    exported: set[str] = set()
    for item in module.exports:
        name = f"export {item.name}"
        if item.kind is not Kind.FUNCTION:
            if item.name in _EXPORTS:
                yield Violation(name, f"is a {item.kind.name.lower()}; hosts look for a function")
            continue
        exported.add(item.name)
        if item.index >= functions:
            yield Violation(name, f"there is no function {item.index}")
        elif item.name in _EXPORTS:
            yield from _differs(name, module.function_type(item.index), _EXPORTS[item.name], "hosts call")
        elif item.name.startswith("proxy_on_"):
            yield Violation(name, f"no host calls it{nearest(item.name, _CALLBACK_EXPORTS)}")
    if exported.isdisjoint(_ALLOCATORS):
        yield Violation(f"export {MEMORY_ALLOCATE_EXPORT}", "missing; through it hosts hand over what hostcalls return")


def _memory(module: Module) -> Iterator[Violation]:
    count = len(module.memories)
    imported = len(module.imported(Kind.MEMORY))
    if count + imported != 1:
        yield Violation("memory", f"{count + imported} memories are there; hosts work with exactly one")
    elif not any(item.name == _MEMORY_EXPORT and item.kind is Kind.MEMORY for item in module.exports):
        yield Violation("memory", f"it is not exported under the name {_MEMORY_EXPORT!r}")
