"""Filters in other languages than Python, built from the sources next to their cases, into `dist` there.

A filter is a folder below that of its language, with the cases of `NAME.proxy-wasm.yaml`, which name the module `dist/NAME.wasm`. It is
built before pytest collects its cases, when a source has changed. The C compiler comes with the package `ziglang`; where Go is not installed
its filters are left out, which test_modules.py tells.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy_wasm.testing.cases.files import SUFFIX

ROOT = Path(__file__).parent
_ZIG_CC = (sys.executable, "-m", "ziglang", "cc")
_C_FLAGS = ("-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-s")
_BARE = ("-target", "wasm32-freestanding", "-nostdlib", "-Wl,--no-entry")
_WITH_LIBC = ("-target", "wasm32-wasi", "-mexec-model=reactor")


@dataclass(frozen=True, slots=True)
class Language:
    """How filters of one language are built."""

    name: str
    absence: str
    """Why they can not be built here; empty where they can."""
    sources: tuple[str, ...]
    """Patterns of the files, below the language's folder, that modules are made of."""
    command: Callable[[Path, Path], tuple[str, ...]]
    """What builds a filter's folder into a file; it runs in the folder."""
    environment: Mapping[str, str]


def _zig_cc(folder: Path, target: Path) -> tuple[str, ...]:
    source = folder / f"{folder.name}.c"
    kind = _BARE if "#define WITHOUT_LIBC" in source.read_text() else _WITH_LIBC
    return (*_ZIG_CC, *kind, *_C_FLAGS, "-o", str(target), str(source))


def _go_build(folder: Path, target: Path) -> tuple[str, ...]:
    return ("go", "build", "-buildmode=c-shared", "-trimpath", "-o", str(target), ".")


LANGUAGES = {
    language.name: language
    for language in (
        Language(
            "c",
            ""
            if importlib.util.find_spec("ziglang")
            else "the package ziglang, which brings a C compiler, is not installed",
            ("*.h", "{name}/*.c"),
            _zig_cc,
            {},
        ),
        Language(
            "go",
            "" if shutil.which("go") else "Go is not installed (https://go.dev/dl)",
            ("go.mod", "go.sum", "{name}/*.go"),
            _go_build,
            {"GOOS": "wasip1", "GOARCH": "wasm", "CGO_ENABLED": "0"},
        ),
    )
}


def module_of(folder: Path) -> Path:
    """Where a filter's module is."""
    return folder / "dist" / f"{folder.name}.wasm"


def build(folder: Path) -> None:
    """Build a filter, unless that was done with the same sources; `Failed` with the compiler's words where it can not be."""
    language = LANGUAGES[folder.parent.name]
    module = module_of(folder)
    digest = hashlib.sha256()
    for pattern in language.sources:
        for source in sorted(folder.parent.glob(pattern.format(name=folder.name))):
            digest.update(source.read_bytes())
    made_of = module.with_suffix(".sha256")
    if module.exists() and made_of.exists() and made_of.read_text() == digest.hexdigest():
        return
    module.parent.mkdir(exist_ok=True)
    made = subprocess.run(
        language.command(folder, module),
        cwd=folder,
        env={**os.environ, **language.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.fail(f"{folder}: it can not be built\n{made.stdout}{made.stderr}", pytrace=False)
    made_of.write_text(digest.hexdigest())


def _filter_of(path: Path) -> Path | None:
    """The filter whose cases the file holds."""
    return path.parent if path.name.endswith(SUFFIX) and path.parent.parent.parent == ROOT else None


@pytest.hookimpl(tryfirst=True)
def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what can not be built here."""
    folder = _filter_of(collection_path)
    return True if folder is not None and LANGUAGES[folder.parent.name].absence else None


@pytest.hookimpl(tryfirst=True)
def pytest_collect_file(file_path: Path) -> None:
    """Build what cases are for before they are read."""
    folder = _filter_of(file_path)
    if folder is not None:
        build(folder)


@pytest.fixture
def built() -> Callable[[str], Path]:
    """The module of a filter, as `c/headers`; skips the test where its language is not there."""

    def find(name: str) -> Path:
        folder = ROOT / name
        language = LANGUAGES[folder.parent.name]
        if language.absence:
            pytest.skip(language.absence)
        build(folder)
        return module_of(folder)

    return find
