"""How long a module takes to be loaded: compiled by wasmtime, and from what wasmtime made of it before.

It is measured in a process of its own, `python -m proxy_wasm.bench.loading FILE.wasm ROUNDS`, whose cache is empty.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from proxy_wasm.bench.errors import BenchError
from proxy_wasm.bench.report import Figure
from proxy_wasm.build.cache import CACHE_VARIABLE


def load_figures(module: Path, rounds: int) -> tuple[Figure, Figure]:
    """Seconds from the module's bytes to a VM that has started: without a cache, once, and with it."""
    with tempfile.TemporaryDirectory(prefix="proxy-wasm-bench-") as cache:
        done = subprocess.run(
            [sys.executable, "-m", "proxy_wasm.bench.loading", str(module), str(rounds)],
            capture_output=True,
            text=True,
            env={**os.environ, CACHE_VARIABLE: cache},
            check=False,
        )
    if done.returncode:
        why = done.stderr.strip().rpartition("\n")[2]
        raise BenchError(f"{module}: cannot be loaded in a process of its own: {why}")
    seconds = json.loads(done.stdout)
    cold, *cached = seconds
    return Figure("", "load, cold", "s", (cold,), judged=False), Figure("", "load, from the cache", "s", tuple(cached))


def main(file: str, rounds: str) -> None:
    """Print the seconds of the first load and of `rounds` others as a JSON array."""
    from proxy_wasm.emulator import Emulator, wasm_guest, wasm_module  # noqa: PLC0415 - wasmtime is large

    module = Path(file).read_bytes()
    seconds: list[float] = []
    for _ in range(1 + int(rounds)):
        wasm_module.forget()
        start = time.perf_counter()
        Emulator(wasm_guest(module))
        seconds.append(time.perf_counter() - start)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
