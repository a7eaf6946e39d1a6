"""Wasm modules from the sources in `filters`, a folder for each language and work."""

import os
import subprocess
import sys
from pathlib import Path

from proxy_wasm.build import build

ROOT = Path(__file__).parents[2]
FILTERS = Path(__file__).parent / "filters"
C_HEADERS = ROOT / "tests" / "languages" / "c"
BASIC_AUTH = "basic_auth"

_C_FLAGS = ("-target", "wasm32-freestanding", "-nostdlib", "-Wl,--no-entry", "-O3", "-s", "-I", str(C_HEADERS))
_GO = {"GOOS": "wasip1", "GOARCH": "wasm", "CGO_ENABLED": "0"}


class NotBuilt(Exception):  # noqa: N818 - says what happened
    """A module of another language than Python that cannot be built here; the message says why."""


class ModuleMissing(Exception):  # noqa: N818 - says what happened
    """A module that was said to be built already is not there."""


class Modules:
    """The modules, each of them built when it is first asked for.

    `folder` is where those of other languages than Python are put; `ready`, if given, holds Python's modules as `WORK.wasm`.
    """

    def __init__(self, folder: Path, ready: Path | None = None) -> None:
        self._folder = folder
        self._ready = ready
        self._built: dict[tuple[str, str], Path] = {}

    def of(self, language: str, work: str) -> Path:
        """The module of a work in `python`, `go` or `c`.

        Raises `NotBuilt` where the compiler of another language than Python fails, `ModuleMissing` where a Python module that should be
        ready is not there, a `BuildError` where it cannot be built.
        """
        found = self._built.get((language, work))
        if found is None:
            make = {"python": self._python, "go": self._go, "c": self._c}[language]
            found = self._built[language, work] = make(work)
        return found

    def _python(self, work: str) -> Path:
        if self._ready is not None:
            path = self._ready / f"{work}.wasm"
            if not path.exists():
                raise ModuleMissing(f"{path}: there is no such module; build {work} and put it there")
            return path
        return build(ROOT / "extensions" / work if work == BASIC_AUTH else FILTERS / "python" / work).path

    def _go(self, work: str) -> Path:
        target = self._folder / f"go-{work}.wasm"
        command = ["go", "build", "-buildmode=c-shared", "-trimpath", "-o", str(target), "."]
        _run(command, FILTERS / "go" / work, _GO)
        return target

    def _c(self, work: str) -> Path:
        target = self._folder / f"c-{work}.wasm"
        command = [sys.executable, "-m", "ziglang", "cc", *_C_FLAGS, "-o", str(target), f"{work}.c"]
        _run(command, FILTERS / "c" / work, {})
        return target


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or ["no word"]
        raise NotBuilt(f"{' '.join(command[:3])} failed: {words[0]}")
