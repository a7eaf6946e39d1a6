"""The Envoys of the peers, the servers that they ask, and the upstream behind them."""

import itertools
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.peers.contenders import MAX_BODY, NONE, PEERS, Peer
from benchmarks.peers.modules import Modules
from benchmarks.peers.works import Work

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.bench import load
from proxy_wasm.bench.in_envoy import cpu_seconds, resident_bytes
from proxy_wasm.bench.load import Load, Wire
from proxy_wasm.envoy import EnvoyProcess, Message, Upstream, bootstrap, cluster, encode_response, listener, send
from proxy_wasm.envoy.configuration import Json

CONNECTIONS = 16
WARM = 300
"""Requests before the first round."""
USERS = "users"
UPSTREAM, CHECKING = "upstream", "checking"

_LARGE = 100_000
"""Bytes from which few requests fit into a second."""
_FEW_CONNECTIONS = 2
_MANY = 1_000_000
_SERVERS = Path(__file__).parent / "servers"
_CPU_CLOCK = 2
"""The clock of all threads' CPU time, CPUCLOCK_SCHED in Linux' `posix-timers.h`."""


class WorkFailed(Exception):  # noqa: N818 - says what happened
    """A peer does not do a work; the message says what it did."""


def process_seconds(pid: int) -> float:
    """The CPU time of a process and its threads so far, to the nanosecond where Linux tells it (clock_getcpuclockid(3))."""
    try:
        return time.clock_gettime((~pid << 3) | _CPU_CLOCK)
    except OSError:
        return cpu_seconds(pid)


@dataclass(frozen=True, slots=True)
class Proxy:
    """The Envoy of a peer, running, with the server that it asks."""

    peer: Peer
    envoy: EnvoyProcess
    addresses: Mapping[str, tuple[str, int]]
    """Of the listeners, by their names: those of the works."""
    server: int | None = None
    """The process id of the server."""

    @property
    def cpu_seconds(self) -> float:
        """The CPU time of its processes so far."""
        return sum(map(process_seconds, self._pids))

    @property
    def resident_bytes(self) -> int:
        """The memory that its processes have in use."""
        return sum(map(resident_bytes, self._pids))

    @property
    def _pids(self) -> list[int]:
        return [self.envoy.pid] if self.server is None else [self.envoy.pid, self.server]

    def cost(self, work: str, wires: Sequence[Wire], seconds: float) -> tuple[float, float]:
        """Seconds of CPU time for each request to a work's listener, and how many a second there were, under full load; one after the other is sent.

        Raises `WorkFailed` where a request is not answered with 200.
        """
        address = self.addresses[work]
        before = self.cpu_seconds
        if len(wires[0].data) > _LARGE:
            done = _whole(address, wires[0], seconds)
        else:
            done = load.timed(address, wires, seconds, connections=CONNECTIONS)
        cpu = self.cpu_seconds - before
        if done.refused or not done.requests:
            raise WorkFailed(f"{self.peer.title}, {work}: {done.refused} of {done.requests} requests were refused")
        self.raise_failures(work)
        return cpu / done.requests, done.requests / done.seconds

    def raise_failures(self, work: str) -> None:
        """Raise `WorkFailed` where Envoy has said that a VM failed: its answers are none of the filter's."""
        lines = (line for line in self.envoy.new_log_lines() if line.logger == "wasm" and line.level >= LogLevel.ERROR)
        for line in lines:
            raise WorkFailed(f"{self.peer.title}, {work}: {line.message.splitlines()[0]}")


class Scene:
    """What stands around the peers' Envoys: an upstream that answers at once, and one that shows what arrived; a context manager."""

    def __init__(self) -> None:
        self._cleanup = ExitStack()
        self.arrived: list[Message] = []
        """What the second upstream got."""

    def __enter__(self) -> Self:
        self.upstream = self._cleanup.enter_context(EnvoyProcess(bootstrap(listeners=_answering())))
        self._checking = self._cleanup.enter_context(Upstream(self._answer))
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def _answer(self, message: Message) -> bytes:
        self.arrived.append(message)
        return encode_response(200, [], b"ok\n")

    @contextmanager
    def proxy(
        self, peer: Peer, works: Iterable[Work], modules: Modules, *, concurrency: int = 1, checked: bool = True
    ) -> Generator[Proxy]:
        """A peer's Envoy with a listener for each of its works and, named with CHECKING, one in front of the second upstream.

        Raises `NotBuilt` where a module cannot be built, an `EnvoyError` where Envoy does not run with the filters.
        """
        addresses = self.upstream.admin.listeners()
        clusters = [many_cluster(*addresses[name], name) for name in (UPSTREAM, USERS)]
        clusters.append(many_cluster(*self._checking.address, CHECKING))
        listeners: list[Json] = []
        for work in works:
            filters = peer.filters(work, modules)
            listeners.append(_filtering(work.name, filters, UPSTREAM))
            if checked:
                listeners.append(_filtering(f"{CHECKING}-{work.name}", filters, CHECKING))
        with ExitStack() as stack:
            server = None
            if peer.server:
                server, address = stack.enter_context(_server(_SERVERS / peer.server))
                clusters.append(many_cluster(*address, peer.name, http2=peer.name == "ext_proc"))
            configuration = bootstrap(clusters=clusters, listeners=listeners)
            envoy = EnvoyProcess(configuration, wasm_log_level="warning", concurrency=concurrency)
            stack.enter_context(envoy)
            yield Proxy(peer, envoy, envoy.admin.listeners(), server)

    def check(self, proxy: Proxy, work: Work) -> None:
        """Send the request once, and some more so that all is warm; raises `WorkFailed` where not that comes of it which should."""
        self.arrived.clear()
        where = f"{proxy.peer.title}, {work.name}"
        reply = send(proxy.addresses[f"{CHECKING}-{work.name}"], work.wire.data)
        if not self.arrived:
            raise WorkFailed(f"{where}: answered with {reply.message.start if reply.message else 'nothing'}")
        problem = work.problem(self.arrived[0])
        if problem and proxy.peer.name != NONE:
            raise WorkFailed(f"{where}: {problem}")
        wires = [work.wire] if work.refused is None or proxy.peer.name == NONE else [work.wire, work.refused]
        for wire in wires:
            count = min(WARM, max(8, WARM * 10_000 // len(wire.data)))
            outcomes = load.counted(proxy.addresses[work.name], [wire], count)
            if wrong := {actual for due, actual in outcomes if due != actual}:
                raise WorkFailed(f"{where}: {wire.due} is due, but it answered with {wrong}")
        proxy.raise_failures(work.name)


def _whole(address: tuple[str, int], wire: Wire, seconds: float) -> Load:
    """Load whose last requests are answered, too: where few fit in, half a one would count."""
    start = time.perf_counter()
    batches = itertools.takewhile(lambda _: time.perf_counter() < start + seconds, itertools.repeat((wire,)))
    outcomes = load.send_all(address, batches, connections=_FEW_CONNECTIONS)
    refused = sum(count for (due, status), count in outcomes.items() if due != status)
    return Load(outcomes.total(), time.perf_counter() - start, refused)


def many_cluster(host: str, port: int, name: str, *, http2: bool = False) -> Json:
    """A cluster that takes as many requests at once as come."""
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), _MANY)
    return {
        **cluster(host, port, name=name, http2=http2),
        "circuit_breakers": {"thresholds": [limits]},
        "per_connection_buffer_limit_bytes": MAX_BODY,
    }


def _filtering(name: str, filters: Sequence[Json], upstream: str) -> Json:
    configured = listener(name, [], cluster=upstream)
    configured["per_connection_buffer_limit_bytes"] = MAX_BODY
    configured["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][:0] = filters
    return configured


def _answering() -> list[Json]:
    """Listeners that answer whole requests themselves: the upstream's, and that of the cluster that callouts ask."""
    listeners: list[Json] = []
    for name, body in ((UPSTREAM, "ok\n"), (USERS, "alice")):
        configured = listener(name, [])
        configured["per_connection_buffer_limit_bytes"] = MAX_BODY
        manager = configured["filter_chains"][0]["filters"][0]["typed_config"]
        # A response in the middle of the request would end the connection.
        buffering = {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
            "max_request_bytes": MAX_BODY,
        }
        manager["http_filters"].insert(0, {"name": "envoy.filters.http.buffer", "typed_config": buffering})
        (host,) = manager["route_config"]["virtual_hosts"]
        answer = {"status": 200, "body": {"inline_string": body}}
        host["routes"] = [{"match": {"prefix": "/"}, "direct_response": answer}]
        listeners.append(configured)
    return listeners


@contextmanager
def _server(program: Path) -> Generator[tuple[int, tuple[str, int]]]:
    """The process id and the address of a server, running."""
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True) as process:
        try:
            said = process.stdout.readline() if process.stdout else ""
            host, colon, port = said.strip().rpartition(":")
            if not colon:
                raise WorkFailed(f"{program.name} did not start")
            yield process.pid, (host, int(port))
        finally:
            process.terminate()


def missing(names: Sequence[str]) -> dict[str, str]:
    """Why peers of these names cannot be measured here, by name."""
    return {name: PEERS[name].absence for name in names if PEERS[name].absence}
