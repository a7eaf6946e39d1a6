"""Imports: what is made available while the snapshot is taken, and what answers an import afterwards.

Once the snapshot is taken there is no file system. A module that nobody imported until then can never be imported.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import PurePosixPath
from types import ModuleType, TracebackType

_STAND_INS = str(PurePosixPath(__file__).parent / "stand_ins")

_COMPANIONS = {
    "collections": ("heapq",),
    "datetime": ("_strptime",),
    "encodings": ("encodings.ascii", "encodings.latin_1"),
    "pickle": ("_compat_pickle",),
    "traceback": ("ast", "linecache", "tokenize", "unicodedata"),
    "uuid": ("hashlib",),
}
"""What modules of the standard library import no sooner than in some function."""


class BuildTimeImports:
    """A context in which authors' modules are imported: with stand-ins for stdlib modules that cannot work in Wasm."""

    def __enter__(self) -> None:
        sys.path.insert(0, _STAND_INS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        sys.path.remove(_STAND_INS)


class _NothingElse:
    """The last finder: says why a module is not there."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Never finds anything; raises `ModuleNotFoundError`."""
        del path, target
        msg = (
            f"No module named {name!r} in this build: a compiled filter has no file system, so whatever it imports "
            "must be imported when it is built, at module level"
        )
        raise ModuleNotFoundError(msg, name=name)


def import_companions() -> None:
    """Import what the loaded modules of the standard library may want to import later."""
    for name, companions in _COMPANIONS.items():
        if name in sys.modules:
            for companion in companions:
                import_module(companion)


def end_imports() -> None:
    """From now on only what is loaded or compiled into the interpreter can be imported."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") != "PathFinder"]
    sys.meta_path.append(_NothingElse)
    sys.path_importer_cache.clear()
