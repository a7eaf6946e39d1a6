"""Waiting for the whole of a body, or its beginning, in front of its headers where the proxy lets it through."""

# A stream's directions are between the contexts and the dispatcher.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

from typing import TYPE_CHECKING, Any

from proxy_wasm.abi.enums import MapType
from proxy_wasm.errors import BodyTooLargeError, PhaseError
from proxy_wasm.host import REQUEST_HEADERS, RESPONSE_HEADERS
from proxy_wasm.tasks import Future

if TYPE_CHECKING:
    from proxy_wasm.contexts import HttpContext
    from proxy_wasm.directions import Direction

DEFAULT_BODY_LIMIT = 1024 * 1024
"""In bytes: what Envoy buffers unless told otherwise."""

_FIRST_LOOK, _LAST_LOOK = 0.005, 0.64
"""In seconds: how often to look whether the proxy holds a body back."""

_HELD_BACK = (
    "{what}: the proxy holds the body back while the headers wait for it; the plugin's configuration needs "
    "allow_on_headers_stop_iteration: true (Envoy 1.35 and later), or the body is read in {callback}"
)


def read_body(stream: "HttpContext[Any]", *, is_response: bool, limit: int, peeks: bool = False) -> Future[bytes]:
    """A future for the body of a direction, or its beginning; see `HttpContext.read_request_body` and `peek_request_body`."""
    side = "response" if is_response else "request"
    what = f"{'peek' if peeks else 'read'}_{side}_body"
    host = stream._here()
    direction = stream._direction(is_response=is_response)
    if direction is None or not direction.at_work:
        msg = f"{what}: to be awaited in an async on_{side}_headers or on_{side}_body"
        raise PhaseError(msg)
    if direction.whole is not None and not direction.whole.done():
        msg = f"{what}: the body is waited for already"
        raise PhaseError(msg)
    if limit < 0:
        msg = f"{what}: a limit of {limit} bytes"
        raise ValueError(msg)
    in_headers = host.phase in (REQUEST_HEADERS, RESPONSE_HEADERS)
    if in_headers and not direction.ended and stream.plugin._holds_bodies_back:
        raise PhaseError(_HELD_BACK.format(what=what, callback=f"on_{side}_body"))
    whole: Future[bytes] = Future(stream)
    direction.limit = limit
    direction.peeks = peeks
    if in_headers:
        direction.follows = True
        direction.body._headers = direction.headers
    direction.wait_for_whole(whole)
    if in_headers and not whole.done():
        _Lookout(stream, direction, whole, what).wait(_FIRST_LOOK)
    return whole


class _Lookout:
    """Finds out that bytes of a body have reached the proxy, and not the filter."""

    __slots__ = ("_direction", "_received", "_stream", "_what", "_whole")

    def __init__(self, stream: "HttpContext[Any]", direction: "Direction", whole: Future[bytes], what: str) -> None:
        self._stream = stream
        self._direction = direction
        self._whole = whole
        self._what = what
        self._received = self._count()

    def _count(self) -> int | None:
        """How much has arrived, by what the proxy counts whether or not the filter sees it."""
        if self._direction.is_response:
            return (
                self._stream.get_property("response", "backend_latency") is not None
            )  # the upstream has sent all of it
        total = self._stream.get_property("request", "total_size")
        if total is None:
            return None
        host = self._stream._host
        size_of = host.hostcalls.get_header_map_size  # not request.headers_bytes, which Envoy 1.36 lacks
        headers = host.call_for(self._stream.context_id, size_of, int(MapType.HTTP_REQUEST_HEADERS))
        return int.from_bytes(total, "little") - headers

    def wait(self, seconds: float) -> None:
        timers = self._stream._timers()
        timers.call_later(seconds, lambda: self._look(min(seconds * 2, _LAST_LOOK)))

    def _look(self, next_wait: float) -> None:
        if self._whole.done() or self._stream.gone or self._direction.size:
            return
        received = self._count()
        if received is None or self._received is None or received <= self._received:
            self.wait(next_wait)
            return
        self._stream.plugin._holds_bodies_back = True
        side = "response" if self._direction.is_response else "request"
        self._whole.set_exception(PhaseError(_HELD_BACK.format(what=self._what, callback=f"on_{side}_body")))


def too_large(direction: "Direction") -> BodyTooLargeError:
    """The error for a body beyond its limit."""
    return BodyTooLargeError("response body" if direction.is_response else "request body", direction.limit)
