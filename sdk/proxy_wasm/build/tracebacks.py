"""A Python traceback from inside Wasm, turned into an error about the author's own files.

While the snapshot is taken the guest names the extension's files and those of its dependencies as they are named in their folders
(`proxy_wasm.guest.sources`), the SDK's as `/0/...` and the standard library's as `/python/...`. The author is shown the frames in the extension and
its dependencies, under the names that the files have outside.
"""

import os
import re
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

from proxy_wasm.build.errors import SourceError
from proxy_wasm.build.settings import FILE_NAME, Project

_START = "Traceback (most recent call last):\n"
_FRAME = re.compile(r'^  File "([^"/<][^"]*)", line (\d+)[^\n]*\n(?:    ([^\n]*))?', re.MULTILINE)
_MISSING_MODULE = re.compile(r"No module named '([^'.]+)")
_SDK_ERRORS = "proxy_wasm."


@dataclass(frozen=True, slots=True)
class _Frame:
    file: str
    line: str
    code: str
    own: bool
    """Whether it lies in the extension, not in a dependency."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def explain(text: str, project: Project) -> SourceError | None:
    """The error that the last traceback in `text` tells of, or `None` where none is about the extension."""
    _, found, last = text.rpartition(_START)
    if not found:
        return None
    exception = _exception(last)
    frames = [
        _Frame(_shown(path, project), line, code.strip(), path in project.sources)
        for path, line, code in _FRAME.findall(last)
    ]
    if not frames:
        # Without the extension's frames: the SDK says what is wrong with a plugin's name or class, or fails itself.
        kind, _, words = exception.partition(": ")
        return SourceError(f"{project.directory / FILE_NAME}: {words}") if kind.startswith(_SDK_ERRORS) else None
    message = exception + _way_out(exception)
    place = next((frame for frame in reversed(frames) if frame.own), frames[-1])
    lines = [f"{place}: {message}", *(f"    {frame}  {frame.code}" for frame in frames)]
    return SourceError("\n".join(lines))


def explain_native(error: BaseException, project: Project) -> SourceError | None:
    """The same for an exception that the extension raised when this Python imported it."""
    text = "".join(traceback.format_exception(error))
    return explain(text.replace(f'File "{project.source_root}{os.sep}', 'File "'), project)


def _exception(text: str) -> str:
    """The lines after the frames: the exception's type and message."""
    lines = text.rstrip().splitlines()
    for position, line in enumerate(lines):
        if line and not line.startswith(" "):
            return "\n".join(lines[position:])
    return lines[-1].strip() if lines else "an exception without a message"


def _way_out(exception: str) -> str:
    missing = _MISSING_MODULE.search(exception)
    if missing is None:
        return ""
    if missing[1] in sys.stdlib_module_names:
        return " (this module of the standard library does not exist inside Wasm)"
    return f" (a package that the extension needs must be listed in project.dependencies in {FILE_NAME})"


def _shown(path: str, project: Project) -> str:
    """The file as the author knows it; a dependency's by its name alone."""
    file = project.sources.get(path)
    if file is None:
        return path
    try:
        return str(file.relative_to(Path.cwd()))
    except ValueError:
        return str(file)
