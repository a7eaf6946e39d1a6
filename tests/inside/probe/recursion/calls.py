"""From C to Python and back, a hundred times and for ever."""

# Anything nests in anything here, and does what no program should.
# ruff: noqa: ANN401, S102
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false

import contextvars
import functools
import itertools
import json
import re
import sys
import types
from collections.abc import Callable
from typing import Any

from recursion.cases import DEEP, Cases

cases = Cases()

Function = Callable[[Any], Any]
FEW = 100


def levels(call: Callable[[Function], object], count: int) -> object:
    """`call` with a function that calls `call` with a function that ..., `count` times."""

    def descend(_: Any) -> Any:
        nonlocal count
        count -= 1
        return call(descend) if count > 0 else 0

    return call(descend)


class Shown:
    def __init__(self, function: Function) -> None:
        self.function = function

    def __repr__(self) -> str:
        self.function(self)
        return ""


class Keys(Shown):
    def keys(self) -> list[int]:
        self.function(self)
        return []

    def __getitem__(self, key: int) -> int:
        return key


class Module(types.ModuleType):
    def __init__(self, function: Function) -> None:
        super().__init__("made")
        self.function = function

    def __getattr__(self, name: str) -> object:
        return self.function(name)


CALLS: dict[str, Callable[[Function], object]] = {
    "sorted": lambda function: sorted([1], key=function),
    "min": lambda function: min([1], key=function),
    "map": lambda function: next(map(function, [1])),
    "list of map": lambda function: list(map(function, [1])),
    "filter": lambda function: list(filter(function, [1])),
    "any of a generator": lambda function: any(function(item) for item in [1]),
    "functools.reduce": lambda function: functools.reduce(lambda left, _: function(left), [1, 2]),
    "functools.partial": lambda function: functools.partial(function, 1)(),
    "functools.lru_cache": lambda function: functools.lru_cache(function)(1),
    "functools.cmp_to_key": lambda function: min(
        map(functools.cmp_to_key(lambda left, _: function(left) and 0), [1, 2])
    ),
    "repr": lambda function: repr(Shown(function)),
    "itertools.accumulate": lambda function: list(itertools.accumulate([1, 2], lambda left, _: function(left))),
    "re.sub": lambda function: re.sub("a", lambda match: str(function(match)), "a"),
    "dict": lambda function: dict(Keys(function)),
    "a module's attribute": lambda function: Module(function).attribute,
    "contextvars": lambda function: contextvars.copy_context().run(function, 1),
    "json.dumps with a default": lambda function: json.dumps(object(), default=lambda made: function(made) and 0),
    "json.loads with a hook": lambda function: json.loads("{}", object_hook=function),
    "type": lambda function: type("Made", (), {"attribute": function(1)}),
}
for _name, _call in CALLS.items():
    cases.table(None, {f"{_name}, 100 levels": functools.partial(levels, _call, FEW)})
    cases.table(RecursionError, {_name: functools.partial(levels, _call, DEEP)})


def execute(function: Function) -> None:
    exec("function(1)", {"function": function})


def recurse() -> object:
    return recurse()


def with_a_high_limit(program: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(2**31 - 1)
        try:
            return program()
        finally:
            sys.setrecursionlimit(limit)

    return run


cases.table(RecursionError, {"Python alone": recurse, "a high limit": with_a_high_limit(cases["sorted"].program)})
cases.table(MemoryError, {"exec": functools.partial(levels, execute, DEEP)})
