"""Streams that do odd things to themselves and to their class, as the request's header `act` says, and tell what they find."""

import json
import weakref
from collections.abc import Callable
from typing import Any

from proxy_wasm import Headers, HttpContext, PluginContext

kept: list[Any] = []
references: list[weakref.ref[Any]] = []


class Objects(PluginContext):
    """Makes streams in the simplest way."""

    def http_context(self) -> HttpContext["Objects"]:
        return Stream(self)


class Stream(HttpContext[Objects]):
    """Tells in headers what its object is like when its request begins, and which method got its response."""

    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        headers["x-told"] = json.dumps(
            {
                "kind": type(self).__name__,
                "attributes": [name for name in ("mark", "other", "on_response_headers") if name in _own(self)],
                "plugin": type(self.plugin) is Objects,
                "numbers are apart": all(stream.context_id != self.context_id for stream in kept),
                "kept": [stream.mark for stream in kept],
                "alive": sum(reference() is not None for reference in references),
                "gone": self.gone,
            }
        )
        act = headers.get("act")
        if act:
            ACTS[act](self)

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
        headers["x-response"] = f"{type(self).__name__}'s"


def _own(stream: Stream) -> list[str]:
    """An object's own attributes; `vars` would make a dictionary of them."""
    marks = {name: getattr(stream, name, None) for name in ("mark", "other")}
    found = [name for name, value in marks.items() if value is not None]
    if getattr(stream.on_response_headers, "__self__", None) is not stream:
        found.append("on_response_headers")
    return found


def _mark(stream: Any) -> None:  # noqa: ANN401 - gets an attribute that its class does not have
    stream.mark = "marked"
    stream.other = [1, 2, 3]


def _mark_by_dictionary(stream: Stream) -> None:
    vars(stream)["mark"] = "in the dictionary"


def _keep(stream: Any) -> None:  # noqa: ANN401 - as above
    stream.mark = f"kept {len(kept)}"
    kept.append(stream)


def _refer(stream: Stream) -> None:
    references.append(weakref.ref(stream))


def _hide(stream: Any) -> None:  # noqa: ANN401 - as above
    def on_response_headers(headers: Headers, _end_of_stream: bool) -> None:
        headers["x-response"] = "the object's"

    stream.on_response_headers = on_response_headers


def _change_method(_stream: Stream) -> None:
    def on_response_headers(self: Stream, headers: Headers, end_of_stream: bool) -> None:
        headers["x-response"] = "the changed class's"

    Stream.on_response_headers = on_response_headers


def _change_base(_stream: Stream) -> None:
    def on_response_headers(_self: HttpContext[Any], headers: Headers, _end_of_stream: bool) -> None:
        headers["x-response"] = "the base's"

    del Stream.on_response_headers
    HttpContext.on_response_headers = on_response_headers


def _deal_in_slots(_stream: Stream) -> None:
    globals()["Stream"] = SlottedStream


def _give_up_plugin(stream: Any) -> None:  # noqa: ANN401 - as above
    stream.plugin = None


def _exchange(_stream: Stream) -> None:
    globals()["Stream"] = type("Exchanged", (Stream,), {})


def _change_factory(_stream: Stream) -> None:
    made = type("MadeOtherwise", (Stream,), {})

    def http_context(self: Objects) -> Stream:
        return made(self)

    Objects.http_context = http_context


def _change_constructor(_stream: Stream) -> None:
    base: Any = Stream.__init__

    def __init__(self: Any, plugin: Objects) -> None:  # noqa: ANN401, N807 - becomes a method
        base(self, plugin)
        self.mark = "constructed"

    Stream.__init__ = __init__


class SlottedStream(HttpContext[Objects]):
    """One without a dictionary."""

    __slots__ = ("mark", "other")

    mark: str
    other: list[int]

    on_request_headers = Stream.on_request_headers
    on_response_headers = Stream.on_response_headers


ACTS: dict[str, Callable[[Any], None]] = {
    "deal in slots": _deal_in_slots,
    "mark": _mark,
    "mark by dictionary": _mark_by_dictionary,
    "keep": _keep,
    "refer": _refer,
    "hide": _hide,
    "change method": _change_method,
    "change base": _change_base,
    "give up plugin": _give_up_plugin,
    "exchange": _exchange,
    "change factory": _change_factory,
    "change constructor": _change_constructor,
}
