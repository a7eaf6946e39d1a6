"""An extension's dependencies, installed by pip into a folder of their own.

The packages must be pure Python: there is no way to load a compiled extension module inside Wasm. So pip is asked for wheels that
fit Python 3.14 on any platform, with the markers of that Python (`proxy_wasm.build.guest_pip`), and a package that has only
compiled ones is refused by name. A package that is published as source alone is built, and accepted where the result is pure.

What was resolved once for a set of requirements is kept (`lock.json` beside it says which versions) and used again without the
network; the installed files are part of a build's inputs.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from proxy_wasm.build import guest_pip
from proxy_wasm.build.cache import Cache
from proxy_wasm.build.errors import DependencyError
from proxy_wasm.build.settings import GUEST_PYTHON, Project

_KIND = "dependencies"
_FORMAT = 2
"""Raised when entries are resolved or laid out in another way, so that old ones are not found."""

_COMPILED_SUFFIXES = (".so", ".pyd", ".dylib", ".dll")
_TARGET = (
    "--only-binary=:all:",
    f"--python-version={GUEST_PYTHON}",
    "--implementation=py",
    "--platform=any",
    "--abi=none",
)
_MACHINE_FILES = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
"""What pip notes in `*.dist-info` about this machine; no package reads it at import."""


def install(project: Project, cache: Cache | None = None, progress: Callable[[str], None] | None = None) -> Path:
    """The folder that holds the project's dependencies, ready for `sys.path`; empty where it has none.

    Installs them only where no earlier build did. Raises `DependencyError` where one cannot be found or installed, or is
    compiled, and `CacheError`.
    """

    def fill(folder: Path) -> None:
        if progress is not None and project.dependencies:
            progress("installing dependencies")
        _Installation(project.dependencies, folder).run()

    return (cache or Cache()).folder(_KIND, _key(project.dependencies), fill) / "site"


def locked(folder: Path) -> dict[str, str]:
    """From name to version: what was resolved into the folder that `install` returned."""
    return json.loads((folder.parent / "lock.json").read_text("utf-8"))


def _key(requirements: Iterable[str]) -> str:
    digest = hashlib.sha256(json.dumps([_FORMAT, GUEST_PYTHON]).encode())
    for requirement in sorted(requirements):
        digest.update(f"\n{requirement}\n".encode())
        for file in _local_files(requirement):
            digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _local_files(requirement: str) -> Iterator[Path]:
    """The files behind `name @ file:///...`: they can change while the requirement stays the same."""
    _, at, url = requirement.partition("@")
    if not at:
        return
    from urllib.parse import urlsplit  # noqa: PLC0415 - a reused build stays fast
    from urllib.request import url2pathname  # noqa: PLC0415

    parts = urlsplit(url.strip().partition(";")[0].strip())
    if parts.scheme != "file":
        return
    path = Path(url2pathname(parts.path))
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.is_file() and ".git" not in file.parts)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a run of pip ended with."""

    succeeded: bool
    errors: str
    log: str


class _Installation:
    """Installs `requirements` into `folder`: packages into `site`, resolved versions into `lock.json`."""

    def __init__(self, requirements: tuple[str, ...], folder: Path) -> None:
        self.requirements = requirements
        self.site = folder / "site"
        self.lock = folder / "lock.json"

    def run(self) -> None:
        self.site.mkdir()
        versions: dict[str, str] = {}
        if self.requirements:
            with tempfile.TemporaryDirectory(prefix="proxy-wasm-") as temporary:
                versions = self._install(Path(temporary))
            _refuse_compiled_files(self.site)
            _tidy(self.site)
        self.lock.write_text(json.dumps(versions, indent=1), "utf-8")

    def _install(self, temporary: Path) -> dict[str, str]:
        report, wheels = temporary / "report.json", temporary / "wheels"
        wheels.mkdir()
        built: set[str] = set()
        arguments = ["install", "--target", str(self.site), "--no-compile", "--report", str(report), *_TARGET]
        while True:
            outcome = _pip(temporary, *arguments, "--find-links", str(wheels), *self.requirements)
            resolution = _Resolution(outcome)
            resolution.refuse_compiled()
            sources = {name: text for name, text in resolution.source_only().items() if name not in built}
            if not sources and outcome.succeeded:
                installed = cast("list[dict[str, Any]]", json.loads(report.read_text("utf-8"))["install"])
                metadata = (entry["metadata"] for entry in installed)
                return {entry["name"]: entry["version"] for entry in metadata}
            if not sources:
                raise resolution.error()
            for name, requirement in sources.items():
                built.add(name)
                _build_wheel(temporary, wheels, name, requirement)
            shutil.rmtree(self.site)
            self.site.mkdir()


def _pip(temporary: Path, *arguments: str) -> _Outcome:
    log = temporary / "pip.log"
    log.unlink(missing_ok=True)
    command = [sys.executable, "-P", guest_pip.__file__, *arguments]
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-color", "--retries=2", "--log", str(log)]
    # These would contradict --target.
    environment = {**os.environ, "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, errors="replace", env=environment, check=False
        )
    except OSError as error:
        raise DependencyError(f"pip cannot be run with {sys.executable}: {error}") from error
    if "No module named 'pip'" in done.stderr or "No module named pip" in done.stderr:
        raise DependencyError(
            f"pip is not installed for {sys.executable}; install it with: {sys.executable} -m ensurepip"
        )
    text = log.read_text("utf-8", "replace") if log.is_file() else ""
    return _Outcome(done.returncode == 0, done.stdout + done.stderr, text)


_TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT[\d:,]+ ", re.MULTILINE)
_MISSING = re.compile(
    r"Could not find a version that satisfies the requirement ([A-Za-z0-9][\w.-]*)(\[[^\]]*\])?([^\s(;]*);?"
    r"(?: \(from (?!versions)([^)]+)\))?(?: \(from versions: ([^)]*)\))?"
)
_MISSING_LISTED = re.compile(r"no matching distributions available for your environment:\n((?: +\S+\n)+)")
_DEPENDS = re.compile(r"^ *(\S+ \S+) depends on ([A-Za-z0-9][\w.-]*)(\[[^\]]*\])?((?: and |[^;\s])*)", re.MULTILINE)
_LINK = re.compile(
    r"^ *(Found link|Skipping link: [^\n]*?:) (?:\S*/)?([^/\s]+\.(?:whl|tar\.gz|zip|tgz|tar\.bz2))", re.MULTILINE
)
_ARCHIVE = re.compile(r"\.(?:zip|tgz|tar\.gz|tar\.bz2)$")
_UNREACHABLE = re.compile(r"Could not fetch URL (\S+): (?!404)(.*) - skipping")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A package that something asks for."""

    name: str
    extras: str
    """`"[crypto]"`, or nothing."""
    specifier: str
    required_by: str
    versions: str = ""
    """Those that would run, in rising order, as pip lists them where none fits."""

    @property
    def requirement(self) -> str:
        return f"{self.name}{self.extras}{self.specifier}"


class _Resolution:
    """What pip's log tells about its search for a set of packages.

    A search that succeeds is looked at too: where the newest release of a package needs a compiled one, pip falls back to older
    and older releases, until it finds one from before that need.
    """

    def __init__(self, outcome: _Outcome) -> None:
        self.errors = outcome.errors
        log = _TIMESTAMP.sub("", outcome.log)
        self.unreachable = _UNREACHABLE.search(log)
        self.missing = {_normalized(wanted.name): wanted for wanted in _missing(log)}
        """Packages of which pip found no fitting distribution, where it gave up."""
        self.wanted = {**_dependencies(log), **self.missing}
        self.usable: _Versions = defaultdict(set)
        self.compiled: _Versions = defaultdict(set)
        self.as_source: _Versions = defaultdict(set)
        for verdict, file in _LINK.findall(log):
            if verdict == "Found link":
                kind = self.usable
            elif not file.endswith(".whl"):
                kind = self.as_source
            elif not file.endswith("-none-any.whl"):
                kind = self.compiled
            else:
                continue
            name, version = _distribution(file)
            kind[name].add(version)

    def refuse_compiled(self) -> None:
        """Raise the error for a package that was looked for and has compiled wheels only."""
        for wanted in self.wanted.values():
            if not _fits(self.usable, wanted) and _fits(self.compiled, wanted):
                raise _compiled(wanted.name, wanted.required_by)

    def source_only(self) -> dict[str, str]:
        """From name to requirement: packages published as source alone; a wheel must be built before pip can choose them."""
        return {
            name: wanted.requirement
            for name, wanted in self.wanted.items()
            if not _fits(self.usable, wanted) and _fits(self.as_source, wanted)
        }

    def error(self) -> DependencyError:
        """The error that says to the extension's author why there is no such set of packages."""
        if self.unreachable:
            return DependencyError(
                f"dependencies cannot be installed: the package index cannot be reached ({self.unreachable[1]}: "
                f"{self.unreachable[2]}); once they were installed, unchanged dependencies need no network"
            )
        for name, wanted in self.missing.items():
            if wanted.versions:
                newest = wanted.versions.rpartition(", ")[2]
                return DependencyError(f"{wanted.requirement}: there is no such version; the newest is {newest}")
            if not self.usable[name] | self.as_source[name]:
                return DependencyError(f"{wanted.requirement}: the package index holds no such package")
        return DependencyError(f"dependencies cannot be installed: {_condensed(self.errors)}")


_Versions = defaultdict[str, set[str]]
"""From the normalized name of a package to versions."""


def _fits(versions: _Versions, wanted: _Wanted) -> bool:
    """Whether any of the versions of a package is one of those that are wanted."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415 - a reused build stays fast
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415

    try:
        specifier = SpecifierSet(wanted.specifier)
    except InvalidSpecifier:  # a package from a URL
        specifier = SpecifierSet()
    for text in versions[_normalized(wanted.name)]:
        with suppress(InvalidVersion):  # of the time before versions had rules
            if specifier.contains(Version(text), prereleases=True):
                return True
    return False


def _dependencies(log: str) -> dict[str, _Wanted]:
    """What releases that pip considered depend on: for each package the first, and so newest, release that asks for it."""
    found: dict[str, _Wanted] = {}
    for release, name, extras, specifier in _DEPENDS.findall(log):
        found.setdefault(_normalized(name), _Wanted(name, extras, specifier.replace(" and ", ",").strip(), release))
    return found


def _missing(log: str) -> Iterator[_Wanted]:
    for name, extras, specifier, required_by, versions in _MISSING.findall(log):
        yield _Wanted(name, extras, specifier, required_by.split("->")[-1], "" if versions == "none" else versions)
    known = _dependencies(log)
    for listed in _MISSING_LISTED.findall(log):
        for name in listed.split():
            yield known.get(_normalized(name)) or _Wanted(name, "", "", "")


def _compiled(name: str, required_by: str = "") -> DependencyError:
    chain = f" (required by {required_by})" if required_by else ""
    instead = ", leave out the extra that requires it, or bound the version where an older release does without"
    return DependencyError(
        f"{name}{chain} is a compiled package and cannot run inside Wasm; "
        f"use a pure-Python package in its place{instead if chain else ''}"
    )


def _build_wheel(temporary: Path, wheels: Path, name: str, requirement: str) -> None:
    """Build the wheel of a package that is published as source alone, and keep it where it is pure."""
    output = temporary / "built"
    outcome = _pip(temporary, "wheel", "--no-deps", f"--no-binary={name}", "--wheel-dir", str(output), requirement)
    if not outcome.succeeded:
        raise DependencyError(
            f"{requirement} is published as source, and building it failed: {_condensed(outcome.errors)}"
        )
    for wheel in output.iterdir():
        if not wheel.name.endswith("-none-any.whl"):
            raise _compiled(name)
        shutil.move(wheel, wheels / wheel.name)


def _refuse_compiled_files(site: Path) -> None:
    """Refuse wheels that call themselves pure and carry libraries all the same."""
    for file in sorted(site.rglob("*")):
        if file.name.endswith(_COMPILED_SUFFIXES) or ".so." in file.name:
            raise _compiled(_owner(site, file))


def _owner(site: Path, file: Path) -> str:
    """The distribution that installed `file`."""
    relative = file.relative_to(site).as_posix()
    for record in site.glob("*.dist-info/RECORD"):
        if any(line.startswith(f"{relative},") for line in record.read_text("utf-8").splitlines()):
            return record.parent.name.partition("-")[0]
    return relative


def _tidy(site: Path) -> None:
    """Leave only what an import can use, the same on every machine."""
    shutil.rmtree(site / "bin", ignore_errors=True)
    for pattern in _MACHINE_FILES:
        for file in site.glob(f"*.dist-info/{pattern}"):
            file.unlink()


def _condensed(errors: str) -> str:
    """The lines that pip marks as errors, without its advice."""
    lines = [line.removeprefix("ERROR: ").strip() for line in errors.splitlines() if line.startswith("ERROR: ")]
    if not lines:
        lines = [line.strip() for line in errors.splitlines() if line.strip()][-3:]
    return "; ".join(dict.fromkeys(lines)) or "pip gives no reason"


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _distribution(file: str) -> tuple[str, str]:
    """The name and the version in the name of a wheel or source archive."""
    if file.endswith(".whl"):
        name, version = file.split("-")[:2]
    else:
        name, _, version = _ARCHIVE.sub("", file).rpartition("-")
    return _normalized(name), version
