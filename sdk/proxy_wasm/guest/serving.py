"""What a compiled guest does without the interpreter: the linker's built-in functions are given what they work on.

They take the place of methods of `Headers` (`proxy_wasm.build.linker.header_functions`), read and write what callouts consist of
(`proxy_wasm.build.linker.callout_functions`) and pass streams' callbacks to authors' methods, as long as nothing
but that is to be done (`proxy_wasm.build.linker.stream_callbacks`).
"""

# The dispatcher's state is what they work on.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

from collections.abc import Callable
from types import FunctionType
from typing import Any, Protocol, cast

from proxy_wasm import callouts, fingerprints
from proxy_wasm.abi.enums import Action, MapType
from proxy_wasm.contexts import HttpContext, PluginContext
from proxy_wasm.dispatcher import Dispatcher
from proxy_wasm.failed_streams import Unmade
from proxy_wasm.guest import hostcalls
from proxy_wasm.guest.built_in import (
    HAS_NO_DICTIONARY,
    HAS_OBSERVED_END,
    HAS_ON_DONE,
    HAS_ON_LOG,
    HAS_VALUES,
    HEADER_METHODS,
    IS_MADE_PLAINLY,
    MAX_CLASSES,
)
from proxy_wasm.headers import Headers
from proxy_wasm.host import Host
from proxy_wasm.metrics import Counter

_BASE: type[HttpContext[Any]] = HttpContext
_INLINE_VALUES = 1 << 2
"""A flag of classes: `Py_TPFLAGS_INLINE_VALUES`."""


class _BuiltIn(Protocol):
    """The linker's functions, besides the hostcalls."""

    def header_method(self, index: int, headers_class: type[Headers], method: object, /) -> object: ...
    def serve_headers(
        self, headers_class: type[Headers], map_type: int, text: type[str], missing: type[KeyError], delete: object, /
    ) -> None: ...
    def slot_offset(self, owner: object, value: object, size: int, /) -> int: ...
    def serve_streams(self, *objects_and_offsets: object) -> None: ...
    def register(
        self,
        number: int,
        plugin: PluginContext,
        stream_class: type,
        flags: int,
        names: dict[str, object],
        name: str,
        /,
    ) -> None: ...
    def forget(self, number: int, /) -> None: ...
    def serve_fingerprints(
        self,
        in_python: Callable[[bytes, str | bytes], str],
        of_headers_in_python: Callable[[bytes, Headers], str],
        headers_class: type[Headers],
        /,
    ) -> None: ...
    def fingerprint_function(self, key: bytes, /) -> fingerprints.Fingerprint: ...
    def counter_method(self, counter_class: type[Counter], method: object, offset: int, /) -> Any: ...  # noqa: ANN401 - a method
    def headers_fingerprint_function(self, specification: bytes, /) -> fingerprints.HeadersFingerprint: ...
    def stream_get(self, number: int, /) -> HttpContext[Any] | None: ...
    def stream_put(self, number: int, stream: HttpContext[Any], /) -> None: ...
    def stream_pop(self, number: int, default: None, /) -> HttpContext[Any] | None: ...

    request_map: Callable[..., bytes | None]
    status_of: Callable[[bytes], int]


_built_in = cast("_BuiltIn", hostcalls)


def begin(dispatcher: Dispatcher) -> None:
    """Let the built-in functions serve `dispatcher`; once, when a VM starts."""
    host = dispatcher._host
    headers_class = _headers_class(host.request_headers)
    _built_in.serve_fingerprints(fingerprints.fingerprint_with, fingerprints.headers_fingerprint_with, headers_class)
    fingerprints.bind(_built_in.fingerprint_function, _built_in.headers_fingerprint_function)
    _serve_counters()
    callouts.request_map, callouts.status_of = _built_in.request_map, _built_in.status_of
    for name, map_type in (
        ("request_headers", MapType.HTTP_REQUEST_HEADERS),
        ("request_trailers", MapType.HTTP_REQUEST_TRAILERS),
        ("response_headers", MapType.HTTP_RESPONSE_HEADERS),
        ("response_trailers", MapType.HTTP_RESPONSE_TRAILERS),
    ):
        setattr(host, name, headers_class(host.hostcalls, map_type))
    dispatcher._streams = cast("dict[int, HttpContext[Any]]", _streams())
    _built_in.serve_streams(
        dispatcher._plugins,
        host.ready,
        host,
        Action.CONTINUE,
        FunctionType,
        dispatcher.unmade,
        dispatcher.adopt,
        dispatcher.settle,
        dispatcher.fail,
        host.request_headers,
        host.request_body,
        host.request_trailers,
        host.response_headers,
        host.response_body,
        host.response_trailers,
        *_offsets(host),
    )
    registered: set[tuple[int, type]] = set()

    def made(plugin: PluginContext, stream_class: type[HttpContext[Any]]) -> None:
        key = plugin.context_id, stream_class
        if key in registered:
            return
        if len(registered) >= MAX_CLASSES or not _takes_part(type(plugin), stream_class):
            host.ends_matter = True
        else:
            registered.add(key)
            flags = _flags(stream_class)
            names, name = _plain_call(plugin, stream_class)
            if name and flags & (HAS_VALUES | HAS_OBSERVED_END) == HAS_VALUES:
                flags |= IS_MADE_PLAINLY
            _built_in.register(plugin.context_id, plugin, stream_class, flags, names, name)

    def dropped(number: int) -> None:
        registered.difference_update([key for key in registered if key[0] == number])
        _built_in.forget(number)

    dispatcher.made, dispatcher.dropped = made, dropped


def _takes_part(plugin_class: type[PluginContext], stream_class: type[HttpContext[Any]]) -> bool:
    """Whether the object of a stream can be made and called without the dispatcher."""
    return (
        plugin_class.tcp_context is PluginContext.tcp_context
        and stream_class.__module__ != Unmade.__module__
        and all(
            _attribute(stream_class, name) is _attribute(HttpContext, name)
            for name in ("replaces_request_body", "replaces_response_body")
        )
    )


def _flags(stream_class: type[HttpContext[Any]]) -> int:
    """What the linker's functions have to know of a class."""
    flags = 0
    if stream_class.on_done is not _BASE.on_done:
        flags |= HAS_ON_DONE
    if stream_class.on_log is not _BASE.on_log:
        flags |= HAS_ON_LOG
    if stream_class.__flags__ & _INLINE_VALUES:
        flags |= HAS_VALUES
    elif stream_class.__weakrefoffset__:
        flags |= HAS_OBSERVED_END
    if hasattr(stream_class, "__del__"):
        flags |= HAS_OBSERVED_END
    if not stream_class.__dictoffset__:
        flags |= HAS_NO_DICTIONARY
    return flags


def _plain(self: Any) -> object:  # noqa: ANN401 - compared, never called
    return stream_class_of_an_author(self)  # noqa: F821 # pyright: ignore[reportUndefinedVariable, reportUnknownVariableType]


_SLOTS = ("plugin", "context_id", "_host", "_tasks", "_directions", "_state", "_answered_in")


def _plain_call(plugin: PluginContext, stream_class: type[HttpContext[Any]]) -> tuple[dict[str, object], str]:
    """The dictionary and the name by which `http_context` finds the class, where it does nothing but call it; else an empty name.

    The class must have nothing of its own that makes an object, or sets one's attributes.
    """
    function = _attribute(type(plugin), "http_context")
    if (
        type(function) is FunctionType
        and function.__code__.co_code == _plain.__code__.co_code
        and len(function.__code__.co_names) == 1
        and getattr(plugin.http_context, "__func__", None)
        is function  # vars() would make its attributes slower to read from then on
        and type(stream_class) is type
        and stream_class.__basicsize__ == _BASE.__basicsize__
        and all(
            _attribute(stream_class, name) is _attribute(_BASE, name)
            for name in (*_SLOTS, "__init__", "__new__", "__setattr__")
        )
    ):
        name = function.__code__.co_names[0]
        if function.__globals__.get(name) is stream_class:
            return function.__globals__, name
    return {}, ""


def _streams() -> object:
    """The table of streams as far as the dispatcher uses it: a dictionary by number."""

    class Streams:
        __slots__ = ()
        get = _built_in.stream_get
        pop = _built_in.stream_pop
        __setitem__ = _built_in.stream_put

        def __getitem__(self, number: int) -> HttpContext[Any]:
            stream = self.get(number)
            if stream is None:
                raise KeyError(number)
            return stream

        def __contains__(self, number: int) -> bool:
            return self.get(number) is not None

    return Streams()


def _attribute(owner: type, name: str) -> object:
    """A class's attribute as it is, not as a descriptor gives it."""
    return next(vars(base)[name] for base in owner.__mro__ if name in vars(base))


def _offsets(host: Host) -> tuple[int, ...]:
    """Where the attributes lie that are read and written without the interpreter."""
    context: Any = _BASE.__new__(_BASE)
    return (
        *(_offset(host, name) for name in ("context_id", "phase", "ends_matter")),
        *(
            _offset(context, name)
            for name in ("plugin", "_host", "context_id", "_state", "_tasks", "_directions", "_answered_in")
        ),
    )


def _offset(owner: Any, name: str) -> int:  # noqa: ANN401 - of any class with slots
    """Where an object keeps an attribute."""
    kept = getattr(owner, name, None)
    mark = object()
    setattr(owner, name, mark)
    offset = _built_in.slot_offset(owner, mark, type(owner).__basicsize__)
    setattr(owner, name, kept)
    if not offset:
        msg = f"{type(owner).__name__}.{name} is not where it was expected"
        raise RuntimeError(msg)
    return offset


def _serve_counters() -> None:
    """Let a built-in function count."""
    offset = _offset(Counter.__new__(Counter), "_id")
    Counter.increment = _built_in.counter_method(Counter, Counter.increment, offset)


def _headers_class(headers: Headers) -> type[Headers]:
    """`Headers`, most of whose methods are built-in functions; `headers` is an example."""

    class Served(Headers):
        __slots__ = ()

    Served.__name__ = Served.__qualname__ = Headers.__name__
    Served.__module__ = Headers.__module__
    for index, name in enumerate(HEADER_METHODS):
        setattr(Served, name, _built_in.header_method(index, Served, vars(Headers)[name]))
    Served.get_list = Served.getall
    _built_in.serve_headers(Served, _offset(headers, "_map_type"), str, KeyError, Headers.__delitem__)
    return Served
