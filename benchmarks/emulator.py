"""How long tests take in the emulator: one of one request, native and wasm, and loading a module that was compiled before.

    python benchmarks/emulator.py                       # extensions/basic_auth, 7 rounds
    python benchmarks/emulator.py DIR --rounds 9 --config FILE --json emulator.json

A test starts the plugin, sends one request through it, and stops it, as with the fixture `start_proxy`; a wasm one gets a VM of its own for that.
A round is the median of a hundred of them. Loading is what the first test of a process waits for: from the module's bytes to a VM that has started,
with machine code from the cache. The CPU time tells how much of a test's time the machine was busy with something else. Medians are compared with the targets; the exit status says whether they are met.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from soak import CONFIGURATION, EXTENSION

from proxy_wasm.bench.loading import load_figures
from proxy_wasm.bench.report import machine
from proxy_wasm.testing import Extension, Host, PluginSettings, Proxy, open_host

TARGETS = {"native test": 1e-3, "wasm test": 5e-3, "load, from the cache": 1.5}
"""Seconds; medians must not be above."""

TESTS = 100
WARM = 10


def run_test(host: Host, extension: Extension, settings: PluginSettings) -> None:
    """One test of one request."""
    proxy = Proxy.start(host, extension, settings)
    try:
        assert proxy.get("/public", headers={"user-agent": "benchmark", "accept": "*/*"}).status  # noqa: S101 - it is a test
    finally:
        proxy.stop()


def medians_of(run: Callable[[], None]) -> tuple[float, float]:
    """Seconds, and those of CPU time, of the middle one of a hundred runs, after some that do not count."""
    times: list[float] = []
    cpu_times: list[float] = []
    for _ in range(WARM + TESTS):
        start, cpu_start = time.perf_counter(), time.process_time()
        run()
        cpu_times.append(time.process_time() - cpu_start)
        times.append(time.perf_counter() - start)
    return statistics.median(times[WARM:]), statistics.median(cpu_times[WARM:])


def measure(extension: Extension, configuration: bytes, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round, by what was measured; the hosts take turns."""
    settings = PluginSettings(configuration)
    names: tuple[Literal["native", "wasm"], ...] = ("native", "wasm")
    hosts = {name: open_host(name) for name in names}
    found: dict[str, list[float]] = {f"{name} test{what}": [] for name in names for what in ("", ", CPU time")}
    for _ in range(rounds):
        for name, host in hosts.items():
            seconds, cpu_seconds = medians_of(lambda host=host: run_test(host, extension, settings))
            found[f"{name} test"].append(seconds)
            found[f"{name} test, CPU time"].append(cpu_seconds)
    for figure in load_figures(extension.module(), rounds):
        found[figure.name] = list(figure.values)
    return found


def report(measurements: Mapping[str, list[float]]) -> bool:
    """Print a table; whether a target is missed."""
    missed = False
    print(f"{'':24}{'median':>12}{'least':>12}{'most':>12}{'target':>12}")
    for name, seconds in measurements.items():
        target, median = TARGETS.get(name), statistics.median(seconds)
        verdict = "" if target is None else f"{target * 1e3:9.1f} ms  {'met' if median <= target else 'MISSED'}"
        missed |= target is not None and median > target
        row = "".join(f"{value * 1e3:9.2f} ms" for value in (median, min(seconds), max(seconds)))
        print(f"{name:24}{row}{verdict}")
    return missed


def main() -> int:
    """Measure, print, and return 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path, default=EXTENSION, help="the extension to test")
    parser.add_argument("--config", type=Path, help="its configuration; without it, that of the soak benchmark")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write every measurement there")
    arguments = parser.parse_args()
    configuration = arguments.config.read_bytes() if arguments.config else json.dumps(CONFIGURATION).encode()
    measurements = measure(Extension(arguments.directory), configuration, arguments.rounds)
    print(f"{arguments.directory.name}, on {machine()}; medians of {arguments.rounds} rounds\n")
    missed = report(measurements)
    if arguments.json:
        document = {"machine": machine(), "extension": arguments.directory.name, "seconds": measurements}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
