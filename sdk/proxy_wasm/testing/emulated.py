"""The hosts in this process: the emulator with the plugin's own Python objects, or with the built module."""

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.emulator import (
    Clock,
    Emulator,
    Exchange,
    LogRecord,
    Plugin,
    Request,
    SharedState,
    StreamPaused,
    TcpStream,
    native_guest,
    wasm_guest,
)
from proxy_wasm.emulator.clock import NANOSECONDS
from proxy_wasm.emulator.clusters import Cluster
from proxy_wasm.emulator.exchange import Disconnect
from proxy_wasm.emulator.guest import GuestFactory
from proxy_wasm.emulator.properties import Path, Properties, Value
from proxy_wasm.testing.extension import Extension
from proxy_wasm.testing.forwarding import forwarded
from proxy_wasm.testing.hosts import PluginSettings, TcpUpstream, Upstream
from proxy_wasm.testing.watch import Fault, LiveContexts, NotOnThisHost, Watch
from proxy_wasm.tracing import Recorder, Trace

TIMEOUT = 30.0
"""Seconds of the clock that a client waits for what comes over a connection."""
CLOSING_TIME = 5.0
"""Seconds of the clock that a plugin which asks for time gets when it is stopped."""
_WATCHED_TOO = "continue_stream:"
"""How those words of the emulator's begin that say what the watch says too."""


@dataclass(frozen=True, slots=True)
class WatchedVm:
    """A VM, and what is seen of it."""

    emulator: Emulator
    watch: Watch
    recorder: Recorder
    host: Literal["native", "wasm"]


class EmulatedProxy:
    """What the plugins of one test share; it lasts from the first one's start to the last one's stop."""

    def __init__(self, clock_start: float) -> None:
        self.clock = Clock(clock_start)
        self.shared = SharedState()
        self.clusters: dict[str, Cluster] = {}
        self.vms: dict[tuple[object, ...], WatchedVm] = {}
        self._plugins: list[EmulatedPlugin] = []
        self._numbers = itertools.count()

    @property
    def is_running(self) -> bool:
        """Whether a plugin is left."""
        return bool(self._plugins)

    def new_vm_id(self) -> str:
        """The id of a VM that no other plugin is to share."""
        return f"vm-{next(self._numbers)}"

    def define(self, clusters: Mapping[str, Cluster]) -> None:
        """Add clusters for a plugin; `ValueError` where another one defines the same name otherwise."""
        clusters = forwarded(clusters)
        for name, cluster in clusters.items():
            if self.clusters.get(name, cluster) != cluster:
                msg = f"cluster {name!r}: another plugin defines it otherwise; give one of them a proxy of its own: isolated=True"
                raise ValueError(msg)
        self.clusters.update(clusters)

    def add(self, plugin: "EmulatedPlugin") -> None:
        """A plugin runs."""
        self._plugins.append(plugin)

    def remove(self, plugin: "EmulatedPlugin") -> None:
        """A plugin is gone, and what it alone could call with it."""
        self._plugins = [running for running in self._plugins if running is not plugin]
        self.undefine()

    def undefine(self) -> None:
        """Forget the clusters of plugins that do not run."""
        defined = [plugin.clusters for plugin in self._plugins]
        for name in [name for name in self.clusters if not any(name in clusters for clusters in defined)]:
            del self.clusters[name]


class EmulatedPlugin:
    """A plugin in an emulator."""

    def __init__(
        self, proxy: EmulatedProxy, vm: WatchedVm, plugin: Plugin, settings: PluginSettings, started: "_Before"
    ) -> None:
        self._proxy = proxy
        self._emulator = vm.emulator
        self._watch = vm.watch
        self._host = vm.host
        self._recorder = vm.recorder
        self._plugin = plugin
        self._properties = settings.properties
        self.clusters = settings.clusters
        """What it can call."""
        self._is_alone = not settings.vm_id
        self._log_start = started.log_size
        self._counters_before = started.counters
        self._faults_start = started.fault_count
        self._connections: list[EmulatedConnection] = []

    def exchange(self, request: Request, upstream: Upstream, timeout: float) -> Exchange:
        self._recorder.restart()
        return self._plugin.exchange(request, upstream, attributes=self._known(request.properties), timeout=timeout)

    def abandon(self, request: Request, upstream: Upstream, disconnect: Disconnect, timeout: float) -> Exchange:
        self._recorder.restart()
        return self._plugin.abandon(
            request,
            upstream,
            after=disconnect.after,
            after_sending=disconnect.after_sending,
            after_receiving=disconnect.after_receiving,
            attributes=self._known(request.properties),
            timeout=timeout,
        )

    def connect(self, upstream: TcpUpstream, properties: Properties | None = None) -> "EmulatedConnection":
        self._recorder.restart()
        stream = self._plugin.tcp_stream(attributes=self._known(properties or {}))
        self._connections.append(EmulatedConnection(self._emulator, stream, upstream))
        return self._connections[-1]

    def _known(self, properties: Properties) -> dict[Path, Value]:
        """What is known of one stream: `properties` come before those that all streams have."""
        return {**self._properties, **properties}

    def advance(self, seconds: float) -> None:
        self._proxy.clock.advance(seconds)
        for connection in self._connections:
            connection.let_upstream_answer()

    def trace(self, title: str) -> Trace:
        return self._recorder.trace(title=title, host=self._host)

    def logs(self) -> list[LogRecord]:
        said = self._emulator.log[self._log_start :]
        return [record for record in said if self._is_alone or record.root_id in ("", self._plugin.root_id)]

    def metrics(self) -> dict[str, int]:
        before = self._counters_before
        return {name: value - before.get(name, 0) for name, value in self._emulator.metrics.items()}

    @property
    def _watched_id(self) -> int | None:
        """The context of this plugin, where the VM has others."""
        return None if self._is_alone else self._plugin.current.context_id

    def live_contexts(self) -> LiveContexts:
        return self._watch.live_contexts(self._watched_id)

    def pending_callouts(self) -> int:
        return self._watch.pending_callouts(self._watched_id)

    def memory_size(self) -> int:
        size = self._plugin.current.vm.guest.memory_size()
        if not size:
            msg = "memory: a native plugin has none of its own; mark the test: @pytest.mark.hosts('wasm')"
            raise NotOnThisHost(msg)
        return size

    def shared_data(self, key: str) -> bytes | None:
        try:
            return self._proxy.shared.data.get(self._plugin.vm.vm_id.encode(), _key(key))[0]
        except HostError:
            return None

    def set_shared_data(self, key: str, value: bytes) -> None:
        self._proxy.shared.data.set(self._plugin.vm.vm_id.encode(), _key(key), value, 0)

    def faults(self) -> list[Fault]:
        own = self._watched_id
        seen = [
            fault for fault in self._watch.faults[self._faults_start :] if own is None or fault.plugin_id in (0, own)
        ]
        said = [
            Fault(record.message)
            for record in self.logs()
            if record.from_host and record.level >= LogLevel.WARN and not record.message.startswith(_WATCHED_TOO)
        ]
        return [*seen, *said]

    def stop(self) -> None:
        """Shut the plugin down, and with the last one the proxy."""
        plugin_id = self._watched_id
        for connection in self._connections:
            connection.end()
        self._plugin.close()
        clock = self._proxy.clock
        deadline = clock.monotonic_nanoseconds + round(CLOSING_TIME * NANOSECONDS)
        while not self._plugin.closed and clock.advance_to_next(deadline):
            pass
        self._watch.finish(plugin_id)
        self._proxy.remove(self)


def _key(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


class EmulatedConnection:
    """A client's connection to an upstream, through a filter in the emulator."""

    def __init__(self, emulator: Emulator, stream: TcpStream, upstream: TcpUpstream) -> None:
        self._emulator = emulator
        self._stream = stream
        self._answer = upstream
        self._log_start = len(emulator.log)
        self._answered = 0
        """How many bytes the upstream was called with."""
        self._read = 0
        stream.new_connection()
        self.let_upstream_answer()

    @property
    def received(self) -> bytes:
        return self._stream.downstream.passed

    @property
    def upstream_received(self) -> bytes:
        return self._stream.upstream.passed

    @property
    def closed(self) -> bool:
        return self._stream.closed

    def send(self, data: bytes, *, end_of_stream: bool = False) -> None:
        self._stream.downstream_data(data, end_of_stream)
        self.let_upstream_answer()

    def receive(self, size: int, *, timeout: float = TIMEOUT) -> bytes:
        self._wait(lambda: len(self.received) >= self._read + size, f"{size} bytes for the client", timeout)
        return self._take(self._read + size)

    def receive_all(self, *, timeout: float = TIMEOUT) -> bytes:
        self._wait(lambda: self._stream.downstream.ended or self.closed, "the end of the connection", timeout)
        return self._take(len(self.received))

    def wait_for_upstream(self, size: int, *, timeout: float = TIMEOUT) -> bytes:
        self._wait(lambda: len(self.upstream_received) >= size, f"{size} bytes for the upstream", timeout)
        return self.upstream_received

    def close(self, *, timeout: float = TIMEOUT) -> None:
        self._stream.downstream_data(b"", end_of_stream=True)
        self._wait(lambda: self.closed, "the end of the connection", timeout)

    def reset(self) -> None:
        self._stream.close()

    def end(self) -> None:
        """The proxy closes the connection, as its listener goes."""
        self._stream.refuse()

    def close_upstream(self) -> None:
        self._stream.upstream_data(b"", end_of_stream=True)
        self.let_upstream_answer()

    def logs(self) -> list[LogRecord]:
        return self._emulator.log[self._log_start :]

    def let_upstream_answer(self) -> None:
        """Call the upstream with what it got since the last time, and for its end."""
        stream = self._stream
        while self._answered < len(stream.upstream.passed) and not stream.closed:
            piece = stream.upstream.passed[self._answered :]
            self._answered += len(piece)
            answer = self._answer(piece)
            if answer:
                stream.upstream_data(answer)
        if stream.upstream.ended and not stream.downstream.finished:
            stream.upstream_data(b"", end_of_stream=True)

    def _wait(self, is_there: Callable[[], bool], what: str, timeout: float) -> None:
        """Move the clock until `is_there`; `StreamPaused` where that takes longer than `timeout` seconds."""
        clock = self._emulator.clock
        deadline = clock.monotonic_nanoseconds + round(timeout * NANOSECONDS)
        self.let_upstream_answer()
        while not is_there():
            if self.closed or not clock.advance_to_next(deadline):
                state = "the connection is closed" if self.closed else f"nothing brings it within {timeout:g} seconds"
                msg = f"waiting for {what}: {state}"
                raise StreamPaused(msg)
            self.let_upstream_answer()

    def _take(self, end: int) -> bytes:
        start, self._read = self._read, end
        return self.received[start:end]


@dataclass(frozen=True, slots=True)
class _Before:
    """How things were before a plugin was started."""

    log_size: int
    counters: dict[str, int]
    fault_count: int


class EmulatedHost:
    """The emulator; a module is compiled once for all plugins that are started from it."""

    def __init__(self, name: Literal["native", "wasm"], clock_start: Callable[[], float] = time.time) -> None:
        self._name: Literal["native", "wasm"] = name
        self._clock_start = clock_start
        self._guests: dict[Extension, GuestFactory] = {}
        self._proxy: EmulatedProxy | None = None

    @property
    def name(self) -> Literal["native", "wasm"]:
        return self._name

    def start(self, extension: Extension, settings: PluginSettings) -> EmulatedPlugin:
        proxy = self._proxy_for(settings)
        proxy.define(settings.clusters)
        try:
            plugin = self._start(proxy, extension, settings)
        except BaseException:
            proxy.undefine()
            raise
        proxy.add(plugin)
        return plugin

    def _proxy_for(self, settings: PluginSettings) -> EmulatedProxy:
        if settings.isolated:
            return EmulatedProxy(self._clock_start())
        if self._proxy is None or not self._proxy.is_running:
            self._proxy = EmulatedProxy(self._clock_start())
        return self._proxy

    def _start(self, proxy: EmulatedProxy, extension: Extension, settings: PluginSettings) -> EmulatedPlugin:
        counters = proxy.shared.metrics.counters()
        vm = self._vm(proxy, extension, settings)
        before = _Before(len(vm.emulator.log) if settings.vm_id else 0, counters, len(vm.watch.faults))
        plugin = vm.emulator.start_plugin(
            settings.configuration or b"",
            root_id=settings.root_id,
            allow_on_headers_stop_iteration=settings.allow_on_headers_stop_iteration,
            failure_policy=settings.failure_policy,
        )
        vm.watch.expect(plugin.vm.guest.has)
        return EmulatedPlugin(proxy, vm, plugin, settings, before)

    def _vm(self, proxy: EmulatedProxy, extension: Extension, settings: PluginSettings) -> WatchedVm:
        """The VM for a plugin: that of its `vm_id`, if it has one and it runs already."""
        environment = dict(settings.environment)
        configuration = settings.vm_configuration or b""
        key = (settings.vm_id, extension, configuration, settings.capabilities, *sorted(environment.items()))
        running = proxy.vms.get(key) if settings.vm_id else None
        vm_id = settings.vm_id or proxy.new_vm_id()
        for name, value in settings.shared_data.items():
            proxy.shared.data.set(vm_id.encode(), _key(name), value, 0)
        if running is not None and not running.emulator.failed:
            return running
        watch, recorder = Watch(), Recorder(proxy.clock)
        emulator = Emulator(
            self._guest(extension),
            vm_configuration=configuration,
            environment=environment,
            clock=proxy.clock,
            vm_id=vm_id,
            shared=proxy.shared,
            attributes=settings.properties,
            clusters=proxy.clusters,
            observers=[watch, recorder],
            allowed_capabilities=settings.capabilities,
        )
        recorder.follow(emulator.log)
        vm = WatchedVm(emulator, watch, recorder, self._name)
        if settings.vm_id:
            proxy.vms[key] = vm
        return vm

    def _guest(self, extension: Extension) -> GuestFactory:
        if extension not in self._guests:
            self._guests[extension] = (
                native_guest(extension.plugins())
                if self._name == "native"
                else wasm_guest(extension.module().read_bytes())
            )
        return self._guests[extension]

    def close(self) -> None:
        self._guests.clear()
