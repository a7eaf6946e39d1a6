"""HTTP callouts: requests that a filter makes to clusters of the proxy.

What Envoy tells of a callout that failed (seen in 1.36 to 1.40): an answer of its own with the status that a client would get, which has
no `x-envoy-upstream-service-time`, the header that Envoy adds to every answer of an upstream; or no headers at all, where the answer broke
off after its head had arrived.
"""

# A callout is made by the contexts and completed by the dispatcher.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

import json
from struct import pack
from typing import TYPE_CHECKING, Any, NoReturn

from proxy_wasm.abi.enums import BufferType, MapType, Status
from proxy_wasm.abi.header_map import decode_pairs, encode_parts
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.body import Data, octets
from proxy_wasm.errors import (
    CalloutArgumentError,
    CalloutError,
    CalloutResetError,
    CalloutTimeoutError,
    ConnectionFailedError,
    UnknownClusterError,
)
from proxy_wasm.headers import (
    HeaderPairs,
    Headers,
    ReceivedHeaders,
    check_limits,
    checked_name,
    checked_value,
    pairs_of,
)
from proxy_wasm.tasks import Future

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy_wasm.context import Context

DEFAULT_TIMEOUT = 5.0
"""In seconds."""
_LONGEST_TIMEOUT = 0x7FFF_FFFF
"""In milliseconds: beyond it Envoy refuses the callout."""
_OWN_HEADERS = frozenset({b":method", b":path", b":authority", b":scheme", b"host"})
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
"""Characters of methods and header names (RFC 9110, 5.6.2)."""
_UPSTREAM_MARK = "x-envoy-upstream-service-time"
_GATEWAY_TIMEOUT = 504
_OF_THE_PROXY = (b"upstream connect error", b"no healthy upstream", b"invalid header")
"""How the bodies of Envoy's own answers begin, where no upstream has answered."""
_HEADERS, _TRAILERS = int(MapType.HTTP_CALL_RESPONSE_HEADERS), int(MapType.HTTP_CALL_RESPONSE_TRAILERS)
_BODY = int(BufferType.HTTP_CALL_RESPONSE_BODY)
_HEAD_PAIRS = 4
_HEAD_SIZES = 4 * (2 * _HEAD_PAIRS - 1)
_MOST_KEPT = 128
"""How many heads of requests, timeouts, and names of headers are kept."""
_LONGEST_KEPT = 256
"""In bytes: others are put together anew each time."""
_RESET_REASONS = ("connection termination", "protocol error", "remote reset", "local reset")


class HttpResponse:
    """The answer to a callout, whole: it stays when the callback that brought it is over."""

    __slots__ = ("_headers", "_trailers", "content", "status")

    status: int
    """The status code."""
    content: bytes
    """The body."""

    def __init__(self, status: int, headers: bytes, content: bytes, trailers: bytes) -> None:
        self.status = status
        self.content = content
        self._headers: Headers | bytes = headers
        self._trailers: Headers | bytes = trailers

    def __repr__(self) -> str:
        return f"<HttpResponse {self.status}>"

    @property
    def headers(self) -> Headers:
        """The headers, without `:status`; they can be read only."""
        if isinstance(self._headers, bytes):
            self._headers = ReceivedHeaders(
                [pair for pair in decode_pairs(self._headers) if not pair[0].startswith(b":")]
            )
        return self._headers

    @property
    def trailers(self) -> Headers:
        """The trailers; they can be read only."""
        if isinstance(self._trailers, bytes):
            self._trailers = ReceivedHeaders(decode_pairs(self._trailers))
        return self._trailers

    @property
    def text(self) -> str:
        """The body as text: UTF-8 with `surrogateescape`, so that no bytes can raise."""
        return self.content.decode("utf-8", "surrogateescape")

    def json(self) -> Any:  # noqa: ANN401 - JSON is what it is
        """The body parsed as JSON; `ValueError` where it is none, or nested too deeply."""
        try:
            return json.loads(self.content)
        except RecursionError as error:
            msg = "nested too deeply"
            raise ValueError(msg) from error


class HttpCall(Future[HttpResponse]):
    """A callout under way; made by `http_call`."""

    __slots__ = ("_id", "_sent", "_timeout", "cluster")

    def __init__(self, context: "Context", cluster: str, timeout_milliseconds: int) -> None:
        host = context._host
        self.context = context
        self._phase = host.phase
        self._state = 0
        self._outcome = self._waiter = self._callbacks = self._unseen = None
        self.cluster = cluster
        self._timeout = timeout_milliseconds
        self._sent = host.monotonic()
        self._id = 0

    def _name(self) -> str:
        return f"callout to {self.cluster}"

    def cancel(self) -> bool:
        """Wait no longer; the proxy finishes the callout, and its answer is dropped."""
        if not super().cancel():
            return False
        self.context._plugin_context._http_calls.pop(self._id, None)
        return True

    def receive(self, num_headers: int, body_size: int, num_trailers: int) -> None:
        """Take the answer that the proxy offers during `on_http_call_response`."""
        if not num_headers:
            late = self._timeout and self.context._host.monotonic() - self._sent >= self._timeout * 1_000_000
            self._fail(late=bool(late), reason="the answer broke off")
            return
        hostcalls = self.context._host.hostcalls
        headers = hostcalls.get_header_map_pairs(_HEADERS)
        content = hostcalls.get_buffer_bytes(_BODY, 0, body_size) if body_size else b""
        trailers = hostcalls.get_header_map_pairs(_TRAILERS) if num_trailers else b""
        status = status_of(headers)
        if status < 0:
            status = _status(headers)
        if status == _GATEWAY_TIMEOUT or content.startswith(_OF_THE_PROXY):
            self._receive_of_proxy(status, headers, content, trailers)
        else:
            self.set_result(HttpResponse(status, headers, content, trailers))

    def _receive_of_proxy(self, status: int, headers: bytes, content: bytes, trailers: bytes) -> None:
        """Take an answer that is the proxy's own, unless an upstream says the same."""
        if _UPSTREAM_MARK in ReceivedHeaders(decode_pairs(headers)) or not self._is_proxys_own(status, content):
            self.set_result(HttpResponse(status, headers, content, trailers))
            return
        reason = content.decode("utf-8", "replace")
        if status == _GATEWAY_TIMEOUT:
            self._fail(late=True, reason=reason)
        elif reason.endswith(_RESET_REASONS):
            self._fail(late=False, reason=reason)
        else:
            self.set_exception(ConnectionFailedError(f"callout to cluster {self.cluster!r}: {reason}", self.cluster))

    def _is_proxys_own(self, status: int, content: bytes) -> bool:
        if status == _GATEWAY_TIMEOUT:
            return content == b"upstream request timeout"
        return content.startswith(_OF_THE_PROXY)

    def _fail(self, *, late: bool, reason: str) -> None:
        if late:
            msg = f"callout to cluster {self.cluster!r}: no answer within {self._timeout / 1000:g} s"
            self.set_exception(CalloutTimeoutError(msg, self.cluster))
        else:
            self.set_exception(CalloutResetError(f"callout to cluster {self.cluster!r}: {reason}", self.cluster))


def _status(serialized: bytes) -> int:
    """The status of a serialized map of headers, 0 where it has none; `ValueError` for what is no such map."""
    text = ReceivedHeaders(decode_pairs(serialized)).get(":status", "")
    return int(text) if text.isascii() and text.isdigit() else 0


Head = bytes
"""The pseudo-headers of a request as the proxy takes them, but for the path, with which they end: the sizes of all names and values, then these, a NUL behind each."""

_heads: dict[tuple[str, str, str, str | None], tuple[bytes, Head]] = {}
"""By cluster, method, scheme and authority, the cluster's name as the proxy takes it, and the head."""
_timeouts: dict[float | None, int] = {}
"""Timeouts in milliseconds."""
_names: dict[str, bytes] = {}
"""Names of headers as the proxy takes them."""


def _no_map(_head: Head, _path: str, _headers: object, _names: dict[str, bytes], _text: type[str]) -> bytes | None:
    return None


def _no_status(_headers: bytes) -> int:
    return -1


request_map: "Callable[[Head, str, object, dict[str, bytes], type[str]], bytes | None]" = _no_map
"""The headers of a request, serialized, `None` where they are not as usual; and the status of an answer, -1 where it is not. A compiled guest has built-in functions for
them (`proxy_wasm.build.linker.callout_functions`)."""
status_of: "Callable[[bytes], int]" = _no_status


def send(  # noqa: PLR0913, PLR0917 - the parts of a request
    context: "Context",
    cluster: str,
    method: str,
    path: str,
    headers: HeaderPairs | None,
    body: Data,
    trailers: HeaderPairs | None,
    timeout: float | None,
    authority: str | None,
    scheme: str,
) -> HttpCall:
    """Make the callout; see `Context.http_call`."""
    try:
        name, head = _heads[cluster, method, scheme, authority]
        milliseconds = _timeouts[timeout]
    except (KeyError, TypeError):
        name, head = _head(cluster, method, scheme, authority)
        milliseconds = timeout_milliseconds(timeout)
        if len(_timeouts) < _MOST_KEPT:
            _timeouts[timeout] = milliseconds
    content = body if type(body) is bytes else _body(body)
    serialized = request_map(head, path, headers, _names, str)
    if serialized is None:
        serialized = _request_map(head, path, headers)
    serialized_trailers = _trailers(trailers) if trailers else b""
    call = HttpCall(context, cluster, milliseconds)
    try:
        call._id = call_id = context._host.hostcalls.http_call(
            name, serialized, content, serialized_trailers, milliseconds
        )
    except HostError as error:
        call.set_exception(refused(cluster, error))
    else:
        context._plugin_context._http_calls[call_id] = call
    return call


def _head(cluster: str, method: str, scheme: str, authority: str | None) -> tuple[bytes, Head]:
    """What `_heads` keeps, checked, and kept."""
    name = cluster_name(cluster)
    parts = (
        b":method",
        _token("method", method),
        b":scheme",
        _token("scheme", scheme),
        b":authority",
        visible("authority", cluster if authority is None else authority),
        b":path",
    )
    head = pack(f"<{len(parts)}I", *map(len, parts)) + b"\0".join((*parts, b""))
    if len(head) + len(name) <= _LONGEST_KEPT:
        if len(_heads) >= _MOST_KEPT:
            _heads.clear()
        _heads[cluster, method, scheme, authority] = name, head
    return name, head


def _request_map(head: Head, path: str, headers: HeaderPairs | None) -> bytes:
    """The headers of a request, checked, as the proxy takes them."""
    parts = [visible("path", path)]
    if headers is not None:
        _add_own("headers", headers, parts)
    count = _HEAD_PAIRS + len(parts) // 2
    sizes = pack(f"<{len(parts)}I", *map(len, parts))
    serialized = b"".join(
        (count.to_bytes(4, "little"), head[:_HEAD_SIZES], sizes, head[_HEAD_SIZES:], b"\0".join((*parts, b"")))
    )
    return _within_limits("headers", serialized, count)


def _trailers(trailers: HeaderPairs) -> bytes:
    parts = _add_own("trailers", trailers, [])
    return _within_limits("headers", encode_parts(parts), len(parts) // 2)


def _within_limits(argument: str, serialized: bytes, count: int) -> bytes:
    try:
        check_limits(serialized, count)
    except ValueError as error:
        raise CalloutArgumentError(f"{argument}: {error}") from None
    return serialized


def _body(body: Data) -> bytes:
    try:
        return octets(body)
    except (TypeError, UnicodeEncodeError) as error:
        raise CalloutArgumentError(f"body: {error}") from None


def cluster_name(cluster: str) -> bytes:
    """A cluster's name as the proxy takes it; `CalloutArgumentError` for what is none."""
    if not isinstance(cluster, str) or not cluster:  # pyright: ignore[reportUnnecessaryIsInstance] - annotations may lie
        raise CalloutArgumentError(f"cluster {cluster!r}: the name of a cluster of the proxy")
    return octets(cluster)


def timeout_milliseconds(timeout: float | None) -> int:
    """A callout's timeout in milliseconds, 0 for `None`; `CalloutArgumentError` for what is none."""
    if timeout is None:
        return 0
    if isinstance(timeout, (int, float)) and 0 < timeout <= _LONGEST_TIMEOUT / 1000:  # pyright: ignore[reportUnnecessaryIsInstance] - as above
        return round(timeout * 1000) or 1
    raise CalloutArgumentError(
        f"timeout {timeout!r}: seconds, more than 0 and at most {_LONGEST_TIMEOUT // 1000}, or None"
    )


def refused(cluster: str, error: HostError) -> CalloutError:
    """What it means that the proxy takes no callout whose arguments are right."""
    if error.status == Status.BAD_ARGUMENT:
        return UnknownClusterError(
            f"callout to cluster {cluster!r}: the proxy has no such cluster; it has to be in the proxy's own configuration "
            "(in Istio its name is like outbound|80||NAME.NAMESPACE.svc.cluster.local)",
            cluster,
        )
    if error.status == Status.INTERNAL_FAILURE:
        return ConnectionFailedError(
            f"callout to cluster {cluster!r}: the proxy could not send it (no healthy host, or no room for the request)",
            cluster,
        )
    return CalloutError(f"callout to cluster {cluster!r}: {error}", cluster)


def _token(argument: str, text: object) -> bytes:
    if isinstance(text, str) and text and text.isascii() and _TOKEN.issuperset(text.encode()) and text != "CONNECT":
        return text.encode()
    raise CalloutArgumentError(f"{argument} {text!r}: a word such as {'GET' if argument == 'method' else 'http'}")


def visible(argument: str, text: object) -> bytes:
    """An authority or path as the proxy takes it; `CalloutArgumentError` for what is none.

    Envoy would send spaces and control characters as they are.
    """
    if isinstance(text, str) and text and (argument != "path" or text[0] in "/*"):
        if text.isascii() and text.isprintable() and " " not in text:
            return text.encode()
        encoded = _encoded(argument, text)
        if any(byte <= 0x20 or byte == 0x7F for byte in encoded):  # noqa: PLR2004 - ASCII's space and DEL
            raise CalloutArgumentError(f"{argument} {text!r}: has a space or control character; percent-encode it")
        return encoded
    what = 'begins with "/"' if argument == "path" else "a host, with its port if need be"
    raise CalloutArgumentError(f"{argument} {text!r}: {what}")


def _encoded(argument: str, text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise CalloutArgumentError(f"{argument} {text!r}: no text that can be encoded: {error.reason}") from None


def _add_own(argument: str, headers: HeaderPairs, parts: list[bytes]) -> list[bytes]:
    """An author's headers, checked, behind `parts`; those about framing are the proxy's to set."""
    try:
        for name, value in pairs_of(headers):
            parts.append((_names.get(name) if isinstance(name, str) else None) or _learned(argument, name))
            parts.append(
                value.encode() if isinstance(value, str) and value.isprintable() else checked_value(name, value)
            )
    except (TypeError, ValueError) as error:
        if isinstance(error, CalloutArgumentError):
            raise
        raise CalloutArgumentError(f"{argument}: {error}") from None
    return parts


def _learned(argument: str, name: object) -> bytes:
    """A header's name, checked, and kept in `_names`."""
    octets_name = checked_name(name)
    _check_name(argument, octets_name)
    if type(name) is str and len(name) <= _LONGEST_KEPT:
        if len(_names) >= _MOST_KEPT:
            _names.clear()
        _names[name] = octets_name
    return octets_name


def _check_name(argument: str, name: bytes) -> None:
    lower = name.lower()
    if lower in _OWN_HEADERS:
        _refuse_name(
            argument, name, f"give it as the argument {'authority' if lower == b'host' else lower[1:].decode()}="
        )
    if lower in _FRAMING:
        _refuse_name(argument, name, "the proxy sets it by the body")
    if not _TOKEN.issuperset(name):
        _refuse_name(argument, name, "not a header's name")


def _refuse_name(argument: str, name: bytes, why: str) -> NoReturn:
    raise CalloutArgumentError(f"{argument}: {name.decode('utf-8', 'backslashreplace')!r}: {why}")
