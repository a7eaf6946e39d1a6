"""What Python filters cost a real Envoy, beside Lua, Go, C, Envoy's own filter, and servers that Envoy asks.

    python -m benchmarks.peers                                   # everything, 5 rounds
    python -m benchmarks.peers --rounds 1 --seconds 0.2 --work header_edit --only python,lua
    python -m benchmarks.peers --json peers.json --before earlier.json --page docs/performance.md
    python -m benchmarks.peers --from peers.json --before earlier.json --page docs/performance.md

Status 1 where a target is missed, 2 where nothing could be measured.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.peers import flatness, page, plot, results, rounds, starting, table, targets
from benchmarks.peers.contenders import GO, LUA, NONE, PEERS, PYTHON, C
from benchmarks.peers.machine import machine, software
from benchmarks.peers.modules import ModuleMissing, Modules
from benchmarks.peers.proxies import Scene, WorkFailed, missing
from benchmarks.peers.results import Results, ResultsUnreadable
from benchmarks.peers.works import WORKS

from proxy_wasm.bench.errors import BenchError
from proxy_wasm.build import BuildError
from proxy_wasm.envoy import EnvoyError

START, REQUESTS, STREAMS, HEADERS, PATHS = "start", "requests", "streams", "headers", "paths"
PARTS = (*WORKS, START, REQUESTS, STREAMS, HEADERS, PATHS)


def main() -> int:
    """Measure or read what was measured, show it, and judge it."""
    arguments = _arguments()
    try:
        before = results.load(arguments.before) if arguments.before else None
        found = results.load(arguments.results) if arguments.results else _measure(arguments)
    except (ResultsUnreadable, BenchError, BuildError, EnvoyError, ModuleMissing, WorkFailed) as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.json:
        found.save(arguments.json)
    return show(found, before, arguments.page)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=_positive(int), default=5)
    parser.add_argument("--seconds", type=_positive(float), default=1.0, help="of load, for each peer, work and round")
    parser.add_argument("--rate", type=_positive(float), default=500.0, help="requests a second for latencies")
    parser.add_argument("--requests", type=_positive(int), default=100_000, help="how many one Envoy gets on end")
    parser.add_argument("--only", type=_names(PEERS), default=tuple(PEERS), metavar="PEER,...", help=", ".join(PEERS))
    parser.add_argument("--work", type=_names(PARTS), default=PARTS, metavar="WORK,...", help=", ".join(PARTS))
    parser.add_argument(
        "--modules", type=Path, metavar="DIR", help="has the Python filters' modules, built, as WORK.wasm"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement there")
    parser.add_argument(
        "--from", dest="results", type=Path, metavar="FILE", help="measure nothing, and show a run that was saved"
    )
    parser.add_argument("--before", type=Path, metavar="FILE", help="an earlier run, saved, to show beside this one")
    parser.add_argument("--page", type=Path, metavar="FILE.md", help="write the page there, and its plot beside it")
    return parser.parse_args()


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError("needs to be more than 0")
        return value

    return number


def _names(known: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    """Some of the known names, in their order."""
    names = tuple(known)

    def chosen(text: str) -> tuple[str, ...]:
        asked = set(text.split(","))
        if unknown := sorted(asked - set(names)):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: unknown; there are {', '.join(names)}")
        return tuple(name for name in names if name in asked)

    return chosen


def _measure(arguments: argparse.Namespace) -> Results:
    """What comes of it all; peers that are missing are left out, and named."""
    only: tuple[str, ...] = arguments.only
    parts: tuple[str, ...] = arguments.work
    options = {name: getattr(arguments, name) for name in ("rounds", "seconds", "rate", "requests")}
    found = Results(machine(), software(), options)
    absent = missing(only)
    found.left_out += [f"{PEERS[name].title}: {why}" for name, why in absent.items()]
    # Whatever is measured is compared with no filter.
    peers = [name for name in PEERS if name == NONE or (name in only and name not in absent)]
    with tempfile.TemporaryDirectory(prefix="proxy-wasm-peers-") as folder, Scene() as scene:
        modules = Modules(Path(folder), arguments.modules)
        works = [work for work in parts if work in WORKS]
        rounds.measure(found, scene, modules, peers, works, _progress)
        for part, work, measure, those in (
            (START, starting.WORK, starting.measure, (NONE, PYTHON, LUA, GO, C)),
            (REQUESTS, flatness.WORK, flatness.over_requests, (NONE, PYTHON)),
            (STREAMS, flatness.WORK, flatness.over_streams, (NONE, PYTHON)),
            (HEADERS, flatness.WORK, flatness.over_headers, (NONE, PYTHON, GO)),
            (PATHS, flatness.PATHS_WORK, flatness.over_paths, (NONE, PYTHON, LUA, GO)),
        ):
            if part in parts:
                able = [name for name in those if name in peers and rounds.is_built(found, modules, name, work)]
                measure(found, scene, modules, able, _progress)
    return found


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def show(found: Results, before: Results | None, page_file: Path | None) -> int:
    """Print the tables and write the page; 1 where a target is missed."""
    print("\n".join(table.lines(found, before)))
    if page_file is not None:
        plot_file = page_file.with_suffix(".svg")
        plot_file.write_text(plot.svg(found, before), "utf-8")
        page_file.write_text(page.markdown(found, before, plot_file.name), "utf-8")
    return int(any(verdict.missed for verdict in targets.judge(found)))


if __name__ == "__main__":
    sys.exit(main())
