"""Chains and groups of exceptions, and exceptions while exceptions are handled."""

# Anything nests in anything here, and does what no program should.
# ruff: noqa: ANN401, TRY301
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false

import contextlib
import logging
import traceback
from typing import Any

from recursion.cases import CHAINED, DEEP, Cases, nested

cases = Cases()
logger = logging.getLogger(__name__)


def chain(depth: int = CHAINED) -> Any:
    def after(earlier: Any) -> ValueError:
        later = ValueError("later")
        later.__context__ = later.__cause__ = earlier
        return later

    return nested(after, None, depth)


def groups(depth: int = CHAINED) -> Any:
    return nested(lambda inner: ExceptionGroup("group", [inner]), ValueError("innermost"), depth)


def raise_(error: BaseException) -> None:
    raise error


def handle() -> None:
    try:
        raise KeyError
    except KeyError:
        handle()


def end() -> None:
    try:
        pass
    finally:
        end()


def catch() -> None:
    with contextlib.suppress(RecursionError):
        catch()


def catch_a_thousand_times() -> None:
    for _ in range(1000):
        with contextlib.suppress(RecursionError):
            repr(nested(lambda inner: [inner], [], 1000))


def expect_another_kind() -> None:
    try:
        raise groups()
    except* KeyError:
        pass


def expect_the_kind() -> None:
    try:
        raise groups()
    except* ValueError as group:
        raise group from None


class Interrupting:
    def __del__(self) -> None:
        raise KeyboardInterrupt


cases.table(
    None,
    {
        "deallocation of a chain": lambda: bool(chain(DEEP)),
        "a chain formatted": lambda: traceback.format_exception(chain(CHAINED // 10)),
        "a chain logged": lambda: logger.error("deep", exc_info=chain(CHAINED // 10)),
        "groups formatted": lambda: traceback.format_exception(groups(CHAINED // 10)),
        "deallocation of groups": lambda: bool(groups()),
        "caught at every level": catch,
        "caught a thousand times": catch_a_thousand_times,
        "raised by a deallocation": lambda: bool(Interrupting()),
    },
)
cases.table(ValueError, {"a chain raised": lambda: raise_(chain(CHAINED // 10))})
cases.table(ExceptionGroup, {"groups raised": lambda: raise_(groups(CHAINED // 10))})
cases.table(
    RecursionError,
    {
        "exceptions in exceptions shown": lambda: repr(nested(ValueError, None)),
        "exceptions in exceptions as text": lambda: str(nested(ValueError, ValueError())),
        "groups shown": lambda: repr(groups()),
        "groups split": lambda: groups().split(KeyError),
        "groups split by a function": lambda: groups().subgroup(lambda _: False),
        "groups derived": lambda: groups().subgroup(ValueError).split(lambda error: not isinstance(error, ValueError)),
        "groups handled as another kind": expect_another_kind,
        "groups handled and raised again": expect_the_kind,
        "raised while another is handled": handle,
        "finally": end,
    },
)
