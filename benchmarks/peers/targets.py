"""What the figures are wanted to be, and whether they are."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.peers.contenders import EXT_AUTHZ, GO, LUA, PYTHON
from benchmarks.peers.flatness import STEPS
from benchmarks.peers.results import Results

FLAT = 1.2
"""How many times what a request costs at first it may cost at last."""
_ENDS = 3
"""How many points at each end of a curve are compared."""


@dataclass(frozen=True, slots=True)
class Target:
    """One figure, and its limit."""

    title: str
    value: Callable[[Results], float | None]
    """The figure; `None` where what it follows from was not measured."""
    limit: float
    unit: str = ""
    at_least: bool = False
    """Whether the limit is the least, not the most."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target with what was measured."""

    target: Target
    value: float

    @property
    def missed(self) -> bool:
        """Whether the figure is beyond the limit."""
        limit = self.target.limit
        return self.value < limit if self.target.at_least else self.value > limit

    @property
    def words(self) -> str:
        """`met`, or `MISSED`."""
        return "MISSED" if self.missed else "met"


def judge(results: Results) -> list[Verdict]:
    """The verdicts upon what was measured."""
    values = ((target, target.value(results)) for target in TARGETS)
    return [Verdict(target, value) for target, value in values if value is not None]


def ratio(over: float | None, under: float | None) -> float | None:
    """How many times `under` is in `over`, where both were measured and there is anything to divide by."""
    return None if over is None or under is None or under <= 0 else over / under


def _cpu(work: str, over: str, under: str) -> Callable[[Results], float | None]:
    return lambda results: ratio(results.added_cpu(work, over), results.added_cpu(work, under))


def _latency(work: str, over: str, under: str) -> Callable[[Results], float | None]:
    return lambda results: ratio(results.added_latency(work, over, "p50"), results.added_latency(work, under, "p50"))


def _memory(results: Results) -> float | None:
    size = results.added_memory(PYTHON, 1)
    return None if size is None else size / 1e6


def further_worker(results: Results, peer: str) -> float | None:
    """Bytes that each worker after the first adds, over what it adds to an Envoy without a filter."""
    workers = results.workers()
    if len(workers) < 2:  # noqa: PLR2004 - a difference needs two
        return None
    first, last = workers[0], workers[-1]
    least, most = results.added_memory(peer, first), results.added_memory(peer, last)
    return None if least is None or most is None else (most - least) / (last - first)


def _further_worker(results: Results) -> float | None:
    size = further_worker(results, PYTHON)
    return None if size is None else size / 1e6


def _module(results: Results) -> float | None:
    size = results.size(PYTHON)
    return None if size is None else size.module / 1e6


def _compressed(results: Results) -> float | None:
    size = results.size(PYTHON)
    return None if size is None else size.compressed / 1e6


def _over_requests(results: Results) -> float | None:
    """The last equal steps beside the first ones."""
    costs = results.added_curve("requests", PYTHON)
    if not costs:
        return None
    steps = [costs[count] for count in sorted(costs) if count * STEPS >= max(costs)]
    return ratio(statistics.median(steps[-_ENDS:]), statistics.median(steps[:_ENDS]))


def _over_streams(results: Results) -> float | None:
    costs = results.added_curve("streams", PYTHON)
    return ratio(costs[max(costs)], costs[min(costs)]) if costs else None


def _over_headers(results: Results) -> float | None:
    """The slope over the larger numbers of headers beside that over all of them: 1 is a straight line."""
    costs = results.added_curve("headers", PYTHON)
    if not costs:
        return None
    middle = sorted(costs)[len(costs) // 2 :]
    return ratio(slope({count: costs[count] for count in middle}), slope(costs))


def slope(points: Mapping[int, float]) -> float:
    """How much each more adds: the line of least squares."""
    return statistics.linear_regression(list(points), list(points.values())).slope


TARGETS = (
    Target("header_edit: CPU, Python / Go", _cpu("header_edit", PYTHON, GO), 1.0),
    Target("three_reads: CPU, Python / Go", _cpu("three_reads", PYTHON, GO), 1.0),
    Target("basic_auth: CPU, Python / Lua", _cpu("basic_auth", PYTHON, LUA), 2.0),
    Target("basic_auth: CPU, ext_authz / Python", _cpu("basic_auth", EXT_AUTHZ, PYTHON), 8.0, at_least=True),
    Target(
        "basic_auth: added median latency, ext_authz / Python",
        _latency("basic_auth", EXT_AUTHZ, PYTHON),
        3.0,
        at_least=True,
    ),
    Target("time until the first answer, one worker", lambda results: results.ready(PYTHON), 2.0, "s"),
    Target("memory over no filter, one worker", _memory, 150.0, "MB"),
    Target("memory for each further worker", _further_worker, 14.0, "MB"),
    Target("size of basic_auth.wasm", _module, 10.0, "MB"),
    Target("size of basic_auth.wasm, compressed", _compressed, 4.0, "MB"),
    Target("cost of the last requests / of the first", _over_requests, FLAT),
    Target("cost beside 1,000 open streams / beside 1", _over_streams, FLAT),
    Target("cost of a further header, of many / of all", _over_headers, FLAT),
)
