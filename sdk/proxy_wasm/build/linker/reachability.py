"""Which functions can still run: those that exports, table slots and other such functions refer to.

Tokenizing is most of the linker's work, so bodies are tokenized here, once, and only those that are reached.
"""

from dataclasses import dataclass

from proxy_wasm.build.linker.instructions import (
    CALL,
    CALL_INDIRECT,
    GLOBAL_GET,
    GLOBAL_SET,
    REF_FUNC,
    RETURN_CALL,
    RETURN_CALL_INDIRECT,
    Token,
    skip_locals,
    tokenize,
)
from proxy_wasm.build.linker.program import Program, Unit
from proxy_wasm.build.wasm.binary import Reader
from proxy_wasm.build.wasm.module import FunctionType


@dataclass(frozen=True, slots=True)
class Body:
    """A reached function's local declarations, as bytes, and its instructions."""

    locals: bytes
    tokens: list[Token]
    callees: frozenset[int]
    """Functions that it names."""
    indirect: frozenset[FunctionType]
    """The types of its calls through the table."""


def reachable_bodies(program: Program) -> dict[int, Body | None]:
    """Every function that can run, in ascending order, with its body (`None` for an import).

    Raises `MalformedError` for a body that cannot be read.
    """
    references = [_References(unit) for unit in program.units]
    bodies: dict[int, Body | None] = {}
    pending = [*program.exports.values(), *program.slots.values()]
    while pending:
        number = pending.pop()
        if number in bodies:
            continue
        function = program.functions[number]
        if function.body is None:
            bodies[number] = None
            continue
        bodies[number] = body = _read(references[function.unit], *function.body)
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

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        self.unit = unit
        self.known: set[bytes] = {b""}
        """Instructions whose index was checked."""

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


def _index(token: bytes) -> int:
    return Reader(token, "code", 1).u32()
