"""How modules are compiled inside: without what no code asks for at run time, since whatever a module is made of is copied into every VM.

In the standard library's modules and in the SDK's

- functions have no docstrings (`slim`), nor have classes and modules when the build ends (`forget`);
- tracebacks tell lines, but not columns: there is no source to mark them in;
- functions have no annotations; classes have theirs until the build ends, as `dataclasses` and its like read them.

In the extension's modules and in its dependencies all of it stays as it is written: those may read it.

Nothing may be imported here that is not there yet when Python has started: it would be compiled as it is.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FunctionType

SLIM = ("/0/", "/python/", "/world/", "/bundled/")
"""The folders of the SDK, of the standard library and of what componentize-py brings and makes."""

_EARLY = frozenset((*sys.modules, __name__, "proxy_wasm.guest.sources", "proxy_wasm.guest.imports"))
"""Modules that were compiled before this one, or are part of Python itself."""
_HAS_DOCSTRING = 0x4000000
"""`inspect.CO_HAS_DOCSTRING`: the first constant is the docstring."""
_ANNOTATE = "__annotate__"
_NO_LOCATION, _LONG, _NO_COLUMNS = 15, 14, 13
_ONE_LINE = 10
_LONGEST_ENTRY = 8
_CONTINUED, _MORE = 0x3F, 0x40
_HEAP_TYPE, _IMMUTABLE_TYPE = 1 << 9, 1 << 8
"""`Py_TPFLAGS_HEAPTYPE` and `Py_TPFLAGS_IMMUTABLETYPE`."""


def _no_annotations() -> "CodeType":
    def __annotate__(_format: int) -> dict[str, object]:  # noqa: N807 - takes the place of those that compilers write
        return {}

    return __annotate__.__code__


_EMPTY_ANNOTATE = _no_annotations()


def slim(code: "CodeType") -> "CodeType":
    """`code` and all code in it without docstrings of functions, columns and annotations of functions."""
    own_annotate = _ANNOTATE if code.co_name == "<module>" else f"{code.co_qualname}.{_ANNOTATE}"
    constants = list(code.co_consts)
    flags = code.co_flags
    if flags & _HAS_DOCSTRING:
        constants[0] = None
        flags &= ~_HAS_DOCSTRING
    for position, constant in enumerate(constants):
        if type(constant) is type(code):
            annotates = constant.co_name == _ANNOTATE and constant.co_qualname != own_annotate
            constants[position] = _EMPTY_ANNOTATE if annotates else slim(constant)
    return code.replace(co_consts=tuple(constants), co_flags=flags, co_linetable=_lines(code.co_linetable))


def _lines(table: bytes) -> bytes:
    """A location table without columns: runs of instructions of one line joined.

    Source: CPython, InternalDocs/code_objects.md, "Format of the locations table".
    """
    slimmed = bytearray()
    known, delta, length = True, 0, 0
    for entry_known, entry_delta, entry_length in _entries(table):
        if entry_known == known and not entry_delta:
            length += entry_length
            continue
        _write(slimmed, known, delta, length)
        known, delta, length = entry_known, entry_delta, entry_length
    _write(slimmed, known, delta, length)
    return bytes(slimmed)


def _entries(table: bytes) -> "Iterator[tuple[bool, int, int]]":
    """Whether there is a location, by how much the line changes, how many code units it is for."""
    position, end = 0, len(table)
    while position < end:
        first = table[position]
        form = first >> 3 & 15
        delta = 0
        if form in (_NO_COLUMNS, _LONG):
            value, shift, place = 0, 0, position + 1
            while True:
                octet = table[place]
                value |= (octet & _CONTINUED) << shift
                if not octet & _MORE:
                    break
                shift, place = shift + 6, place + 1
            delta = -(value >> 1) if value & 1 else value >> 1
        elif _ONE_LINE <= form < _NO_COLUMNS:
            delta = form - _ONE_LINE
        yield form != _NO_LOCATION, delta, (first & 7) + 1
        position += 1
        while position < end and table[position] < 0x80:  # noqa: PLR2004 - the bit that each entry begins with
            position += 1


def _write(table: bytearray, known: bool, delta: int, length: int) -> None:
    while length > 0:
        units = min(length, _LONGEST_ENTRY)
        table.append(0x80 | (_NO_COLUMNS if known else _NO_LOCATION) << 3 | units - 1)
        if known:
            value = -delta << 1 | 1 if delta < 0 else delta << 1
            while value > _CONTINUED:
                table.append(value & _CONTINUED | _MORE)
                value >>= 6
            table.append(value)
        delta, length = 0, length - units


def names_of_authors() -> set[str]:
    """The names that functions of the extension and of its dependencies look up."""
    import gc  # noqa: PLC0415 - as below

    names: set[str] = set()
    codes = [
        candidate.__code__
        for candidate in gc.get_objects()
        if type(candidate) is type(forget) and not _is_slim(candidate)
    ]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [constant for constant in code.co_consts if type(constant) is type(code)]
    return names


def forget() -> None:
    """Take what no code asks for from classes and modules, and from functions that were there before this module."""
    import gc  # noqa: PLC0415 - not there when Python has started

    for name in _slim_modules():
        sys.modules[name].__doc__ = None
    for candidate in gc.get_objects():
        if issubclass(type(candidate), type):  # not `isinstance`, which asks the object behind a proxy
            if candidate.__flags__ & (_HEAP_TYPE | _IMMUTABLE_TYPE) == _HEAP_TYPE and _is_slim(candidate):
                _forget_class(candidate)
        elif type(candidate) is type(forget) and _is_slim(candidate):
            if candidate.__module__ in _EARLY:
                candidate.__code__ = slim(candidate.__code__)
            candidate.__doc__ = None
            candidate.__annotate__ = None  # pyright: ignore[reportAttributeAccessIssue] - from Python 3.14 on


def _slim_modules() -> "Iterator[str]":
    for name, module in sys.modules.items():
        if (getattr(module, "__file__", None) or SLIM[0]).startswith(SLIM):
            yield name


def _is_slim(candidate: "type | FunctionType") -> bool:
    module = candidate.__module__
    return module in _EARLY or (getattr(sys.modules.get(module), "__file__", None) or "").startswith(SLIM)


def _forget_class(candidate: type) -> None:
    # Not by assignment: the classes of enumerations, for one, have opinions about that.
    if candidate.__dict__.get("__doc__") is not None:
        type.__setattr__(candidate, "__doc__", None)
    if "__annotate_func__" in candidate.__dict__:
        type.__setattr__(candidate, "__annotate__", None)
