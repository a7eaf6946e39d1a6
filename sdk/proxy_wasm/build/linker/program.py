"""A component's core modules and the adapters as one program: one function space, one table, one memory, globals with their values.

After the snapshot nothing is left to be decided at run time: `GOT.*` and `*_base` globals hold their final values, the table is
filled by element segments alone, and every import has its definition. So the program is plain data, from which reachability and
renumbering follow.
"""

import re
from dataclasses import dataclass, field, replace

from proxy_wasm.build.errors import LinkError
from proxy_wasm.build.linker.adapters import CALLBACK_MODULE, LINKER_MODULE, POST_RETURN, SYMBOL_MODULE
from proxy_wasm.build.linker.instructions import S32, U32
from proxy_wasm.build.linker.resolution import (
    Callback,
    Definition,
    HostFunction,
    Resolution,
    Target,
    WasiFunction,
)
from proxy_wasm.build.wasm.binary import Reader
from proxy_wasm.build.wasm.module import (
    ARITHMETIC,
    GLOBAL_GET,
    NUMBERS,
    VALUE_TYPES,
    ConstantExpression,
    DataSegment,
    FunctionType,
    GlobalType,
    Import,
    Kind,
    Limits,
    Module,
    TableType,
)


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the program: one with a body in a unit, or one that the finished module imports."""

    unit: int
    index: int
    """In the unit's index space."""
    type: FunctionType
    body: tuple[int, int] | None
    """Bounds in the unit's file; `None` for an import of the finished module."""
    imported: Import | None = None
    name: str = ""
    """Of a function that the linker makes up."""


@dataclass(slots=True)
class GlobalVariable:
    """A global of the program and the value that it starts with."""

    type: GlobalType
    value: int


@dataclass(slots=True)
class Unit:
    """One core module of the program; its index spaces point into the program's."""

    module: Module
    functions: list[int] = field(default_factory=list[int])
    globals: list[int] = field(default_factory=list[int])


@dataclass(slots=True)
class Program:
    """Everything that the finished module is made from."""

    units: list[Unit]
    functions: list[Function]
    globals: list[GlobalVariable]
    table: TableType
    slots: dict[int, int]
    """Table slot to function."""
    memory: Limits
    segments: list[tuple[Unit, DataSegment, int]]
    """Data segments with their addresses."""
    exports: dict[str, int]
    """Exported functions by name."""

    def adapter(self, name: str) -> int:
        """The function that the adapters' module exports as `name`."""
        adapters = self.units[-1]
        return next(adapters.functions[export.index] for export in adapters.module.exports if export.name == name)

    def initial_word(self, address: int) -> int:
        """The little-endian u32 that the snapshot holds at `address`."""
        return int.from_bytes(self.initial_bytes(address, 4), "little")

    def initial_bytes(self, address: int, size: int) -> bytes:
        """What the snapshot holds from `address` on."""
        contents = bytearray(size)
        for unit, segment, start in self.segments:
            first, last = max(start, address), min(start + segment.end - segment.start, address + size)
            if first < last:
                place = segment.start - start
                contents[first - address : last - address] = unit.module.data[place + first : place + last]
        return bytes(contents)


@dataclass(frozen=True, slots=True)
class AdapterLinks:
    """What the adapters' imports mean."""

    callbacks: dict[str, Callback]
    memory: Definition

    def target(self, item: Import, resolution: Resolution) -> Target | None:
        """The definition of one of the adapters' imports; `None` for one that the finished module keeps."""
        match item.module:
            case module if module == CALLBACK_MODULE:
                name, post, _ = item.name.partition(POST_RETURN)
                callback = self.callbacks[name]
                return callback.post_return if post else callback.function
            case module if module == LINKER_MODULE:
                return self.memory
            case module if module == SYMBOL_MODULE:
                return resolution.symbol(item.name, item.kind)
            case _:
                return None


_FORWARD = re.compile(rb"\x00((?:\x20" + U32 + rb")*)\x41(" + S32 + rb")\x11(" + U32 + rb")\x80{0,4}\x00\x0b")
"""The body of a function that hands its parameters on to a fixed table slot."""


class ProgramBuilder:
    """Builds a `Program` from the instances that callbacks and table need, and the adapters."""

    def __init__(self, resolution: Resolution, adapters: Module, links: AdapterLinks, instances: list[int]) -> None:
        self.resolution = resolution
        self.adapters = adapters
        self.links = links
        self.instances = instances
        self.unit_of = {instance: number for number, instance in enumerate(instances)}
        self.units = [Unit(resolution.module(instance)) for instance in instances] + [Unit(adapters)]
        self.adapter_exports = {export.name: export.index for export in adapters.exports}
        self.functions: list[Function] = []
        self.globals: list[GlobalVariable] = []
        self.first_function: list[int] = []
        self.first_global: list[int] = []

    def build(self) -> Program:
        """The whole program. Raises `LinkError` for what does not fit together."""
        self._number_definitions()
        self._resolve_imports()
        table, slots = self._fill_table()
        self._follow_forwarders(slots)
        memory, segments = self._lay_out_memory()
        exports = {
            name: self.units[-1].functions[index]
            for name, index in self.adapter_exports.items()
            if name.startswith(("proxy_", "_"))
        }
        return Program(self.units, self.functions, self.globals, table, slots, memory, segments, exports)

    def _number_definitions(self) -> None:
        for number, unit in enumerate(self.units):
            module = unit.module
            if module.start is not None:
                raise LinkError(f"{module.label}a start function is left: the component was not pre-initialized")
            self.first_function.append(len(self.functions))
            imported = len(module.imported(Kind.FUNCTION))
            for offset, (type_index, body) in enumerate(zip(module.functions, module.code, strict=True)):
                self.functions.append(Function(number, imported + offset, module.types[type_index], body))
            self.first_global.append(len(self.globals))
            for item in module.globals:
                if item.type.value not in NUMBERS:
                    raise LinkError(
                        f"{module.label}global section: a global of type {VALUE_TYPES[item.type.value]} is not supported"
                    )
            self.globals += [GlobalVariable(item.type, 0) for item in module.globals]

    def _resolve_imports(self) -> None:
        for number, unit in enumerate(self.units):
            module = unit.module
            unit.functions = [self._function(number, item) for item in module.imported(Kind.FUNCTION)]
            first = self.first_function[number]
            unit.functions += range(first, first + len(module.functions))
            unit.globals = [self._global(number, item) for item in module.imported(Kind.GLOBAL)]
            first = self.first_global[number]
            unit.globals += range(first, first + len(module.globals))
        for number, unit in enumerate(self.units):
            first = self.first_global[number]
            for offset, item in enumerate(unit.module.globals):
                self.globals[first + offset].value = self._evaluate(unit, item.initializer)

    def _target(self, number: int, item: Import) -> Target | None:
        if number == len(self.instances):
            return self.links.target(item, self.resolution)
        return self.resolution.resolve_import(self.instances[number], item)

    def _function(self, number: int, item: Import) -> int:
        module = self.units[number].module
        assert isinstance(item.type, int)  # noqa: S101 - the reader's invariant for functions
        wanted = module.types[item.type]
        match self._target(number, item):
            case Definition(instance, _, index):
                found = (
                    self.first_function[self.unit_of[instance]]
                    + index
                    - len(self.resolution.imported(instance, Kind.FUNCTION))
                )
            case HostFunction(name):
                found = self._adapter(name)
            case WasiFunction(interface, name):
                found = self._adapter(f"{interface}#{name}")
            case None:
                self.functions.append(Function(number, -1, wanted, None, item))
                found = len(self.functions) - 1
        if self.functions[found].type != wanted:
            raise LinkError(
                f"{module.label}import {item.module} {item.name}: its type is {wanted}, the definition has {self.functions[found].type}"
            )
        return found

    def _adapter(self, name: str) -> int:
        imported = len(self.adapters.imported(Kind.FUNCTION))
        return self.first_function[-1] + self.adapter_exports[name] - imported

    def _global(self, number: int, item: Import) -> int:
        target = self._target(number, item)
        if not isinstance(target, Definition):
            raise LinkError(
                f"{self.units[number].module.label}import {item.module} {item.name}: a global that no module defines"
            )
        first = self.first_global[self.unit_of[target.instance]]
        found = first + target.index - len(self.resolution.imported(target.instance, Kind.GLOBAL))
        if self.globals[found].type != item.type:
            raise LinkError(
                f"{self.units[number].module.label}import {item.module} {item.name}: its type is {item.type}, "
                f"the definition has {self.globals[found].type}"
            )
        return found

    def _evaluate(self, unit: Unit, expression: ConstantExpression) -> int:
        """The value of an initializer or offset: all that it refers to is known. Floats stay the bits of their encoding."""
        stack: list[int] = []
        for opcode, operand in expression.instructions:
            if opcode == GLOBAL_GET:
                stack.append(self.globals[unit.globals[operand]].value)
            elif opcode in ARITHMETIC:
                right, left = stack.pop(), stack.pop()
                bits = 32 if opcode < 0x7C else 64  # noqa: PLR2004 - the first i64 operation
                stack.append(_wrap(ARITHMETIC[opcode](left, right), bits))
            else:
                stack.append(operand)
        return stack.pop()

    def _fill_table(self) -> tuple[TableType, dict[int, int]]:
        table = self._only(Kind.TABLE)
        slots: dict[int, int] = {}
        beyond = beyond_component = 0
        for unit in self.units:
            beyond_component = beyond
            for segment in unit.module.elements:
                if segment.offset is None or not segment.items:
                    continue
                start = self._evaluate(unit, segment.offset) & 0xFFFFFFFF
                beyond = max(beyond, start + len(segment.items))
                for slot, item in enumerate(segment.items, start):
                    if item is None:
                        slots.pop(slot, None)
                    else:
                        slots[slot] = unit.functions[item]
        if table is None:
            return TableType(0x70, Limits(0, None)), slots
        tables = self.resolution.module(table.instance).tables
        kind = tables[table.index - len(self.resolution.imported(table.instance, Kind.TABLE))]
        if beyond_component > kind.limits.minimum:
            raise LinkError(f"element segments reach slot {beyond_component - 1}, the table has {kind.limits.minimum}")
        if beyond > kind.limits.minimum:  # the adapters' functions come behind the component's
            kind = replace(kind, limits=Limits(beyond, kind.limits.maximum and max(beyond, kind.limits.maximum)))
        return kind, slots

    def _only(self, kind: Kind) -> Definition | None:
        """The table or memory that all instances share; `None` where they have none."""
        only: Definition | None = None
        for instance in self.instances:
            module = self.resolution.module(instance)
            for index in range(module.count(kind)):
                target = self.resolution.resolve(instance, kind, index)
                if not isinstance(target, Definition):
                    raise LinkError(f"{module.label}import section: a {kind.name.lower()} that no module defines")
                if only not in (None, target):
                    raise LinkError(f"{module.label}a second {kind.name.lower()}, where a module has one")
                only = target
        return only

    def _follow_forwarders(self, slots: dict[int, int]) -> None:
        """Let whoever calls a function that only forwards to a table slot call what is in the slot."""
        forwards: dict[int, int] = {}
        for number, function in enumerate(self.functions):
            if function.body is not None and function.body[1] - function.body[0] < 64:  # noqa: PLR2004 - a dozen parameters
                slot = _forwarded_slot(self.units[function.unit].module, function)
                target = None if slot is None else slots.get(slot)
                if target is not None and self.functions[target].type == function.type:
                    forwards[number] = target
        if not forwards:
            return
        final = {number: _last(forwards, number) for number in forwards}
        for unit in self.units:
            unit.functions = [final.get(number, number) for number in unit.functions]
        for slot, number in slots.items():
            slots[slot] = final.get(number, number)

    def _lay_out_memory(self) -> tuple[Limits, list[tuple[Unit, DataSegment, int]]]:
        self._only(Kind.MEMORY)
        memory = self.links.memory
        memories = self.resolution.module(memory.instance).memories
        limits = memories[memory.index - len(self.resolution.imported(memory.instance, Kind.MEMORY))]
        segments: list[tuple[Unit, DataSegment, int]] = []
        for unit in self.units:
            for segment in unit.module.segments:
                if segment.offset is None:
                    raise LinkError(f"{unit.module.label}data section: passive segments are not supported")
                address = self._evaluate(unit, segment.offset) & 0xFFFFFFFF
                if address + segment.end - segment.start > limits.minimum * 65536:
                    raise LinkError(
                        f"{unit.module.label}data section: a segment at {address:#x} reaches beyond the memory"
                    )
                segments.append((unit, segment, address))
        return limits, segments


def _wrap(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _forwarded_slot(module: Module, function: Function) -> int | None:
    assert function.body is not None  # noqa: S101 - the caller's condition
    body = module.data[function.body[0] : function.body[1]]
    match = _FORWARD.fullmatch(body)
    if not match:
        return None
    arguments = Reader(match[1], "forwarder")
    for number in range(len(function.type.parameters)):
        if arguments.at_end or arguments.u8() != 0x20 or arguments.u32() != number:  # noqa: PLR2004 - local.get
            return None
    index = Reader(match[3], "forwarder").u32()
    if not arguments.at_end or module.types[index : index + 1] != [function.type]:
        return None
    return Reader(match[2], "forwarder").s32() & 0xFFFFFFFF


def _last(forwards: dict[int, int], number: int) -> int:
    seen: set[int] = set()
    while number in forwards and number not in seen:
        seen.add(number)
        number = forwards[number]
    return number
