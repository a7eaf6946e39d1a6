"""Source lines for tracebacks, which have no file to read them from any more."""

import linecache
import sys
from collections.abc import Iterable
from pathlib import PurePosixPath


def keep(plugin_modules: Iterable[str]) -> None:
    """Keep the sources of an extension's own modules, those in the folders of `plugin_modules`, where tracebacks look for them."""
    folders = {PurePosixPath(path).parent for name in plugin_modules if (path := _path(name))}
    for name in list(sys.modules):
        path = _path(name)
        if path and folders.intersection(PurePosixPath(path).parents):
            lines = linecache.getlines(path)
            # Without a modification time nobody looks for the file (`linecache.checkcache`).
            linecache.cache[path] = (sum(map(len, lines)), None, lines, path)


def _path(module: str) -> str | None:
    return getattr(sys.modules[module], "__file__", None)
