"""What each work costs each peer: rounds in which all of them are measured, one after the other.

All of them are compared with the Envoy without a filter, which is therefore measured twice in each round, at two places of the order.
"""

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.peers.contenders import NONE, PEERS
from benchmarks.peers.modules import Modules, NotBuilt
from benchmarks.peers.proxies import Proxy, Scene
from benchmarks.peers.results import PERCENTILES, Cell, Results
from benchmarks.peers.schedule import latencies, percentile
from benchmarks.peers.works import WORKS, Work

Progress = Callable[[str], None]
LEAST_REQUESTS = {"p50": 5, "p90": 10, "p99": 100}
"""How many requests a round needs for a percentile that says something."""


def measure(
    results: Results,
    scene: Scene,
    modules: Modules,
    peers: Sequence[str],
    works: Sequence[str],
    progress: Progress,
) -> None:
    """Fill in the cells; what cannot be built here is left out, and named."""
    rounds, seconds, rate = (results.options[name] for name in ("rounds", "seconds", "rate"))
    with ExitStack() as stack:
        planned: dict[str, list[tuple[Proxy, Cell]]] = {work: [] for work in works}
        for name in peers:
            done = [WORKS[work] for work in works if name == NONE or name in WORKS[work].peers]
            done = [work for work in done if is_built(results, modules, name, work)]
            if not done:
                continue
            progress(f"starting Envoy: {PEERS[name].title}")
            proxy = stack.enter_context(scene.proxy(PEERS[name], done, modules))
            for work in done:
                scene.check(proxy, work)
                planned[work.name].append((proxy, Cell(work.name, name)))
        for number in range(rounds):
            for name, cells in planned.items():
                progress(f"round {number + 1} of {rounds}: {name}")
                _measure_round(cells, number, seconds, rate)
    results.cells += [cell for cells in planned.values() for _, cell in cells]


def is_built(results: Results, modules: Modules, peer: str, work: Work) -> bool:
    """Whether a peer's module for a work can be built here; if not, that is entered in `results`."""
    try:
        PEERS[peer].filters(work, modules)
    except NotBuilt as error:
        line = f"{PEERS[peer].title}, {work.folder}: {error}"
        if line not in results.left_out:
            results.left_out.append(line)
        return False
    return True


@dataclass(slots=True)
class _Samples:
    """Measurements of one peer doing one work."""

    cpu: list[float] = field(default_factory=list[float])
    rate: list[float] = field(default_factory=list[float])
    latencies: list[list[float]] = field(default_factory=list[list[float]])


def _measure_round(cells: list[tuple[Proxy, Cell]], number: int, seconds: float, rate: float) -> None:
    """First what all of them cost and then their latencies, so that little time is between costs that are compared."""
    turn = number % len(cells)
    order = cells[turn:] + cells[:turn]
    (base,) = (pair for pair in cells if pair[1].peer == NONE)
    order.insert((order.index(base) + len(cells) // 2 + 1) % (len(cells) + 1), base)
    samples = {cell.peer: _Samples() for _, cell in cells}
    for proxy, cell in order:
        cpu, requests = proxy.cost(cell.work, [WORKS[cell.work].wire], seconds)
        samples[cell.peer].cpu.append(cpu)
        samples[cell.peer].rate.append(requests)
    for proxy, cell in order:
        work = WORKS[cell.work]
        times = latencies(proxy.addresses[work.name], work.wire, rate * work.share_of_rate, seconds)
        samples[cell.peer].latencies.append(times)
        proxy.raise_failures(work.name)
    for _, cell in cells:
        _enter(cell, samples[cell.peer])


def _enter(cell: Cell, samples: _Samples) -> None:
    """Add a round's value to each list: the mean of its samples."""
    cell.cpu.append(statistics.fmean(samples.cpu))
    cell.rate.append(statistics.fmean(samples.rate))
    cell.sent = len(samples.latencies[0])
    for name, share in PERCENTILES.items():
        if cell.sent >= LEAST_REQUESTS[name]:
            found = statistics.fmean(percentile(times, share) for times in samples.latencies)
            cell.latencies.setdefault(name, []).append(found)
