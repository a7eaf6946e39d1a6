"""HTTP callouts: requests that a filter makes to clusters of the proxy.

What Envoy tells of a callout that failed (seen in 1.36 to 1.40): an answer of its own with the status that a client would get, which has
no `x-envoy-upstream-service-time`, the header that Envoy adds to every answer of an upstream; or no headers at all, where the answer broke
off after its head had arrived.
"""

# A callout is made by the contexts and completed by the dispatcher.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

import json
from typing import TYPE_CHECKING, Any, NoReturn

from proxy_wasm.abi.enums import BufferType, MapType, Status
from proxy_wasm.abi.header_map import decode_pairs
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
from proxy_wasm.headers import HeaderPairs, Headers, ReceivedHeaders, Text, checked_pair, pairs_of, serialize
from proxy_wasm.tasks import Future

if TYPE_CHECKING:
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
_RESET_REASONS = ("connection termination", "protocol error", "remote reset", "local reset")


class HttpResponse:
    """The answer to a callout, whole: it stays when the callback that brought it is over."""

    __slots__ = ("content", "headers", "status", "trailers")

    status: int
    """The status code."""
    headers: Headers
    """The headers, without `:status`; they can be read only."""
    content: bytes
    """The body."""
    trailers: Headers
    """The trailers; they can be read only."""

    def __init__(self, status: int, headers: Headers, content: bytes, trailers: Headers) -> None:
        self.status = status
        self.headers = headers
        self.content = content
        self.trailers = trailers

    def __repr__(self) -> str:
        return f"<HttpResponse {self.status}>"

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

    __slots__ = ("_calls", "_deadline", "_id", "_sent", "_timeout", "cluster")

    def __init__(self, context: "Context", cluster: str, timeout_milliseconds: int) -> None:
        super().__init__(context)
        self.cluster = cluster
        self._timeout = timeout_milliseconds
        self._sent = context._host.monotonic()
        self._calls: dict[int, HttpCall] = context._plugin_context._http_calls
        self._id = 0

    def _name(self) -> str:
        return f"callout to {self.cluster}"

    def cancel(self) -> bool:
        """Wait no longer; the proxy finishes the callout, and its answer is dropped."""
        if not super().cancel():
            return False
        self._calls.pop(self._id, None)
        return True

    def _started(self, call_id: int) -> None:
        self._id = call_id
        self._calls[call_id] = self

    def receive(self, num_headers: int, body_size: int, num_trailers: int) -> None:
        """Take the answer that the proxy offers during `on_http_call_response`."""
        if not num_headers:
            late = self._timeout and self.context._host.monotonic() - self._sent >= self._timeout * 1_000_000
            self._fail(late=bool(late), reason="the answer broke off")
            return
        hostcalls = self.context.hostcalls
        headers = ReceivedHeaders(decode_pairs(hostcalls.get_header_map_pairs(int(MapType.HTTP_CALL_RESPONSE_HEADERS))))
        content = (
            hostcalls.get_buffer_bytes(int(BufferType.HTTP_CALL_RESPONSE_BODY), 0, body_size) if body_size else b""
        )
        trailers = hostcalls.get_header_map_pairs(int(MapType.HTTP_CALL_RESPONSE_TRAILERS)) if num_trailers else b""
        status = _status(headers)
        if _UPSTREAM_MARK not in headers and self._is_proxys_own(status, content):
            reason = content.decode("utf-8", "replace")
            if status == _GATEWAY_TIMEOUT:
                self._fail(late=True, reason=reason)
            elif reason.endswith(_RESET_REASONS):
                self._fail(late=False, reason=reason)
            else:
                self.set_exception(
                    ConnectionFailedError(f"callout to cluster {self.cluster!r}: {reason}", self.cluster)
                )
            return
        self.set_result(
            HttpResponse(status, headers.without_pseudo(), content, ReceivedHeaders(decode_pairs(trailers)))
        )

    def _is_proxys_own(self, status: int, content: bytes) -> bool:
        if status == _GATEWAY_TIMEOUT:
            return content == b"upstream request timeout"
        return content.startswith((b"upstream connect error", b"no healthy upstream", b"invalid header"))

    def _fail(self, *, late: bool, reason: str) -> None:
        if late:
            msg = f"callout to cluster {self.cluster!r}: no answer within {self._timeout / 1000:g} s"
            self.set_exception(CalloutTimeoutError(msg, self.cluster))
        else:
            self.set_exception(CalloutResetError(f"callout to cluster {self.cluster!r}: {reason}", self.cluster))


def _status(headers: Headers) -> int:
    text = headers.get(":status", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def send(  # noqa: PLR0913 - the parts of a request
    context: "Context",
    cluster: str,
    method: str,
    path: str,
    *,
    headers: HeaderPairs | None,
    body: Data,
    trailers: HeaderPairs | None,
    timeout: float | None,
    authority: str | None,
    scheme: str,
) -> HttpCall:
    """Make the callout; see `Context.http_call`."""
    name = cluster_name(cluster)
    milliseconds = timeout_milliseconds(timeout)
    content = _body(body)
    pairs = [
        (b":method", _token("method", method)),
        (b":scheme", _token("scheme", scheme)),
        (b":authority", visible("authority", cluster if authority is None else authority)),
        (b":path", visible("path", path)),
        *_own("headers", headers),
    ]
    try:
        serialized = serialize(pairs)
        serialized_trailers = serialize(_own("trailers", trailers)) if trailers else b""
    except ValueError as error:
        raise CalloutArgumentError(f"headers: {error}") from None
    call = HttpCall(context, cluster, milliseconds)
    try:
        call._started(context.hostcalls.http_call(name, serialized, content, serialized_trailers, milliseconds))
    except HostError as error:
        call.set_exception(refused(cluster, error))
    return call


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
    if not isinstance(timeout, (int, float)) or not 0 < timeout <= _LONGEST_TIMEOUT / 1000:  # pyright: ignore[reportUnnecessaryIsInstance] - as above
        raise CalloutArgumentError(
            f"timeout {timeout!r}: seconds, more than 0 and at most {_LONGEST_TIMEOUT // 1000}, or None"
        )
    return max(1, round(timeout * 1000))


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
    if not isinstance(text, str) or not text or (argument == "path" and text[0] not in "/*"):
        what = 'begins with "/"' if argument == "path" else "a host, with its port if need be"
        raise CalloutArgumentError(f"{argument} {text!r}: {what}")
    encoded = _encoded(argument, text)
    if any(byte <= 0x20 or byte == 0x7F for byte in encoded):  # noqa: PLR2004 - ASCII's space and DEL
        raise CalloutArgumentError(f"{argument} {text!r}: has a space or control character; percent-encode it")
    return encoded


def _encoded(argument: str, text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise CalloutArgumentError(f"{argument} {text!r}: no text that can be encoded: {error.reason}") from None


def _own(argument: str, headers: HeaderPairs | None) -> list[tuple[Text, Text]]:
    """An author's headers, checked; those about framing are the proxy's to set."""
    checked: list[tuple[Text, Text]] = []
    if headers is None:
        return checked
    try:
        for name, value in pairs_of(headers):
            octets_name, octets_value = checked_pair(name, value)
            _check_name(argument, octets_name)
            checked.append((octets_name, octets_value))
    except (TypeError, ValueError) as error:
        if isinstance(error, CalloutArgumentError):
            raise
        raise CalloutArgumentError(f"{argument}: {error}") from None
    return checked


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
