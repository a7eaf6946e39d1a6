"""What a Proxy-Wasm module consists of: interface, sizes by part, and, where this SDK made it, its Python side."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from proxy_wasm.build.checker import ABI_VERSIONS
from proxy_wasm.build.parts import LEFT_OUT
from proxy_wasm.build.provenance import SECTION, Package, Provenance
from proxy_wasm.build.wasm.module import (
    VALUE_TYPES,
    DataSegment,
    GlobalType,
    ImportType,
    Kind,
    Limits,
    Module,
    TableType,
    read_module,
)

_LARGEST = 20
_MAX_MEMORY = 1 << 28
"""Snapshots end far below; segments that end above are not looked at."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something that a module imports or exports."""

    name: str
    """`"env.proxy_log"`, or an export's own name."""
    kind: str
    """`"function"`, `"memory"`, `"table"` or `"global"`."""
    type: str
    """`"(i32, i32, i32) -> (i32)"`, `"200.. pages"`."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the file and its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a module consists of."""

    abi_version: str | None
    """`"0.2.1"`; `None` where the module exports none."""
    size: int
    """Of the file, in bytes."""
    imports: tuple[Item, ...]
    exports: tuple[Item, ...]
    sections: tuple[Part, ...]
    """In the order of the file."""
    functions: int
    """How many the module defines."""
    largest_functions: tuple[Part, ...]
    """Largest first, at most 20."""
    initial_memory: int
    """In bytes."""
    snapshot: int
    """How many bytes of memory the module sets when it is instantiated."""
    python_modules: tuple[str, ...]
    """Those in the snapshot, sorted; empty where this SDK did not make the module."""
    left_out: tuple[str, ...]
    """Parts of CPython that are not in the module, as its function names tell, sorted."""
    plugins: dict[str, str]
    """From `root_id` to `"module:Class"`."""
    sdk_version: str | None
    input_hash: str | None
    """The hash of what the module was built from."""
    tools: dict[str, str]
    """From name to version: what it was made with."""
    extension: Package | None
    packages: tuple[Package, ...]
    """Python packages inside, besides the extension and this SDK."""


def inspect(module: bytes) -> Inspection:
    """Look into the core module `module`, whichever SDK made it.

    Raises `proxy_wasm.build.wasm.binary.MalformedError` where it is none, with the section and the offset.
    """
    parsed = read_module(module)
    names = parsed.function_names()
    manifest = _manifest(parsed)
    provenance = Provenance.read(parsed.custom_section(SECTION))
    return Inspection(
        abi_version=_abi_version(parsed),
        size=len(module),
        imports=tuple(
            Item(f"{item.module}.{item.name}", item.kind.name.lower(), _described(parsed, item.type))
            for item in parsed.imports
        ),
        exports=tuple(
            Item(item.name, item.kind.name.lower(), _export_type(parsed, item.kind, item.index))
            for item in parsed.exports
        ),
        sections=tuple(Part(name, size) for name, size in parsed.section_sizes.items()),
        functions=len(parsed.functions),
        largest_functions=_largest_functions(parsed, names),
        initial_memory=parsed.memories[0].minimum << 16 if parsed.memories else 0,
        snapshot=sum(segment.end - segment.start for segment in parsed.segments),
        python_modules=tuple(map(str, manifest.get("modules", ()))),
        left_out=tuple(sorted({name.removeprefix(LEFT_OUT) for name in names.values() if name.startswith(LEFT_OUT)})),
        plugins=dict(manifest.get("plugins", {})),
        sdk_version=manifest.get("sdk"),
        input_hash=None if provenance is None else provenance.hash,
        tools={} if provenance is None else dict(provenance.tools),
        extension=None if provenance is None else provenance.extension,
        packages=() if provenance is None else provenance.packages,
    )


def memory_image(module: Module) -> bytes:
    """The memory as the module's data segments leave it; segments that are not at a constant place are left out."""
    placed = [(offset, segment) for segment in module.segments if (offset := _place(segment)) is not None]
    end = max((offset + segment.end - segment.start for offset, segment in placed), default=0)
    image = bytearray(end)
    for offset, segment in placed:
        image[offset : offset + segment.end - segment.start] = module.data[segment.start : segment.end]
    return bytes(image)


def _place(segment: DataSegment) -> int | None:
    match segment.offset and segment.offset.instructions:
        case ((0x41, offset),) if offset >= 0 and offset + segment.end - segment.start <= _MAX_MEMORY:
            return offset
        case _:
            return None


def _manifest(module: Module) -> dict[str, Any]:
    from proxy_wasm.guest import manifest  # noqa: PLC0415 - modules of other SDKs are inspected too

    return manifest.find(memory_image(module)) or {}


def _abi_version(module: Module) -> str | None:
    for item in module.exports:
        if item.kind is Kind.FUNCTION and (version := ABI_VERSIONS.fullmatch(item.name)):
            return ".".join(version.groups())
    return None


def _export_type(module: Module, kind: Kind, index: int) -> str:
    imported: list[ImportType] = [item.type for item in module.imported(kind)]
    match kind:
        case Kind.FUNCTION:
            space = [*imported, *module.functions]
        case Kind.TABLE:
            space = [*imported, *module.tables]
        case Kind.MEMORY:
            space = [*imported, *module.memories]
        case _:
            space = [*imported, *(item.type for item in module.globals)]
    return _described(module, space[index]) if index < len(space) else "there is none of this index"


def _described(module: Module, kind: ImportType) -> str:
    match kind:
        case int():
            return str(module.types[kind])
        case Limits():
            return f"{kind} pages"
        case TableType():
            return f"{kind.limits} {VALUE_TYPES[kind.element]}"
        case GlobalType():
            return f"{'mutable ' if kind.mutable else ''}{VALUE_TYPES[kind.value]}"


def _sizes(module: Module) -> Iterable[tuple[int, int]]:
    """Index and size of each function that the module defines."""
    first = len(module.imported(Kind.FUNCTION))
    return ((first + position, end - start) for position, (start, end) in enumerate(module.code))


def _largest_functions(module: Module, names: dict[int, str]) -> tuple[Part, ...]:
    largest = sorted(_sizes(module), key=lambda item: -item[1])[:_LARGEST]
    return tuple(Part(names.get(index, f"function {index}"), size) for index, size in largest)
