"""Which functions can still run: those that exports, table slots and other such functions refer to.

Tokenizing is most of the linker's work, so bodies are tokenized here, once, and only those that are reached.
"""

from dataclasses import dataclass

from proxy_wasm.build.linker.instructions import (
    CALL,
    REF_FUNC,
    RETURN_CALL,
    Token,
    skip_locals,
    tokenize,
)
from proxy_wasm.build.linker.program import Program, Unit
from proxy_wasm.build.wasm.binary import Reader

_FUNCTION_OPCODES = frozenset([CALL, RETURN_CALL, REF_FUNC])


@dataclass(frozen=True, slots=True)
class Body:
    """A reached function's local declarations, as bytes, and its instructions."""

    locals: bytes
    tokens: list[Token]


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
        unit = program.units[function.unit]
        bodies[number] = body = _read(unit, *function.body)
        known = references[function.unit]
        pending += {known[token] for _, token in body.tokens if token[:1] in _FUNCTION_PREFIXES}
    return dict(sorted(bodies.items()))


_FUNCTION_PREFIXES = frozenset(bytes([opcode]) for opcode in _FUNCTION_OPCODES)


def _read(unit: Unit, start: int, end: int) -> Body:
    module = unit.module
    reader = Reader(module.data, f"{module.label}code section", start, end)
    skip_locals(reader)
    position = reader.position
    return Body(module.data[start:position], tokenize(module.data, position, end, reader.section))


class _References(dict[bytes, int]):
    """From an instruction that names a function in a unit to the function."""

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        self.unit = unit

    def __missing__(self, token: bytes) -> int:
        reader = Reader(token, f"{self.unit.module.label}code section", 1)
        index = reader.u32()
        if index >= len(self.unit.functions):
            raise reader.error(f"there is no function {index}")
        self[token] = number = self.unit.functions[index]
        return number
