"""From an extension's folder to one Proxy-Wasm module.

Settings -> dependencies -> componentize-py -> linker -> checker -> `dist/NAME.wasm`. Each step is a module of this package, usable by
itself; `build` runs them in order and remembers what it made. Heavy imports wait until a step needs them, so that a build that
can reuse the last module ends at once.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from proxy_wasm.build.cache import Cache
from proxy_wasm.build.dependencies import install
from proxy_wasm.build.errors import (
    BuildError,
    CacheError,
    CheckError,
    ComponentizeError,
    DependencyError,
    LinkError,
    SettingsError,
    SourceError,
)
from proxy_wasm.build.inputs import Inputs, collect
from proxy_wasm.build.output import write_whole
from proxy_wasm.build.provenance import SECTION
from proxy_wasm.build.settings import Project

__all__ = [
    "BuildError",
    "BuildResult",
    "Cache",
    "CacheError",
    "CheckError",
    "ComponentizeError",
    "DependencyError",
    "LinkError",
    "Project",
    "SettingsError",
    "SourceError",
    "build",
]

Progress = Callable[[str], None]
"""Told what begins: `"installing dependencies"`."""

_KIND = "modules"


@dataclass(frozen=True, slots=True)
class BuildResult:
    """A built module."""

    project: Project
    path: Path
    """Where it was written."""
    module: bytes
    reused: bool
    """Whether an earlier build had made it from the same inputs."""
    input_hash: str
    seconds: dict[str, float]
    """How long each step that ran took, by name."""


@dataclass(slots=True)
class _Steps:
    """Announces steps and measures them."""

    progress: Progress | None
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def __call__(self, name: str, announcement: str = "") -> Generator[None]:
        if announcement and self.progress is not None:
            self.progress(announcement)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - start


def build(
    directory: Path, *, output: Path | None = None, progress: Progress | None = None, cache: Cache | None = None
) -> BuildResult:
    """Build the extension in `directory` into `output` (its settings decide unless told), or reuse what was built before.

    Raises a `BuildError` that names what is wrong and where.
    """
    steps = _Steps(progress)
    cache = cache or Cache()
    with steps("settings"):
        project = Project.load(directory)
    with steps("dependencies"):
        dependencies = install(project, cache, progress)
    with steps("inputs"):
        inputs = collect(project, dependencies)
    with cache.lock(_KIND, inputs.hash):
        module = cache.read(_KIND, inputs.hash)
        reused = module is not None
        if module is None:
            module = _make(project, inputs, cache, steps)
            cache.write(_KIND, inputs.hash, module)
    path = project.output if output is None else output
    with steps("output"):
        _write(path, module)
    return BuildResult(project, path, module, reused, inputs.hash, steps.seconds)


def _make(project: Project, inputs: Inputs, cache: Cache, steps: _Steps) -> bytes:
    # Not needed by a build that reuses a module.
    from proxy_wasm.build.checker import check  # noqa: PLC0415
    from proxy_wasm.build.componentize import componentize  # noqa: PLC0415

    with steps("componentize", f"compiling {project.name} (Python modules into a snapshot)"):
        component = componentize(inputs, project)
    with steps("link", "linking"):
        module = _link(component, inputs, cache)
    with steps("check", "checking"):
        check(module)
    return module


def _link(component: bytes, inputs: Inputs, cache: Cache) -> bytes:
    from proxy_wasm.build import parts  # noqa: PLC0415
    from proxy_wasm.build.linker import LinkOptions, link  # noqa: PLC0415
    from proxy_wasm.build.wasm.binary import MalformedError  # noqa: PLC0415
    from proxy_wasm.guest import manifest  # noqa: PLC0415

    found = manifest.find(component)
    if found is None:
        raise LinkError("the snapshot holds no manifest: was the component made from proxy_wasm.guest.app?")
    options = LinkOptions(
        tuple(found["callbacks"]),
        tuple(found["modules"]),
        inputs.strip,
        {SECTION: inputs.provenance.section()},
        parts.left_out(inputs.stdlib, found["modules"]),
    )
    try:
        return link(component, options, _Frames(cache))
    except MalformedError as error:
        raise LinkError(f"componentize-py made a component that cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class _Frames:
    """What the linker keeps from one link to the next."""

    cache: Cache

    def get(self, key: str) -> bytes | None:
        return self.cache.read("frames", key)

    def put(self, key: str, value: bytes) -> None:
        self.cache.write("frames", key, value)


def _write(path: Path, module: bytes) -> None:
    try:
        write_whole(path, module)
    except OSError as error:
        raise BuildError(f"{path}: cannot be written: {error.strerror}") from error
