"""HTTP callouts of a plugin: which status `http_call` gives, and what `on_http_call_response` finds.

The rules are those of Envoy (source/extensions/common/wasm/context.cc, `httpCall`; source/common/http/async_client_impl.cc), run on Envoy 1.40:

* An unknown cluster, a negative timeout, and headers without `:path`, `:method` or `:authority` are `BAD_ARGUMENT`; a cluster without
  hosts is `INTERNAL_FAILURE`, and no callback follows.
* The answer comes once the event at hand is over, always to the plugin's context. Maps and body are there during that callback only, to
  read.
* Where no response begins, the proxy makes one: 504 for a timeout, 503 for a connection that was refused or closed.
* A response that breaks off is told of as none at all: no headers, and a status.
* Calls that are under way when the plugin context goes away are given up.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy_wasm.abi.enums import MapType, Status
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.emulator import framing, header_maps
from proxy_wasm.emulator.call_ids import HTTP_CALL
from proxy_wasm.emulator.clock import NANOSECONDS, Timer
from proxy_wasm.emulator.clusters import Absent, Answering, Closing, Cluster, GrpcServer, NoHosts, ServerAt, Silent
from proxy_wasm.emulator.exchange import UpstreamRequest, UpstreamResponse
from proxy_wasm.emulator.header_map import HeaderMap, to_text
from proxy_wasm.emulator.local_response import LocalResponse

if TYPE_CHECKING:
    from proxy_wasm.emulator.plugin import Plugin

MILLISECOND = 1_000_000
SIGN_BIT = 1 << 31
TIMED_OUT = LocalResponse(504, body=b"upstream request timeout", details="response_timeout")
_FAILURE = b"upstream connect error or disconnect/reset before headers. reset reason: "
CLOSED = LocalResponse(
    503,
    body=_FAILURE + b"connection termination",
    details="upstream_reset_before_response_started{connection_termination}",
)
REFUSED = LocalResponse(
    503,
    body=_FAILURE + b"remote connection failure",
    details="upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
)
SERVICE_TIME = "x-envoy-upstream-service-time"
"""The header of each upstream's response that tells how many milliseconds it took; the proxy's own responses have none."""
_RESET = (11, b"reset")
"""What `get_status` tells of a response that broke off."""
_NO_HTTP1 = UpstreamResponse(415)
"""What a gRPC server answers to what is no gRPC."""
_REQUIRED = (":path", ":method", ":authority")


def answering(cluster: Cluster) -> Answering | None:
    """How a cluster of HTTP answers; `None` for any other."""
    if isinstance(cluster, ServerAt):
        msg = f"cluster at {cluster.host}:{cluster.port}: the emulator has no sockets; proxy_wasm.testing passes its requests on"
        raise TypeError(msg)
    if isinstance(cluster, Silent | Closing | Absent | NoHosts):
        return None
    if isinstance(cluster, GrpcServer):
        return Answering(_NO_HTTP1)
    return cluster if isinstance(cluster, Answering) else Answering(cluster)


@dataclass(frozen=True, slots=True)
class _Response:
    headers: HeaderMap
    body: bytes
    trailers: HeaderMap | None = None


class HttpCalls:
    """The HTTP callouts of one plugin."""

    def __init__(self, plugin: "Plugin") -> None:
        self._plugin = plugin
        self._vm = plugin.vm
        self._timeouts: dict[int, Timer | None] = {}
        """The calls under way."""

    def start(self, cluster_name: bytes, pairs: bytes, body: bytes, timeout: int) -> int:
        """The id of a new call; raises what Envoy answers in its place."""
        cluster = self._vm.cluster(to_text(cluster_name))
        headers = request_headers(header_maps.pairs_from_guest(pairs))
        if timeout & SIGN_BIT or cluster is None or any(name not in headers for name in _REQUIRED):
            raise HostError("http_call", Status.BAD_ARGUMENT)
        call_id = self._vm.calls.next(HTTP_CALL)
        if isinstance(cluster, NoHosts):
            raise HostError("http_call", Status.INTERNAL_FAILURE)
        clock = self._vm.clock
        request = _request(headers, body)
        self._timeouts[call_id] = (
            clock.call_later(timeout * MILLISECOND, lambda: self._time_out(call_id, request)) if timeout else None
        )
        self._vm.shared.post(lambda: self._reach(call_id, cluster, request))
        return call_id

    def cancel_all(self) -> None:
        """Give up what is under way; the plugin hears nothing of it."""
        for timer in self._timeouts.values():
            if timer is not None:
                timer.cancel()
        self._timeouts.clear()

    def _reach(self, call_id: int, cluster: Cluster, request: UpstreamRequest) -> None:
        """The request arrives at the cluster, or does not."""
        if call_id not in self._timeouts:
            return
        server = answering(cluster)
        if isinstance(cluster, Absent):
            self._answer_locally(call_id, request, REFUSED)
        elif isinstance(cluster, Closing):
            self._answer_locally(call_id, request, CLOSED)
        elif server is not None:
            response = server.response(request)
            if server.delay:
                delay = round(server.delay * NANOSECONDS)
                self._vm.clock.call_later(delay, lambda: self._answer_later(call_id, request, response, server.delay))
            else:
                self._answer_with(call_id, request, response, 0.0)

    def _answer_later(self, call_id: int, request: UpstreamRequest, response: UpstreamResponse, delay: float) -> None:
        self._answer_with(call_id, request, response, delay)
        self._vm.shared.run_posted()

    def _answer_with(self, call_id: int, request: UpstreamRequest, response: UpstreamResponse, delay: float) -> None:
        if response.breaks:
            self._fail(call_id)
        else:
            self._answer(call_id, _received(request, response, delay))

    def _fail(self, call_id: int) -> None:
        """A response broke off: the plugin is told of none."""
        if self._end(call_id):
            self._plugin.status = _RESET
            self._plugin.tell("on_http_call_response", call_id, 0, 0, 0)

    def _time_out(self, call_id: int, request: UpstreamRequest) -> None:
        self._answer_locally(call_id, request, TIMED_OUT)
        self._vm.shared.run_posted()

    def _end(self, call_id: int) -> bool:
        """The call is over; false where it was before."""
        if call_id not in self._timeouts:
            return False
        timer = self._timeouts.pop(call_id)
        if timer is not None:
            timer.cancel()
        return True

    def _answer_locally(self, call_id: int, request: UpstreamRequest, response: LocalResponse) -> None:
        headers, body = response.message(HeaderMap([(":method", request.method), *request.headers.raw]))
        self._answer(call_id, _Response(headers, body))

    def _answer(self, call_id: int, response: _Response) -> None:
        if not self._end(call_id):
            return
        received = self._plugin.received
        received.http_body = response.body
        received.maps[MapType.HTTP_CALL_RESPONSE_HEADERS] = response.headers
        if response.trailers is not None:
            received.maps[MapType.HTTP_CALL_RESPONSE_TRAILERS] = response.trailers
        trailer_count = response.trailers.pair_count if response.trailers is not None else 0
        sizes = (response.headers.pair_count, len(response.body), trailer_count)
        self._plugin.tell("on_http_call_response", call_id, *sizes)


def request_headers(pairs: list[tuple[bytes, bytes]]) -> HeaderMap:
    """The header map that Envoy makes of a guest's pairs, in which `host` is `:authority`."""
    headers = HeaderMap()
    for name, value in pairs:
        key = b":authority" if name.lower() == b"host" else name
        header_maps.add(headers, key, value, header_maps.JOINED_IN_REQUESTS)
    return headers


def _request(headers: HeaderMap, body: bytes) -> UpstreamRequest:
    """What arrives: Envoy's client for callouts sends no trailers."""
    arriving = headers.without(*framing.HOP_BY_HOP)
    if body:
        arriving.set("content-length", str(len(body)))
    elif "content-length" not in arriving and headers[":method"] not in framing.BODILESS_METHODS:
        arriving.add("content-length", "0")
    return UpstreamRequest(
        method=headers[":method"],
        path=headers[":path"],
        authority=headers[":authority"],
        headers=arriving,
        body=body,
        scheme=headers.get(":scheme", "http"),
    )


def _received(request: UpstreamRequest, response: UpstreamResponse, delay: float) -> _Response:
    is_head = request.method == "HEAD"
    headers = framing.response_headers(response, is_head=is_head)
    headers.set(SERVICE_TIME, str(round(delay * 1000)))
    has_body = not is_head and response.status not in framing.BODILESS_STATUSES
    body, trailers = (response.body, response.trailers) if has_body else (b"", HeaderMap())
    return _Response(headers, body, trailers.copy() if trailers else None)
