"""The files that an extension's modules come from, as tracebacks and log records name them: by name and line, with the line itself.

componentize-py gives the guest the extension's files in `/1` and its dependencies in `/2`, which say nothing to their author. So code from there is
compiled under the name that its file has in its folder: `greeter.py`, `greeting/words.py`. And its lines are kept, as there is no file to read them from
any more when a traceback is made.
"""

import sys

from proxy_wasm.guest import compiling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType
    from typing import Any

_FOLDERS = ("/1", "/2")

# What `importlib.machinery` has, which would be one more module in every VM.
_machinery: "Any" = sys.modules["_frozen_importlib_external"]


class _Loader(_machinery.SourceFileLoader):
    """Compiles a module under its file's name in its folder."""

    def source_to_code(self, data: object, path: str, *arguments: object, **options: object) -> "CodeType":
        return super().source_to_code(data, _name(path), *arguments, **options)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - as above


class _SlimLoader(_machinery.SourceFileLoader):
    """Compiles a module that is not the author's."""

    def source_to_code(self, *arguments: object, **options: object) -> "CodeType":
        return compiling.slim(super().source_to_code(*arguments, **options))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - as above


def _finder(folder: str) -> "Any":  # noqa: ANN401 - as above
    """A hook of the import system: finds modules in all folders that sources are in, packages in there too."""
    if f"{folder}/".startswith(compiling.SLIM):
        return _machinery.FileFinder(folder, (_SlimLoader, [".py"]))
    if folder.startswith(_FOLDERS):
        return _machinery.FileFinder(folder, (_Loader, [".py"]))
    raise ImportError


def name_files() -> None:
    """From now on name files as their authors do, and compile what is not theirs without what nobody asks for; before anything is imported."""
    sys.path_hooks.insert(0, _finder)
    sys.path_importer_cache.clear()
    sys.dont_write_bytecode = True


def keep(plugin_modules: "Iterable[str]") -> None:
    """Keep the sources of an extension's own modules, those in the folders of `plugin_modules`, where tracebacks look for them."""
    import linecache  # noqa: PLC0415 - after `name_files`

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
