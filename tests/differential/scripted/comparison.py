"""Whether the hosts agree on a case; and cases as text, from which a case can be made again."""

import difflib
import itertools
import json
from dataclasses import MISSING, fields, is_dataclass
from typing import cast

from scripted.case import Body, Case, Event, HttpCase, Request, Response, TcpCase, What
from scripted.observation import Json
from scripted.script import Block, ContextId, Outside, ResultOf, Step

_LONGEST = 60
"""How many lines of a difference are told: Envoy can call back without end."""


def difference(expected: Json, seen: Json) -> str:
    """How what was seen on another host differs from what was to be expected; empty where it does not.

    After a crash there is nothing to see but that it is one.
    """
    both_failed = "failure" in expected and "failure" in seen
    if both_failed or expected == seen:
        return ""
    lines = difflib.unified_diff(_lines(expected), _lines(seen), "envoy", "emulator", lineterm="", n=100)
    return "\n".join(itertools.islice(lines, _LONGEST))


def _lines(seen: Json) -> list[str]:
    parts = [f"{key}: {json.dumps(value)}" for key, value in seen.items() if key != "log"]
    return parts + [json.dumps(entry) for entry in seen["log"]]


def to_text(value: object) -> str:
    """A case, or a part of one, as an expression of which `from_text` makes it again; what is as by default is left out."""
    if isinstance(value, tuple):
        items = cast("tuple[object, ...]", value)
        return f"({' '.join(f'{to_text(item)},' for item in items)})"
    if isinstance(value, frozenset):
        numbers = cast("frozenset[int]", value)
        return f"frozenset({sorted(numbers)})" if numbers else "frozenset()"
    if isinstance(value, What):
        return str(value)
    if not is_dataclass(value) or isinstance(value, type):
        return repr(value)
    if isinstance(value, Step):
        return f"Step({', '.join([repr(value.hostcall), to_text(value.arguments)])})"
    given = [
        f"{field.name}={to_text(getattr(value, field.name))}"
        for field in fields(value)
        if getattr(value, field.name)
        != (field.default if field.default_factory is MISSING else field.default_factory())
    ]
    return f"{type(value).__name__}({', '.join(given)})"


_VALUES = (
    Body,
    HttpCase,
    TcpCase,
    Event,
    What,
    Request,
    Response,
    Block,
    ContextId,
    Outside,
    ResultOf,
    Step,
    frozenset,
)


def from_text(text: str) -> Case:
    """The case that `to_text` gave as `text`, which must be trusted."""
    return eval(text, {value.__name__: value for value in _VALUES})  # noqa: S307 - the tests' own files
