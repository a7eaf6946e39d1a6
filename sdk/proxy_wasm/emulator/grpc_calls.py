"""gRPC callouts of a plugin: which statuses the hostcalls give, and which callbacks follow.

Theory of operation
-------------------
The rules are those of Envoy (source/extensions/common/wasm/context.cc; source/common/grpc/async_client_impl.cc), run on Envoy 1.40:

* Who is called is named by a serialized `envoy.config.core.v3.GrpcService`, or by the bare name of a cluster, which Envoy takes for a message
  where it happens to be one: with neither an Envoy nor a Google service inside, it aborts. Here the VM fails.
* A call (`grpc_call`) ends in one callback: `on_grpc_receive` where it succeeds, `on_grpc_close` where it does not. Of a stream
  (`grpc_stream`) the guest hears everything: initial metadata, messages, trailing metadata, close.
* A start that fails because there is no such cluster, or no host in it, is `INTERNAL_FAILURE`, and `on_grpc_close` follows all the same, with
  an id that the guest has never got. Without hosts a stream's metadata callbacks even come inside of the hostcall.
* `grpc_close` half-closes a stream and cancels a call. A stream is forgotten once it is closed by both sides, where "closed" is `grpc_close` on
  the guest's; until then its id is known, though Envoy has freed what stands behind it. Guests close it in `on_grpc_close`. Using it
  later, or leaving it, is noted in the log.
* After `grpc_cancel` the guest hears nothing more.

Between guest and server everything goes through the event loop, in order, and never while the guest runs.
"""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from proxy_wasm import protobuf
from proxy_wasm.abi.enums import MapType, Status
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.emulator import framing, header_maps, http_calls
from proxy_wasm.emulator.buffers import BodyBuffer
from proxy_wasm.emulator.call_ids import CALL_KIND_BITS, GRPC_CALL, GRPC_STREAM
from proxy_wasm.emulator.clock import NANOSECONDS, Timer
from proxy_wasm.emulator.clusters import Absent, Answering, Closing, Cluster, GrpcServer, NoHosts
from proxy_wasm.emulator.exchange import UpstreamRequest, UpstreamResponse
from proxy_wasm.emulator.header_map import HeaderMap, Headers, to_bytes, to_text
from proxy_wasm.emulator.local_response import LocalResponse, grpc_status_of
from proxy_wasm.emulator.numerals import number_in

if TYPE_CHECKING:
    from proxy_wasm.emulator.plugin import Plugin

_OK, _INTERNAL, _UNAVAILABLE, _UNKNOWN = 0, 13, 14, 2
_U32 = 0xFFFFFFFF
_UPSTREAM = "via_upstream"
_NO_HOSTS = LocalResponse(503, body=b"no healthy upstream", details="no_healthy_upstream")
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_ENVOY_GRPC, _GOOGLE_GRPC = 1, 2
_CLUSTER_NAME, _AUTHORITY = 1, 2
"""Fields of `GrpcService`, and of `GrpcService.EnvoyGrpc` inside."""


@dataclass(frozen=True, slots=True)
class _Target:
    """Who is called."""

    cluster: str
    authority: str
    is_bare: bool = False
    """Whether the guest gave a bare name."""


class GrpcCalls:
    """The gRPC calls and streams of one plugin."""

    def __init__(self, plugin: "Plugin") -> None:
        self._plugin = plugin
        self._vm = plugin.vm
        self._calls: dict[int, _Call] = {}

    # What the guest asks for.

    def start_call(self, service: bytes, method: bytes, metadata: bytes, message: bytes, timeout: int) -> int:
        """The id of a new call with one message each way."""
        call = self._start("grpc_call", GRPC_CALL, service, method, metadata)
        call.send(message, end_of_stream=True)
        if timeout:
            call.end_after(timeout * http_calls.MILLISECOND)
        return call.call_id

    def start_stream(self, service: bytes, method: bytes, metadata: bytes) -> int:
        """The id of a new stream."""
        return self._start("grpc_stream", GRPC_STREAM, service, method, metadata).call_id

    def send(self, call_id: int, message: bytes, *, end_of_stream: bool) -> None:
        """Send a message over a stream; it is dropped where either side has closed it."""
        if call_id & CALL_KIND_BITS != GRPC_STREAM:
            raise HostError("grpc_send", Status.BAD_ARGUMENT)
        call = self._find("grpc_send", call_id)
        call.check_living("grpc_send")
        call.send(message, end_of_stream=end_of_stream)

    def close(self, call_id: int) -> None:
        """Half-close a stream; cancel a call."""
        call = self._find("grpc_close", call_id)
        if not call.is_stream:
            self.cancel(call_id)
            return
        call.check_living("grpc_close")
        call.half_close()
        call.closed_by_guest = True
        if call.ended:
            del self._calls[call_id]

    def cancel(self, call_id: int) -> None:
        """Give up a call or a stream: the guest hears nothing more of it."""
        call = self._find("grpc_cancel", call_id)
        call.check_living("grpc_cancel")
        del self._calls[call_id]
        call.cancel()

    def cancel_all(self) -> None:
        """The plugin goes away: end what is under way."""
        for call in self._calls.values():
            if call.ended:
                self._complain(
                    f"grpc_stream {call.call_id}: its server closed it and grpc_close was never called; Envoy now uses memory it has freed"
                )
            call.cancel()
        self._calls.clear()

    def _find(self, hostcall: str, call_id: int) -> "_Call":
        if call_id & CALL_KIND_BITS not in (GRPC_CALL, GRPC_STREAM):
            raise HostError(hostcall, Status.BAD_ARGUMENT)
        call = self._calls.get(call_id)
        if call is None:
            raise HostError(hostcall, Status.NOT_FOUND)
        return call

    def _complain(self, message: str) -> None:
        self._vm.log.complain(message, root_id=self._plugin.root_id, context_id=self._plugin.context_id)

    def _start(self, hostcall: str, kind: int, service: bytes, method: bytes, metadata: bytes) -> "_Call":
        target = self._target(hostcall, service)
        cluster = self._vm.cluster(target.cluster)
        if cluster is None and target.is_bare:
            raise HostError(hostcall, Status.PARSE_FAILURE)
        call_id = self._vm.calls.next(kind)
        headers = HeaderMap(header_maps.pairs_from_guest(metadata)).without()
        call = _Call(self, call_id, cluster, UpstreamRequest("POST", to_text(method), target.authority, headers))
        if cluster is None:
            self._vm.after_call(lambda: self.tell_closed(call_id, _UNAVAILABLE, "Cluster not available"))
            raise HostError(hostcall, Status.INTERNAL_FAILURE)
        if isinstance(cluster, NoHosts):
            call.fail_at_once(_NO_HOSTS)
            raise HostError(hostcall, Status.INTERNAL_FAILURE)
        self._calls[call_id] = call
        call.begin()
        return call

    def _target(self, hostcall: str, service: bytes) -> "_Target":
        try:
            message = {number: value for number, _, value in protobuf.fields(service)}
            envoy = message.get(_ENVOY_GRPC)
            if isinstance(envoy, bytes):
                named = protobuf.Message(envoy)
                cluster = named.text(_CLUSTER_NAME)
                return _Target(cluster, named.text(_AUTHORITY) or cluster)
        except ValueError:
            return _Target(to_text(service), to_text(service), is_bare=True)
        if _GOOGLE_GRPC in message:
            self._complain(f"{hostcall}: google_grpc is not emulated; name a cluster with envoy_grpc")
            raise HostError(hostcall, Status.BAD_ARGUMENT)
        self._vm.crash(
            hostcall, f"the service {service!r} reads as a GrpcService that names nobody; pass one with envoy_grpc"
        )
        raise HostError(hostcall, Status.INTERNAL_FAILURE)

    # What calls ask for.

    def knows(self, call: "_Call") -> bool:
        """Whether the call is under way, or closed by the server and not yet by the guest."""
        return self._calls.get(call.call_id) is call

    def forget(self, call: "_Call") -> None:
        """The call is over for both sides."""
        if self.knows(call):
            del self._calls[call.call_id]

    def post(self, action: Callable[[], None]) -> None:
        """Do `action` once the event at hand is over."""
        self._vm.shared.post(action)

    def after_call(self, action: Callable[[], None]) -> None:
        """Do `action` once the guest has returned."""
        self._vm.after_call(action)

    def later(self, nanoseconds: int, action: Callable[[], None]) -> Timer:
        """Do `action` that much later."""

        def run() -> None:
            action()
            self._vm.shared.run_posted()

        return self._vm.clock.call_later(nanoseconds, run)

    def complain_of(self, hostcall: str, call_id: int) -> None:
        """Note that the guest uses a stream that is no more."""
        self._complain(f"{hostcall}: stream {call_id} was closed by its server before; Envoy uses memory it has freed")

    def tell_metadata(self, call_id: int, map_type: MapType, metadata: HeaderMap) -> None:
        """Initial or trailing metadata of a stream."""
        self._plugin.received.maps[map_type] = metadata
        name = "initial" if map_type is MapType.GRPC_CALL_INITIAL_METADATA else "trailing"
        self._plugin.tell(f"on_grpc_receive_{name}_metadata", call_id, metadata.pair_count)

    def tell_message(self, call_id: int, message: bytes) -> None:
        self._plugin.received.grpc_message = BodyBuffer(message)
        self._plugin.tell("on_grpc_receive", call_id, len(message))

    def tell_closed(self, call_id: int, status: int, message: str) -> None:
        self._plugin.status = (status, to_bytes(message))
        self._plugin.tell("on_grpc_close", call_id, status)


class _Call:
    """A call or stream as the guest has it."""

    def __init__(self, calls: GrpcCalls, call_id: int, cluster: Cluster | None, request: UpstreamRequest) -> None:
        self.calls = calls
        self.call_id = call_id
        self.is_stream = call_id & CALL_KIND_BITS == GRPC_STREAM
        self.half_closed = False
        """Whether the guest sends no more."""
        self.closed_by_guest = False
        """Whether it said so with `grpc_close`."""
        self.ended = False
        """Whether the server has closed it, or the proxy in its place."""
        self._cluster = cluster
        self._request = request
        self._server = _ServerSide(self, cluster, request) if isinstance(cluster, GrpcServer) else None
        self._telling_of_end = False
        self._message: bytes | None = None
        self._timer: Timer | None = None

    # What the guest does.

    def begin(self) -> None:
        """Let the call arrive at its cluster, or not."""
        cluster = self._cluster
        if self._server is not None:
            self.calls.post(self._server.begin)
        elif isinstance(cluster, Absent):
            self.post(lambda: self._fail(http_calls.REFUSED))
        elif isinstance(cluster, Closing):
            self.post(lambda: self._fail(http_calls.CLOSED))
        elif cluster is not None and (answering := http_calls.answering(cluster)) is not None:
            self.post(lambda: self._ask_http(answering))

    def send(self, message: bytes, *, end_of_stream: bool) -> None:
        if not self.half_closed and not self.ended and self._server is not None:
            self.calls.post(lambda server=self._server: server.receive(message))
        if end_of_stream:
            self.half_close()

    def half_close(self) -> None:
        if not self.half_closed and not self.ended and self._server is not None:
            self.calls.post(self._server.half_close)
        self.half_closed = True

    def cancel(self) -> None:
        self._stop_timer()
        if self._server is not None:
            self._server.cancel()

    def check_living(self, hostcall: str) -> None:
        """Note that the guest uses a stream after it was told of its end."""
        if self.ended and not self._telling_of_end:
            self.calls.complain_of(hostcall, self.call_id)

    def end_after(self, nanoseconds: int) -> None:
        """Fail the call by then."""
        self._timer = self.calls.later(nanoseconds, self._time_out)

    def fail_at_once(self, response: LocalResponse) -> None:
        """The call fails while the guest starts it: of a stream it hears so inside of that very hostcall."""
        headers, status, message = _local(response)
        if self.is_stream:
            self._tell_metadata(MapType.GRPC_CALL_INITIAL_METADATA, HeaderMap())
            self._tell_metadata(MapType.GRPC_CALL_TRAILING_METADATA, headers)
        self.calls.after_call(lambda: self.calls.tell_closed(self.call_id, status, message))

    # What happens to it.

    def post(self, action: Callable[[], None]) -> None:
        """Do `action` once the event at hand is over, unless the call has ended by then."""
        self.calls.post(lambda: None if self.ended or not self.calls.knows(self) else action())

    def receive_initial_metadata(self, headers: HeaderMap) -> None:
        if self.half_closed:
            headers.add(http_calls.SERVICE_TIME, "0")
        self._tell_metadata(MapType.GRPC_CALL_INITIAL_METADATA, headers)

    def receive_no_metadata(self, trailers: HeaderMap) -> None:
        """The response has nothing but an end, which is a head to the proxy."""
        if self.half_closed:
            trailers.add(http_calls.SERVICE_TIME, "0")
        self._tell_metadata(MapType.GRPC_CALL_INITIAL_METADATA, HeaderMap())

    def receive(self, message: bytes) -> None:
        """A message comes: a stream's is told, a call's waits for the end."""
        self._message = message
        if self.is_stream:
            self.calls.tell_message(self.call_id, message)

    def end(self, trailers: HeaderMap, status: int, message: str) -> None:
        """The server has closed the call, or the proxy in its place."""
        self._stop_timer()
        if self.is_stream:
            self._tell_metadata(MapType.GRPC_CALL_TRAILING_METADATA, trailers)
            if not self.calls.knows(self):
                return
        self.ended = self._telling_of_end = True
        if self.is_stream or status != _OK:
            self.calls.tell_closed(self.call_id, status, message)
        elif self._message is None:
            self.calls.tell_closed(self.call_id, _INTERNAL, "")
        else:
            self.calls.tell_message(self.call_id, self._message)
        self._telling_of_end = False
        if self.closed_by_guest or not self.is_stream:
            self.calls.forget(self)

    def _tell_metadata(self, map_type: MapType, metadata: HeaderMap) -> None:
        if self.is_stream:
            self.calls.tell_metadata(self.call_id, map_type, metadata)

    def _time_out(self) -> None:
        if self.calls.knows(self) and not self.ended:
            self.cancel()
            self._fail(http_calls.TIMED_OUT)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _fail(self, response: LocalResponse) -> None:
        headers, status, message = _local(response)
        self._end_without_headers(headers, status, message)

    def _end_without_headers(self, trailers: HeaderMap, status: int, message: str) -> None:
        self._tell_metadata(MapType.GRPC_CALL_INITIAL_METADATA, HeaderMap())
        if self.calls.knows(self):
            self.end(trailers, status, message)

    def _ask_http(self, server: Answering) -> None:
        response = server.response(self._request)

        def receive() -> None:
            self.post(lambda: self._receive_http(response))

        if server.delay:
            self.calls.later(round(server.delay * NANOSECONDS), receive)
        else:
            receive()

    def _receive_http(self, response: UpstreamResponse) -> None:
        """What answered speaks no gRPC, unless all it says is a gRPC status."""
        headers = framing.response_headers(response, is_head=False)
        if not response.body and ("grpc-status" in headers or response.status == HTTPStatus.OK):
            status = number_in(headers.get("grpc-status", ""))
            code = _UNKNOWN if status is None else status & _U32
            self._end_without_headers(headers, code, _with_details(headers.get("grpc-message", ""), _UPSTREAM))
        elif response.status != HTTPStatus.OK:
            self._end_without_headers(HeaderMap(), grpc_status_of(response.status), _UPSTREAM)
        else:
            self._tell_metadata(MapType.GRPC_CALL_INITIAL_METADATA, headers)
            if self.calls.knows(self):
                self.end(HeaderMap(), _INTERNAL, _UPSTREAM)


class _ServerSide:
    """A call as its server has it: a `GrpcCall`."""

    def __init__(self, call: _Call, server: GrpcServer, request: UpstreamRequest) -> None:
        self._call = call
        self._server = server
        self._request = request
        self._arrived = False
        self._began = False
        """Whether the response has begun."""
        self._ended = False

    @property
    def method(self) -> str:
        return self._request.path

    @property
    def metadata(self) -> HeaderMap:
        return self._request.headers

    def begin(self) -> None:
        """The call arrives, unless it was cancelled on the way."""
        if not self._ended:
            self._arrived = True
            self._server.on_call(self)

    def receive(self, message: bytes) -> None:
        if not self._ended:
            self._server.on_message(self, message)

    def half_close(self) -> None:
        if not self._ended:
            self._server.on_half_close(self)

    def cancel(self) -> None:
        """The client gives the call up; what has not arrived yet never does."""
        if not self._ended:
            self._ended = True
            if self._arrived:
                self._call.calls.post(lambda: self._server.on_cancel(self))

    def send_initial_metadata(self, metadata: Headers = ()) -> None:
        if self._ended or self._began:
            return
        self._began = True
        headers = _response_headers()
        _add(headers, metadata)
        self._call.post(lambda: self._call.receive_initial_metadata(headers))

    def send(self, message: bytes) -> None:
        self.send_initial_metadata()
        if not self._ended:
            self._call.post(lambda: self._call.receive(message))

    def close(self, status: int = 0, message: str = "", metadata: Headers = ()) -> None:
        if self._ended:
            return
        self._ended = True
        trailers = HeaderMap() if self._began else _response_headers()
        trailers.add("grpc-status", str(status))
        escaped = quote_from_bytes(to_bytes(message), safe=_PRINTABLE)
        if message:
            trailers.add("grpc-message", escaped)
        _add(trailers, metadata)
        told = _with_details(escaped, _UPSTREAM)
        if not self._began:
            self._call.post(lambda: self._call.receive_no_metadata(trailers))
        self._call.post(lambda: self._call.end(trailers, status, told))


def _response_headers() -> HeaderMap:
    return HeaderMap([(":status", "200"), ("content-type", "application/grpc")])


def _add(headers: HeaderMap, metadata: Headers) -> None:
    """Add a server's metadata as it comes over the wire, where binary values are base64; Envoy leaves them so."""
    for name, value in HeaderMap(metadata).raw:
        headers.add(name, b64encode(value).rstrip(b"=") if name.endswith(b"-bin") else value)


def _local(response: LocalResponse) -> tuple[HeaderMap, int, str]:
    """Headers, status and message of a response that the proxy makes to a gRPC call."""
    headers, _ = response.message(HeaderMap({"content-type": "application/grpc"}))
    message = _with_details(headers.get("grpc-message", ""), response.details)
    return headers, int(headers["grpc-status"]), message


def _with_details(message: str, details: str) -> str:
    """A status message as Envoy gives it to the guest."""
    return f"{message}{{{details}}}" if message else details
