"""Imports: what is made available while the snapshot is taken, and what answers an import afterwards.

Importing this module begins the time of the build, `end` ends it. In between stand-ins come before the standard library's modules of the
same names (`proxy_wasm.guest.stand_ins`), and the extension's own modules and its dependencies are compiled under the names that they have in
their folders (`proxy_wasm.guest.sources`). Afterwards there is no file system: a module that nobody imported until then can never be imported.
"""

import codecs
import sys

from proxy_wasm.guest import compiling, left_out, sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType

_STAND_INS = f"{__file__.rpartition('/')[0]}/stand_ins"

_COMPANIONS = {
    "collections": ("heapq",),
    "datetime": ("_strptime",),
    "encodings": ("encodings.ascii", "encodings.latin_1"),
    "json": tuple(f"encodings.utf_{name}" for name in ("8_sig", "16", "16_be", "16_le", "32", "32_be", "32_le")),
    "pickle": ("_compat_pickle", "typing"),
    "uuid": ("hashlib",),
}
"""What modules of the standard library import no sooner than in some function."""

_ANNOTATION_NAMES = frozenset(
    ("ForwardRef", "get_annotations", "get_type_hints", "signature", "singledispatch", "singledispatchmethod")
)
_ANNOTATION_MODULES = ("typing", "annotationlib")
"""What these functions and classes of the standard library import; too large to be there where no function of an extension names them."""

_RUNTIME = (
    "componentize_py_async_support.futures",
    "componentize_py_async_support.streams",
    "componentize_py_types",
    "random",
    "weakref",
)
"""What componentize-py's own runtime imports, by name, when it has imported the app."""

sys.path.insert(0, _STAND_INS)
sources.name_files()

from importlib import import_module  # noqa: E402 - compiled as `sources` has it

sys.modules["typing"] = import_module("proxy_wasm.guest.typing_names")


def import_world() -> None:
    """Import the generated module `wit_world` without `dataclasses`, which it imports but makes no use of in this world.

    `dataclasses`, and `inspect` and `ast` with it, would be a megabyte of every VM.
    """
    if "dataclasses" in sys.modules:
        import_module("wit_world")
        return
    stand_in = type(sys)("dataclasses")
    setattr(stand_in, "dataclass", _undecorated)  # noqa: B010 - a type checker knows the attributes of a module
    sys.modules["dataclasses"] = stand_in
    try:
        import_module("wit_world")
    finally:
        del sys.modules["dataclasses"]


def _undecorated(decorated: type | None = None, **_options: bool) -> object:
    return decorated or _undecorated


def end_of_sdk() -> None:
    """From now on `typing` is the standard library's."""
    del sys.modules["typing"]


class _NothingElse:
    """The last finder: says why a module is not there."""

    @staticmethod
    def find_spec(name: str, path: "Iterable[str] | None" = None, target: "ModuleType | None" = None) -> None:
        """Never finds anything; raises `ModuleNotFoundError`."""
        del path, target
        msg = (
            f"No module named {name!r} in this build: a compiled filter has no file system, so whatever it imports "
            "must be imported when it is built, at module level"
        )
        raise ModuleNotFoundError(msg, name=name)


def _unknown_encoding(name: str) -> None:
    """The last one to be asked for an encoding; raises `LookupError`."""
    msg = (
        f"unknown encoding in this build: {name!r}; a filter that needs it must import encodings.{name} at module level"
    )
    raise LookupError(msg)


def end(further: "Iterable[str]", modules_left_out: "Mapping[str, str]", *, compiler: bool) -> None:
    """Import the modules `further`; from now on only what is loaded or compiled into the interpreter can be imported.

    Of the latter, those in `modules_left_out` cannot; `compiler` says whether source text can be compiled (`proxy_wasm.guest.left_out`).
    """
    for name in (*further, *_RUNTIME):
        import_module(name)
    for name, companions in _COMPANIONS.items():
        if name in sys.modules:
            for companion in companions:
                import_module(companion)
    if compiler and "traceback" in sys.modules:
        import_module("ast")  # by which it finds the operator that failed
    if not _ANNOTATION_NAMES.isdisjoint(compiling.names_of_authors()):
        for name in _ANNOTATION_MODULES:
            import_module(name)
    sys.path.remove(_STAND_INS)
    sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") != "PathFinder"]
    sys.meta_path.append(_NothingElse)
    sys.path_importer_cache.clear()
    codecs.register(_unknown_encoding)
    compiling.forget()
    left_out.refuse(modules_left_out, compiler=compiler)
