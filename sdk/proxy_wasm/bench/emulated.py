"""Time and memory of a filter in the emulator.

Every round runs every case once, so that what disturbs the machine disturbs all of them alike; a case gets a VM of its own each time, and sends
its traffic through it again and again. Before that comes one long round, of which only the memory counts. Each figure has one value for each
round: the time that one of ten of its streams stays below (see `stopwatch.low`), the first streams left out.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from proxy_wasm.bench.crossing import crossing
from proxy_wasm.bench.errors import BenchError
from proxy_wasm.bench.loading import load_figures
from proxy_wasm.bench.report import Curve, Figure, Report, machine
from proxy_wasm.bench.stopwatch import Life, Stopwatch, Stream, low, measured
from proxy_wasm.bench.traffic import Traffic
from proxy_wasm.emulator.guest import GuestFactory
from proxy_wasm.testing.cases.model import Case, ConnectStep, RequestStep
from proxy_wasm.testing.cases.report import lines_of
from proxy_wasm.testing.cases.runner import Result, run_case
from proxy_wasm.testing.emulated import EmulatedHost
from proxy_wasm.testing.extension import Extension

Progress = Callable[[str], None]

LONG = 5
"""How many times as many streams the round has in which memory is looked at."""
WARM = 10
"""The tenth of a round's streams that does not count: the first ones."""

_SECONDS = 1e-9
_MEMORY_STREAMS = 1000


class MeasuringHost(EmulatedHost):
    """The emulator, with a stopwatch around each guest."""

    def __init__(self, name: Literal["native", "wasm"], stopwatch: Stopwatch) -> None:
        super().__init__(name)
        self._stopwatch = stopwatch

    def _guest(self, extension: Extension) -> GuestFactory:
        return measured(super()._guest(extension), self._stopwatch)


def measure(
    extension: Extension,
    host: Literal["native", "wasm"],
    traffic: Traffic,
    *,
    rounds: int,
    streams: int,
    progress: Progress,
) -> Report:
    """A report of `rounds` rounds, in each of which about `streams` streams of each case pass.

    Raises `BenchError` where a case does not run through, a `BuildError` where the extension cannot be built, and what the extension raises.
    """
    stopwatch = Stopwatch()
    emulator = MeasuringHost(host, stopwatch)
    lives: dict[str, list[Life]] = {case.name: [] for case in traffic.cases}
    try:
        for number in range(rounds + 1):
            progress(f"round {number} of {rounds}" if number else "memory")
            stopwatch.crossing = crossing(host)
            for case in traffic.cases:
                lives[case.name].append(
                    _run(case, emulator, extension, stopwatch, streams if number else LONG * streams)
                )
    finally:
        emulator.close()
    figures = [figure for case in traffic.cases for figure in _figures(case.name, lives[case.name])]
    curves: tuple[Curve, ...] = ()
    if host == "wasm":
        module = extension.module()
        progress("loading the module, cold and from the cache")
        figures = [*_size(module), *load_figures(module, rounds), *figures]
        for case in traffic.cases:
            figures += _memory_figures(case.name, lives[case.name])
        curves = tuple(Curve(case.name, _points(lives[case.name][0])) for case in traffic.cases)
    return Report(
        extension.path.resolve().name, host, traffic.title, machine(), tuple(figures), curves, tuple(traffic.skipped)
    )


def _run(case: Case, host: MeasuringHost, extension: Extension, stopwatch: Stopwatch, streams: int) -> Life:
    """What the guest did while so many streams of the case passed."""
    each = sum(isinstance(step, RequestStep | ConnectStep) for step in case.steps)
    times = math.ceil(streams / each)
    repeated = Case(case.name, case.file, case.line, case.plugin, case.clusters, case.hosts, case.steps * times)
    stopwatch.lives.clear()
    result = run_case(repeated, host, extension)
    if result.failure is not None:
        raise BenchError("\n".join(lines_of(result)))
    life = stopwatch.lives[-1]
    if len(life.streams) < each * times:
        raise BenchError(f"{case.name}: the filter saw {len(life.streams)} of {each * times} streams{_because(result)}")
    return life


def _because(result: Result) -> str:
    """What the host said of that."""
    said = [record.message for record in result.logs if record.from_host]
    return f": {said[-1].splitlines()[0]}" if said else "; does it have a callback for them?"


def _figures(case: str, lives: Sequence[Life]) -> Iterator[Figure]:
    counted = lives[1:]
    yield Figure(case, "start", "s", tuple(life.start.nanoseconds * _SECONDS for life in counted))
    yield Figure(case, "first stream", "s", tuple(life.streams[0].nanoseconds * _SECONDS for life in counted))
    warm = [life.streams[max(1, len(life.streams) // WARM) :] or life.streams for life in counted]
    yield Figure(case, "stream", "s", tuple(_low(stream.nanoseconds for stream in streams) for streams in warm))
    for name in dict.fromkeys(call.name for streams in warm for stream in streams for call in stream.calls):
        rounds = [
            [call.nanoseconds for stream in streams for call in stream.calls if call.name == name] for streams in warm
        ]
        yield Figure(case, name, "s", tuple(_low(times) for times in rounds if times))
    yield Figure(
        case,
        "hostcalls per stream",
        "1",
        tuple(statistics.fmean(stream.hostcalls for stream in streams) for streams in warm),
    )


def _low(nanoseconds: Iterator[float] | list[float]) -> float:
    return low(nanoseconds) * _SECONDS


def _size(module: Path) -> Iterator[Figure]:
    yield Figure("", "module size", "B", (module.stat().st_size,))


def _memory_figures(case: str, lives: Sequence[Life]) -> Iterator[Figure]:
    long = lives[0]
    yield Figure(case, "memory after load", "B", tuple(life.start.memory_before for life in lives[1:]))
    yield Figure(case, "memory after the first stream", "B", tuple(_after(life, 0) for life in lives[1:]))
    first = len(long.streams) // WARM
    grown = _after(long, len(long.streams) - 1) - long.streams[first].memory_before
    per_stream = grown / (len(long.streams) - first)
    yield Figure(case, "memory growth per 1,000 streams", "B", (per_stream * _MEMORY_STREAMS,))


def _after(life: Life, number: int) -> int:
    """Bytes of memory after a stream."""
    streams: list[Stream] = life.streams
    return streams[number + 1].memory_before if number + 1 < len(streams) else life.memory_at_end


def _points(life: Life) -> tuple[tuple[int, int], ...]:
    """Where the memory's size changes, the first point and the last."""
    sizes = [life.streams[0].memory_before, *(_after(life, number) for number in range(len(life.streams)))]
    last = len(sizes) - 1
    return tuple(
        (number, size) for number, size in enumerate(sizes) if number in (0, last) or size != sizes[number - 1]
    )
