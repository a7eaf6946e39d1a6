"""Generators, coroutines and context managers."""

# Anything nests in anything here, and does what no program should.
# ruff: noqa: ANN401
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false

import contextlib
import sys
from collections.abc import AsyncGenerator, Generator
from typing import Any

from recursion.cases import CHAINED, DEEP, Cases, nested

cases = Cases()


def descending(levels: int) -> Generator[int]:
    if levels:
        yield from descending(levels - 1)
    yield levels


def delegating(inner: Any) -> Generator[int]:
    yield from inner


def iterating(inner: Any) -> Generator[int]:
    for item in inner:  # noqa: UP028 - not what `yield from` does
        yield item


def suspended(depth: int) -> Any:
    """Generators, each of which waits for the next."""
    sys.setrecursionlimit(2**31 - 1)
    try:
        outer = nested(delegating, [1, 2, 3], depth)
        next(outer)
        return outer
    finally:
        sys.setrecursionlimit(1000)


def throw(depth: int) -> None:
    suspended(depth).throw(KeyError("thrown"))


async def awaiting(levels: int) -> int:
    return await awaiting(levels - 1) if levels else 0


async def asynchronous(inner: Any) -> AsyncGenerator[int]:
    async for item in inner:
        yield item


async def nothing() -> AsyncGenerator[int]:
    yield 0


async def consumed(generator: Any) -> None:
    async for _ in generator:
        pass


@contextlib.contextmanager
def entering(levels: int) -> Generator[None]:
    with entering(levels - 1):
        yield


def enter(manager: Any) -> None:
    with manager:
        pass


def stacked(levels: int) -> None:
    with contextlib.ExitStack() as stack:
        stack.callback(stacked, levels - 1)


def many_callbacks() -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(100_000):
            stack.callback(int)


cases.table(
    None,
    {
        "yield from 100": lambda: sum(descending(100)),
        "close of 300": lambda: suspended(300).close(),
        "deallocation": lambda: bool(suspended(CHAINED)),
        "yield from what was made before": lambda: list(nested(delegating, [1])),
        "for": lambda: list(nested(iterating, [1])),
        "generator expressions": lambda: list(nested(lambda inner: (item for item in inner), [1])),
        "deallocation before the start": lambda: bool(nested(delegating, [])),
        "100000 callbacks of an exit stack": many_callbacks,
    },
)
cases.table(
    RecursionError,
    {
        "yield from": lambda: sum(descending(DEEP)),
        "throw": lambda: throw(CHAINED),
        "await": lambda: awaiting(DEEP).send(None),
        "asynchronous generators": lambda: consumed(nested(asynchronous, nothing())).send(None),
        "context managers": lambda: enter(entering(DEEP)),
        "exit stacks": lambda: stacked(DEEP),
    },
)
cases.table(
    KeyError,
    {
        "throw through 900": lambda: throw(900),
    },
)
