"""What is tested: an extension's folder, or a built module."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from proxy_wasm.build import BuildError, Project, build
from proxy_wasm.build.dependencies import install
from proxy_wasm.contexts import PluginContext
from proxy_wasm.plugins import load

Progress = Callable[[str], None]
_T = TypeVar("_T")


class Extension:
    """An extension's folder, or a built module's file; built and imported at most once, and only when that is needed.

    What fails once fails every time, with the same error.
    """

    def __init__(self, path: Path, progress: Progress | None = None) -> None:
        self.path = path
        self._progress = progress
        self._plugins = _Once(self._import_plugins)
        self._module = _Once(self._build_module)

    @property
    def is_module(self) -> bool:
        """Whether this is a built module, without sources."""
        return self.path.is_file()

    def plugins(self) -> dict[str, type[PluginContext]]:
        """The plugin classes by `root_id`, imported into this Python; raises a `BuildError`, or what the import raises."""
        return self._plugins()

    def module(self) -> Path:
        """The built module's file; raises a `BuildError`."""
        return self._module()

    def _import_plugins(self) -> dict[str, type[PluginContext]]:
        if self.is_module:
            msg = f"{self.path}: the native host runs an extension's sources; give its folder"
            raise BuildError(msg)
        project = Project.load(self.path)
        dependencies = install(project, progress=self._progress)
        _import_first_from(project.source_root, dependencies)
        _forget_others(project.source_root, project.sources)
        return load(project.plugins)

    def _build_module(self) -> Path:
        return self.path if self.is_module else build(self.path, progress=self._progress).path


class _Once(Generic[_T]):
    """Calls a function once and gives its outcome every time."""

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._made: list[_T] = []
        self._error: Exception | None = None

    def __call__(self) -> _T:
        if self._error is not None:
            raise self._error
        if not self._made:
            try:
                self._made.append(self._make())
            except Exception as error:
                self._error = error
                raise
        return self._made[0]


def _import_first_from(*folders: Path) -> None:
    """Put `folders` first among those that modules are imported from; they stay, for imports inside functions."""
    names = [str(folder) for folder in folders]
    sys.path[:] = [*names, *(name for name in sys.path if name not in names)]


def _forget_others(root: Path, sources: Iterable[str]) -> None:
    """Forget imported modules of other extensions whose names this one's modules have too."""
    own = {source.partition("/")[0].removesuffix(".py") for source in sources}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in own:
            file = getattr(module, "__file__", None)
            if file is None or not Path(file).is_relative_to(root):
                del sys.modules[name]
