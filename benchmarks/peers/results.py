"""What was measured, as values that are kept as JSON from one run to another."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers.contenders import NONE

FORMAT = "proxy-wasm peers 1"
"""What a saved run begins with; another one means that its figures mean something else."""
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


class ResultsUnreadable(Exception):  # noqa: N818 - says what happened
    """A file is no saved run."""


@dataclass(slots=True)
class Cell:
    """One peer doing one work; each list has a value for each round."""

    work: str
    peer: str
    cpu: list[float] = field(default_factory=list[float])
    """Seconds of CPU time for each request."""
    rate: list[float] = field(default_factory=list[float])
    """Requests a second at full speed."""
    latencies: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    """Seconds at a fixed rate, by the names of PERCENTILES."""
    sent: int = 0
    """How many requests a round's latencies are taken from."""


@dataclass(slots=True)
class Start:
    """One peer's Envoy with so many workers, started anew in each round."""

    peer: str
    workers: int
    ready: list[float] = field(default_factory=list[float])
    """Seconds until it answered the first request as it should."""
    resident: list[int] = field(default_factory=list[int])
    """Bytes of memory after some requests."""


@dataclass(frozen=True, slots=True)
class Size:
    """A peer's module of basic authentication, in bytes."""

    peer: str
    module: int
    compressed: int
    """By zlib's highest level, as images have it."""


@dataclass(slots=True)
class Curve:
    """What a request costs one peer as something grows: `requests`, `streams`, `headers` or `paths`."""

    kind: str
    peer: str
    cpu: dict[int, list[float]] = field(default_factory=dict[int, list[float]])
    """Seconds of CPU time for each request, a value for each round, by how many there are."""
    resident: dict[int, int] = field(default_factory=dict[int, int])
    """Bytes of memory, by how many there are."""


@dataclass(slots=True)
class Results:
    """One run."""

    machine: str
    software: str
    """Versions, and the load generator."""
    options: dict[str, Any]
    left_out: list[str] = field(default_factory=list[str])
    cells: list[Cell] = field(default_factory=list[Cell])
    starts: list[Start] = field(default_factory=list[Start])
    sizes: list[Size] = field(default_factory=list[Size])
    curves: list[Curve] = field(default_factory=list[Curve])

    def cell(self, work: str, peer: str) -> Cell | None:
        """What a peer took for a work, where that was measured."""
        return next((cell for cell in self.cells if (cell.work, cell.peer) == (work, peer)), None)

    def added_cpu(self, work: str, peer: str) -> float | None:
        """Seconds of CPU time that a peer adds to a request: the median over the rounds."""
        cell, without = self.cell(work, peer), self.cell(work, NONE)
        return None if cell is None or without is None else added(cell.cpu, without.cpu)

    def added_latency(self, work: str, peer: str, percentile: str) -> float | None:
        """Seconds that a peer adds to a percentile of the latencies: the median over the rounds."""
        cell, without = self.cell(work, peer), self.cell(work, NONE)
        if cell is None or without is None or percentile not in cell.latencies:
            return None
        return added(cell.latencies[percentile], without.latencies[percentile])

    def start(self, peer: str, workers: int) -> Start | None:
        """What a start took, where that was measured."""
        return next((start for start in self.starts if (start.peer, start.workers) == (peer, workers)), None)

    def ready(self, peer: str) -> float | None:
        """Seconds until a peer's Envoy with one worker answers: the median over the rounds."""
        start = self.start(peer, 1)
        return None if start is None else statistics.median(start.ready)

    def workers(self) -> list[int]:
        """The numbers of workers that Envoys were started with."""
        return sorted({start.workers for start in self.starts})

    def added_memory(self, peer: str, workers: int) -> float | None:
        """Bytes of memory over that of an Envoy without a filter: the median over the rounds."""
        start, without = self.start(peer, workers), self.start(NONE, workers)
        return None if start is None or without is None else added(start.resident, without.resident)

    def size(self, peer: str) -> Size | None:
        """A peer's module, where it has one."""
        return next((size for size in self.sizes if size.peer == peer), None)

    def curve(self, kind: str, peer: str) -> Curve | None:
        """What was measured of a kind."""
        return next((curve for curve in self.curves if (curve.kind, curve.peer) == (kind, peer)), None)

    def added_curve(self, kind: str, peer: str) -> dict[int, float]:
        """Seconds of CPU time that a peer adds to a request, by how many there are."""
        curve, without = self.curve(kind, peer), self.curve(kind, NONE)
        if curve is None or without is None:
            return {}
        return {count: added(values, without.cpu[count]) for count, values in curve.cpu.items()}

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n", "utf-8")


def added(values: Sequence[float], without: Sequence[float]) -> float:
    """The median of the differences, round by round."""
    return statistics.median(value - base for value, base in zip(values, without, strict=True))


def load(path: Path) -> Results:
    """A run that was saved; raises `ResultsUnreadable` where the file is none."""
    try:
        document: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if document.pop("format") != FORMAT:
            raise ResultsUnreadable(f"{path}: is of another format than {FORMAT!r}")
        return _results(document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsUnreadable(f"{path}: is no saved run: {type(error).__name__}: {error}") from error


def _results(document: Mapping[str, Any]) -> Results:
    return Results(
        document["machine"],
        document["software"],
        document["options"],
        document["left_out"],
        [Cell(**each) for each in document["cells"]],
        [Start(**each) for each in document["starts"]],
        [Size(**each) for each in document["sizes"]],
        list(_curves(document["curves"])),
    )


def _curves(documents: Iterable[Mapping[str, Any]]) -> Iterable[Curve]:
    for each in documents:
        cpu = {int(count): values for count, values in each["cpu"].items()}
        resident = {int(count): size for count, size in each["resident"].items()}
        yield Curve(each["kind"], each["peer"], cpu, resident)
