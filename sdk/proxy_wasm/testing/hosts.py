"""The three hosts behind one interface: a plugin is started from an extension with settings, and exchanges go through it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from proxy_wasm.emulator import Exchange, LogRecord, Request, UpstreamRequest, UpstreamResponse
from proxy_wasm.testing.extension import Extension

HostName: TypeAlias = Literal["native", "wasm", "envoy"]
HOST_NAMES: tuple[HostName, ...] = ("native", "wasm", "envoy")

Upstream: TypeAlias = Callable[[UpstreamRequest], UpstreamResponse]
"""What stands behind the proxy."""


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """How a plugin is configured."""

    configuration: bytes | None = None
    vm_configuration: bytes | None = None
    root_id: str = ""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    isolated: bool = False
    """Whether the plugin gets a proxy process of its own, where there are processes."""


class RunningPlugin(Protocol):
    """A configured plugin that requests can be sent through."""

    def exchange(self, request: Request, upstream: Upstream, timeout: float) -> Exchange:
        """One request with everything that came of it.

        Raises `StreamPaused` where it is never answered, in Envoy after `timeout` seconds.
        """
        ...

    def logs(self) -> list[LogRecord]:
        """What the plugin logged since it was started, its configuration included."""
        ...

    def metrics(self) -> dict[str, int]:
        """Counters and gauges by name."""
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


def open_host(name: HostName) -> Host:
    """The host of that name; nothing is started before it is used."""
    # Each host needs a heavy package that the others do without: wasmtime, or a whole Envoy.
    if name == "envoy":
        from proxy_wasm.testing.envoy_host import EnvoyHost  # noqa: PLC0415

        return EnvoyHost()
    from proxy_wasm.testing.emulated import EmulatedHost  # noqa: PLC0415

    return EmulatedHost(name)
