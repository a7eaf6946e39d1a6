"""Run generated cases in the emulator and in a real Envoy, and say where they differ; see tests/differential.

python scripts/differential.py --cases 2000 --seed 1
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "differential"))

from scripted.building import build
from scripted.emulated import EmulatedHost
from scripted.hunt import Hunt
from scripted.real import RealHost


def main() -> int:
    """Hunt, and print what was found."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--cases", type=int, default=2000, help="how many cases")
    arguments.add_argument("--seed", type=int, default=0, help="where the generator starts")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        module = build(Path(directory) / "filter.wasm")
    with RealHost(module) as real:
        hunt = Hunt(real, EmulatedHost(module), EmulatedHost(None))
        started = time.monotonic()
        hunt.run(options.cases, options.seed)
    for found in hunt.differences:
        print(found, end="\n\n")
    print(f"{len(hunt.agreed)} cases agree, {len(hunt.differences)} differences, {time.monotonic() - started:.0f} s")
    print_counts(hunt.statuses)
    return 1 if hunt.differences else 0


def print_counts(statuses: Counter[tuple[str, str]]) -> None:
    """How often each hostcall gave each status."""
    for hostcall in sorted({hostcall for hostcall, _ in statuses}):
        found = ", ".join(f"{status} {count}" for (name, status), count in sorted(statuses.items()) if name == hostcall)
        print(f"{hostcall}: {found}")


if __name__ == "__main__":
    sys.exit(main())
