"""What the module does without: functions of CPython that nothing in a proxy runs.

Calls alone keep most functions, for almost all of CPython is called through pointers in static data: methods of types, slots of types, modules'
tables of functions. So every function in a table slot is taken for reachable, except those of parts (`proxy_wasm.build.parts`) that are left out. They
stay out as well, unless

- a function that stays calls them, or takes their address in its code;
- the part is a compiled module that was initialized: its objects may then be anywhere in the snapshot. `PyInit_X` returns the address of the
  module's definition, which CPython numbers when it sees it first.

And so do those of componentize-py's runtime, which nothing calls once the linker's own functions stand on both edges (`proxy_wasm.build.linker.bridge`).

A slot of a function that is left out gets another in its place: one of the same type that says in the proxy's log what is missing, and traps.
Nothing should ever call it; a wrong table of parts must not end in silence. Where Python may well get to a function that is missing, the parts
say what stands in its place: a function that raises `ImportError`, or one that does nothing.

With a part go the tables that only its functions read (`proxy_wasm.build.linker.snapshot`); that they are where the part says is told by their checksums.
"""

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.build.errors import LinkError
from proxy_wasm.build.linker.instructions import CALL, GLOBAL_GET, I32_CONST, S32, U32
from proxy_wasm.build.linker.program import Function, Program, Unit
from proxy_wasm.build.linker.reachability import (
    FUNCTION_POINTERS,
    MEMORY_BASE,
    TABLE_BASE,
    Body,
    Removal,
    reachable_bodies,
)
from proxy_wasm.build.parts import EVERYTHING, LEFT_OUT, Part, Table
from proxy_wasm.build.wasm.binary import Reader, signed, u32
from proxy_wasm.build.wasm.module import I32, Kind

MESSAGES = 1024
"""Where the messages lie: the far end of the shadow stack, beyond every limit."""
_ROOM = 31 * 1024

STUB = "left_out"
"""The adapter that logs a message and traps."""
HOSTCALLS = ("log",)
"""What it imports."""

RUNTIME_FUNCTION = "wit_dylib_export_call"
"""What componentize-py's runtime exports for the component's lifted functions."""

EXCEPTION, SET_EXCEPTION = "PyExc_ImportError", "PyErr_SetString"
_SNAPSHOT_KNOWS = "this linker knows CPython 3.14 as componentize-py 0.25 builds it"


def _trap_message(name: str) -> str:
    return (
        f"a function of CPython was called that this build leaves out (with {name!r}): please report it; "
        'the setting stdlib = ["all"] of [tool.proxy-wasm] keeps everything'
    )


def _exception_message(part: Part) -> str:
    return (
        f"compile(), eval() and exec() of source text are left out of this build; bring them back with "
        f'[tool.proxy-wasm] stdlib = ["{part.name}"]'
    )


@dataclass(frozen=True, slots=True)
class Messages:
    """What the module says about its missing parts, each with its address."""

    traps: Mapping[str, tuple[int, int]]
    """By the part's name: address and size."""
    exceptions: Mapping[str, int]
    """By the part's name: the address of a text that ends with a zero byte."""
    data: bytes

    @classmethod
    def of(cls, parts: Iterable[Part]) -> "Messages":
        """The messages about `parts`."""
        traps: dict[str, tuple[int, int]] = {}
        exceptions: dict[str, int] = {}
        data = b""
        parts = list(parts)
        for name in dict.fromkeys([*(part.name for part in parts), EVERYTHING]):
            text = _trap_message(name).encode()
            traps[name] = (MESSAGES + len(data), len(text))
            data += text
        for part in parts:
            if part.raising:
                exceptions[part.name] = MESSAGES + len(data)
                data += _exception_message(part).encode() + b"\0"
        if len(data) > _ROOM:
            raise LinkError(f"the messages about missing parts take {len(data)} bytes, there is room for {_ROOM}")
        return cls(traps, exceptions, data)


def adapter_text(parts: Sequence[Part]) -> list[str]:
    """The fields that the adapters' module needs for missing parts; none where nothing is missing."""
    if not parts:
        return []
    data = "".join(f"\\{octet:02x}" for octet in Messages.of(parts).data)
    return [
        f'(data (i32.const {MESSAGES}) "{data}")',
        f"""(func (export "{STUB}") (param $text i32) (param $size i32)
  (drop (call $proxy_log (i32.const {LogLevel.CRITICAL}) (local.get $text) (local.get $size)))
  (unreachable))""",
    ]


@dataclass(slots=True)
class Reduction:
    """Which functions go, and what stands in their place."""

    removal: Removal = field(default_factory=Removal)
    parts: dict[int, str] = field(default_factory=dict[int, str])
    """The name of the part that functions belong to."""
    messages: Messages = field(default_factory=lambda: Messages.of(()))
    tables: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Where tables begin and end that nothing reads any more."""

    def described(self) -> str:
        """All that it makes of a program, for a cache's key."""
        replaced = [(number, body.locals, body.tokens) for number, body in sorted(self.removal.replaced.items())]
        return repr((sorted(self.removal.slots), sorted(self.parts.items()), replaced, self.messages.data))


def plan(program: Program, parts: Sequence[Part], limits_function: str) -> Reduction:
    """What leaving out `parts` makes of `program`. The library that defines `limits_function` is CPython's.

    Raises `LinkError` where a part names functions that are not there.
    """
    if not parts:
        return Reduction()
    planner = _Planner(program, Messages.of(parts), limits_function)
    for part in parts:
        planner.add(part)
    planner.find_slots()
    return planner.reduction


class _Planner:
    def __init__(self, program: Program, messages: Messages, limits_function: str) -> None:
        self.program = program
        self.reduction = Reduction(messages=messages)
        self.numbers: dict[str, list[int]] = {}
        """Functions by name, those of all libraries."""
        for unit in program.units:
            imported = len(unit.module.imported(Kind.FUNCTION))
            for index, name in sorted(unit.module.function_names().items()):
                if index >= imported:
                    self.numbers.setdefault(name, []).append(unit.functions[index])
        if limits_function not in self.numbers:
            raise LinkError(f"parts of CPython are to be left out, but no function is named {limits_function}")
        self.unit = program.units[program.functions[self.numbers[limits_function][0]].unit]

    def add(self, part: Part) -> None:
        ranges = [(self._number(part, first), self._number(part, last)) for first, last in part.code]
        for (first, last), names in zip(ranges, part.code, strict=True):
            if last < first:
                raise LinkError(f"part {part.name!r}: {names[0]} stands behind {names[1]}: {_SNAPSHOT_KNOWS}")
        if part.module is not None and self._initialized(part, part.module):
            return
        self.reduction.tables += [self._table(part, table) for table in part.tables]
        for first, last in ranges:
            self.reduction.parts.update(dict.fromkeys(range(first, last + 1), part.name))
        replaced = self.reduction.removal.replaced
        for name, result in part.raising.items():
            number = self._number(part, name)
            replaced[number] = self._raising(part, name, number, result)
        for name, result in part.idle.items():
            number = self._number(part, name)
            replaced[number] = Body(b"\0", [(self._result(part, name, number, result), b"")], frozenset(), frozenset())

    def find_slots(self) -> None:
        """Slots that parts go from, and slots that nothing but forwarders, which were followed, knows."""
        known: set[int] = set()
        for unit in self.program.units:
            imported = list(enumerate(unit.module.imported(Kind.GLOBAL)))
            known |= {self._value(unit, index) for index, item in imported if item.module == FUNCTION_POINTERS}
            bases = [self._value(unit, index) for index, item in imported if item.name == TABLE_BASE]
            size = sum(len(segment.items) for segment in unit.module.elements)
            known |= {slot for base in bases for slot in range(base, base + size)}
        own = len(self.program.units) - 1
        known |= {slot for slot, number in self.program.slots.items() if self.program.functions[number].unit == own}
        runtime = self._runtime()
        self.reduction.removal.slots = {
            slot
            for slot, number in self.program.slots.items()
            if slot not in known or number in self.reduction.parts or self.program.functions[number].unit == runtime
        }

    def _runtime(self) -> int | None:
        """The number of componentize-py's runtime, through which nothing passes after the snapshot (`proxy_wasm.build.linker.bridge`)."""
        for number, unit in enumerate(self.program.units):
            if any(
                export.name == RUNTIME_FUNCTION for export in unit.module.exports if export.kind is Kind.FUNCTION
            ) and (unit.module.code and unit is not self.unit):
                return number
        return None

    def _value(self, unit: Unit, index: int) -> int:
        return self.program.globals[unit.globals[index]].value

    def _table(self, part: Part, table: Table) -> tuple[int, int]:
        """Where a part's table begins and ends."""
        bases = [
            self._value(self.unit, index)
            for index, item in enumerate(self.unit.module.imported(Kind.GLOBAL))
            if item.name == MEMORY_BASE
        ]
        for base in bases:
            contents = self.program.initial_bytes(base + table.start, table.end - table.start)
            if zlib.crc32(contents) == table.checksum:
                return base + table.start, base + table.end
        raise LinkError(f"part {part.name!r}: its table is not at {table.start} of libpython's data: {_SNAPSHOT_KNOWS}")

    def _number(self, part: Part, name: str) -> int:
        found = self.numbers.get(name, [])
        if len(found) != 1:
            count = f"{len(found)} functions are" if found else "no function is"
            raise LinkError(f"part {part.name!r}: {count} named {name}: {_SNAPSHOT_KNOWS}")
        return found[0]

    def _result(self, part: Part, name: str, number: int, result: int) -> bytes:
        if self.program.functions[number].type.results != bytes([I32]):
            raise LinkError(f"part {part.name!r}: {name} does not return one i32: {_SNAPSHOT_KNOWS}")
        return bytes([I32_CONST]) + signed(result) + b"\x0b"

    def _raising(self, part: Part, name: str, number: int, result: int) -> Body:
        """Calls `PyErr_SetString(PyExc_ImportError, message)`."""
        setter = self._number(part, SET_EXCEPTION)
        exception = bytes([GLOBAL_GET]) + u32(self._variable(part, EXCEPTION))
        load = b"\x28\x02\x00" + bytes([I32_CONST]) + signed(self.reduction.messages.exceptions[part.name])
        call = bytes([CALL]) + u32(self.unit.functions.index(setter))
        tokens = [(b"", exception), (load, call), (self._result(part, name, number, result), b"")]
        return Body(b"\0", tokens, frozenset([setter]), frozenset())

    def _variable(self, part: Part, name: str) -> int:
        for index, item in enumerate(self.unit.module.imported(Kind.GLOBAL)):
            if (item.module, item.name) == ("GOT.mem", name):
                return index
        raise LinkError(f"part {part.name!r}: libpython has no variable {name}: {_SNAPSHOT_KNOWS}")

    def _initialized(self, part: Part, module: str) -> bool:
        """Whether CPython has seen the module's definition."""
        function = self.program.functions[self._number(part, f"PyInit_{module}")]
        assert function.body is not None  # noqa: S101 - it has a name in the library
        match = _DEFINITION.fullmatch(self.unit.module.data, *function.body)
        if match is None:
            raise LinkError(f"part {part.name!r}: PyInit_{module} returns no definition: {_SNAPSHOT_KNOWS}")
        base, offset = Reader(match[1], "definition").u32(), Reader(match[2], "definition").s32()
        address = self._value(self.unit, base) + offset + _NUMBER_OFFSET
        return self.program.initial_word(address) != 0


_DEFINITION = re.compile(
    rb"\x00\x23(" + U32 + rb")\x41(" + S32 + rb")\x6a(?:\x41" + S32 + rb")?\x10" + U32 + rb"\x0b", re.DOTALL
)
"""`PyModuleDef_Init(&definition)`, or `PyModule_Create2(&definition, version)`."""
_NUMBER_OFFSET = 12
"""Of `m_base.m_index` in `PyModuleDef`: behind a reference count, a type and a pointer."""


def reduce(program: Program, reduction: Reduction) -> dict[int, Body | None]:
    """The bodies of the functions that stay; `program`'s table leads to them and to those that say what is missing."""
    bodies = reachable_bodies(program, reduction.removal)
    stubs: dict[tuple[str, bytes, bytes], int] = {}
    for slot, number in sorted(program.slots.items()):
        if number in bodies:
            continue
        function_type, part = program.functions[number].type, reduction.parts.get(number, EVERYTHING)
        key = (part, function_type.parameters, function_type.results)
        if key not in stubs:
            stubs[key] = len(program.functions)
            adapters = len(program.units) - 1
            name = f"{LEFT_OUT}{part}"
            program.functions.append(Function(adapters, -1, function_type, (0, 0), name=name))
            bodies[stubs[key]] = _stub(program, reduction.messages.traps[part])
        program.slots[slot] = stubs[key]
    if stubs:
        bodies |= reachable_bodies(program, reduction.removal, [program.adapter(STUB)])
    return dict(sorted(bodies.items()))


def _stub(program: Program, message: tuple[int, int]) -> Body:
    adapters = program.units[-1]
    stub = program.adapter(STUB)
    constants = b"".join(bytes([I32_CONST]) + signed(value) for value in message)
    call = bytes([CALL]) + u32(adapters.functions.index(stub))
    return Body(b"\0", [(constants, call), (b"\x00\x0b", b"")], frozenset([stub]), frozenset())
