"""The files that an extension's modules come from, as tracebacks and log records name them: by name and line, with the line itself.

componentize-py gives the guest the extension's files in `/1` and its dependencies in `/2`, which say nothing to their author. So code from there is
compiled under the name that its file has in its folder: `greeter.py`, `greeting/words.py`. And its lines are kept, as there is no file to read them from
any more when a traceback is made.
"""

import linecache
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any

_FOLDERS = ("/1", "/2")

# What `importlib.machinery` has, which would be one more module in every VM.
_machinery: Any = import_module("_frozen_importlib_external")


class _Loader(_machinery.SourceFileLoader):
    """Compiles a module under its file's name in its folder."""

    def source_to_code(self, data: object, path: str, *arguments: object, **options: object) -> object:
        return super().source_to_code(data, _name(path), *arguments, **options)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - as above


def _finder(folder: str) -> Any:  # noqa: ANN401 - as above
    """A hook of the import system: finds modules in the folders whose files have names of their own, packages in there too."""
    if not folder.startswith(_FOLDERS):
        raise ImportError
    return _machinery.FileFinder(folder, (_Loader, [".py"]))


def name_files() -> None:
    """From now on name files as their authors do; before the first of the extension's modules is imported."""
    sys.path_hooks.insert(0, _finder)
    for folder in _FOLDERS:
        sys.path_importer_cache.pop(folder, None)


def keep(plugin_modules: Iterable[str]) -> None:
    """Keep the sources of an extension's own modules, those in the folders of `plugin_modules`, where tracebacks look for them."""
    folders = {_folder(name) for name in plugin_modules}
    for name in list(sys.modules):
        path = _path(name)
        if path and any(path.startswith(folder) for folder in folders):
            lines = linecache.getlines(path)
            linecache.cache.pop(path, None)
            # Without a modification time nobody looks for the file (`linecache.checkcache`).
            linecache.cache[_name(path)] = (sum(map(len, lines)), None, lines, _name(path))


def _path(module: str) -> str:
    return getattr(sys.modules[module], "__file__", None) or ""


def _folder(module: str) -> str:
    top = _path(module.partition(".")[0]) or _path(module)
    return top[: top.rfind("/") + 1]


def _name(path: str) -> str:
    """`greeter.py` of `/1/greeter.py`; other paths as they are."""
    return path[3:] if path.startswith(tuple(f"{folder}/" for folder in _FOLDERS)) else path
