"""The three hosts behind one interface: a plugin is started from an extension with settings, and exchanges go through it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from proxy_wasm.emulator import Exchange, FailurePolicy, LogRecord, Request, UpstreamRequest
from proxy_wasm.emulator.clusters import Cluster
from proxy_wasm.emulator.exchange import Disconnect
from proxy_wasm.emulator.http1 import Answer
from proxy_wasm.emulator.properties import Path, Properties, Value
from proxy_wasm.testing.extension import Extension
from proxy_wasm.testing.watch import Fault, LiveContexts
from proxy_wasm.tracing import Trace

HostName: TypeAlias = Literal["native", "wasm", "envoy"]
HOST_NAMES: tuple[HostName, ...] = ("native", "wasm", "envoy")

Upstream: TypeAlias = Callable[[UpstreamRequest], Answer]
"""What stands behind the proxy: from a request to the response, or `Closing()` or `Silent()` in its place."""

TcpUpstream: TypeAlias = Callable[[bytes], bytes | None]
"""What stands behind a proxy of connections: called with each piece that arrives; what it returns, if any, is sent back."""


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """How a plugin is configured."""

    configuration: bytes | None = None
    vm_configuration: bytes | None = None
    root_id: str = ""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    isolated: bool = False
    """Whether the plugin gets a proxy process of its own, where there are processes."""
    clusters: Mapping[str, Cluster] = field(default_factory=dict[str, Cluster])
    """What the proxy's clusters are, by name. They belong to the proxy: all plugins of a test can call them."""
    vm_id: str = ""
    """Plugins with an equal one that is not empty, of one module and VM configuration, share a VM."""
    allow_on_headers_stop_iteration: bool = False
    """Envoy's option of the name: pausing in headers lets the body pass through the filter meanwhile."""
    network: bool = False
    """Whether the plugin filters connections (`connect`), not HTTP streams (`exchange`)."""
    properties: Properties = field(default_factory=dict[Path, Value])
    """What the proxy knows of itself and of every stream, by path."""
    shared_data: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """What is there already when the plugin starts."""
    observed_properties: tuple[str, ...] = ()
    """The names of properties that the plugin sets and a test looks at; where they can't be seen otherwise, only these are."""
    strict: bool = False
    """Whether a fault of the plugin fails the test; see `proxy_wasm.testing.strict`."""
    allowed_faults: tuple[str, ...] = ()
    """Regular expressions of faults that do not."""
    failure_policy: FailurePolicy = FailurePolicy.CLOSED
    """What becomes of streams once the plugin's VM has failed."""
    capabilities: tuple[str, ...] = ()
    """The hostcalls and callbacks, as `proxy_log`, and functions of WASI that alone the plugin gets; all of them where none is named."""


class Connection(Protocol):
    """A client's TCP connection through a filter, and the connection of the proxy to the upstream behind it.

    The methods are the client's, but for `close_upstream`. Waiting is for real in Envoy; in the emulator it moves the clock.
    """

    @property
    def received(self) -> bytes:
        """All that the client has got so far."""
        ...

    @property
    def upstream_received(self) -> bytes:
        """All that the upstream has got so far."""
        ...

    @property
    def closed(self) -> bool:
        """Whether the connection of the client is over, whoever ended it."""
        ...

    def send(self, data: bytes, *, end_of_stream: bool = False) -> None:
        """Send `data`; with `end_of_stream` it is the last (the client closes its side and may still receive)."""
        ...

    def receive(self, size: int, *, timeout: float = ...) -> bytes:
        """The next `size` bytes that no `receive` has returned yet.

        Raises `StreamPaused` where fewer come within `timeout` seconds or before the connection is closed.
        """
        ...

    def receive_all(self, *, timeout: float = ...) -> bytes:
        """What no `receive` has returned yet, once the upstream's side has ended or the connection is closed.

        Raises `StreamPaused` where neither happens within `timeout` seconds.
        """
        ...

    def wait_for_upstream(self, size: int, *, timeout: float = ...) -> bytes:
        """All that the upstream has got, once that is `size` bytes; raises `StreamPaused` as `receive` does."""
        ...

    def close(self, *, timeout: float = ...) -> None:
        """The client ends its side and waits until the proxy has closed the connection.

        The upstream closes its own once it is told of that end. Raises `StreamPaused` as `receive` does, where the filter keeps the end.
        """
        ...

    def reset(self) -> None:
        """The client's connection breaks (a TCP reset); returns once the proxy is done with it."""
        ...

    def close_upstream(self) -> None:
        """The upstream closes its connection."""
        ...

    def logs(self) -> list[LogRecord]:
        """What was logged since the connection was opened."""
        ...


class RunningPlugin(Protocol):
    """A configured plugin that requests or, with `network`, connections can be sent through."""

    def exchange(self, request: Request, upstream: Upstream, timeout: float) -> Exchange:
        """One request with everything that came of it.

        Raises `StreamPaused` where it is not answered within `timeout` seconds: in the emulator those of its clock, which
        moves only to the moments at which something is due.
        """
        ...

    def abandon(self, request: Request, upstream: Upstream, disconnect: Disconnect, timeout: float) -> Exchange:
        """One request whose client disconnects at a moment: the exchange as far as it came by then.

        Raises `StreamPaused` where the client does not receive within `timeout` seconds what it waits for.
        """
        ...

    def connect(self, upstream: TcpUpstream, properties: Properties | None = None) -> Connection:
        """A connection through the filter to an upstream that answers each piece it gets."""
        ...

    def advance(self, seconds: float) -> None:
        """Let time pass: in the emulator that of its clock, in Envoy real time."""
        ...

    def logs(self) -> list[LogRecord]:
        """What the plugin logged since it was started, its configuration included."""
        ...

    def trace(self, title: str) -> Trace:
        """What went on between the proxy and the plugin since the last exchange or connection began, or the plugin was started."""
        ...

    def metrics(self) -> dict[str, int]:
        """Counters and gauges by name."""
        ...

    def live_contexts(self) -> LiveContexts:
        """The contexts that live in the plugin's VM."""
        ...

    def pending_callouts(self) -> int:
        """How many callouts are under way."""
        ...

    def memory_size(self) -> int:
        """Bytes of the VM's memory; `NotOnThisHost` where there is none of its own, or it can't be seen."""
        ...

    def shared_data(self, key: str) -> bytes | None:
        """A value of the VM's shared data; `None` where there is none."""
        ...

    def set_shared_data(self, key: str, value: bytes) -> None:
        """Set a value of the VM's shared data, whatever it was."""
        ...

    def faults(self) -> list[Fault]:
        """What the plugin did so far that no plugin should; see `proxy_wasm.testing.watch`."""
        ...

    def stop(self) -> None: ...


class Host(Protocol):
    """Something that plugins run on."""

    @property
    def name(self) -> HostName: ...

    def start(self, extension: Extension, settings: PluginSettings) -> RunningPlugin:
        """Start a plugin in a VM of its own.

        Raises `ConfigurationRejected` where the plugin refuses its configuration.
        """
        ...

    def close(self) -> None:
        """End everything that the host has started."""
        ...


def open_host(name: HostName, clock_start: Callable[[], float] = time.time) -> Host:
    """The host of that name; nothing is started before it is used.

    `clock_start` says when the wall clock of an emulated proxy starts, in seconds since 1970.
    """
    # Each host needs a heavy package that the others do without: wasmtime, or a whole Envoy.
    if name == "envoy":
        from proxy_wasm.testing.envoy_host import EnvoyHost  # noqa: PLC0415

        return EnvoyHost()
    from proxy_wasm.testing.emulated import EmulatedHost  # noqa: PLC0415

    return EmulatedHost(name, clock_start)
