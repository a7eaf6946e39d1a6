"""What was measured: figures by case and name, each with one value for each round; kept as JSON from one run to another."""

import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

from proxy_wasm.bench.errors import ReportError

FORMAT = "proxy-wasm bench 1"
"""What a saved run begins with; another one means that its figures mean something else."""

Unit: TypeAlias = Literal["s", "B", "1", "1/s"]
"""Seconds, bytes, a number of things, so many a second."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured."""

    case: str
    """What the proxy was doing; empty where it is a fact of the module."""
    name: str
    unit: Unit
    values: tuple[float, ...]
    """One for each round, at least one."""
    judged: bool = True
    """Whether a run may be found worse for it; not where a single measurement says too little."""

    @property
    def median(self) -> float:
        """The value in the middle."""
        return statistics.median(self.values)

    @property
    def least(self) -> float:
        """The smallest value."""
        return min(self.values)

    @property
    def most(self) -> float:
        """The largest value."""
        return max(self.values)

    @property
    def more_is_better(self) -> bool:
        """Whether a larger value is the better one."""
        return self.unit == "1/s"


@dataclass(frozen=True, slots=True)
class Curve:
    """The guest's memory over the streams of one long round."""

    case: str
    points: tuple[tuple[int, int], ...]
    """How many streams there were, and bytes of memory then: where that changed, the first and the last."""


@dataclass(frozen=True, slots=True)
class Report:
    """One run."""

    subject: str
    """The extension's or module's name."""
    host: str
    """`"wasm"`, `"native"` or `"envoy"`."""
    traffic: str
    """What was sent, in words."""
    machine: str
    figures: tuple[Figure, ...]
    curves: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()
    """What else a reader should know, such as cases that were left out."""

    def to_json(self) -> dict[str, Any]:
        """The run as `from_json` reads it."""
        return {"format": FORMAT, **asdict(self)}

    def save(self, path: Path) -> None:
        """Write the run to a file."""
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path) -> "Report":
        """A saved run; raises `ReportError` where the file holds none, `OSError` where it cannot be read."""
        try:
            document = json.loads(path.read_bytes())
        except ValueError as error:
            raise ReportError(f"{path}: is no saved run: {error}") from error
        if not isinstance(document, dict):
            raise ReportError(f"{path}: is no saved run: must be an object; write one with --save")
        return _read(_Place(path, "", cast("object", document)))


def machine() -> str:
    """The machine in general terms."""
    return f"{os.cpu_count()} processors, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def by_case(figures: Iterable[Figure]) -> Mapping[str, list[Figure]]:
    """The figures of each case, in their order; those of the module first."""
    grouped: dict[str, list[Figure]] = {"": []}
    for figure in figures:
        grouped.setdefault(figure.case, []).append(figure)
    return {case: members for case, members in grouped.items() if members}


# Reading, with errors that name the place.


@dataclass(frozen=True, slots=True)
class _Place:
    """A value in a saved run."""

    file: Path
    path: str
    value: object

    def error(self, problem: str) -> ReportError:
        where = f"{self.path}: " if self.path else ""
        return ReportError(f"{self.file}: {where}{problem}")

    def key(self, name: str) -> "_Place":
        if not isinstance(self.value, dict):
            raise self.error("must be an object")
        mapping = cast("dict[str, object]", self.value)  # pyright: ignore[reportUnknownMemberType]
        path = f"{self.path}.{name}".lstrip(".")
        if name not in mapping:
            raise ReportError(f"{self.file}: {path}: is missing; write the file with --save")
        return _Place(self.file, path, mapping[name])

    def items(self) -> list["_Place"]:
        if not isinstance(self.value, list):
            raise self.error("must be a list")
        elements = cast("list[object]", self.value)  # pyright: ignore[reportUnknownMemberType]
        return [_Place(self.file, f"{self.path}[{number}]", element) for number, element in enumerate(elements)]

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.error("must be text")
        return self.value

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.error("must be true or false")
        return self.value

    def number(self) -> float:
        if not isinstance(self.value, int | float) or isinstance(self.value, bool):
            raise self.error("must be a number")
        return self.value


def _read(place: _Place) -> Report:
    written = place.key("format").text()
    if written != FORMAT:
        raise place.error(f"format: is {written!r}, and this version compares with {FORMAT!r}; measure again")
    return Report(
        place.key("subject").text(),
        place.key("host").text(),
        place.key("traffic").text(),
        place.key("machine").text(),
        tuple(_figure(item) for item in place.key("figures").items()),
        tuple(_curve(item) for item in place.key("curves").items()),
        tuple(item.text() for item in place.key("notes").items()),
    )


def _figure(place: _Place) -> Figure:
    values = tuple(item.number() for item in place.key("values").items())
    if not values:
        raise place.error("values: needs at least one")
    unit = place.key("unit").text()
    if unit not in get_args(Unit):
        raise place.error(f"unit: {unit!r} is none of {', '.join(get_args(Unit))}")
    return Figure(
        place.key("case").text(), place.key("name").text(), cast("Unit", unit), values, place.key("judged").flag()
    )


_PAIR = 2


def _curve(place: _Place) -> Curve:
    points: list[tuple[int, int]] = []
    for item in place.key("points").items():
        pair = item.items()
        if len(pair) != _PAIR:
            raise item.error("must be two numbers")
        points.append((int(pair[0].number()), int(pair[1].number())))
    return Curve(place.key("case").text(), tuple(points))
