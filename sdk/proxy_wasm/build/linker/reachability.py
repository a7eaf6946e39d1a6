"""Which functions can still run: those that exports, table slots and other such functions refer to.

Functions that are to be removed are an exception: a table slot alone does not keep them, a call or a slot's number in code does
(`proxy_wasm.build.linker.reduction`). Tokenizing is most of the linker's work, so bodies are tokenized here, once, and only those that are reached.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from proxy_wasm.build.linker.instructions import (
    CALL,
    CALL_INDIRECT,
    GLOBAL_GET,
    GLOBAL_SET,
    REF_FUNC,
    RETURN_CALL,
    RETURN_CALL_INDIRECT,
    S32,
    U32,
    Token,
    skip_locals,
    tokenize,
)
from proxy_wasm.build.linker.program import Program, Unit
from proxy_wasm.build.wasm.binary import Reader
from proxy_wasm.build.wasm.module import FunctionType, Kind


@dataclass(frozen=True, slots=True)
class Body:
    """A reached function's local declarations, as bytes, and its instructions."""

    locals: bytes
    tokens: list[Token]
    callees: frozenset[int]
    """Functions that it names."""
    indirect: frozenset[FunctionType]
    """The types of its calls through the table."""


@dataclass(slots=True)
class Removal:
    """What is not to be kept for the table's sake."""

    slots: set[int] = field(default_factory=set[int])
    """Table slots that keep their functions only where code that runs names them."""
    replaced: dict[int, Body] = field(default_factory=dict[int, Body])
    """Functions that get other bodies."""


def reachable_bodies(
    program: Program, removal: Removal | None = None, roots: Iterable[int] | None = None
) -> dict[int, Body | None]:
    """Every function that can run, in ascending order, with its body (`None` for an import).

    They begin at the exports and the table, unless `roots` are given. Raises `MalformedError` for a body that cannot be read.
    """
    removal = removal or Removal()
    references = [_References(unit, program) for unit in program.units]
    bodies: dict[int, Body | None] = {}
    if roots is None:
        roots = [*program.exports.values(), *(program.slots[slot] for slot in program.slots.keys() - removal.slots)]
    pending = list(roots)
    while pending:
        number = pending.pop()
        if number in bodies:
            continue
        function = program.functions[number]
        if number in removal.replaced:
            bodies[number] = body = removal.replaced[number]
        elif function.body is None:
            bodies[number] = None
            continue
        else:
            bodies[number] = body = _read(references[function.unit], *function.body)
            if removal.slots:
                pending += [program.slots[slot] for slot in references[function.unit].slots_of(body) & removal.slots]
        pending += body.callees
    return dict(sorted(bodies.items()))


_FUNCTION_PREFIXES = frozenset(bytes([opcode]) for opcode in (CALL, RETURN_CALL, REF_FUNC))
_INDIRECT_PREFIXES = frozenset(bytes([opcode]) for opcode in (CALL_INDIRECT, RETURN_CALL_INDIRECT))


def _read(references: "_References", start: int, end: int) -> Body:
    module = references.unit.module
    reader = Reader(module.data, f"{module.label}code section", start, end)
    skip_locals(reader)
    position = reader.position
    tokens = tokenize(module.data, position, end, reader.section)
    distinct = {token for _, token in tokens}
    references.check(tokens, distinct, reader)
    return Body(
        module.data[start:position],
        tokens,
        frozenset(references[token] for token in distinct if token[:1] in _FUNCTION_PREFIXES),
        frozenset(references.type(token) for token in distinct if token[:1] in _INDIRECT_PREFIXES),
    )


class _References(dict[bytes, int]):
    """What the instructions of one unit refer to: from an instruction that names a function to the function."""

    def __init__(self, unit: Unit, program: Program) -> None:
        super().__init__()
        self.unit = unit
        self.program = program
        self.known: set[bytes] = {b""}
        """Instructions whose index was checked."""
        imported = list(enumerate(unit.module.imported(Kind.GLOBAL)))
        self.bases = {index for index, item in imported if item.name == TABLE_BASE}
        self.pointers = {index for index, item in imported if item.module == FUNCTION_POINTERS} | self.bases
        self.slots: dict[bytes, int | None] = {}
        """Slots that instructions name; `None` for those that name none."""
        self.bare_bases: set[bytes] = set()
        """Instructions that fetch where the library's slots begin, and nothing else."""

    def check(self, tokens: list[Token], distinct: set[bytes], reader: Reader) -> None:
        """Refuse an index that is not there; `tokens` begin where `reader` stands."""
        wrong = {token for token in distinct - self.known if self._problem(token)}
        if not wrong:
            self.known |= distinct
            return
        position = reader.position
        for run, token in tokens:
            position += len(run)
            if token in wrong:
                raise reader.error(self._problem(token), position)
            position += len(token)

    def _problem(self, token: bytes) -> str:
        what, count = self._space(token[0])
        index = _index(token)
        return f"there is no {what} {index}" if index >= count else ""

    def _space(self, opcode: int) -> tuple[str, int]:
        if opcode in (GLOBAL_GET, GLOBAL_SET):
            return "global", len(self.unit.globals)
        if bytes([opcode]) in _FUNCTION_PREFIXES:
            return "function", len(self.unit.functions)
        return "type", len(self.unit.module.types)

    def __missing__(self, token: bytes) -> int:
        self[token] = number = self.unit.functions[_index(token)]
        return number

    def type(self, token: bytes) -> FunctionType:
        """The type of a call through the table."""
        return self.unit.module.types[_index(token)]

    def slots_of(self, body: Body) -> set[int]:
        """Slots that a body may name, and numbers that are none: position-independent code adds a constant to where its library's slots begin.

        Where it keeps the beginning in a local, any constant that it adds may be meant, and where a library has no such beginning, any at all. A linker that
        leaves the number of the global in the five bytes of its relocation does so with all relocations: there only constants of five bytes may be.
        """
        slots: set[int] = set()
        bases: set[int] = set() if self.bases or not body.indirect else {0}
        for _, token in body.tokens:
            if token[:1] == _GLOBAL_GET:
                slot = self.slots.get(token, -1)
                if slot == -1:
                    slot = self.slots[token] = self._slot(token)
                if slot is not None:
                    slots.add(slot)
                    if token in self.bare_bases:
                        bases.add(slot)
        if bases:
            slots |= {base + constant for base in bases for constant in self._constants(body, added=0 not in bases)}
        return slots

    def _constants(self, body: Body, *, added: bool) -> set[int]:
        """The constants of a body, and what looks like one; those alone that are `added` to something."""
        code = b"".join([run + (_LOCAL if token in self.bare_bases else token) for run, token in body.tokens])
        relocated = all(len(token) == _RELOCATED for _, token in body.tokens if token in self.bare_bases)
        pattern = _CONSTANT if not added else _ADDED_RELOCATED if relocated else _ADDED
        return {Reader(found, "code").s32() for found in pattern.findall(code)}

    def _slot(self, token: bytes) -> int | None:
        if _index(token) not in self.pointers:
            return None
        reader = Reader(token, "code", 1)
        index = reader.u32()
        value = self.program.globals[self.unit.globals[index]].value
        if not reader.at_end:
            reader.u8()
            return value + reader.s32()
        if index in self.bases:
            self.bare_bases.add(token)
        return value


TABLE_BASE, MEMORY_BASE, FUNCTION_POINTERS = "__table_base", "__memory_base", "GOT.func"
"""Globals of dynamic libraries: where their slots and their data begin, and the module that slots of other libraries' functions are imported from.

Source: WebAssembly/tool-conventions, DynamicLinking.md.
"""
_GLOBAL_GET = bytes([GLOBAL_GET])
_LOCAL = b"\x20\0"
_CONSTANT = re.compile(rb"(?=\x41(" + S32 + rb"))")
_ADDED = re.compile(rb"(?=\x41(" + S32 + rb")(?:\x20" + U32 + rb")?\x6a)")
"""`i32.const`, perhaps `local.get`, `i32.add`."""
_ADDED_RELOCATED = re.compile(rb"(?=\x41([\x80-\xff]{4}[\x00-\x7f])(?:\x20" + U32 + rb")?\x6a)")
_RELOCATED = 6
"""Bytes of an instruction with a number that was relocated (WebAssembly/tool-conventions, Linking.md, "Relocation Sections")."""


def _index(token: bytes) -> int:
    return Reader(token, "code", 1).u32()
