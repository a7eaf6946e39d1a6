"""The program as one module: numbers for all that is kept, and the sections that hold it.

Everything but memory and data depends only on the libraries, the world and the linker, not on the author's code, and is therefore
the same in almost every build. `Frame` is that part, in a form that a cache can hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy_wasm.build.errors import LinkError
from proxy_wasm.build.linker import instructions as op
from proxy_wasm.build.linker import placement
from proxy_wasm.build.linker.inlining import Inlining
from proxy_wasm.build.linker.instructions import Token
from proxy_wasm.build.linker.program import Function, GlobalVariable, Program, Unit
from proxy_wasm.build.linker.reachability import Body
from proxy_wasm.build.linker.stack import EMPTY_STRING, Charges, Check
from proxy_wasm.build.wasm import binary
from proxy_wasm.build.wasm.binary import Reader, signed, u32
from proxy_wasm.build.wasm.module import F32, F64, I32, I64, FunctionType, Kind, Limits, Section

_END = b"\x0b"
_NO_RESULT = b"\x40"
_I32_SUB, _I32_LT_U, _IF = b"\x6b", b"\x49", b"\x04\x40"
_TAIL_CALLS = (bytes([op.RETURN_CALL]), bytes([op.RETURN_CALL_INDIRECT]))
_CONSTANTS = {I32: op.I32_CONST, I64: op.I64_CONST, F32: op.F32_CONST, F64: op.F64_CONST}
_FLOAT_SIZES = {F32: 4, F64: 8}


@dataclass(frozen=True, slots=True)
class Frame:
    """The finished module without its memory, data and custom sections, which stand between and behind these."""

    before_memory: bytes
    after_memory: bytes
    names: bytes
    """The contents of the `name` section."""

    def encode(self) -> bytes:
        """As bytes for a cache."""
        return b"".join(u32(len(part)) + part for part in (self.before_memory, self.after_memory, self.names))

    @classmethod
    def decode(cls, encoded: bytes) -> "Frame":
        """From the bytes that `encode` made. Raises `MalformedError` where they are damaged."""
        reader = Reader(encoded, "cached frame")
        parts = [reader.bytes(reader.u32()) for _ in range(3)]
        reader.require_end()
        return cls(*parts)


class Renumbering:
    """Gives new numbers to functions, types and globals, and writes the sections that mention them."""

    def __init__(
        self,
        program: Program,
        bodies: Mapping[int, Body | None],
        charges: Charges,
        stack_pointer: int | None,
        inlining: Inlining | None = None,
    ) -> None:
        self.program = program
        self.inlining = inlining
        self.rewritten = charges.rewritten
        self.weights = charges.wrapped
        self.checks = charges.checks
        self.types: dict[FunctionType, int] = {}
        self.imported = [number for number, body in bodies.items() if body is None]
        self.defined = {number: body for number, body in bodies.items() if body is not None}
        if inlining is not None:
            self.defined |= {number: body for number, body in inlining.bodies.items() if body is not None}
        self.defined = {number: self.defined[number] for number in placement.placed(program, self.defined)}
        self.functions = {number: new for new, number in enumerate([*self.imported, *self.defined])}
        self.tokens = self._distinct_tokens()
        self.variables = self._kept_globals(stack_pointer)
        self.stack_pointer = stack_pointer

    def _distinct_tokens(self) -> list[set[bytes]]:
        tokens: list[set[bytes]] = [set() for _ in self.program.units]
        for number, body in self.defined.items():
            tokens[self.program.functions[number].unit].update([token for _, token in body.tokens])
        return tokens

    def _kept_globals(self, stack_pointer: int | None) -> dict[int, int]:
        """Globals that some function sets; all others are constants."""
        written = {
            self._global(unit, token)
            for unit, tokens in zip(self.program.units, self.tokens, strict=True)
            for token in tokens
            if token[:1] == bytes([op.GLOBAL_SET])
        }
        if self.weights and stack_pointer is not None:
            written.add(stack_pointer)
        return {number: new for new, number in enumerate(sorted(written))}

    def _global(self, unit: Unit, token: bytes) -> int:
        return unit.globals[Reader(token, "code", 1).u32()]

    def frame(self) -> Frame:
        """All sections that do not depend on the snapshot."""
        code = self._code_section()
        imports = self._import_section()
        functions = binary.section(
            Section.FUNCTION,
            binary.vector(u32(self._type(self.program.functions[number].type)) for number in self.defined),
        )
        return Frame(
            self._type_section() + imports + functions + self._table_section(),
            self._global_section() + self._export_section() + self._element_section() + code,
            self._names(),
        )

    def _type(self, function_type: FunctionType) -> int:
        return self.types.setdefault(function_type, len(self.types))

    def _type_section(self) -> bytes:
        encoded = [
            b"\x60" + u32(len(item.parameters)) + item.parameters + u32(len(item.results)) + item.results
            for item in self.types
        ]
        return binary.section(Section.TYPE, binary.vector(encoded))

    def _import_section(self) -> bytes:
        items: list[bytes] = []
        for number in self.imported:
            function = self.program.functions[number]
            assert function.imported is not None  # noqa: S101 - what makes it an import
            names = binary.name(function.imported.module) + binary.name(function.imported.name)
            items.append(names + bytes([Kind.FUNCTION]) + u32(self._type(function.type)))
        return binary.section(Section.IMPORT, binary.vector(items))

    def _table_section(self) -> bytes:
        table = self.program.table
        return binary.section(Section.TABLE, b"\x01", bytes([table.element]), encode_limits(table.limits))

    def _global_section(self) -> bytes:
        items: list[bytes] = []
        for number in self.variables:
            variable = self.program.globals[number]
            constant = _constant(variable.type.value, variable.value)
            items.append(bytes([variable.type.value, 1]) + constant + _END)
        return binary.section(Section.GLOBAL, binary.vector(items))

    def _export_section(self) -> bytes:
        items = [binary.name("memory") + bytes([Kind.MEMORY, 0])]
        items += [
            binary.name(name) + bytes([Kind.FUNCTION]) + u32(self.functions[number])
            for name, number in self.program.exports.items()
        ]
        return binary.section(Section.EXPORT, binary.vector(items))

    def _element_section(self) -> bytes:
        runs: list[tuple[int, list[bytes]]] = []
        expected = -1
        for slot, number in sorted(self.program.slots.items()):
            if slot != expected:
                runs.append((slot, []))
            runs[-1][1].append(u32(self.functions[number]))
            expected = slot + 1
        segments = [
            b"\0" + bytes([op.I32_CONST]) + signed(start) + _END + binary.vector(items) for start, items in runs
        ]
        if declared := self._referenced():
            segments.append(b"\3\0" + binary.vector(u32(number) for number in declared))
        return binary.section(Section.ELEMENT, binary.vector(segments))

    def _referenced(self) -> list[int]:
        """Functions of which a body takes a reference; they have to be declared."""
        return sorted(
            {
                self.functions[unit.functions[Reader(token, "code", 1).u32()]]
                for unit, tokens in zip(self.program.units, self.tokens, strict=True)
                for token in tokens
                if token[:1] == bytes([op.REF_FUNC])
            }
        )

    def _code_section(self) -> bytes:
        replacements = [
            {token: self._replace(unit, token) for token in sorted(tokens)}
            for unit, tokens in zip(self.program.units, self.tokens, strict=True)
        ]
        bodies: list[bytes] = []
        for number, body in self.defined.items():
            function = self.program.functions[number]
            tokens = self.rewritten.get(number, body.tokens)
            if number in self.weights:
                code = self._guarded(number, function, tokens, replacements[function.unit])
            else:
                code = _join(tokens, replacements[function.unit])
            code = self._preface(number, body, len(body.locals) + len(code)) + code
            bodies += (u32(len(body.locals) + len(code)), body.locals, code)
        return binary.section(Section.CODE, u32(len(self.defined)), *bodies)

    def _preface(self, number: int, body: Body, size: int) -> bytes:
        """What keeps V8 from inlining the functions that a function calls."""
        calls = not self.defined.keys().isdisjoint(body.callees) or number in self.checks
        own = self.program.functions[number].unit == len(self.program.units) - 1
        if self.inlining is None or own or not calls:
            return b""
        return self.inlining.preface(size, self.functions)

    def _replace(self, unit: Unit, token: bytes) -> bytes:
        """The instruction with its new index; a global that never changes becomes the constant that it is."""
        if not token:
            return token
        reader = Reader(token, "code", 1)
        opcode = token[0]
        if opcode in (op.CALL, op.RETURN_CALL, op.REF_FUNC):
            return token[:1] + u32(self.functions[unit.functions[reader.u32()]])
        if opcode in (op.CALL_INDIRECT, op.RETURN_CALL_INDIRECT):
            return token[:1] + u32(self._type(unit.module.types[reader.u32()])) + b"\0"
        if opcode in (op.BLOCK, op.LOOP, op.IF):
            return token[:1] + signed(self._type(unit.module.types[reader.u32()]))
        return self._replace_global(unit, token)

    def _replace_global(self, unit: Unit, token: bytes) -> bytes:
        number = self._global(unit, token)
        if number in self.variables:
            reader = Reader(token, "global", 1)
            reader.u32()
            return token[:1] + u32(self.variables[number]) + token[reader.position :]
        return self._constant_global(self.program.globals[number], token)

    def _constant_global(self, variable: GlobalVariable, token: bytes) -> bytes:
        reader = Reader(token, "global", 1)
        reader.u32()
        if reader.at_end:
            return _constant(variable.type.value, variable.value)
        reader.u8()
        return _constant(I32, variable.value + reader.s32())

    def _guarded(
        self, number: int, function: Function, tokens: list[Token], replacements: Mapping[bytes, bytes]
    ) -> bytes:
        """A function's instructions as a block between two changes of the stack pointer.

        A branch out of the function leads to the end of the block instead, and the pointer is raised before each `return`.
        """
        assert self.stack_pointer is not None  # noqa: S101 - without one, nothing is charged
        if any(token[:1] in _TAIL_CALLS for _, token in tokens):
            label = self.program.units[function.unit].module.label
            raise LinkError(f"{label}function {function.index}: a function that needs a guard ends in a tail call")
        pointer = u32(self.variables[self.stack_pointer])
        load, store = bytes([op.GLOBAL_GET]) + pointer, bytes([op.GLOBAL_SET]) + pointer
        weight = bytes([op.I32_CONST]) + signed(self.weights[number])
        lower = load + weight + _I32_SUB + store
        restore = load + weight + bytes([op.I32_ADD]) + store
        check = self._check(self.checks[number], load, restore) if number in self.checks else b""
        block = bytes([op.BLOCK]) + self._block_type(function.type.results)
        code = _join([(op.before_returns(run, restore), token) for run, token in tokens], replacements)
        return lower + check + block + code + restore + _END

    def _block_type(self, results: bytes) -> bytes:
        if len(results) > 1:
            return signed(self._type(FunctionType(b"", results)))
        return results or _NO_RESULT

    def _check(self, check: Check, load: bytes, restore: bytes) -> bytes:
        """Ask CPython whether there is stack left, but only beyond the limit: the question costs more than the comparison."""
        constant = bytes([op.I32_CONST])
        ask = constant + signed(EMPTY_STRING) + bytes([op.CALL]) + u32(self.functions[check.function])
        fail = restore + constant + signed(check.error) + op.RETURN
        return load + constant + signed(check.limit) + _I32_LT_U + _IF + ask + _IF + fail + _END + _END

    def _names(self) -> bytes:
        names = [unit.module.function_names() for unit in self.program.units]
        entries: list[bytes] = []
        for number, new in self.functions.items():
            function = self.program.functions[number]
            name = function.name or names[function.unit].get(function.index)
            name = name if function.imported is None else function.imported.name
            if name:
                entries.append(u32(new) + binary.name(name))
        subsection = binary.vector(entries)
        return b"\x01" + u32(len(subsection)) + subsection


def encode_limits(limits: Limits) -> bytes:
    """Bounds of a memory or table."""
    maximum = b"" if limits.maximum is None else u32(limits.maximum)
    return bytes([limits.maximum is not None]) + u32(limits.minimum) + maximum


def _constant(value_type: int, value: int) -> bytes:
    opcode = bytes([_CONSTANTS[value_type]])
    if value_type in _FLOAT_SIZES:
        return opcode + value.to_bytes(_FLOAT_SIZES[value_type], "little")
    if value_type == I32:
        value = (value + 0x80000000 & 0xFFFFFFFF) - 0x80000000
    return opcode + signed(value)


def _join(tokens: list[Token], replacements: Mapping[bytes, bytes]) -> bytes:
    return b"".join([part for run, token in tokens for part in (run, replacements[token])])
