"""Cases in a real Envoy.

Client, upstream and the servers behind the clusters are sockets in this one thread, and nothing is waited for by the clock: Envoy has one worker, which also
has a listener that answers by itself. An answer from there (`_ping`) says that the worker has read all that was written before; where a few of them
bring nothing new from anywhere, everything has happened that a part of a message leads to.
"""

import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from struct import pack
from types import TracebackType
from typing import Self, TypeAlias

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.emulator.clusters import Absent, Closing, GrpcServer, NoHosts
from proxy_wasm.emulator.framing import HOP_BY_HOP
from proxy_wasm.emulator.header_map import HeaderMap, to_bytes
from proxy_wasm.envoy import (
    EnvoyFailed,
    EnvoyProcess,
    WasmFilter,
    bootstrap,
    cluster,
    cluster_without_hosts,
    listener,
    tcp_listener,
)
from proxy_wasm.envoy.clusters import upstream_request
from proxy_wasm.envoy.configuration import ADDED_TO_CALLOUTS, UPSTREAM_CLUSTER, Json, answering_listener
from proxy_wasm.envoy.http1 import encode_response, read_request
from scripted.case import Case, Event, HttpCase, Part, TcpCase, What, conduct, conduct_tcp
from scripted.clusters import CLUSTERS, MESSAGE_SERVER, echo
from scripted.emulated import AUTHORITY, NAME, ROOT_ID, TCP_ROOT_ID, VM_ID
from scripted.grpc_server import GrpcConnection
from scripted.observation import Message, Observation
from scripted.script import CALLBACKS, LOAD, TICK, encode, named
from scripted.wire import Arrived, arrived, encoded

_Seen: TypeAlias = tuple[Message | None, Message | None]
"""By the client, and by the upstream."""
_PIECE = 1 << 16
_QUIET_PINGS = 3
"""How many answers of the worker in a row bring nothing new once it has nothing left to do."""
_TICK_SECONDS = 5.0
_RESET_WHEN_CLOSED = pack("ii", 1, 0)
_FILTER_LISTENER, _TCP_LISTENER, _WORKER_LISTENER = "filter", "tcp", "worker"
_TCP_CLUSTER = "tcp-upstream"
_TICKED = tuple(b"@%d%b" % (CALLBACKS.index("on_tick"), whose) for whose in (b"P", b"X"))
_DELETED = b"@%dS" % CALLBACKS.index("on_delete")
_PING = b"GET / HTTP/1.1\r\nhost: worker\r\n\r\n"


class RealHost:
    """Runs cases one after another in one Envoy; a context manager."""

    def __init__(self, module: bytes) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="proxy-wasm-")
        self._module = Path(self._directory.name) / "filter.wasm"
        self._module.write_bytes(module)
        self._upstream = _listening()
        self._tcp_upstream = _listening()
        self._closing = _listening()
        self._echo = _listening()
        self._grpc = _listening()
        self._absent = socket.socket()
        self._absent.bind(("127.0.0.1", 0))
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.stop()
        for server in (self._upstream, self._tcp_upstream, self._closing, self._echo, self._grpc, self._absent):
            server.close()
        self._directory.cleanup()

    def _start(self) -> None:
        self._called: list[_Connection] = []
        self._log: list[tuple[int, bytes]] = []
        self._failure = ""
        config = bootstrap(clusters=self._clusters(), listeners=self._listeners())
        self.process = EnvoyProcess(config, wasm_log_level="info")
        self.process.start()
        addresses = self.process.admin.listeners()
        self.address, self.tcp_address = addresses[_FILTER_LISTENER], addresses[_TCP_LISTENER]
        self._control = socket.create_connection(self.address)
        self._worker = socket.create_connection(addresses[_WORKER_LISTENER])
        for connection in (self._control, self._worker):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _listeners(self) -> list[Json]:
        filtering = WasmFilter(self._module, root_id=ROOT_ID, name=NAME, vm_id=VM_ID)
        filtered = listener(_FILTER_LISTENER, [filtering])
        ((manager,),) = (chain["filters"] for chain in filtered["filter_chains"])
        manager["typed_config"]["delayed_close_timeout"] = "0s"
        tcp = tcp_listener(_TCP_LISTENER, [replace(filtering, root_id=TCP_ROOT_ID)], cluster=_TCP_CLUSTER)
        return [filtered, tcp, answering_listener(_WORKER_LISTENER)]

    def _clusters(self) -> list[Json]:
        upstream = cluster(*self._upstream.getsockname(), name=UPSTREAM_CLUSTER)
        (options,) = upstream["typed_extension_protocol_options"].values()
        options["common_http_protocol_options"]["max_requests_per_connection"] = 1
        tcp = cluster(*self._tcp_upstream.getsockname(), name=_TCP_CLUSTER)
        return [upstream, tcp, *(self._cluster(name) for name in CLUSTERS)]

    def _cluster(self, name: str) -> Json:
        match CLUSTERS[name]:
            case Absent():
                server = self._absent
            case Closing():
                server = self._closing
            case NoHosts():
                return cluster_without_hosts(name)
            case GrpcServer():
                return cluster(*self._grpc.getsockname(), name=name, http2=True)
            case _:
                server = self._echo
        return cluster(*server.getsockname(), name=name)

    def run(self, case: Case, name: bytes) -> Observation:
        """See `Host`."""
        try:
            self.settle(lambda: False)
            self._read_log()
            self._log.clear()
            self._failure = ""
            self.control(LOAD + encode(named(case.script, name)).hex().encode())
            client, upstream = self._run_tcp(case) if isinstance(case, TcpCase) else self._run_http(case)
            return Observation(tuple(self._log), client, upstream, self._failure)
        except (EnvoyFailed, ConnectionError) as error:
            with suppress(Exception):
                self.process.wait_for(lambda: None, "end", 1.0)
            words = [line.message for line in self.process.new_log_lines() if line.wasm is None]
            return Observation((), failure=f"{error}: " + "\n".join(words[:3]))

    def _run_http(self, case: HttpCase) -> "_Seen":
        with _Stream(self, case) as stream:
            conduct(case, stream)
            self._read_log()
            return stream.client(), stream.upstream()

    def _run_tcp(self, case: TcpCase) -> "_Seen":
        with _TcpStream(self) as stream:
            conduct_tcp(case, stream)
            self._read_log()
            return stream.seen()

    def restart(self) -> None:
        """See `Host`."""
        self.process.stop()
        self._start()

    def _read_log(self) -> None:
        for line in self.process.new_log_lines():
            if line.wasm is not None and line.thread != self.process.pid:
                self._log.append((int(line.level), to_bytes(line.wasm.message)))
            elif line.logger == "wasm" and line.level >= LogLevel.ERROR and line.wasm is None:
                self._failure += line.message

    def tick(self) -> None:
        """Have the plugin called."""
        before = self._count_ticks()
        self.control(TICK)
        self.process.wait_for(lambda: self._count_ticks() > before, "tick", _TICK_SECONDS)

    def has_deleted_stream(self) -> bool:
        """Whether the filter has been told that the stream is gone."""
        self._read_log()
        return any(line.startswith(_DELETED) for _, line in self._log)

    def _count_ticks(self) -> int:
        self._read_log()
        return sum(1 for _, line in self._log if line.startswith(_TICKED))

    def control(self, command: bytes) -> None:
        """Send a control request, and wait for its answer."""
        request = b"GET / HTTP/1.1\r\nhost: %b\r\nx-control: %b\r\n\r\n" % (AUTHORITY, command)
        self._control.sendall(request)
        _read_head(self._control)

    def _ping(self) -> None:
        self._worker.sendall(_PING)
        _read_head(self._worker)

    def settle(self, serve: Callable[[], bool]) -> None:
        """Return when Envoy has nothing left to do. `serve` reads what has arrived, and says whether anything has."""
        quiet = 0
        while quiet < _QUIET_PINGS:
            self._ping()
            quiet = 0 if serve() | self._serve_clusters() else quiet + 1

    def accept(self) -> "_Connection | None":
        """The next connection of Envoy to the upstream of HTTP."""
        return _accepted(self._upstream)

    def accept_tcp(self) -> "_Connection | None":
        """The next connection of Envoy to the upstream of connections."""
        return _accepted(self._tcp_upstream)

    def _serve_clusters(self) -> bool:
        busy = False
        while (connection := _accepted(self._echo)) is not None:
            self._called.append(connection)
            busy = True
        while (closing := _accepted(self._closing)) is not None:
            closing.answer = None
            self._called.append(closing)
            busy = True
        while (calling := _accepted(self._grpc)) is not None:
            calling.grpc = GrpcConnection(MESSAGE_SERVER)
            self._called.append(calling)
            busy = True
        for connection in self._called:
            busy |= connection.read()
            connection.serve()
        self._called = [connection for connection in self._called if not connection.ended]
        return busy


def _listening() -> socket.socket:
    server = socket.create_server(("127.0.0.1", 0), backlog=128)
    server.settimeout(0)
    return server


def _accepted(server: socket.socket) -> "_Connection | None":
    try:
        accepted, _ = server.accept()
    except BlockingIOError:
        return None
    return _Connection(accepted)


def _read_head(connection: socket.socket) -> bytes:
    """A response without a body."""
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        piece = connection.recv(_PIECE)
        if not piece:
            msg = "Envoy closed a connection"
            raise EnvoyFailed(msg)
        received += piece
    return received


def _echo(request: bytes) -> bytes | None:
    message = read_request(BytesIO(request))
    if message is None:
        return None
    response = echo(upstream_request(message, ADDED_TO_CALLOUTS, "http"))
    return encode_response(
        response.status, response.headers.raw, response.body, response.trailers.raw, method=message.start[0].decode()
    )


@dataclass(slots=True)
class _Connection:
    """A connection that is read without waiting."""

    socket: socket.socket
    received: bytes = b""
    ended: bool = False
    answer: Callable[[bytes], bytes | None] | None = _echo
    grpc: GrpcConnection | None = None

    def __post_init__(self) -> None:
        self.socket.settimeout(0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self) -> bool:
        """Take in what has arrived; whether that is anything."""
        busy = False
        while not self.ended:
            try:
                piece = self.socket.recv(_PIECE)
            except BlockingIOError:
                break
            except ConnectionError:
                piece = b""
            busy = True
            self.received += piece
            self.ended = not piece
        return busy

    def send(self, data: bytes) -> None:
        with suppress(ConnectionError):
            self.socket.settimeout(None)
            self.socket.sendall(data)
        self.socket.settimeout(0)

    def end(self) -> None:
        """Send no more."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Break the connection."""
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_WHEN_CLOSED)
        self.close()

    def serve(self) -> None:
        """Answer the request that has arrived, as a cluster's server."""
        if self.grpc is not None:
            received, self.received = self.received, b""
            self.send(self.grpc.receive(received))
            return
        message = arrived(self.received, is_response=False)
        if message is None or not (message.whole or self.answer is None):
            return
        answer = None if self.answer is None else self.answer(self.received)
        self.received = b""
        if answer is None:
            self.close()
        else:
            self.send(answer)

    def close(self) -> None:
        self.ended = True
        self.socket.close()


@dataclass(slots=True)
class _Stream:
    """One HTTP stream: a client's connection, and the one to the upstream that Envoy makes for it."""

    host: RealHost
    case: HttpCase
    downstream: _Connection = field(init=False)
    server: _Connection | None = None

    def __post_init__(self) -> None:
        self.downstream = _Connection(socket.create_connection(self.host.address))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.downstream.close()
        if self.server is not None:
            self.server.close()

    def _serve(self) -> bool:
        busy = self.downstream.read()
        while (connection := self.host.accept()) is not None:
            if self.server is not None:
                self.server.close()
            self.server = connection
            busy = True
        return busy | (self.server is not None and self.server.read())

    def _settle(self) -> None:
        self.host.settle(self._serve)

    def send(self, part: Part) -> None:
        """See `HttpHost`."""
        request = self.case.request
        start = f"{request.method} {request.path} HTTP/1.1\r\nhost: {AUTHORITY.decode()}\r\n".encode("latin-1")
        self.downstream.send(encoded(part, start, request.body))
        self._settle()

    def answer(self, part: Part) -> None:
        """See `HttpHost`."""
        assert self.server is not None
        response = self.case.response
        start = b"HTTP/1.1 %d \r\n" % response.status
        self.server.send(encoded(part, start, response.body))
        self._settle()

    def tick(self) -> None:
        """See `HttpHost`."""
        self.host.tick()
        self._settle()

    def leave(self) -> None:
        """See `HttpHost`."""
        self.downstream.socket.close()
        self.downstream.ended = True
        self._settle()

    @property
    def is_asked(self) -> bool:
        """See `HttpHost`."""
        message = self._request()
        return message is not None and message.whole

    @property
    def is_over(self) -> bool:
        """See `HttpHost`."""
        message = self._response()
        return self.downstream.ended or (message is not None and message.whole)

    def _request(self) -> Arrived | None:
        return None if self.server is None else arrived(self.server.received, is_response=False)

    def _response(self) -> Arrived | None:
        return arrived(self.downstream.received, is_response=True, to_head=self.case.request.method == "HEAD")

    def client(self) -> Message | None:
        """What the client got."""
        message = self._response()
        return None if message is None else _message((message.start[1].decode(),), message, ("date",))

    def upstream(self) -> Message | None:
        """What the upstream got."""
        message = self._request()
        if message is None:
            return None
        start = message.start[0].decode("latin-1"), message.start[1].decode("latin-1")
        host = HeaderMap(message.headers).get("host", "")
        return _message((*start, host), message, ("host",))


def _message(start: tuple[str, ...], message: Arrived, added: tuple[str, ...]) -> Message:
    headers = HeaderMap(message.headers).without(*HOP_BY_HOP, *added)
    if headers.get("content-length") == "0":
        del headers["content-length"]  # who adds it is the codec
    trailers = HeaderMap(message.trailers)
    return Message(start, tuple(headers.raw), message.body, tuple(trailers.raw), message.whole)


@dataclass(slots=True)
class _TcpStream:
    """One connection: the client's end, and the upstream's once there is one."""

    host: RealHost
    downstream: _Connection = field(init=False)
    server: _Connection | None = None
    is_broken: bool = False

    def __post_init__(self) -> None:
        self.downstream = _Connection(socket.create_connection(self.host.tcp_address))
        self.host.settle(self._serve)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self.downstream, self.server):
            if end is not None and end.socket.fileno() >= 0:
                end.reset()

    def _serve(self) -> bool:
        busy = self.downstream.read()
        if self.server is None:
            self.server = self.host.accept_tcp()
            busy |= self.server is not None
        return busy | (self.server is not None and self.server.read())

    def happen(self, event: Event) -> None:
        """See `TcpHost`."""
        match event.what:
            case What.CLIENT_SENDS:
                self.downstream.send(event.data)
            case What.CLIENT_ENDS:
                self.downstream.end()
            case What.CLIENT_BREAKS:
                self.is_broken = True
                self.downstream.reset()
            case What.UPSTREAM_SENDS if self.server is not None:
                self.server.send(event.data)
            case What.UPSTREAM_ENDS if self.server is not None:
                self.server.end()
            case What.TICK:
                self.host.tick()
            case _:
                pass
        self.host.settle(self._serve)

    @property
    def is_reached(self) -> bool:
        """See `TcpHost`."""
        return self.server is not None

    @property
    def is_over(self) -> bool:
        """See `TcpHost`."""
        return self.host.has_deleted_stream()

    def seen(self) -> _Seen:
        """What both got."""
        server = self.server
        client = Message((), (), self.downstream.received, whole=self.downstream.ended and not self.is_broken)
        upstream = None if server is None else Message((), (), server.received, whole=server.ended)
        return client, upstream
