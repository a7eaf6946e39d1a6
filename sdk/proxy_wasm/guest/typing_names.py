"""In place of `typing` while the SDK's own modules are imported: its names for type checkers, which need nothing of it at run time.

`typing`, with `annotationlib` and `ast` behind some of its classes, would be half a megabyte of every VM. An extension that imports it gets the
standard library's (`proxy_wasm.guest.imports.end_of_sdk`). The SDK's generic classes are their own aliases: `HttpContext[Greeter]` is `HttpContext`.
"""

TYPE_CHECKING = False


class _Name:
    """A name in annotations and aliases: any operation on it gives a name again."""

    def __init__(self, *_arguments: object, **_options: object) -> None: ...

    def __getitem__(self, _parameters: object) -> "_Name":
        return self

    def __or__(self, _other: object) -> "_Name":
        return self

    __ror__ = __or__


ParamSpec = TypeVar = _Name


def __getattr__(name: str) -> _Name:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Name()


class Generic:
    def __class_getitem__(cls, _parameters: object) -> type:
        return cls


class Protocol(Generic): ...


def cast(_type: object, value: object) -> object:
    return value


def overload(function: object) -> object:
    return function
