"""The scripted filter as a module, compiled by `zig cc`."""

import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("filter.c")
_FLAGS = ("-target", "wasm32-freestanding", "-O2", "-Wall", "-Werror", "-nostdlib", "-s", "-Wl,--no-entry")


def build(target: Path) -> bytes:
    """The module, also left at `target`."""
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *_FLAGS, "-o", str(target), str(SOURCE)], check=True)
    return target.read_bytes()
