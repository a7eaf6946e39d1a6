"""Recursion ends in Python's `RecursionError`, never in a stack overflow of the VM.

CPython guards its C stack by comparing the stack pointer with two limits in its thread state. In Wasm that pointer is the *shadow* stack, which
holds only what has its address taken, while calls consume the VM's *native* stack: 1 MB in V8, not adjustable in a proxy. A function such as
`list_dealloc` uses no shadow stack at all, so CPython's checks never see it recurse, and the native overflow is a trap that ends the VM for
every stream of a worker. An attacker needs one deeply nested JSON body.

So the linker makes the shadow stack measure the native one. Every function is charged what its native frame takes:

- A function with a shadow frame lowers the stack pointer by a constant in its prologue and raises it in its epilogues: the constants are
  enlarged. This costs nothing at run time.
- The code of a function without one is wrapped in instructions that lower the pointer and raise it again. Wrapped are only those that
  recursion cannot avoid: one function of every cycle of direct calls, and every function in the table (what an indirect call reaches) that
  can get to another indirect call without passing a charged function.
- What is left uncharged lies on paths between charged functions. The one behind pays for the longest such path. (A path that ends uncharged
  is the top of the stack, and happens once: the distance between the budget and the VM's stack has room for it.)

With `native <= charged` on every path of the call graph, a budget of charged bytes bounds the native stack. When the VM starts, before Python
runs, `_initialize` puts that budget into the thread state's limits. Some cycles of CPython never compare the stack pointer with them; the
wrapped functions do (`proxy_wasm.build.linker.cpython`).

The native frame is estimated from a function's locals and calls, fitted to the frames that V8 13.6 and 14.1 (x86-64) make of CPython 3.14: of
11,531 functions it falls short of 184. `benchmarks/native_stack.py` looks on the linked module for the cycle that is charged least for its native
stack: 0.84 bytes a byte, in sqlite's configuration, where all of CPython is kept, and none below 1 where sqlite is left out. So the bound is measured, not
proven; `tests/inside` runs what we could think of.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from proxy_wasm.build.errors import LinkError
from proxy_wasm.build.linker.adapters import SYMBOL_MODULE
from proxy_wasm.build.linker.cpython import DEALLOCATE, MEASURED_FRAMES, calls_flatly, error_result, later_trashcan
from proxy_wasm.build.linker.frames import Frame, StackPointerTokens, enlarge, find_frame, restores_pointer
from proxy_wasm.build.linker.instructions import CALL, CALL_INDIRECT, Token, skip_locals
from proxy_wasm.build.linker.program import Program
from proxy_wasm.build.linker.reachability import Body
from proxy_wasm.build.wasm.binary import Reader
from proxy_wasm.build.wasm.module import I32, FunctionType

THREAD_STATE = "PyGILState_GetThisThreadState"
"""libpython's function that returns the thread state while none is attached."""

LIMITS_FUNCTION = "_Py_InitializeRecursionLimits"
"""libpython's function that sets the limits in the thread state; its code tells where they are."""

BUDGET = 864 * 1024
"""Charged bytes after which CPython raises `RecursionError`; V8 has 984 KiB of native stack for all calls."""

RESERVE = 64 * 1024
"""Charged bytes beyond the budget that CPython may use to raise it; beyond those it ends the process."""

_ALIGNMENT = 16


@dataclass(slots=True)
class Charges:
    """What the linker adds to functions' use of the shadow stack, in bytes."""

    wrapped: dict[int, int] = field(default_factory=dict[int, int])
    """Functions whose code is wrapped."""
    rewritten: dict[int, list[Token]] = field(default_factory=dict[int, list[Token]])
    """Functions with other instructions: those whose frame grows."""
    checks: dict[int, "Check"] = field(default_factory=dict[int, "Check"])
    """Functions that first ask CPython whether there is stack left."""


@dataclass(frozen=True, slots=True)
class Check:
    """Below `limit` call `function` with a pointer to an empty string; where it returns other than 0, return `error`."""

    function: int
    limit: int
    error: int


EMPTY_STRING = 16
"""An address that holds a zero byte: the far end of the shadow stack, beyond every limit."""

CHECK_FUNCTION = "Py_EnterRecursiveCall"
"""libpython's function that raises `RecursionError` where the stack pointer is beyond the limit."""
_CHECK_TYPE = FunctionType(bytes([I32]), bytes([I32]))


@dataclass(slots=True)
class _Profile:
    native: int
    callees: list[int]
    indirect: frozenset[FunctionType]
    """The types of its calls through the table."""
    frame: Frame | None
    wrappable: bool


_FIXED_FRAME, _LOCAL, _CALL, _MOST_FOR_CALLS = 64, 8, 6, 24


def native_frame(parameters: int, local_count: int, calls: int) -> int:
    """An estimate of the native stack, in bytes, that a call of a function takes: what lives across its calls is kept there."""
    variables = parameters + local_count
    return _FIXED_FRAME + _LOCAL * variables + min(_CALL * calls, _MOST_FOR_CALLS * variables)


def charges(program: Program, bodies: Mapping[int, Body | None], stack_pointer: int | None) -> Charges:
    """What to charge every function, so that the shadow stack never runs behind the native one."""
    if stack_pointer is None:
        return Charges()
    profiler = _Profiler(program, stack_pointer)
    profiles = {number: profiler.profile(number, body) for number, body in bodies.items() if body is not None}
    checks = profiler.checks(bodies)
    framed = {number for number, profile in profiles.items() if profile.frame is not None} - checks.keys()
    wrapped = set(checks)
    wrapped |= _cycle_breakers(profiles, framed | wrapped)
    wrapped |= _indirect_relays(profiles, framed | wrapped, sorted(set(program.slots.values()) & profiles.keys()))
    charged = framed | wrapped
    slots = {number: program.functions[number].type for number in program.slots.values()}
    costs = _Costs(profiles, charged, slots)
    result = Charges(checks=checks)
    for number in sorted(charged):
        frame = profiles[number].frame
        missing = costs.of(number) - (frame.size if frame else 0)
        if frame is None or number in checks:
            parameters = len(program.functions[number].type.parameters)
            result.wrapped[number] = _aligned(max(0, missing) + native_frame(parameters, 0, 0))
        elif missing > 0:
            pointers = profiler.pointers[program.functions[number].unit]
            result.rewritten[number] = enlarge(_body(bodies, number).tokens, _aligned(missing), pointers)
    for number in profiler.named(DEALLOCATE, profiles):
        result.rewritten[number] = _with_later_trashcan(result.rewritten.get(number, _body(bodies, number).tokens))
    return result


def _body(bodies: Mapping[int, Body | None], number: int) -> Body:
    body = bodies[number]
    assert body is not None  # noqa: S101 - only functions with a body are charged
    return body


def _with_later_trashcan(tokens: list[Token]) -> list[Token]:
    changed = [(later_trashcan(run), run, token) for run, token in tokens]
    if sum(later is not None for later, _, _ in changed) != 1:
        raise LinkError(
            f"{DEALLOCATE} does not compare the stack's margin as CPython 3.14 of componentize-py 0.25 does"
        )
    return [(run if later is None else later, token) for later, run, token in changed]


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


class _Profiler:
    def __init__(self, program: Program, stack_pointer: int) -> None:
        self.program = program
        self.names = [unit.module.function_names() for unit in program.units]
        self.pointers = [StackPointerTokens(unit, stack_pointer) for unit in program.units]
        self.limit = program.globals[stack_pointer].value - BUDGET

    def _name(self, number: int) -> str:
        function = self.program.functions[number]
        return self.names[function.unit].get(function.index, "")

    def named(self, name: str, numbers: Iterable[int]) -> list[int]:
        """The functions of that name."""
        return [number for number in numbers if self._name(number) == name]

    def checks(self, bodies: Mapping[int, Body | None]) -> dict[int, Check]:
        """The functions of CPython that need a check; none where the component holds no CPython."""
        defined = [number for number, body in bodies.items() if body is not None]
        check = next(iter(self.named(CHECK_FUNCTION, defined)), None)
        if check is None:
            if self.named(THREAD_STATE, defined):
                raise LinkError(
                    f"the component holds CPython, but nothing reaches {CHECK_FUNCTION}: its recursion would end the VM"
                )
            return {}
        if (found := self.program.functions[check].type) != _CHECK_TYPE:
            raise LinkError(f"{CHECK_FUNCTION} has the type {found}, the linker calls {_CHECK_TYPE}")
        errors = {number: error_result(self._name(number), self.program.functions[number].type) for number in defined}
        return {number: Check(check, self.limit, error) for number, error in errors.items() if error is not None}

    def profile(self, number: int, body: Body) -> _Profile:
        function = self.program.functions[number]
        assert function.body is not None  # noqa: S101 - it has a body
        parameters = len(function.type.parameters)
        local_count = skip_locals(Reader(body.locals, "locals"))
        pointers = self.pointers[function.unit]
        frame = find_frame(body.tokens, pointers)
        calls = sum(token[:1] in _CALLS for _, token in body.tokens)
        name = self._name(number)
        return _Profile(
            MEASURED_FRAMES.get(name) or native_frame(parameters, local_count, calls),
            sorted(callee for callee in body.callees if self.program.functions[callee].body is not None),
            frozenset() if calls_flatly(name) else body.indirect,
            frame,
            frame is None and restores_pointer(body.tokens, pointers),
        )


_CALLS = (bytes([CALL]), bytes([CALL_INDIRECT]))


def _cycle_breakers(profiles: Mapping[int, _Profile], charged: set[int]) -> set[int]:
    """One uncharged function of every cycle of direct calls among uncharged functions."""
    breakers: set[int] = set()
    pending = [sorted(profiles.keys() - charged)]
    while pending:
        members = set(pending.pop()) - breakers
        for component in _cycles(
            sorted(members), lambda number, members=members: [c for c in profiles[number].callees if c in members]
        ):
            breakers.add(min(component, key=lambda number: (not profiles[number].wrappable, number)))
            pending.append(sorted(component))
    return breakers


def _cycles(nodes: Iterable[int], successors: Callable[[int], list[int]]) -> list[list[int]]:
    """The strongly connected components that hold a cycle (Tarjan's algorithm, without recursion)."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    open_nodes: set[int] = set()
    found: list[list[int]] = []
    for root in nodes:
        if root in order:
            continue
        work = [(root, iter(successors(root)))]
        order[root] = low[root] = len(order)
        stack.append(root)
        open_nodes.add(root)
        while work:
            node, remaining = work[-1]
            for successor in remaining:
                if successor not in order:
                    order[successor] = low[successor] = len(order)
                    stack.append(successor)
                    open_nodes.add(successor)
                    work.append((successor, iter(successors(successor))))
                    break
                if successor in open_nodes:
                    low[node] = min(low[node], order[successor])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == order[node]:
                    component = _pop_until(stack, node)
                    open_nodes.difference_update(component)
                    if len(component) > 1 or node in successors(node):
                        found.append(component)
    return found


def _pop_until(stack: list[int], node: int) -> list[int]:
    component: list[int] = []
    while not component or component[-1] != node:
        component.append(stack.pop())
    return component


def _indirect_relays(profiles: Mapping[int, _Profile], charged: set[int], targets: Iterable[int]) -> set[int]:
    """Uncharged functions in the table from which an indirect call is reached through uncharged functions alone."""
    relays: dict[int, bool] = {}

    def relays_from(number: int) -> bool:
        seen: set[int] = set()
        pending = [number]
        while pending:
            current = pending.pop()
            if current in seen:
                continue
            seen.add(current)
            if profiles[current].indirect or relays.get(current):
                return True
            pending += [callee for callee in profiles[current].callees if callee not in charged]
        return False

    for target in targets:
        if target not in charged and profiles[target].wrappable:
            relays[target] = relays_from(target)
    return {number for number, relay in relays.items() if relay}


class _Costs:
    """What a charged function pays: its own frame and the longest uncharged path that leads to it from a charged one.

    Uncharged functions at the end of too long a path join the charged ones.
    """

    def __init__(self, profiles: Mapping[int, _Profile], charged: set[int], slots: Mapping[int, FunctionType]) -> None:
        self.profiles = profiles
        self.charged = charged
        self.slots = slots
        self.callers: dict[int, list[int]] = {number: [] for number in profiles}
        for number, profile in profiles.items():
            for callee in profile.callees:
                self.callers[callee].append(number)
        self.leaves = _leaves(profiles, charged, self.callers)
        self.paths: dict[int, int] = {}
        self.indirect: dict[FunctionType, int] = {}
        self._measure(number for number in sorted(profiles) if profiles[number].indirect)
        for number, path in self.paths.items():
            for function_type in profiles[number].indirect:
                self.indirect[function_type] = max(self.indirect.get(function_type, 0), path)
        self._measure(sorted(profiles))

    def of(self, number: int) -> int:
        """The charge of a charged function, its own shadow frame not yet taken off."""
        return self.profiles[number].native + self._before(number)

    def _before(self, number: int) -> int:
        """The longest uncharged path, in bytes, between a charged function and this one."""
        before = self.indirect.get(self.slots[number], 0) if number in self.slots else 0
        return max([before, *(self.paths[caller] for caller in self.callers[number] if caller not in self.charged)])

    def _measure(self, numbers: Iterable[int]) -> None:
        """Fill `paths`, callers first; the graph of uncharged functions has no cycle."""
        for number in numbers:
            pending = [number]
            while pending:
                current = pending[-1]
                if current in self.paths or current in self.charged:
                    pending.pop()
                    continue
                callers = self.callers[current]
                unknown = [caller for caller in callers if caller not in self.charged and caller not in self.paths]
                if unknown:
                    pending += unknown
                    continue
                pending.pop()
                path = self.of(current)
                longest = _LONGEST_PATH if len(callers) < _POPULAR else _LONGEST_POPULAR_PATH
                if path > longest and current not in self.leaves and self.profiles[current].wrappable:
                    self.charged.add(current)
                else:
                    self.paths[current] = path


def _leaves(profiles: Mapping[int, _Profile], charged: set[int], callers: Mapping[int, list[int]]) -> set[int]:
    """Uncharged functions from which no charged function and no indirect call is reached: recursion does not pass them."""
    pending = [number for number, profile in profiles.items() if number in charged or profile.indirect]
    onwards = set(pending)
    while pending:
        for caller in callers[pending.pop()]:
            if caller not in onwards:
                onwards.add(caller)
                pending.append(caller)
    return profiles.keys() - onwards


_LONGEST_PATH, _LONGEST_POPULAR_PATH = 512, 1024
"""How much of other functions' frames, in bytes, a charged function may have to pay for: what many call is not wrapped lightly."""
_POPULAR = 200
"""So many callers make a function popular."""


THREAD_STATE_IMPORT = f'(import "{SYMBOL_MODULE}" "{THREAD_STATE}" (func $thread_state (result i32)))'

_LIMIT_OFFSET = re.compile(rb"\x20\x00\x41([\x80-\xff]*[\x00-\x7f])\x6a")


def limit_offsets(body: bytes) -> tuple[int, int, int]:
    """Where the thread state keeps the stack's top, soft and hard limit: what `LIMITS_FUNCTION` stores to.

    Raises `LinkError` where its code does not look as in CPython 3.14.
    """
    offsets = sorted({Reader(match, "limits").s32() for match in _LIMIT_OFFSET.findall(body)})
    if len(offsets) != 3 or offsets[2] - offsets[0] != 8:  # noqa: PLR2004 - three neighbouring words
        raise LinkError(
            f"{LIMITS_FUNCTION} stores to the thread state at {offsets}, where three neighbouring words are expected:"
            " this linker knows CPython 3.14 as componentize-py 0.25 builds it"
        )
    top, soft, hard = offsets
    return top, soft, hard


def initialize_text(offsets: tuple[int, int, int], then: str) -> str:
    """The function that hosts call before any other: it gives CPython the limits that fit the VM's native stack, and then does what `then` says.

    `then` may use the local `$module`.
    """
    top, soft, hard = offsets
    return f"""
(func (export "_initialize") (local $state i32) (local $module i32)
  (local.set $state (call $thread_state))
  (if (local.get $state) (then
    (i32.store offset={top} (local.get $state) (global.get $stack_pointer))
    (i32.store offset={soft} (local.get $state) (i32.sub (global.get $stack_pointer) (i32.const {BUDGET})))
    (i32.store offset={hard} (local.get $state) (i32.sub (global.get $stack_pointer) (i32.const {BUDGET + RESERVE})))))
{then})
"""
