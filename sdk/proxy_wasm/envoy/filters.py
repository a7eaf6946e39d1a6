"""Filters in front of an upstream, in one living Envoy.

Starting Envoy for every test would compile the module every time. Instead one process serves many filters: each has a
listener of its own, and the set of listeners is a file that Envoy watches (file-based LDS) and that is replaced whole at every
change. Each filter also has a `vm_id` of its own and with it VMs, shared data and log lines of its own; V8 shares the compiled
code of equal modules within a process as long as one of them is in use, which is why the last filter taken out of use stays
in the file until another one comes.

What Envoy does asynchronously is waited for by what it shows: an update by the counters of LDS; the worker's listener, and the
filter configured there before it, by `listener_create_success`; the end of a stream by its access record; and the callbacks
that follow it in the same turn of the worker's event loop (`on_done`, `on_delete`) by an answer from that same worker.
"""

import itertools
import json
import os
import tempfile
import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.envoy.client import send
from proxy_wasm.envoy.configuration import (
    Json,
    WasmFilter,
    answering_listener,
    bootstrap,
    cluster,
    listener,
    listeners_update,
)
from proxy_wasm.envoy.errors import FilterRefused
from proxy_wasm.envoy.http1 import Message, encode_request, encode_response
from proxy_wasm.envoy.log import AccessRecord, GrowingFile, LogLine, parse_access_record
from proxy_wasm.envoy.process import EnvoyProcess
from proxy_wasm.envoy.upstream import Respond, Upstream

UPDATE_SECONDS = 120
"""How long Envoy may take to add a filter: it compiles the module."""
RECORD_SECONDS = 5
"""How long a stream may take to end after its client has left."""

_WORKER_LISTENER = "worker"
_CREATED = r"^listener_manager\.listener_create_success$"
_UPDATED = r"^listener_manager\.lds\.update_(success|rejected)$"
_CUSTOM_PREFIX = "wasmcustom."
_CUSTOM = r"^wasmcustom\."


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one request through a filter led to."""

    response: Message | None
    """`None` where the client's connection was closed without a response; see `whole`."""
    whole: bool
    """Whether the response came to its end; where not, only its head is known."""
    upstream: Message | None
    """The last request that reached the upstream whole."""
    access: AccessRecord
    log: tuple[LogLine, ...]
    """What this filter logged since the request was sent."""


class RunningFilter:
    """A filter with its listener; made by `FilteringEnvoy.add`."""

    def __init__(self, envoy: "FilteringEnvoy", config: WasmFilter) -> None:
        self.config = config
        self.log: list[LogLine] = []
        """What this filter logged in the worker, while it was configured there too; `refresh_log` brings it up to date."""
        self.address: tuple[str, int] = ("", 0)
        self.counters_before: dict[str, int] = {}
        self._envoy = envoy

    @property
    def pid(self) -> int:
        """The id of the Envoy process."""
        return self._envoy.process.pid

    def exchange(self, request: bytes, respond: Respond, *, method: str = "GET", timeout: float = 30) -> Outcome:
        """Send an encoded request and answer it with `respond` as the upstream.

        Raises `NoResponse` where there is no complete response within `timeout` seconds, and what `respond` raises.
        """
        return self._envoy.exchange(self, request, respond, method=method, timeout=timeout)

    def refresh_log(self) -> None:
        """Bring `log` up to date with everything that the worker has done."""
        self._envoy.refresh_log()

    def metrics(self) -> dict[str, int]:
        """Custom metrics by name: what counters counted since the filter was added, and what gauges show.

        Envoy keeps metrics for the whole process: those that other filters define appear too.
        """
        return self._envoy.metrics(self)

    def remove(self) -> None:
        """Take the filter out of use."""
        self._envoy.remove(self)


class FilteringEnvoy:
    """An Envoy to which filters can be added while it runs; a context manager.

    Exchanges take turns, as one upstream answers all of them.
    """

    def __init__(self, *, binary: str | os.PathLike[str] | None = None, wasm_log_level: str = "trace") -> None:
        self._cleanup = ExitStack()
        directory = Path(self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="proxy-wasm-")))
        self._listeners_file = directory / "listeners.json"
        self._access_records = GrowingFile(directory / "access.log")
        self._upstream = Upstream(_unexpected)
        self._cleanup.callback(self._upstream.stop)
        try:
            config = bootstrap(
                clusters=[cluster(*self._upstream.address)],
                listeners=[answering_listener(_WORKER_LISTENER)],
                listeners_file=self._listeners_file,
            )
            self.process = EnvoyProcess(config, binary=binary, directory=directory, wasm_log_level=wasm_log_level)
        except BaseException:
            self._cleanup.close()
            raise
        self._worker_address: tuple[str, int] = ("", 0)
        self._numbers = itertools.count(1)
        self._listeners: dict[str, Json] = {}
        self._filters: dict[str, RunningFilter] = {}
        self._removed: list[RunningFilter] = []
        self._current: RunningFilter | None = None
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start Envoy, without filters. Raises `EnvoyFailed`."""
        self._write_listeners()
        try:
            self.process.start()
            self._worker_address = self.process.admin.listeners()[_WORKER_LISTENER]
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop Envoy and its upstream."""
        self.process.stop()
        self._cleanup.close()

    def add(self, config: WasmFilter) -> RunningFilter:
        """Configure a filter; its `vm_id` is replaced by one of its own.

        Raises `FilterRefused` where Envoy, or the filter itself, refuses it.
        """
        with self._lock:
            vm_id = f"vm-{next(self._numbers)}"
            added = RunningFilter(self, replace(config, vm_id=vm_id))
            self._forget_removed()
            self._listeners[vm_id] = listener(vm_id, [added.config], access_log=self._access_records.path)
            self._filters[vm_id] = added
            created = self._stat(_CREATED)
            self._update()
            reason = self.process.admin.refused_listeners().get(vm_id)
            if reason is not None:
                del self._listeners[vm_id], self._filters[vm_id]
                raise FilterRefused(reason, [line for line in self._read_log() if _vm_id(line) in (vm_id, None)])
            self.process.wait_for(lambda: self._stat(_CREATED) > created, "start listening", UPDATE_SECONDS)
            added.address = self.process.admin.listeners()[vm_id]
            added.counters_before = self.process.admin.stats(_CUSTOM, type_="Counters")
            self._read_log()
            return added

    def remove(self, removed: RunningFilter) -> None:
        """Take a filter out of use: it leaves Envoy when the next one comes."""
        with self._lock:
            if self._filters.pop(removed.config.vm_id, None) is not None:
                self._removed.append(removed)

    def _forget_removed(self) -> None:
        """Drop the listeners of removed filters, but for the last one with each module: see the module's docstring."""
        kept: dict[Path, RunningFilter] = {}
        for removed in reversed(self._removed):
            if kept.setdefault(removed.config.module, removed) is not removed:
                del self._listeners[removed.config.vm_id]
        self._removed = list(reversed(kept.values()))

    def _update(self) -> None:
        """Hand the current set of listeners to Envoy, and wait until it has taken, or refused, all of them."""
        updates = self._stat(_UPDATED)
        self._write_listeners()
        self.process.wait_for(lambda: self._stat(_UPDATED) > updates, "take its listeners", UPDATE_SECONDS)

    def _write_listeners(self) -> None:
        """Replace the file by a move, the only change that Envoy watches for."""
        content = listeners_update(next(self._numbers), list(self._listeners.values()))
        written = self._listeners_file.with_suffix(".new")
        written.write_text(json.dumps(content))
        written.replace(self._listeners_file)

    def _stat(self, pattern: str) -> int:
        return sum(self.process.admin.stats(pattern).values())

    def exchange(
        self, through: RunningFilter, request: bytes, respond: Respond, *, method: str, timeout: float
    ) -> Outcome:
        """See `RunningFilter.exchange`."""
        with self._lock:
            self._read_log()
            self._current = through
            logged = len(through.log)
            received: list[Message] = []
            failures: list[Exception] = []

            def recording(message: Message) -> bytes:
                received.append(message)
                try:
                    return respond(message)
                except Exception as error:  # noqa: BLE001 - raised again below, in the caller's thread
                    failures.append(error)
                    return encode_response(500, [])

            self._upstream.respond = recording
            try:
                reply = send(through.address, request, method=method, timeout=timeout)
                record = self._access_record(reply.port)
            finally:
                self._upstream.respond = _unexpected
                self.refresh_log()
                self._current = None
            if failures:
                raise failures[0]
            return Outcome(
                reply.message, reply.whole, received[-1] if received else None, record, tuple(through.log[logged:])
            )

    def _access_record(self, client_port: int) -> AccessRecord:
        """The record of the stream of one client, which Envoy writes when that stream ends."""

        def probe() -> AccessRecord | None:
            for line in self._access_records.lines():
                record = parse_access_record(line)
                if record.client_port == client_port:
                    return record
            return None

        return self.process.wait_for(probe, "end the request's stream", RECORD_SECONDS)

    def refresh_log(self) -> None:
        """See `RunningFilter.refresh_log`."""
        with self._lock:
            if self.process.is_running:  # otherwise its log is complete
                send(self._worker_address, encode_request("GET", "/", [(b"host", b"worker")]), timeout=RECORD_SECONDS)
            self._read_log()

    def _read_log(self) -> list[LogLine]:
        """Hand new lines to the filters they come from; all new lines."""
        lines = self.process.new_log_lines()
        for line in lines:
            if line.thread == self.process.pid:
                continue  # Envoy tries a configuration in its main thread before it goes to the worker
            found = self._current if _is_failure(line) else self._filters.get(_vm_id(line) or "")
            if found is not None:
                found.log.append(line)
        return lines

    def metrics(self, running: RunningFilter) -> dict[str, int]:
        """See `RunningFilter.metrics`."""
        found = self.process.admin.stats(_CUSTOM, type_="Gauges")
        for name, value in self.process.admin.stats(_CUSTOM, type_="Counters").items():
            found[name] = value - running.counters_before.get(name, 0)
        return {name.removeprefix(_CUSTOM_PREFIX): value for name, value in found.items()}


def _vm_id(line: LogLine) -> str | None:
    """The VM whose filter logged `line`: the last part of its source."""
    return None if line.wasm is None else line.wasm.source.rpartition(" ")[2]


def _is_failure(line: LogLine) -> bool:
    """Whether a line says that a VM failed, which Envoy logs without saying which one."""
    return line.logger == "wasm" and line.level >= LogLevel.ERROR and line.wasm is None


def _unexpected(_: Message) -> bytes:
    return encode_response(500, [], b"no request was expected\n")
