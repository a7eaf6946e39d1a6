"""How long it takes to build an extension: each step, cold and warm, each in a process of its own.

    python benchmarks/build.py                       # extensions/basic_auth, 5 rounds
    python benchmarks/build.py DIR --rounds 9 --json build.json

Every round starts with an empty cache folder: a whole build; the same again, with one source changed (so that it is compiled again
and linked with a warm cache); the same once more, unchanged (so that the module is reused), from another folder. Medians are
compared with the targets; the exit status says whether they are met.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
DEFAULT = REPOSITORY / "extensions" / "basic_auth"

TARGETS = {"link, cold": 3.0, "link, warm": 1.0, "build, whole": 9.0, "build, reused": 1.0}
"""Seconds; medians must not be above."""

_PROGRAM = """
import json, sys
from pathlib import Path
from typing import Any
from proxy_wasm.build import build
result = build(Path(sys.argv[1]))
print(json.dumps({"reused": result.reused, "hash": result.input_hash, "size": len(result.module), "seconds": result.seconds}))
"""


def main() -> int:
    """Measure, print a table, and return 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path, default=DEFAULT, help="the extension to build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write every measurement there")
    arguments = parser.parse_args()
    measurements: defaultdict[str, list[float]] = defaultdict(list)
    size = 0
    for number in range(arguments.rounds):
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
        for name, seconds in _round(arguments.directory).items():
            if name == "size":
                size = int(seconds)
            else:
                measurements[name].append(seconds)
    if arguments.json:
        document = {"machine": _machine(), "extension": arguments.directory.name, "seconds": measurements, "size": size}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    _print(measurements, arguments.directory.name, size)
    return int(any(statistics.median(measurements[name]) > target for name, target in TARGETS.items()))


def _round(extension: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="proxy-wasm-benchmark-") as name:
        folder = Path(name)
        environment = {**os.environ, "PROXY_WASM_CACHE": str(folder / "cache")}
        project = shutil.copytree(extension, folder / "first", ignore=shutil.ignore_patterns("dist", "__pycache__"))
        whole, first = _build(project, environment)
        source = next(path for path in sorted(project.rglob("*.py")) if not path.name.startswith("test_"))
        with source.open("a", encoding="utf-8") as file:
            file.write("\n# changed\n")
        changed, second = _build(project, environment)
        elsewhere = shutil.copytree(project, folder / "second", ignore=shutil.ignore_patterns("dist"))
        reused, third = _build(elsewhere, environment)
        if (first["reused"], second["reused"], third["reused"]) != (False, False, True):
            raise SystemExit("the builds did not reuse what they should have")
        steps, warm = first["seconds"], second["seconds"]
        return {
            "dependencies": steps["dependencies"],
            "componentize": steps["componentize"],
            "link, cold": steps["link"],
            "link, warm": warm["link"],
            "check": steps["check"],
            "build, whole": whole,
            "build, one source changed": changed,
            "build, reused": reused,
            "size": first["size"],
        }


def _build(project: Path, environment: Mapping[str, str]) -> tuple[float, dict[str, Any]]:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(project)],
        capture_output=True,
        text=True,
        env=dict(environment),
        check=False,
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stderr)
    return seconds, json.loads(done.stdout)


def _machine() -> str:
    """The machine in general terms."""
    return f"{os.cpu_count()} processors, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def _print(measurements: Mapping[str, list[float]], extension: str, size: int) -> None:
    print(
        f"{extension}, {size / 1e6:.1f} MB, on {_machine()}; seconds, medians of {len(measurements['build, whole'])}\n"
    )
    print(f"{'':28}{'median':>8}{'least':>8}{'most':>8}{'target':>8}")
    for name, seconds in measurements.items():
        target = TARGETS.get(name)
        median = statistics.median(seconds)
        verdict = "" if target is None else f"{target:8.1f}  {'met' if median <= target else 'MISSED'}"
        print(f"{name:28}{median:8.2f}{min(seconds):8.2f}{max(seconds):8.2f}{verdict}")


if __name__ == "__main__":
    sys.exit(main())
