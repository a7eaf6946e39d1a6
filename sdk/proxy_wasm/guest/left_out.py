"""What a build leaves out of the interpreter: it says so where it is asked for, and the standard library makes do without it.

The linker leaves out the code of compiled modules that nobody imported by the end of the build, and of the compiler (`proxy_wasm.build.parts`).
Importing such a module must then fail here, and in Python, before the interpreter calls functions that are not there. `compile` raises `ImportError`
by itself.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType


class _Finder:
    """The first finder: refuses modules that are left out."""

    def __init__(self, left_out: "Mapping[str, str]") -> None:
        self._left_out = left_out

    def find_spec(self, name: str, path: "Iterable[str] | None" = None, target: "ModuleType | None" = None) -> None:
        """Finds nothing; raises `ModuleNotFoundError` for what is left out."""
        del path, target
        if name in self._left_out:
            msg = (
                f"{name} is left out of this build: import it at module level, or bring it back with "
                f'[tool.proxy-wasm] stdlib = ["{self._left_out[name]}"]'
            )
            raise ModuleNotFoundError(msg, name=name)


def refuse(modules: "Mapping[str, str]", *, compiler: bool) -> None:
    """From now on refuse the compiled modules among `modules` that were not imported; each with the part that it belongs to.

    `compiler` says whether source text can be compiled.
    """
    missing = {name: part for name, part in modules.items() if name not in sys.modules}
    if missing:
        # Some parts are called like the module for which they are there.
        names = {part: part for part in missing.values() if part not in sys.modules}
        sys.meta_path.insert(0, _Finder({**names, **missing}))  # pyright: ignore[reportArgumentType] - finds nothing
    if traceback := sys.modules.get("traceback"):
        if not compiler:
            _replace(traceback, "_extract_caret_anchors_from_line_segment", _anchors)
        if "unicodedata" in missing:
            _replace(traceback, "_display_width", _characters)


def _replace(module: "ModuleType", name: str, function: object) -> None:
    if hasattr(module, name):
        setattr(module, name, function)


def _anchors(segment: str) -> object:
    """Where the part of an expression begins that failed: the brackets of a subscript or a call of a name, which can be told without a parser.

    The whole expression is marked where it is anything else.
    """
    opening = {"]": "[", ")": "("}.get(segment[-1:])
    if opening is None or "\n" in segment or '"' in segment or "'" in segment or "#" in segment:
        return None
    start = segment.find(opening)
    if not segment[:start].replace(".", "").isidentifier() or _closed_before_end(segment[start:]):
        return None
    make = sys.modules["traceback"]._Anchors  # noqa: SLF001 - what the replaced function makes
    return make(0, start, 0, len(segment))


def _closed_before_end(segment: str) -> bool:
    """Whether the bracket that a text begins with is closed by another than the last character."""
    depth = 0
    for character in segment[:-1]:
        depth += character in "([{"
        depth -= character in ")]}"
        if not depth:
            return True
    return False


def _characters(line: str, offset: int | None = None) -> int:
    """How wide a line is on a terminal, were all characters equally wide."""
    return len(line[:offset])
