"""What is expected of a value, and how it is told when something else came."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


def text_of(data: bytes) -> str:
    """Bytes as a report shows them: UTF-8, with what no terminal can show, and stray bytes, escaped."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else _escaped(character)
        for character in data.decode("utf-8", "surrogateescape")
    )


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


class Matcher(Protocol):
    """What is expected of one text, as bytes."""

    def matches(self, actual: bytes) -> bool: ...

    def __str__(self) -> str:
        """The expectation in words."""
        ...


@dataclass(frozen=True, slots=True)
class Equals:
    """These bytes."""

    wanted: bytes

    def matches(self, actual: bytes) -> bool:
        return actual == self.wanted

    def __str__(self) -> str:
        return text_of(self.wanted)


@dataclass(frozen=True, slots=True)
class Contains:
    """These bytes somewhere."""

    wanted: bytes

    def matches(self, actual: bytes) -> bool:
        return self.wanted in actual

    def __str__(self) -> str:
        return f"contains {text_of(self.wanted)}"


@dataclass(frozen=True, slots=True)
class Regex:
    """A match of a regular expression somewhere; in text that is no UTF-8 its stray bytes are surrogate escapes."""

    pattern: re.Pattern[str]

    def matches(self, actual: bytes) -> bool:
        return self.pattern.search(actual.decode("utf-8", "surrogateescape")) is not None

    def __str__(self) -> str:
        return f"matches {self.pattern.pattern}"


@dataclass(frozen=True, slots=True)
class JsonEquals:
    """JSON that says the same, however it is written."""

    wanted: Any

    def matches(self, actual: bytes) -> bool:
        try:
            return json.dumps(json.loads(actual), sort_keys=True) == json.dumps(self.wanted, sort_keys=True)
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"JSON {json.dumps(self.wanted, ensure_ascii=False)}"


@dataclass(frozen=True, slots=True)
class Not:
    """What another expectation does not match."""

    unwanted: Matcher

    def matches(self, actual: bytes) -> bool:
        return not self.unwanted.matches(actual)

    def __str__(self) -> str:
        return f"not: {self.unwanted}"


@dataclass(frozen=True, slots=True)
class AllOf:
    """Several expectations at once."""

    wanted: tuple[Matcher, ...]

    def matches(self, actual: bytes) -> bool:
        return all(matcher.matches(actual) for matcher in self.wanted)

    def __str__(self) -> str:
        return " and ".join(str(matcher) for matcher in self.wanted)


class HeaderMatcher(Protocol):
    """What is expected of all values of a header."""

    def matches(self, values: Sequence[bytes]) -> bool: ...

    def __str__(self) -> str:
        """The expectation in words."""
        ...


ABSENT = "(absent)"


@dataclass(frozen=True, slots=True)
class Absent:
    """The header does not occur."""

    def matches(self, values: Sequence[bytes]) -> bool:
        return not values

    def __str__(self) -> str:
        return ABSENT


@dataclass(frozen=True, slots=True)
class Joined:
    """The header occurs, and its values, joined by `, ` if there are several, are as expected."""

    wanted: Matcher

    def matches(self, values: Sequence[bytes]) -> bool:
        return bool(values) and self.wanted.matches(b", ".join(values))

    def __str__(self) -> str:
        return str(self.wanted)


@dataclass(frozen=True, slots=True)
class Each:
    """The header occurs as often as this says, each value as expected."""

    wanted: tuple[Matcher, ...]
    any_order: bool = False

    def matches(self, values: Sequence[bytes]) -> bool:
        if len(values) != len(self.wanted):
            return False
        if self.any_order:
            return not unmatched(self.wanted, values, lambda matcher, value: matcher.matches(value))
        return all(matcher.matches(value) for matcher, value in zip(self.wanted, values, strict=True))

    def __str__(self) -> str:
        listed = " | ".join(str(matcher) for matcher in self.wanted)
        return f"in any order: {listed}" if self.any_order else listed


@dataclass(frozen=True, slots=True)
class Between:
    """A number within limits, both included."""

    minimum: int | None = None
    maximum: int | None = None

    def matches(self, actual: int) -> bool:
        above = self.minimum is None or actual >= self.minimum
        return above and (self.maximum is None or actual <= self.maximum)

    def __str__(self) -> str:
        if self.minimum is not None and self.minimum == self.maximum:
            return str(self.minimum)
        limits = (("at least", self.minimum), ("at most", self.maximum))
        return " and ".join(f"{word} {limit}" for word, limit in limits if limit is not None)


W = TypeVar("W")


def unmatched(wanted: Sequence[W], values: Sequence[T], matches: Callable[[W, T], bool]) -> list[W]:
    """Those of `wanted` for which no value is left, if each takes a value of its own; as few as can be.

    Expectations may overlap, so that a value which one took is given to another if the first can take some other value: a matching in a
    bipartite graph, found by augmenting paths.
    """
    taken: dict[int, int] = {}

    def take(which: int, tried: set[int]) -> bool:
        for number, value in enumerate(values):
            if number not in tried and matches(wanted[which], value):
                tried.add(number)
                if number not in taken or take(taken[number], tried):
                    taken[number] = which
                    return True
        return False

    return [wanted[which] for which in range(len(wanted)) if not take(which, set())]


def missing_in_order(wanted: Sequence[W], values: Sequence[T], matches: Callable[[W, T], bool]) -> list[W]:
    """What is left of `wanted` from the first on that no value matches after the one before it; others may stand between."""
    position = 0
    for number, each in enumerate(wanted):
        while position < len(values) and not matches(each, values[position]):
            position += 1
        if position == len(values):
            return list(wanted[number:])
        position += 1
    return []
