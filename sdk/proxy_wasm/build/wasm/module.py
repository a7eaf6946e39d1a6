"""A core module, read far enough to link, check and inspect it: everything but the instructions inside function bodies.

Source: WebAssembly Core Specification 2.0, section 5.5 ("Modules"), with the extended constant expressions proposal.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from proxy_wasm.build.wasm.binary import MalformedError, Reader

HEADER = b"\0asm\x01\0\0\0"
COMPONENT_HEADER = b"\0asm\x0d\0\x01\0"


class Kind(IntEnum):
    """What an import or export is."""

    FUNCTION = 0
    TABLE = 1
    MEMORY = 2
    GLOBAL = 3
    TAG = 4


class Section(IntEnum):
    """Section ids of a core module."""

    CUSTOM = 0
    TYPE = 1
    IMPORT = 2
    FUNCTION = 3
    TABLE = 4
    MEMORY = 5
    GLOBAL = 6
    EXPORT = 7
    START = 8
    ELEMENT = 9
    CODE = 10
    DATA = 11
    DATA_COUNT = 12
    TAG = 13


I32, I64, F32, F64, V128, FUNCREF, EXTERNREF = 0x7F, 0x7E, 0x7D, 0x7C, 0x7B, 0x70, 0x6F
NUMBERS = (I32, I64, F32, F64)
VALUE_TYPES = {I32: "i32", I64: "i64", F32: "f32", F64: "f64", V128: "v128", FUNCREF: "funcref", EXTERNREF: "externref"}


@dataclass(frozen=True, slots=True)
class FunctionType:
    """Parameters and results, each a string of value type bytes."""

    parameters: bytes
    results: bytes

    def __str__(self) -> str:
        parameters = ", ".join(VALUE_TYPES[byte] for byte in self.parameters)
        return f"({parameters}) -> ({', '.join(VALUE_TYPES[byte] for byte in self.results)})"


@dataclass(frozen=True, slots=True)
class Limits:
    """Size bounds of a memory (in pages of 64 KiB) or a table (in elements)."""

    minimum: int
    maximum: int | None
    flags: int = 0

    def __str__(self) -> str:
        return f"{self.minimum}..{'' if self.maximum is None else self.maximum}"


@dataclass(frozen=True, slots=True)
class TableType:
    """A table: the type of its elements and its bounds."""

    element: int
    limits: Limits


@dataclass(frozen=True, slots=True)
class GlobalType:
    """A global: the type of its value and whether it can change."""

    value: int
    mutable: bool

    def __str__(self) -> str:
        return f"mutable {VALUE_TYPES[self.value]}" if self.mutable else VALUE_TYPES[self.value]


ImportType = int | TableType | Limits | GlobalType


@dataclass(frozen=True, slots=True)
class Import:
    """What a module imports; `type` is a type index, or the type of a table, memory or global."""

    module: str
    name: str
    kind: Kind
    type: ImportType


@dataclass(frozen=True, slots=True)
class Export:
    """What a module exports, by index."""

    name: str
    kind: Kind
    index: int


Instruction = tuple[int, int]
"""An opcode and its operand (0 where there is none) inside a constant expression."""

GLOBAL_GET, I32_CONST, I64_CONST, F32_CONST, F64_CONST, REF_NULL, REF_FUNC, END = (
    0x23,
    0x41,
    0x42,
    0x43,
    0x44,
    0xD0,
    0xD2,
    0x0B,
)
ARITHMETIC: dict[int, Callable[[int, int], int]] = {
    0x6A: lambda left, right: left + right,
    0x6B: lambda left, right: left - right,
    0x6C: lambda left, right: left * right,
    0x7C: lambda left, right: left + right,
    0x7D: lambda left, right: left - right,
    0x7E: lambda left, right: left * right,
}
"""i32 and i64 `add`, `sub`, `mul`: what extended constant expressions allow."""
_I64_ADD = 0x7C
_CONSTANTS: dict[int, tuple[Callable[[Reader], int], int]] = {
    I32_CONST: (Reader.s32, I32),
    I64_CONST: (Reader.s64, I64),
    F32_CONST: (lambda reader: int.from_bytes(reader.bytes(4), "little"), F32),
    F64_CONST: (lambda reader: int.from_bytes(reader.bytes(8), "little"), F64),
}


@dataclass(frozen=True, slots=True)
class ConstantExpression:
    """An initializer or offset; floats are kept as the bits of their encoding."""

    instructions: tuple[Instruction, ...]
    offset: int
    """Where in the file it stands, for errors."""


@dataclass(frozen=True, slots=True)
class Global:
    """A global that the module defines."""

    type: GlobalType
    initializer: ConstantExpression


@dataclass(frozen=True, slots=True)
class ElementSegment:
    """Function references for a table. `offset` is `None` for passive and declarative segments.

    Each item is a function index, or `None` for a null reference.
    """

    table: int
    offset: ConstantExpression | None
    items: tuple[int | None, ...]
    declarative: bool = False


@dataclass(frozen=True, slots=True)
class DataSegment:
    """Bytes for a memory; `offset` is `None` where it is passive. `start` and `end` bound the bytes in the file."""

    memory: int
    offset: ConstantExpression | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class CustomSection:
    """A custom section; `start` and `end` bound its contents in the file."""

    name: str
    start: int
    end: int


@dataclass(slots=True, kw_only=True)
class Module:
    """A core module. All bounds refer to `data`, the bytes of the file that it was read from."""

    data: bytes
    label: str
    types: list[FunctionType] = field(default_factory=list[FunctionType])
    imports: list[Import] = field(default_factory=list[Import])
    functions: list[int] = field(default_factory=list[int])
    """The type index of each function that the module defines."""
    tables: list[TableType] = field(default_factory=list[TableType])
    memories: list[Limits] = field(default_factory=list[Limits])
    globals: list[Global] = field(default_factory=list[Global])
    exports: list[Export] = field(default_factory=list[Export])
    start: int | None = None
    elements: list[ElementSegment] = field(default_factory=list[ElementSegment])
    code: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """The bounds of each function body, local declarations included, its size excluded."""
    segments: list[DataSegment] = field(default_factory=list[DataSegment])
    custom: list[CustomSection] = field(default_factory=list[CustomSection])
    section_sizes: dict[str, int] = field(default_factory=dict[str, int])

    def imported(self, kind: Kind) -> list[Import]:
        """The imports of one kind, in the order of their index space."""
        return [item for item in self.imports if item.kind is kind]

    def count(self, kind: Kind) -> int:
        """How many items an index space has, imported and defined."""
        defined = {
            Kind.FUNCTION: self.functions,
            Kind.TABLE: self.tables,
            Kind.MEMORY: self.memories,
            Kind.GLOBAL: self.globals,
        }
        return len(self.imported(kind)) + len(defined.get(kind, ()))

    def function_type(self, index: int) -> FunctionType:
        """The type of function `index`, imported or defined."""
        imported = self.imported(Kind.FUNCTION)
        if index < len(imported):
            type_index = imported[index].type
            assert isinstance(type_index, int)  # noqa: S101 - what the reader put there
            return self.types[type_index]
        return self.types[self.functions[index - len(imported)]]

    def custom_section(self, name: str) -> bytes | None:
        """The contents of the first custom section of that name."""
        for section in self.custom:
            if section.name == name:
                return self.data[section.start : section.end]
        return None

    def function_names(self) -> dict[int, str]:
        """Function names by index, as the `name` section gives them; nothing where it is absent."""
        for section in self.custom:
            if section.name == "name":
                return _function_names(Reader(self.data, f"{self.label}name section", section.start, section.end))
        return {}


def read_module(data: bytes, start: int = 0, end: int | None = None, label: str = "") -> Module:
    """The module in `data[start:end]`; `label` names it in errors (`"core module 3, "`).

    Raises `MalformedError` with the section and the offset in `data`.
    """
    end = len(data) if end is None else end
    head = Reader(data, f"{label}header", start, end)
    magic = data[start : min(end, start + len(HEADER))]
    if magic == COMPONENT_HEADER:
        raise head.error("this is a component, not a core module")
    if magic != HEADER:
        raise head.error("this is no WebAssembly module (it does not begin with \\0asm and version 1)")
    return _ModuleReader(data, label, start + len(HEADER), end).read()


_ORDER = {
    section: position
    for position, section in enumerate(
        (
            Section.TYPE,
            Section.IMPORT,
            Section.FUNCTION,
            Section.TABLE,
            Section.MEMORY,
            Section.TAG,
            Section.GLOBAL,
            Section.EXPORT,
            Section.START,
            Section.ELEMENT,
            Section.DATA_COUNT,
            Section.CODE,
            Section.DATA,
        )
    )
}


class _ModuleReader:
    """Reads section after section into one `Module`."""

    def __init__(self, data: bytes, label: str, position: int, end: int) -> None:
        self.label = label
        self.outer = Reader(data, f"{label}section header", position, end)
        self.module = Module(data=data, label=label)
        self.declared_segments: int | None = None
        self.spaces: dict[Kind, list[ImportType]] = {kind: [] for kind in Kind}
        """Index spaces: the type of each item, imported or defined."""

    def read(self) -> Module:
        outer, last = self.outer, -1
        while not outer.at_end:
            start = outer.position
            identifier = outer.u8()
            size = outer.u32()
            if identifier == Section.CUSTOM:
                reader = outer.sub(size, f"{self.label}custom section")
                title = reader.name()
                self.module.custom.append(CustomSection(title, reader.position, reader.end))
                self._note_size(f"custom {title}", outer.position - start)
                continue
            try:
                kind = Section(identifier)
            except ValueError:
                raise outer.error(f"there is no section with id {identifier}", start) from None
            title = kind.name.lower().replace("_", " ")
            if _ORDER[kind] <= last:
                raise outer.error(f"the {title} section is repeated or out of order", start)
            last = _ORDER[kind]
            reader = outer.sub(size, f"{self.label}{title} section")
            getattr(self, f"_read_{kind.name.lower()}")(reader)
            reader.require_end()
            self._note_size(title, outer.position - start)
        self._check_counts()
        return self.module

    def _note_size(self, title: str, size: int) -> None:
        self.module.section_sizes[title] = self.module.section_sizes.get(title, 0) + size

    def _check_counts(self) -> None:
        module = self.module
        if len(module.functions) != len(module.code):
            raise self.outer.error(f"{len(module.functions)} functions are declared, {len(module.code)} have a body")
        if self.declared_segments not in (None, len(module.segments)):
            raise self.outer.error(
                f"{self.declared_segments} data segments are declared, {len(module.segments)} are there"
            )

    def _read_type(self, reader: Reader) -> None:
        for _ in range(reader.count()):
            start = reader.position
            if reader.u8() != 0x60:  # noqa: PLR2004 - functype
                raise reader.error("only function types are supported", start)
            parameters = self._value_types(reader)
            self.module.types.append(FunctionType(parameters, self._value_types(reader)))

    def _value_types(self, reader: Reader) -> bytes:
        start = reader.position
        types = reader.bytes(reader.count())
        if not all(byte in VALUE_TYPES for byte in types):
            raise reader.error("an unknown value type", start)
        return types

    def _type_index(self, reader: Reader) -> int:
        start = reader.position
        index = reader.u32()
        if index >= len(self.module.types):
            raise reader.error(f"there is no type {index}", start)
        return index

    def _read_import(self, reader: Reader) -> None:
        for _ in range(reader.count()):
            module, name = reader.name(), reader.name()
            kind = self._kind(reader)
            match kind:
                case Kind.FUNCTION:
                    item: ImportType = self._type_index(reader)
                case Kind.TABLE:
                    item = self._table_type(reader)
                case Kind.MEMORY:
                    item = self._limits(reader)
                case Kind.GLOBAL:
                    item = self._global_type(reader)
                case Kind.TAG:
                    raise reader.error(f"import {module}.{name}: exception tags are not supported")
            self.module.imports.append(Import(module, name, kind, item))
            self.spaces[kind].append(item)

    def _kind(self, reader: Reader) -> Kind:
        start = reader.position
        value = reader.u8()
        try:
            return Kind(value)
        except ValueError:
            raise reader.error(f"there is no kind of import or export {value}", start) from None

    def _index(self, reader: Reader, kind: Kind) -> int:
        start = reader.position
        index = reader.u32()
        if index >= len(self.spaces[kind]):
            raise reader.error(f"there is no {kind.name.lower()} {index}", start)
        return index

    def _limits(self, reader: Reader) -> Limits:
        start = reader.position
        flags = reader.u8()
        if flags > 1:
            raise reader.error("shared or 64-bit memories and tables are not supported", start)
        minimum = reader.u32()
        return Limits(minimum, reader.u32() if flags & 1 else None, flags)

    def _table_type(self, reader: Reader) -> TableType:
        start = reader.position
        element = reader.u8()
        if element not in (FUNCREF, EXTERNREF):
            raise reader.error("an unknown element type", start)
        return TableType(element, self._limits(reader))

    def _global_type(self, reader: Reader) -> GlobalType:
        start = reader.position
        value, mutable = reader.u8(), reader.u8()
        if value not in VALUE_TYPES or mutable > 1:
            raise reader.error("an unknown type of global", start)
        return GlobalType(value, bool(mutable))

    def _read_function(self, reader: Reader) -> None:
        self.module.functions = [self._type_index(reader) for _ in range(reader.count())]
        self.spaces[Kind.FUNCTION] += self.module.functions

    def _read_table(self, reader: Reader) -> None:
        self.module.tables = [self._table_type(reader) for _ in range(reader.count())]
        self.spaces[Kind.TABLE] += self.module.tables

    def _read_memory(self, reader: Reader) -> None:
        self.module.memories = [self._limits(reader) for _ in range(reader.count())]
        self.spaces[Kind.MEMORY] += self.module.memories

    def _read_tag(self, reader: Reader) -> None:
        raise reader.error("exception tags are not supported")

    def _read_global(self, reader: Reader) -> None:
        for _ in range(reader.count()):
            kind = self._global_type(reader)
            self.module.globals.append(Global(kind, self._expression(reader, kind.value)))
            self.spaces[Kind.GLOBAL].append(kind)

    def _expression(self, reader: Reader, wanted: int) -> ConstantExpression:
        """An expression that leaves one value of the type `wanted`."""
        start = reader.position
        instructions: list[Instruction] = []
        types: list[int] = []
        while (opcode := reader.u8()) != END:
            position = reader.position - 1
            if opcode in ARITHMETIC:
                operand, value = 0, I32 if opcode < _I64_ADD else I64
                if types[-2:] != [value, value]:
                    raise reader.error("an operation in a constant expression lacks its operands", position)
                del types[-2:]
            else:
                operand, value = self._constant(reader, opcode)
            types.append(value)
            instructions.append((opcode, operand))
        if types != [wanted]:
            found = ", ".join(VALUE_TYPES[value] for value in types)
            raise reader.error(f"a constant expression gives ({found}) where {VALUE_TYPES[wanted]} is expected", start)
        return ConstantExpression(tuple(instructions), start)

    def _constant(self, reader: Reader, opcode: int) -> tuple[int, int]:
        """The operand and the value's type of an instruction that takes nothing from the stack."""
        if opcode in _CONSTANTS:
            read, value = _CONSTANTS[opcode]
            return read(reader), value
        if opcode == GLOBAL_GET:
            index = self._index(reader, Kind.GLOBAL)
            item = self.spaces[Kind.GLOBAL][index]
            assert isinstance(item, GlobalType)  # noqa: S101 - what that index space holds
            return index, item.value
        if opcode == REF_FUNC:
            return self._index(reader, Kind.FUNCTION), FUNCREF
        if opcode == REF_NULL and reader.peek() in (FUNCREF, EXTERNREF):
            return 0, reader.u8()
        raise reader.error(f"opcode {opcode:#04x} is not allowed in a constant expression", reader.position - 1)

    def _read_export(self, reader: Reader) -> None:
        for _ in range(reader.count()):
            name = reader.name()
            kind = self._kind(reader)
            self.module.exports.append(Export(name, kind, reader.u32()))

    def _read_start(self, reader: Reader) -> None:
        self.module.start = self._index(reader, Kind.FUNCTION)

    def _read_element(self, reader: Reader) -> None:
        for _ in range(reader.count()):
            self.module.elements.append(self._element(reader))

    def _element(self, reader: Reader) -> ElementSegment:
        start = reader.position
        flags = reader.u32()
        if flags > 7:  # noqa: PLR2004 - three flag bits
            raise reader.error(f"an element segment of unknown form {flags}", start)
        active, explicit, expressions = not flags & 1, bool(flags & 2), bool(flags & 4)
        table = self._index(reader, Kind.TABLE) if active and explicit else 0
        if active and not self.spaces[Kind.TABLE]:
            raise reader.error("an element segment without a table", start)
        offset = self._expression(reader, I32) if active else None
        if flags & 3:
            kind = reader.u8()
            if kind != (FUNCREF if expressions else 0):
                raise reader.error("only function references are supported in element segments", reader.position - 1)
        items = tuple(
            self._element_item(reader) if expressions else self._index(reader, Kind.FUNCTION)
            for _ in range(reader.count())
        )
        return ElementSegment(table, offset, items, declarative=not active and explicit)

    def _element_item(self, reader: Reader) -> int | None:
        expression = self._expression(reader, FUNCREF)
        match expression.instructions:
            case ((0xD2, index),):
                return index
            case ((0xD0, _),):
                return None
            case _:  # a global
                raise reader.error("an element must be ref.func or ref.null", expression.offset)

    def _read_data_count(self, reader: Reader) -> None:
        self.declared_segments = reader.u32()

    def _read_code(self, reader: Reader) -> None:
        self.module.code = [reader.span(reader.u32()) for _ in range(reader.count())]

    def _read_data(self, reader: Reader) -> None:
        for _ in range(reader.count()):
            start = reader.position
            flags = reader.u32()
            if flags > 2:  # noqa: PLR2004 - active, passive, active with memory index
                raise reader.error(f"a data segment of unknown form {flags}", start)
            memory = self._index(reader, Kind.MEMORY) if flags == 2 else 0  # noqa: PLR2004
            if flags != 1 and not self.spaces[Kind.MEMORY]:
                raise reader.error("a data segment without a memory", start)
            offset = None if flags == 1 else self._expression(reader, I32)
            self.module.segments.append(DataSegment(memory, offset, *reader.span(reader.u32())))


def _function_names(reader: Reader) -> dict[int, str]:
    names: dict[int, str] = {}
    try:
        while not reader.at_end:
            identifier = reader.u8()
            subsection = reader.sub(reader.u32(), reader.section)
            if identifier == 1:
                names = {subsection.u32(): subsection.name() for _ in range(subsection.count())}
    except MalformedError:
        # Names are for people: the specification forbids refusing a module for a broken custom section (7.3).
        return names
    return names
