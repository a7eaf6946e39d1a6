"""A component, read as far as linking needs: its core modules, how they are instantiated, what is lifted and lowered.

Component types are counted, not read: the linker knows the world that it asked for. A nested component is skipped.

Source: WebAssembly/component-model, design/mvp/Binary.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeVar

from proxy_wasm.build.wasm.binary import Reader
from proxy_wasm.build.wasm.module import COMPONENT_HEADER, HEADER, Kind


class ComponentSection(IntEnum):
    """Section ids of a component."""

    CUSTOM = 0
    CORE_MODULE = 1
    CORE_INSTANCE = 2
    CORE_TYPE = 3
    COMPONENT = 4
    INSTANCE = 5
    ALIAS = 6
    TYPE = 7
    CANON = 8
    START = 9
    IMPORT = 10
    EXPORT = 11


@dataclass(frozen=True, slots=True)
class CoreItem:
    """An item of a core index space."""

    kind: Kind
    index: int


@dataclass(frozen=True, slots=True)
class ModuleInstance:
    """A core module instantiated with named instances as its imports."""

    module: int
    arguments: dict[str, int]
    """Import module name to core instance."""


@dataclass(frozen=True, slots=True)
class ExportBag:
    """A core instance made of items that exist already."""

    items: dict[str, CoreItem]


@dataclass(frozen=True, slots=True)
class InstanceExport:
    """A core item defined as what a core instance exports under a name."""

    instance: int
    name: str


@dataclass(frozen=True, slots=True)
class Lowered:
    """A core function that calls a component function."""

    function: int


@dataclass(frozen=True, slots=True)
class Builtin:
    """A core function that the component model itself provides (resources, tasks, streams)."""

    opcode: int


CoreDefinition = InstanceExport | Lowered | Builtin


@dataclass(frozen=True, slots=True)
class ImportedFunction:
    """A component function that the component imports; `instance` names the interface, or is empty for the world itself."""

    instance: str
    name: str


@dataclass(frozen=True, slots=True)
class Lifted:
    """A component function on top of a core function."""

    core_function: int
    post_return: int | None


@dataclass(frozen=True, slots=True)
class OpaqueFunction:
    """A component function that comes out of a nested instance."""


Function = ImportedFunction | Lifted | OpaqueFunction


@dataclass(slots=True)
class Component:
    """What a component is made of, each list in the order of its index space."""

    data: bytes
    modules: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """The bounds of each core module."""
    core_instances: list[ModuleInstance | ExportBag] = field(default_factory=list[ModuleInstance | ExportBag])
    core: dict[Kind, list[CoreDefinition]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    functions: list[Function] = field(default_factory=list[Function])
    instances: list[str | None] = field(default_factory=list[str | None])
    """Component instances: the import's name, or `None` for one made inside."""
    exports: dict[str, int] = field(default_factory=dict[str, int])
    """Exported functions of the world itself, by name."""


def read_component(data: bytes) -> Component:
    """Read a component. Raises `MalformedError` with section and offset."""
    head = Reader(data, "component header")
    magic = data[: len(COMPONENT_HEADER)]
    if magic == HEADER:
        raise head.error("this is a core module, not a component")
    if magic != COMPONENT_HEADER:
        raise head.error("this is no WebAssembly component (it does not begin with \\0asm and version 13, layer 1)")
    return _ComponentReader(data).read()


_Item = TypeVar("_Item")

_SORT_CORE, _SORT_FUNCTION, _SORT_TYPE, _SORT_COMPONENT, _SORT_INSTANCE = 0x00, 0x01, 0x03, 0x04, 0x05
_CORE_MODULE, _CORE_INSTANCE = 0x11, 0x12
_LIFT, _LOWER = 0x00, 0x01

_OPTIONS_WITHOUT_OPERAND = {0x00: "utf8", 0x01: "utf16", 0x02: "latin1+utf16", 0x06: "async"}
_OPTIONS_WITH_FUNCTION = {0x04: "realloc", 0x05: "post-return", 0x07: "callback"}
_OPTIONS_WITH_INDEX = {0x03: "memory", 0x08: "core-type"}

# Canonical built-ins, by how many indices follow their opcode (Binary.md, "canon").
_BUILTIN_INDICES = {0x02: 1, 0x03: 1, 0x04: 1}


class _ComponentReader:
    def __init__(self, data: bytes) -> None:
        self.component = Component(data)
        self.outer = Reader(data, "component section header", len(COMPONENT_HEADER))
        self.handlers: dict[int, Callable[[Reader], None]] = {
            ComponentSection.CORE_INSTANCE: self._core_instance,
            ComponentSection.INSTANCE: self._instance,
            ComponentSection.ALIAS: self._alias,
            ComponentSection.CANON: self._canon,
            ComponentSection.IMPORT: self._import,
            ComponentSection.EXPORT: self._export,
        }

    def read(self) -> Component:
        outer = self.outer
        while not outer.at_end:
            start = outer.position
            identifier = outer.u8()
            size = outer.u32()
            try:
                kind = ComponentSection(identifier)
            except ValueError:
                raise outer.error(f"there is no section with id {identifier}", start) from None
            title = f"component {kind.name.lower().replace('_', ' ')} section"
            reader = outer.sub(size, title)
            if kind is ComponentSection.CORE_MODULE:
                self.component.modules.append((reader.position, reader.end))
            elif kind in self.handlers:
                for _ in range(reader.count()):
                    self.handlers[kind](reader)
                reader.require_end()
            elif kind in (ComponentSection.CORE_TYPE, ComponentSection.START):
                raise outer.error(f"a {title} is not supported", start)
        return self.component

    def _known(self, reader: Reader, items: list[_Item], what: str) -> int:
        start = reader.position
        index = reader.u32()
        if index >= len(items):
            raise reader.error(f"there is no {what} {index}", start)
        return index

    def _core_kind(self, reader: Reader) -> Kind:
        start = reader.position
        sort = reader.u8()
        if sort > Kind.GLOBAL:
            raise reader.error(f"core items of sort {sort:#x} are not supported here", start)
        return Kind(sort)

    def _core_item(self, reader: Reader) -> CoreItem:
        kind = self._core_kind(reader)
        return CoreItem(kind, self._known(reader, self.component.core[kind], f"core {kind.name.lower()}"))

    def _core_instance(self, reader: Reader) -> None:
        start = reader.position
        match reader.u8():
            case 0x00:
                module = self._known(reader, self.component.modules, "core module")
                arguments: dict[str, int] = {}
                for _ in range(reader.count()):
                    name, sort = reader.name(), reader.u8()
                    if sort != _CORE_INSTANCE:
                        raise reader.error(f"argument {name!r} is not a core instance", reader.position - 1)
                    arguments[name] = self._known(reader, self.component.core_instances, "core instance")
                self.component.core_instances.append(ModuleInstance(module, arguments))
            case 0x01:
                items = {reader.name(): self._core_item(reader) for _ in range(reader.count())}
                self.component.core_instances.append(ExportBag(items))
            case form:
                raise reader.error(f"a core instance of unknown form {form}", start)

    def _instance(self, reader: Reader) -> None:
        start = reader.position
        match reader.u8():
            case 0x00:
                reader.u32()
                for _ in range(reader.count()):
                    reader.name()
                    self._skip_sort_index(reader)
            case 0x01:
                for _ in range(reader.count()):
                    self._extern_name(reader)
                    self._skip_sort_index(reader)
            case form:
                raise reader.error(f"an instance of unknown form {form}", start)
        self.component.instances.append(None)

    def _skip_sort_index(self, reader: Reader) -> None:
        if reader.u8() == _SORT_CORE:
            reader.u8()
        reader.u32()

    def _extern_name(self, reader: Reader) -> str:
        start = reader.position
        form = reader.u8()
        if form > 1:
            raise reader.error(f"a name of unknown form {form}", start)
        return reader.name()

    def _alias(self, reader: Reader) -> None:
        start = reader.position
        sort = reader.u8()
        core = reader.u8() if sort == _SORT_CORE else None
        form = reader.u8()
        if core == _CORE_MODULE:
            raise reader.error("aliases of core modules are not supported", start)
        match form:
            case 0x00:
                instance = self._known(reader, self.component.instances, "instance")
                self._alias_of_instance(sort, self.component.instances[instance], reader.name())
            case 0x01:
                if core is None or core > Kind.GLOBAL:
                    raise reader.error("an alias of a core export must be a function, table, memory or global", start)
                instance = self._known(reader, self.component.core_instances, "core instance")
                self.component.core[Kind(core)].append(InstanceExport(instance, reader.name()))
            case 0x02:
                reader.u32()
                reader.u32()
            case _:
                raise reader.error(f"an alias of unknown form {form}", start)

    def _alias_of_instance(self, sort: int, instance: str | None, name: str) -> None:
        if sort == _SORT_FUNCTION:
            self.component.functions.append(
                OpaqueFunction() if instance is None else ImportedFunction(instance, name),
            )
        elif sort == _SORT_INSTANCE:
            self.component.instances.append(None)

    def _canon(self, reader: Reader) -> None:
        start = reader.position
        opcode = reader.u8()
        if opcode in (_LIFT, _LOWER) and reader.u8() != 0:
            raise reader.error("lift and lower must be followed by 0x00", start)
        if opcode == _LIFT:
            core_function = self._known(reader, self.component.core[Kind.FUNCTION], "core function")
            options = self._options(reader)
            reader.u32()
            self.component.functions.append(Lifted(core_function, options.get("post-return")))
        elif opcode == _LOWER:
            function = self._known(reader, self.component.functions, "function")
            self._options(reader)
            self.component.core[Kind.FUNCTION].append(Lowered(function))
        elif opcode in _BUILTIN_INDICES:
            for _ in range(_BUILTIN_INDICES[opcode]):
                reader.u32()
            self.component.core[Kind.FUNCTION].append(Builtin(opcode))
        else:
            raise reader.error(f"the canonical built-in {opcode:#04x} is not supported", start)

    def _options(self, reader: Reader) -> dict[str, int]:
        options: dict[str, int] = {}
        for _ in range(reader.count()):
            start = reader.position
            option = reader.u8()
            if option in _OPTIONS_WITH_FUNCTION:
                functions = self.component.core[Kind.FUNCTION]
                options[_OPTIONS_WITH_FUNCTION[option]] = self._known(reader, functions, "core function")
            elif option in _OPTIONS_WITH_INDEX:
                reader.u32()
            elif option not in _OPTIONS_WITHOUT_OPERAND:
                raise reader.error(f"the canonical option {option:#04x} is not supported", start)
        return options

    def _import(self, reader: Reader) -> None:
        name = self._extern_name(reader)
        sort = self._extern_description(reader)
        if sort == _SORT_FUNCTION:
            self.component.functions.append(ImportedFunction("", name))
        elif sort == _SORT_INSTANCE:
            self.component.instances.append(name)

    def _extern_description(self, reader: Reader) -> int:
        start = reader.position
        sort = reader.u8()
        match sort:
            case 0x00:
                raise reader.error("imported core modules are not supported", start)
            case 0x01 | 0x04 | 0x05:
                reader.u32()
            case 0x03:
                if reader.u8() == 0:
                    reader.u32()
            case _:
                raise reader.error(f"an import or export of unknown sort {sort}", start)
        return sort

    def _export(self, reader: Reader) -> None:
        name = self._extern_name(reader)
        start = reader.position
        sort = reader.u8()
        if sort == _SORT_CORE:
            raise reader.error("exports of core items are not supported", start)
        index = reader.u32()
        if reader.u8():
            self._extern_description(reader)
        if sort == _SORT_FUNCTION:
            if index >= len(self.component.functions):
                raise reader.error(f"there is no function {index}", start)
            self.component.exports[name] = index
            self.component.functions.append(self.component.functions[index])
        elif sort == _SORT_INSTANCE:
            self.component.instances.append(None)
