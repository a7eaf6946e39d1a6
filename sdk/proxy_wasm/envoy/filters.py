"""Filters in front of an upstream, in one living Envoy.

Starting Envoy for every test would compile the module every time. Instead one process serves many filters: each has a
listener of its own, and the clusters that it may call; listeners and clusters are two files that Envoy watches (file-based LDS and
CDS) and that are replaced whole at every change. A filter has a `vm_id` of its own, unless it names one, and with it VMs,
shared data and log lines of its own. When it is taken out its listener ends at once (`--drain-time-s 0`), then its VMs with all
that they were waiting for, then the clusters that no other filter uses.

V8 shares the compiled code of equal modules within a process as long as one VM has it. So before the first filter with a module
leaves, a keeper comes: a listener that nobody connects to with the module in it, whose plugin may do nothing but log
(`capability_restriction_config`) and is never told to start.

What Envoy does asynchronously is waited for by what it shows: an update by the counters of LDS or CDS; the worker's listener, and the
filter configured there before it, by `listener_create_success`; the end of a listener by the number of those that drain; the end of a
stream by its access record; and the callbacks that follow it in the same turn of the worker's event loop (`on_done`, `on_delete`) by an
answer from that same worker.

Envoy also keeps each plugin in its main thread, where it is configured, ticks and calls clusters like those in the workers. What it logs there
is kept apart (`RunningFilter.main_log`), or everything would seem to happen twice. Some things happen there alone: a shared queue tells the
VM that registered it last, which may be this one.
"""

import itertools
import json
import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.emulator.clusters import Cluster
from proxy_wasm.emulator.observer import Observer
from proxy_wasm.envoy import crossings
from proxy_wasm.envoy.client import LeavingClient, Reply, Wire, abandon, send
from proxy_wasm.envoy.clusters import ServedCluster, serve
from proxy_wasm.envoy.configuration import (
    UPSTREAM_CLUSTER,
    Json,
    WasmFilter,
    announcing_cluster,
    answering_listener,
    bootstrap,
    cluster,
    clusters_update,
    listener,
    listeners_update,
    tcp_listener,
)
from proxy_wasm.envoy.errors import ClusterTaken, EnvoyFailed, FilterRefused
from proxy_wasm.envoy.http1 import Message, encode_request, encode_response
from proxy_wasm.envoy.log import AccessRecord, GrowingFile, LogLine, parse_access_record
from proxy_wasm.envoy.process import EnvoyProcess
from proxy_wasm.envoy.tcp import Answer, TcpConnection, TcpUpstream
from proxy_wasm.envoy.upstream import Respond, Response, Upstream

UPDATE_SECONDS = 120
"""How long Envoy may take to add a filter: it compiles the module."""
RECORD_SECONDS = 5
"""How long a stream may take to end after its client has left."""

_WORKER_LISTENER = "worker"
_TCP_CLUSTER = "tcp-upstream"
_CREATED = r"^listener_manager\.listener_create_success$"
_DRAINING = r"^listener_manager\.total_listeners_draining$"
_LISTENERS_UPDATED = r"^listener_manager\.lds\.update_(success|rejected)$"
_CLUSTERS_UPDATED = r"^cluster_manager\.cds\.update_(success|rejected)$"
_CUSTOM_PREFIX = "wasmcustom."
_CUSTOM = r"^wasmcustom\."
_INERT = ("proxy_log",)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one request through a filter led to."""

    response: Message | None
    """`None` where the client's connection was closed without a response; see `whole`."""
    whole: bool
    """Whether the response came to its end; where not, it is what came of it."""
    upstream: Message | None
    """The last request that reached the upstream whole."""
    access: AccessRecord
    log: tuple[LogLine, ...]
    """What this filter logged since the request was sent."""


@dataclass(slots=True)
class _Shared:
    """A cluster that filters use."""

    definition: Cluster
    server: ServedCluster
    users: int = 1


class RunningFilter:
    """A filter with its listener; made by `FilteringEnvoy.add`."""

    def __init__(
        self, envoy: "FilteringEnvoy", name: str, chain: Sequence[WasmFilter], clusters: Sequence[str]
    ) -> None:
        self.name = name
        """The listener's name."""
        self.config = chain[0]
        self.chain = tuple(chain)
        """All Wasm filters of the listener."""
        self.sources = tuple(dict.fromkeys(source for config in chain for source in _sources(config)))
        """What its log lines begin with."""
        self.clusters = tuple(clusters)
        """The names of the clusters that it brought."""
        self.log: list[LogLine] = []
        """What this filter logged in the worker, while it was configured there too; `refresh_log` brings it up to date."""
        self.boundary: list[LogLine] = []
        """What Envoy logged of Wasm in the worker since the last exchange or connection through this filter began, while that was the last one."""
        self.main_log: list[LogLine] = []
        """What it logged in Envoy's main thread since it was added."""
        self.address: tuple[str, int] = ("", 0)
        """Where its listener listens."""
        self.observer: Observer | None = None
        """Hears of what crosses the boundary to its VM in the worker; see `FilteringEnvoy.add`."""
        self.main_observer: Observer | None = None
        """Likewise in Envoy's main thread, once it was added."""
        self.counters_before: dict[str, int] = {}
        self._envoy = envoy

    @property
    def is_started(self) -> bool:
        """Whether it was added completely."""
        return self.address[1] != 0

    @property
    def pid(self) -> int:
        """The id of the Envoy process."""
        return self._envoy.process.pid

    def exchange(self, request: Wire, respond: Respond, *, method: str = "GET", timeout: float = 30) -> Outcome:
        """Send an encoded request and answer it with `respond` as the upstream.

        Where the request, or the response, is in pieces, each one is written once Envoy is done with the one before. Raises `NoResponse` where there is no complete response within `timeout` seconds, and what `respond` or a function
        behind a cluster raises.
        """
        return self._envoy.exchange(self, request, respond, method=method, timeout=timeout)

    def abandon(self, request: Wire, respond: Respond, *, method: str = "GET", after: float) -> Outcome:
        """Send an encoded request, and disconnect `after` that many seconds: what came of it by then, and of its end."""
        return self._envoy.abandon(self, request, respond, method=method, after=after)

    def abandon_sending(self, pieces: Sequence[bytes], respond: Respond, *, method: str = "GET") -> Outcome:
        """Send the `pieces` with which a request begins, and disconnect: what came of it."""
        return self._envoy.abandon_sending(self, pieces, respond, method=method)

    def abandon_receiving(
        self, request: Wire, respond: Respond, size: int, *, method: str = "GET", timeout: float = 30
    ) -> Outcome:
        """Send an encoded request, and disconnect once `size` bytes of the response's body are there: what came of it.

        Raises `NoResponse` where they are not within `timeout` seconds.
        """
        return self._envoy.abandon_receiving(self, request, respond, size, method=method, timeout=timeout)

    def connect(self, answer: Answer) -> "FilteredConnection":
        """Connect through a filter that was added with `network=True`; `answer` is the upstream."""
        return self._envoy.connect(self, answer)

    def refresh_log(self) -> None:
        """Bring `log` up to date with everything that the worker has done, and `main_log` with what the main thread has."""
        self._envoy.refresh_log()

    def raise_failures(self) -> None:
        """Raise the first error of the functions behind clusters that nobody has been told."""
        self._envoy.raise_failures()

    def metrics(self) -> dict[str, int]:
        """Custom metrics by name: what counters counted since the filter was added, and what gauges show.

        Envoy keeps metrics for the whole process: those that other filters define appear too.
        """
        return self._envoy.metrics(self)

    def remove(self) -> None:
        """Take the filter, its VMs and its clusters out of Envoy."""
        self._envoy.remove(self)


class FilteredConnection(TcpConnection):
    """A connection through a filter; made by `RunningFilter.connect`."""

    def __init__(self, envoy: "FilteringEnvoy", through: RunningFilter, upstream: TcpUpstream, answer: Answer) -> None:
        super().__init__(upstream, through.address, answer)
        self._envoy = envoy
        self._through = through
        self._logged = len(through.log)

    def log(self) -> list[LogLine]:
        """What the filter logged since the connection was opened."""
        self._envoy.refresh_log()
        return self._through.log[self._logged :]

    def record(self, timeout: float) -> AccessRecord | None:
        """The access record, once the proxy is done with the connection; `None` where it is not within `timeout` seconds."""
        return self._envoy.connection_record(self.port, timeout)


@dataclass(slots=True)
class _Records:
    """The access records, by the client's port, that have not been asked for yet."""

    file: GrowingFile
    found: dict[int, AccessRecord] = field(default_factory=dict[int, AccessRecord])

    def read(self) -> None:
        """Take new records in."""
        for line in self.file.lines():
            record = parse_access_record(line)
            self.found[record.client_port] = record


class FilteringEnvoy:
    """An Envoy to which filters can be added while it runs; a context manager.

    Exchanges take turns, as one upstream answers all of them. `stats_tags` are those of `bootstrap`.
    """

    def __init__(
        self,
        *,
        binary: str | os.PathLike[str] | None = None,
        wasm_log_level: str = "trace",
        stats_tags: Mapping[str, str] | None = None,
    ) -> None:
        self._worker_address: tuple[str, int] = ("", 0)
        self._numbers = itertools.count(1)
        self._listeners: dict[str, Json] = {}
        self._clusters: dict[str, _Shared] = {}
        self._filters: dict[str, RunningFilter] = {}
        self._sources: dict[str, list[RunningFilter]] = {}
        self._kept: dict[Path, str] = {}
        self._connections: list[FilteredConnection] = []
        self._current: RunningFilter | None = None
        self._lock = threading.RLock()
        self._cleanup = ExitStack()
        directory = Path(self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="proxy-wasm-")))
        self._listeners_file = directory / "listeners.json"
        self._clusters_file = directory / "clusters.json"
        self._records = _Records(GrowingFile(directory / "access.log"))
        self._upstream = self._cleanup.enter_context(Upstream(_unexpected))
        self._tcp_upstream = self._cleanup.enter_context(TcpUpstream())
        self._cleanup.callback(self._stop_clusters)
        try:
            config = bootstrap(
                clusters=[
                    cluster(*self._upstream.address),
                    announcing_cluster(*self._tcp_upstream.address, name=_TCP_CLUSTER),
                ],
                listeners=[answering_listener(_WORKER_LISTENER)],
                clusters_file=self._clusters_file,
                listeners_file=self._listeners_file,
                stats_tags=stats_tags,
            )
            self.process = EnvoyProcess(config, binary=binary, directory=directory, wasm_log_level=wasm_log_level)
        except BaseException:
            self._cleanup.close()
            raise

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start Envoy, without filters. Raises `EnvoyFailed`."""
        self._write_clusters()
        self._write_listeners()
        try:
            self.process.start()
            self._worker_address = self.process.admin.listeners()[_WORKER_LISTENER]
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop Envoy, its upstream and what stands behind its clusters."""
        self.process.stop()
        for connection in self._connections:
            connection.end()
        self._connections.clear()
        self._cleanup.close()

    def _stop_clusters(self) -> None:
        for shared in self._clusters.values():
            shared.server.stop()
        self._clusters.clear()

    # Filters

    def add(
        self,
        *chain: WasmFilter,
        clusters: Mapping[str, Cluster] | None = None,
        network: bool = False,
        access_log_fields: Mapping[str, str] | None = None,
        observer: Observer | None = None,
        main_observer: Observer | None = None,
    ) -> RunningFilter:
        """Configure a listener with the filters of `chain`, and the clusters that they may call, by name.

        A filter without a `vm_id` gets one of its own. `network` makes them filters of connections. The access records of the
        listener get `access_log_fields` besides their own (`AccessRecord.further`): Envoy's command operators by name. `observer` hears of what
        crosses the boundary to the VM in the worker, `main_observer` to that in the main thread. As Envoy does not say which VM its
        lines are about, that includes what other filters do meanwhile (`crossings`); what happens during an exchange is told of its filter alone.

        Raises `FilterRefused` where Envoy, or a filter itself, refuses it, `ClusterTaken` where a cluster's name stands
        for something else, and `EnvoyError` where serving a cluster needs a package that is not installed.
        """
        with self._lock:
            name = f"listener-{next(self._numbers)}"
            self._take_clusters(clusters or {})
            added = RunningFilter(self, name, [self._told_apart(config) for config in chain], tuple(clusters or ()))
            make = tcp_listener if network else listener
            self._listeners[name] = make(
                name,
                added.chain,
                access_log=self._records.file.path,
                further_fields=access_log_fields,
                cluster=_TCP_CLUSTER if network else UPSTREAM_CLUSTER,
            )
            added.observer, added.main_observer = observer, main_observer
            self._filters[name] = self._current = added
            for source in added.sources:
                self._sources.setdefault(source, []).append(added)
            try:
                self._start_listening(added)
            except BaseException:
                self._forget(added)
                raise
            finally:
                self._current = None
            return added

    def _told_apart(self, config: WasmFilter) -> WasmFilter:
        """`config` with what tells its log lines from those of all other filters."""
        number = next(self._numbers)
        if not config.vm_id:
            return replace(config, vm_id=f"vm-{number}")
        return replace(config, name=f"{config.name}-{number}") if _sources(config)[0] in self._sources else config

    def _start_listening(self, added: RunningFilter) -> None:
        created = self._stat(_CREATED)
        self._update_listeners()
        reason = self.process.admin.refused_listeners().get(added.name)
        if reason is not None:
            raise FilterRefused(reason, [line for line in self._read_log() if _is_of(line, added.sources)])
        self.process.wait_for(lambda: self._stat(_CREATED) > created, "start listening", UPDATE_SECONDS)
        address = self.process.admin.listeners()[added.name]
        added.counters_before = self.process.admin.stats(_CUSTOM, type_="Counters")
        self._read_log()
        added.address = address

    def remove(self, removed: RunningFilter) -> None:
        """See `RunningFilter.remove`."""
        with self._lock:
            if self._filters.get(removed.name) is not removed:
                return
            try:
                if self.process.is_running:
                    self._keep_modules(removed)
                    self._read_log()
                    self._current = removed
                    del self._listeners[removed.name]
                    self._update_listeners()
                    self.process.wait_for(lambda: self._stat(_DRAINING) == 0, "end a listener", UPDATE_SECONDS)
                    self.refresh_log()
            finally:
                self._current = None
                self._forget(removed)

    def _forget(self, removed: RunningFilter) -> None:
        """Forget a filter and the clusters that no other uses."""
        self._listeners.pop(removed.name, None)
        del self._filters[removed.name]
        for source in removed.sources:
            self._sources[source].remove(removed)
            if not self._sources[source]:
                del self._sources[source]
        unused = [name for name in removed.clusters if self._release(name)]
        if unused and self.process.is_running:
            self._update_clusters()

    def _keep_modules(self, removed: RunningFilter) -> None:
        """See to it that a VM has the code of each module that leaves; see the module's docstring."""
        for config in removed.chain:
            if config.module in self._kept:
                continue
            name = self._kept[config.module] = f"keeper-{len(self._kept)}"
            inert = WasmFilter(config.module, vm_id=name, capabilities=_INERT)
            self._listeners[name] = listener(name, [inert])
            self._update_listeners()
            if name in self.process.admin.refused_listeners():  # such as for a file that is gone
                del self._listeners[name]

    # What Envoy is told

    def _take_clusters(self, clusters: Mapping[str, Cluster]) -> None:
        """Start what stands behind `clusters`, or share what does already."""
        for name, definition in clusters.items():
            if name in (UPSTREAM_CLUSTER, _TCP_CLUSTER):
                msg = f"cluster {name!r}: this is the name of what stands behind the proxy itself; choose another"
                raise ClusterTaken(msg)
            shared = self._clusters.get(name)
            if shared is not None and not _same(shared.definition, definition):
                msg = (
                    f"cluster {name!r}: another filter that runs in the same Envoy has defined it otherwise; "
                    "use the same definition, or give this filter an Envoy of its own: isolated=True"
                )
                raise ClusterTaken(msg)
        started: list[str] = []
        try:
            for name, definition in clusters.items():
                if name in self._clusters:
                    self._clusters[name].users += 1
                else:
                    self._clusters[name] = _Shared(definition, serve(definition))
                started.append(name)
            self._update_clusters()
        except BaseException:
            for name in started:
                self._release(name)
            raise

    def _release(self, name: str) -> bool:
        """Have one user less of a cluster; whether that was the last."""
        shared = self._clusters[name]
        shared.users -= 1
        if shared.users:
            return False
        del self._clusters[name]
        shared.server.stop()
        return True

    def _update_clusters(self) -> None:
        self._update(_CLUSTERS_UPDATED, self._write_clusters, "take its clusters")

    def _update_listeners(self) -> None:
        self._update(_LISTENERS_UPDATED, self._write_listeners, "take its listeners")

    def _update(self, updated: str, write: Callable[[], None], purpose: str) -> None:
        """Hand a file's content to Envoy, and wait until it has taken, or refused, all of it."""
        updates = self._stat(updated)
        write()
        self.process.wait_for(lambda: self._stat(updated) > updates, purpose, UPDATE_SECONDS)

    def _write_clusters(self) -> None:
        clusters = [shared.server.to_json(name) for name, shared in self._clusters.items()]
        _replace(self._clusters_file, clusters_update(next(self._numbers), clusters))

    def _write_listeners(self) -> None:
        _replace(self._listeners_file, listeners_update(next(self._numbers), list(self._listeners.values())))

    def _stat(self, pattern: str) -> int:
        return sum(self.process.admin.stats(pattern).values())

    # Exchanges

    def exchange(
        self, through: RunningFilter, request: Wire, respond: Respond, *, method: str, timeout: float
    ) -> Outcome:
        """See `RunningFilter.exchange`."""

        def converse() -> Reply:
            return send(through.address, request, method=method, timeout=timeout, between=self._settle)

        return self._pass(through, respond, converse)

    def abandon(self, through: RunningFilter, request: Wire, respond: Respond, *, method: str, after: float) -> Outcome:
        """See `RunningFilter.abandon`."""
        return self._pass(through, respond, lambda: abandon(through.address, request, method=method, after=after))

    def abandon_sending(
        self, through: RunningFilter, pieces: Sequence[bytes], respond: Respond, *, method: str
    ) -> Outcome:
        """See `RunningFilter.abandon_sending`."""
        client = LeavingClient(through.address, method, RECORD_SECONDS)
        return self._pass(through, respond, lambda: client.leave_after_sending(pieces, self._settle))

    def abandon_receiving(
        self, through: RunningFilter, request: Wire, respond: Respond, size: int, *, method: str, timeout: float
    ) -> Outcome:
        """See `RunningFilter.abandon_receiving`."""
        client = LeavingClient(through.address, method, timeout)
        return self._pass(
            through, respond, lambda: client.leave_after_receiving(request, size, self._settle), client.look
        )

    def _settle(self) -> None:
        """Return once the worker has done what there was to do: it answers only then. Any thread may call it."""
        send(self._worker_address, encode_request("GET", "/", [(b"host", b"worker")]), timeout=RECORD_SECONDS)

    def _pass(
        self,
        through: RunningFilter,
        respond: Respond,
        converse: Callable[[], Reply],
        look: Callable[[], None] | None = None,
    ) -> Outcome:
        """Let `converse` be the client and `respond` the upstream; a client that may leave looks at each piece that was passed on."""

        def between() -> None:
            self._settle()
            if look is not None:
                look()

        with self._lock:
            self._read_log()
            self._forget_records()
            self._current = through
            through.boundary.clear()
            logged = len(through.log)
            received: list[Message] = []
            failures: list[Exception] = []

            def recording(message: Message) -> Response:
                received.append(message)
                try:
                    return respond(message)
                except Exception as error:  # noqa: BLE001 - raised again below, in the caller's thread
                    failures.append(error)
                    return encode_response(500, [])

            self._upstream.respond, self._upstream.between = recording, between
            try:
                reply = converse()
                record = self.process.wait_for(
                    lambda: self._record(reply.port), "end the request's stream", RECORD_SECONDS
                )
            finally:
                self._upstream.respond = _unexpected
                self.refresh_log()
                self._current = None
            if failures:
                raise failures[0]
            self.raise_failures()
            return Outcome(
                reply.message, reply.whole, received[-1] if received else None, record, tuple(through.log[logged:])
            )

    def connect(self, through: RunningFilter, answer: Answer) -> FilteredConnection:
        """See `RunningFilter.connect`."""
        with self._lock:
            self._read_log()
            self._current = through
            through.boundary.clear()
            connection = FilteredConnection(self, through, self._tcp_upstream, answer)
            self._connections.append(connection)
            return connection

    def raise_failures(self) -> None:
        """See `RunningFilter.raise_failures`."""
        for shared in self._clusters.values():
            if shared.server.failures:
                raise shared.server.failures.pop(0)

    def _record(self, client_port: int) -> AccessRecord | None:
        """The record of the stream of one client, which Envoy writes when that stream ends."""
        self._records.read()
        return self._records.found.get(client_port)

    def _forget_records(self) -> None:
        """Forget what is known of streams that are over, but for those of connections: ports are used again."""
        self._records.read()
        ports = {connection.port for connection in self._connections}
        self._records.found = {port: record for port, record in self._records.found.items() if port in ports}

    def connection_record(self, port: int, timeout: float) -> AccessRecord | None:
        """See `FilteredConnection.record`."""
        with suppress(EnvoyFailed):
            return self.process.wait_for(lambda: self._record(port), "end the connection", timeout)
        return None

    def refresh_log(self) -> None:
        """See `RunningFilter.refresh_log`."""
        with self._lock:
            if self.process.is_running:  # otherwise its log is complete
                self._settle()
                self.process.admin.is_ready()
            self._read_log()

    def _read_log(self) -> list[LogLine]:
        """Hand new lines to the filters they come from; all new lines."""
        lines = self.process.new_log_lines()
        for line in lines:
            found = self._origin(line)
            if self._current is not None and line.logger == "wasm" and line.thread != self.process.pid:
                self._current.boundary.append(line)
            if line.logger == "wasm" and line.wasm is None:
                self._tell_observers(line)
            if found is None:
                continue
            if line.thread != self.process.pid:
                found.log.append(line)
            elif found.is_started:  # before, Envoy has tried its configuration there
                found.main_log.append(line)
        return lines

    def _tell_observers(self, line: LogLine) -> None:
        in_worker = line.thread != self.process.pid
        for running in [self._current] if self._current is not None else list(self._filters.values()):
            observer = running.observer if in_worker else running.main_observer if running.is_started else None
            if observer is None:
                continue
            if _is_failure(line):
                observer.left("", None)
            else:
                crossings.tell(line, observer)

    def _origin(self, line: LogLine) -> RunningFilter | None:
        """The filter that a line comes from; where plugins of one VM have the same root id, the one that is in use."""
        if _is_failure(line):
            return self._current
        found = self._sources.get(line.wasm.source, ()) if line.wasm else ()
        if self._current in found:
            return self._current
        return found[0] if found else None

    def metrics(self, running: RunningFilter) -> dict[str, int]:
        """See `RunningFilter.metrics`."""
        found = self.process.admin.stats(_CUSTOM, type_="Gauges")
        for name, value in self.process.admin.stats(_CUSTOM, type_="Counters").items():
            found[name] = value - running.counters_before.get(name, 0)
        return {name.removeprefix(_CUSTOM_PREFIX): value for name, value in found.items()}


def _replace(path: Path, content: Json) -> None:
    """Replace a file by a move, the only change that Envoy watches for."""
    written = path.with_suffix(".new")
    written.write_text(json.dumps(content))
    written.replace(path)


def _same(one: Cluster, other: Cluster) -> bool:
    return one is other or (type(one) is type(other) and one == other)


def _sources(config: WasmFilter) -> tuple[str, str]:
    """What the log lines of a filter's streams begin with, and those of its plugin context, which lack the name."""
    of_plugin = [part for part in (config.root_id, config.vm_id) if part]
    return " ".join([config.name, *of_plugin] if config.name else of_plugin), " ".join(of_plugin)


def _is_of(line: LogLine, sources: Sequence[str]) -> bool:
    """Whether a line may concern a filter: its own messages, and everything else that Envoy says."""
    return line.wasm is None or line.wasm.source in sources


def _is_failure(line: LogLine) -> bool:
    """Whether a line says that a VM failed, which Envoy logs without saying which one."""
    return line.logger == "wasm" and line.level >= LogLevel.ERROR and line.wasm is None


def _unexpected(_: Message) -> bytes:
    return encode_response(500, [], b"no request was expected\n")
