"""Source lines for tracebacks, which have no file to read them from any more."""

import linecache
import sys
from collections.abc import Iterable


def keep(plugin_modules: Iterable[str]) -> None:
    """Keep the sources of an extension's own modules, those in the folders of `plugin_modules`, where tracebacks look for them."""
    folders = {_folder(name) for name in plugin_modules}
    for name in list(sys.modules):
        path = _path(name)
        if path and any(path.startswith(folder) for folder in folders):
            lines = linecache.getlines(path)
            # Without a modification time nobody looks for the file (`linecache.checkcache`).
            linecache.cache[path] = (sum(map(len, lines)), None, lines, path)


def _path(module: str) -> str:
    return getattr(sys.modules[module], "__file__", None) or ""


def _folder(module: str) -> str:
    top = _path(module.partition(".")[0]) or _path(module)
    return top[: top.rfind("/") + 1]
