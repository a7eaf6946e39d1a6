"""The module's own functions on both of its edges, written as WebAssembly text.

Inwards, one function per host function that the component imports: it calls the `proxy_*` import, which takes the same flattened
parameters, and lays the status and the results out in memory as the canonical ABI returns a tuple.

Outwards, one function per callback: it calls the component's lifted function and then its post-return function. Without that second
call every request would leak its call frame, and the VM would die after some 46,000 of them.

The text is assembled into a module that the linker merges like any other. Its imports name what the linker resolves:

| module | name | what |
|---|---|---|
| `env`, `wasi_snapshot_preview1` | a hostcall | an import of the finished module |
| `callback` | `NAME`, `NAME:post` | the component's lifted function and its post-return function |
| `symbol` | any | the function or global that a module of the component exports under that name |
| `linker` | `memory` | the one memory |

Source: WebAssembly/component-model, design/mvp/CanonicalABI.md (flattening; layout of tuples and lists).
"""

from collections.abc import Iterable, Mapping

from proxy_wasm.abi import signatures
from proxy_wasm.abi.signatures import CALLBACKS, HOSTCALLS, CoreSignature, CoreType, Hostcall, Wire
from proxy_wasm.abi.wit import kebab

CALLBACK_MODULE, SYMBOL_MODULE, LINKER_MODULE = "callback", "symbol", "linker"
POST_RETURN = ":post"

_SIZES = {Wire.U32: 4, Wire.S32: 4, Wire.U64: 8, Wire.S64: 8, Wire.BYTES: 8}
_ALIGNMENTS = {Wire.U32: 4, Wire.S32: 4, Wire.U64: 8, Wire.S64: 8, Wire.BYTES: 4}
_POINTER = 4


def signature_text(signature: CoreSignature) -> str:
    """`(param ...) (result ...)` for a core signature."""
    parameters = f"(param {' '.join(signature.parameters)})" if signature.parameters else ""
    results = f"(result {' '.join(signature.results)})" if signature.results else ""
    return f"{parameters} {results}"


def _result_offsets(hostcall: Hostcall) -> list[int]:
    """Where each result lies in the returned tuple, whose first member is the u32 status."""
    offsets: list[int] = []
    end = 4
    for _, wire in hostcall.results:
        start = -(-end // _ALIGNMENTS[wire]) * _ALIGNMENTS[wire]
        offsets.append(start)
        end = start + _SIZES[wire]
    return offsets


def _hostcall(hostcall: Hostcall) -> str:
    """The adapter of one hostcall, exported under the WIT name of its import."""
    parameters: list[CoreType] = [core for _, wire in hostcall.parameters for core in wire.core]
    arguments = [f"(local.get {index})" for index in range(len(parameters))]
    name = kebab(hostcall.import_name)
    if not hostcall.results:
        header = f'(func (export "{name}") {signature_text(CoreSignature(tuple(parameters), ("i32",)))}'
        call = f"(call ${hostcall.import_name} {' '.join(arguments)})"
        return f"{header}\n  {call})"
    result = f"(local.get {len(parameters)})"
    clears: list[str] = []
    for (_, wire), offset in zip(hostcall.results, _result_offsets(hostcall), strict=True):
        store = "i64.store" if _SIZES[wire] == 8 else "i32.store"  # noqa: PLR2004 - bytes
        clears.append(f"({store} offset={offset} align=4 {result} ({store[:3]}.const 0))")
        arguments.append(f"(i32.add {result} (i32.const {offset}))")
        if wire is Wire.BYTES:
            arguments.append(f"(i32.add {result} (i32.const {offset + _POINTER}))")
    header = f'(func (export "{name}") {signature_text(CoreSignature((*parameters, "i32"), ()))}'
    call = f"(i32.store {result} (call ${hostcall.import_name} {' '.join(arguments)}))"
    return "\n  ".join([header, *clears, call]) + ")"


def _callback(name: str, *, post_return: bool) -> str:
    """The export of one callback."""
    callback = CALLBACKS[name]
    arguments = " ".join(f"(local.get {index})" for index in range(len(callback.parameters)))
    call = f"(call ${name} {arguments})"
    header = f'(func (export "{callback.export_name}") {signature_text(callback.core)}'
    if not post_return:
        return f"{header} {call})"
    if not callback.returns:
        return f"{header} {call} (call ${name}{POST_RETURN}))"
    result = len(callback.parameters)
    return f"{header} (local i32)\n  (call ${name}{POST_RETURN} (local.tee {result} {call})) (local.get {result}))"


def _callback_imports(name: str, *, post_return: bool) -> list[str]:
    signature = CALLBACKS[name].core
    imports = [f'(import "{CALLBACK_MODULE}" "{name}" (func ${name} {signature_text(signature)}))']
    if post_return:
        after = signature_text(CoreSignature(signature.results, ()))
        imports.append(f'(import "{CALLBACK_MODULE}" "{name}{POST_RETURN}" (func ${name}{POST_RETURN} {after}))')
    return imports


def hostcall_import(name: str) -> str:
    """The import of a hostcall, as a text field that defines `$proxy_NAME`."""
    hostcall = HOSTCALLS[name]
    signature = signature_text(hostcall.core)
    return f'(import "{signatures.HOST_MODULE}" "{hostcall.import_name}" (func ${hostcall.import_name} {signature}))'


def wasi_import(name: str) -> str:
    """The import of a WASI function that proxies provide, as a text field that defines `$NAME`."""
    signature = signature_text(signatures.WASI_IMPORTS[name])
    return f'(import "{signatures.WASI_MODULE}" "{name}" (func ${name} {signature}))'


MEMORY_IMPORT = f'(import "{LINKER_MODULE}" "memory" (memory 0))'
REALLOC_IMPORT = f'(import "{SYMBOL_MODULE}" "cabi_realloc" (func $cabi_realloc (param i32 i32 i32 i32) (result i32)))'
STACK_POINTER_IMPORT = f'(import "{SYMBOL_MODULE}" "__stack_pointer" (global $stack_pointer (mut i32)))'

_ABI_FUNCTIONS = f"""
(func (export "{signatures.ABI_VERSION_EXPORT}"))
(func (export "{signatures.MEMORY_ALLOCATE_EXPORT}") (param i32) (result i32)
  (call $cabi_realloc (i32.const 0) (i32.const 0) (i32.const 1) (local.get 0)))
"""


def edge_text(hostcalls: Iterable[str], callbacks: Mapping[str, bool]) -> tuple[list[str], list[str]]:
    """Imports and functions for `hostcalls` (names) and `callbacks` (name to whether it has a post-return function)."""
    hostcalls = list(hostcalls)
    imports = [hostcall_import(name) for name in hostcalls]
    functions = [_hostcall(HOSTCALLS[name]) for name in hostcalls]
    for name, post_return in callbacks.items():
        imports += _callback_imports(name, post_return=post_return)
        functions.append(_callback(name, post_return=post_return))
    return imports, [*functions, _ABI_FUNCTIONS]
