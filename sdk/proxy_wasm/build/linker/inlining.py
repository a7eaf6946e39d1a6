"""V8 inlines nothing into CPython: the compiler that made the code has done so already.

Proxies run V8 without its baseline compiler (`--no-liftoff`), so nothing was counted when it compiles, and a call is inlined wherever it may be. It
doubles the native code of CPython, the time that it takes to compile, and more: the largest functions, which two threads compile at the same time, decide
how much memory the proxy asks for and never gives back. What V8 allows a function (`should_inline` in src/wasm/turboshaft-graph-interface.cc,
`NoLiftoffBudget` in src/wasm/inlining-tree.h) is used up at each function's beginning:

- 60 calls at most, those in inlined functions included;
- functions that have, in the module, no more bytes together than a multiple of the caller's: 2 where a quarter of the module's functions or less are shorter
  than 50 bytes, as in CPython, 5 where half of them are, 3 in older versions; but 50 bytes in any case.

So every function of the component that calls one begins with a call that nothing can reach, under `if` with a constant. A short function's leads to calls of functions of `nop`, each
half as long as the one before, so that those are inlined which together have what it is allowed; a long function's leads to sixty that do nothing. All that remains of
it are some eight bytes a function in the module. Other compilers see a branch that is never taken. The linker's own functions, which no compiler has been over, are left to V8:
inlining there takes a microsecond off a request.
"""

import re
from collections.abc import Mapping

from proxy_wasm.build.linker.instructions import CALL, I32_CONST, IF, U32
from proxy_wasm.build.linker.program import Program
from proxy_wasm.build.linker.reachability import reachable_bodies
from proxy_wasm.build.wasm.binary import u32

LONG = 1024
"""Bytes from which on a function uses up the number of calls, not that of bytes: V8 remembers each."""

_FACTOR = 5
_LEAST = 50
_SIZES = tuple(1 << power for power in range(5, 13))
"""Bytes of the functions of `nop`, twice the last of which is more than `_FACTOR` times `LONG`."""
_CALLS, _LEVELS = 9, 6
_EMPTY_SIZE = 2
"""Bytes of a function without instructions."""

PREFACE = re.compile(rb"\x41\x00\x04\x40\x10" + U32 + rb"\x0b")
"""What functions that call others begin with, behind their locals."""


def _function(name: str, instructions: str) -> str:
    return f'(func ${name} (export "{name}") {instructions})'


def _calls(names: list[str]) -> str:
    return " ".join(f"(call ${name})" for name in names)


def functions_text() -> list[str]:
    """The functions that use up what V8 allows, as fields of the adapters' module."""
    functions = [_function("uses_up_a_call", "")]
    deeper = "uses_up_a_call"
    for level in range(1, _LEVELS + 1):
        name = f"uses_up_{level * (_CALLS + 1)}_calls"
        functions.append(_function(name, _calls(["uses_up_a_call"] * _CALLS + [deeper])))
        deeper = name
    for count, size in enumerate(_SIZES, 1):
        functions.append(_function(f"uses_up_{size}_bytes", "(nop)" * (size - _EMPTY_SIZE)))
        parts = [f"uses_up_{part}_bytes" for part in reversed(_SIZES[:count])]
        functions.append(_function(f"uses_up_all_to_{2 * size}_bytes", _calls(parts)))
    return functions


class Inlining:
    """The functions that use up what V8 allows, and the instructions that call them."""

    def __init__(self, program: Program) -> None:
        self._by_calls = program.adapter(f"uses_up_{_LEVELS * (_CALLS + 1)}_calls")
        self._by_bytes = [(2 * size, program.adapter(f"uses_up_all_to_{2 * size}_bytes")) for size in _SIZES]
        self.bodies = reachable_bodies(program, roots=[self._by_calls, *(number for _, number in self._by_bytes)])
        """The functions, and those that they call."""

    def preface(self, size: int, functions: Mapping[int, int]) -> bytes:
        """What a function of `size` bytes begins with; `functions` are the numbers of functions in the module."""
        called = self._by_calls
        if size < LONG:
            allowed = max(_LEAST, _FACTOR * size)
            called = next(number for up_to, number in self._by_bytes if up_to > allowed)
        return bytes([I32_CONST, 0, IF, 0x40, CALL]) + u32(functions[called]) + b"\x0b"
