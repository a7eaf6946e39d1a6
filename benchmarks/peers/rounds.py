"""What each work costs each peer: rounds in which all of them are measured, one after the other."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from benchmarks.peers.contenders import NONE, PEERS
from benchmarks.peers.modules import Modules, NotBuilt
from benchmarks.peers.proxies import Proxy, Scene
from benchmarks.peers.results import PERCENTILES, Cell, Results
from benchmarks.peers.schedule import latencies, percentile
from benchmarks.peers.works import WORKS, Work

from proxy_wasm.build import BuildError

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
    """Fill in the cells; what cannot be built or does not do its work is left out, and named."""
    rounds, seconds, rate = (results.options[name] for name in ("rounds", "seconds", "rate"))
    with ExitStack() as stack:
        planned: dict[str, list[tuple[Proxy, Cell]]] = {work: [] for work in works}
        for name in peers:
            done = [WORKS[work] for work in works if name == NONE or name in WORKS[work].peers]
            done = [work for work in done if _can_be_built(results, modules, name, work)]
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
                turn = number % max(1, len(cells))
                for proxy, cell in cells[turn:] + cells[:turn]:
                    _measure_one(proxy, cell, seconds, rate)
    results.cells += [cell for cells in planned.values() for _, cell in cells]


def _can_be_built(results: Results, modules: Modules, peer: str, work: Work) -> bool:
    try:
        PEERS[peer].filters(work, modules)
    except (NotBuilt, BuildError) as error:
        results.left_out.append(f"{PEERS[peer].title}, {work.name}: {error}")
        return False
    return True


def _measure_one(proxy: Proxy, cell: Cell, seconds: float, rate: float) -> None:
    work = WORKS[cell.work]
    cpu, requests = proxy.cost(work.name, work.wire, seconds)
    cell.cpu.append(cpu)
    cell.rate.append(requests)
    times = latencies(proxy.addresses[work.name], work.wire, rate * work.share_of_rate, seconds)
    cell.sent = len(times)
    for name, share in PERCENTILES.items():
        if len(times) >= LEAST_REQUESTS[name]:
            cell.latencies.setdefault(name, []).append(percentile(times, share))
    proxy.raise_failures(work.name)
