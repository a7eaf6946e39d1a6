"""Cases in the emulator."""

from typing import TypeAlias

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.abi.header_map import Pair
from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.emulator import Emulator, HeaderMap, Plugin, TcpStream, wasm_guest
from proxy_wasm.emulator.framing import HOP_BY_HOP
from proxy_wasm.emulator.half_stream import Message as SentMessage
from proxy_wasm.emulator.header_map import to_bytes
from proxy_wasm.emulator.header_maps import JOINED_IN_REQUESTS, JOINED_IN_RESPONSES, joined
from proxy_wasm.emulator.native_guest import callbacks_guest
from proxy_wasm.emulator.properties import Properties
from scripted.case import BODILESS_STATUSES, Case, Event, HttpCase, Part, TcpCase, What, conduct, conduct_tcp
from scripted.clusters import CLUSTERS
from scripted.native import ScriptedFilter
from scripted.observation import Message, Observation
from scripted.script import LOAD, TICK, Script, encode, named

_Seen: TypeAlias = tuple[Message | None, Message | None]
"""By the client, and by the upstream."""
_TICK = 0.001
AUTHORITY = b"localhost"
NAME, ROOT_ID, TCP_ROOT_ID, VM_ID = "filter", "root", "tcp", "vm"
CONFIGURED: Properties = {
    "xds.cluster_name": "upstream",
    "xds.cluster_metadata": "",
    "xds.filter_chain_name": "",
    "xds.listener_direction": 0,
    "xds.listener_metadata": "",
    "xds.route_name": "",
    "xds.route_metadata": "",
    "xds.virtual_host_name": "all",
    "xds.virtual_host_metadata": "",
}
"""Properties that say how Envoy is configured here."""


class EmulatedHost:
    """Runs cases one after another in one VM; of the module, or of the same filter in Python where there is none."""

    def __init__(self, module: bytes | None) -> None:
        self._module = module
        self._native: ScriptedFilter | None = None
        self._emulator, self._plugin, self._tcp_plugin = self._start()

    def _start(self) -> tuple[Emulator, Plugin, Plugin]:
        guest = callbacks_guest(self._make_native) if self._module is None else wasm_guest(self._module)
        emulator = Emulator(guest, log_level=LogLevel.INFO, vm_id=VM_ID, clusters=CLUSTERS, attributes=CONFIGURED)
        http = emulator.start_plugin(root_id=ROOT_ID, name=NAME)
        return emulator, http, emulator.start_plugin(root_id=TCP_ROOT_ID, name=NAME)

    def _make_native(self, host: Hostcalls) -> ScriptedFilter:
        self._native = ScriptedFilter(host)
        return self._native

    def run(self, case: Case, name: bytes) -> Observation:
        """See `Host`."""
        start = len(self._emulator.log)
        self._load(named(case.script, name))
        client, upstream = self._run_tcp(case) if isinstance(case, TcpCase) else self._run_http(case)
        log = tuple(
            (int(record.level), to_bytes(record.message))
            for record in self._emulator.log[start:]
            if not record.from_host
        )
        return Observation(log, client, upstream, self._emulator.failed)

    def restart(self) -> None:
        """See `Host`."""
        self._emulator, self._plugin, self._tcp_plugin = self._start()

    def _run_http(self, case: HttpCase) -> "_Seen":
        stream = _Stream(self, case)
        conduct(case, stream)
        return stream.client(), stream.upstream()

    def _run_tcp(self, case: TcpCase) -> "_Seen":
        connection = _Connection(self, self._tcp_plugin.tcp_stream())
        conduct_tcp(case, connection)
        return connection.seen()

    def _load(self, script: Script) -> None:
        if self._native is not None:
            self._native.next_script = script
        self.control(LOAD + encode(script).hex().encode())

    def control(self, command: bytes) -> None:
        """Let a control request pass."""
        headers = [(b":authority", AUTHORITY), (b":path", b"/"), (b":method", b"GET"), (b":scheme", b"http")]
        stream = self._plugin.http_stream()
        stream.request_headers([*headers, (b"x-control", command)], end_of_stream=True)

    def tick(self) -> None:
        """Have the plugin called."""
        self.control(TICK)
        self._emulator.clock.advance(_TICK)

    @property
    def plugin(self) -> Plugin:
        return self._plugin


class _Stream:
    """One HTTP stream."""

    def __init__(self, host: EmulatedHost, case: HttpCase) -> None:
        self._host = host
        self._case = case
        self._stream = host.plugin.http_stream()
        self._is_connected = False
        """Whether there is a connection to the upstream: a real one takes a moment, and a stream that is over by then gets none."""

    def send(self, part: Part) -> None:
        """See `HttpHost`."""
        self._send(part)
        self._connect()

    def _connect(self) -> None:
        self._is_connected |= self._stream.request.headers_sent and not self._stream.closed

    def _send(self, part: Part) -> None:
        if part.headers is not None:
            self._stream.request_headers(self._request_headers(part), end_of_stream=part.end)
            return
        if part.piece:
            self._stream.request_body(part.piece)
        if part.trailers:
            self._stream.request_trailers(joined(HeaderMap(part.trailers), JOINED_IN_REQUESTS))
        elif part.end:
            self._stream.request_body(b"", end_of_stream=True)

    def _request_headers(self, part: Part) -> HeaderMap:
        request = self._case.request
        headers = HeaderMap([(":authority", AUTHORITY), (":path", request.path), (":method", request.method)])
        headers.add(":scheme", "http")
        for name, value in joined(HeaderMap(part.headers or ()).without(*HOP_BY_HOP), JOINED_IN_REQUESTS).raw:
            headers.add(name, value)
        headers.add("x-forwarded-proto", "http")
        return headers

    def answer(self, part: Part) -> None:
        """See `HttpHost`."""
        if part.headers is not None:
            self._stream.response_headers(self._response_headers(part), end_of_stream=part.end)
            return
        if part.piece:
            self._stream.response_body(part.piece)
        if part.trailers:
            self._stream.response_trailers(joined(HeaderMap(part.trailers), JOINED_IN_RESPONSES))
        elif part.end:
            self._stream.response_body(b"", end_of_stream=True)

    def _response_headers(self, part: Part) -> HeaderMap:
        headers = HeaderMap([(":status", str(self._case.response.status))])
        for name, value in joined(HeaderMap(part.headers or ()), JOINED_IN_RESPONSES).raw:
            headers.add(name, value)
        return headers

    def tick(self) -> None:
        """See `HttpHost`."""
        self._host.tick()
        self._connect()

    def leave(self) -> None:
        """See `HttpHost`."""
        self._stream.close()

    @property
    def is_asked(self) -> bool:
        """See `HttpHost`."""
        return self._stream.request.sent.ended

    @property
    def is_over(self) -> bool:
        """See `HttpHost`."""
        return self._stream.closed

    def client(self) -> Message | None:
        """What the client got."""
        sent = self._stream.response.sent
        if sent.headers is None:
            return None
        status = str(int(sent.headers.get(":status", "0")))
        says_nothing = self._case.request.method == "HEAD" or status in map(str, BODILESS_STATUSES)
        return _message((status,), sent, says_nothing=says_nothing)

    def upstream(self) -> Message | None:
        """What the upstream got."""
        sent = self._stream.request.sent
        if sent.headers is None or not self._is_connected:
            return None
        start = tuple(sent.headers.get(name, "") for name in (":method", ":path", ":authority"))
        return _message(start, sent, says_nothing=False)


def _message(start: tuple[str, ...], sent: SentMessage, *, says_nothing: bool) -> Message:
    headers = (sent.headers or HeaderMap()).without(*HOP_BY_HOP)
    if headers.get("content-length") == "0":
        del headers["content-length"]  # who adds it is the codec
    body = b"" if says_nothing else sent.body
    has_length = "content-length" in (sent.headers or HeaderMap())
    trailers = HeaderMap() if has_length or sent.trailers is None else sent.trailers
    return Message(start, _on_the_wire(headers), body, _on_the_wire(trailers), sent.ended)


def _on_the_wire(headers: HeaderMap) -> tuple[Pair, ...]:
    """Nobody can tell what space belongs to a value."""
    return tuple((name, value.strip(b" \t")) for name, value in headers.raw)


class _Connection:
    """One connection."""

    def __init__(self, host: EmulatedHost, stream: TcpStream) -> None:
        self._host = host
        self._stream = stream
        self._is_broken = False
        stream.new_connection()

    def happen(self, event: Event) -> None:
        """See `TcpHost`."""
        match event.what:
            case What.CLIENT_SENDS:
                self._stream.downstream_data(event.data)
            case What.CLIENT_ENDS:
                self._stream.downstream_data(b"", end_of_stream=True)
            case What.CLIENT_BREAKS:
                self._is_broken = True
                self._stream.close()
            case What.UPSTREAM_SENDS:
                self._stream.upstream_data(event.data)
            case What.UPSTREAM_ENDS:
                self._stream.upstream_data(b"", end_of_stream=True)
            case What.TICK:
                self._host.tick()

    @property
    def is_reached(self) -> bool:
        """See `TcpHost`."""
        return self._stream.connected

    @property
    def is_over(self) -> bool:
        """See `TcpHost`."""
        return self._stream.closed

    def seen(self) -> _Seen:
        """What both got."""
        stream = self._stream
        ended = (stream.downstream.ended or stream.closed) and not self._is_broken
        client = Message((), (), stream.downstream.passed, whole=ended)
        upstream = Message((), (), stream.upstream.passed, whole=stream.upstream.ended or stream.closed)
        return client, upstream if stream.connected else None
