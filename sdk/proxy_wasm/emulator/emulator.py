"""The emulator: a Proxy-Wasm host without sockets, processes or time of its own."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.emulator import properties
from proxy_wasm.emulator.clock import Clock
from proxy_wasm.emulator.clusters import Clusters
from proxy_wasm.emulator.errors import VmFailed
from proxy_wasm.emulator.guest import GuestFactory
from proxy_wasm.emulator.log import Log
from proxy_wasm.emulator.observer import Observer
from proxy_wasm.emulator.plugin import Plugin, PluginSettings
from proxy_wasm.emulator.shared_state import SharedState
from proxy_wasm.emulator.vm import ForeignFunction, Surroundings, Vm


class Emulator:
    """A proxy with one VM.

    `guest_factory` is `native_guest(...)` or `wasm_guest(...)`. `environment` is what a compiled guest finds in its
    environment variables. Messages below `log_level` are dropped. `clock` starts at the real time and moves only by
    `clock.advance`. Emulators that are given the same `shared` are VMs of one proxy. `foreign_functions` take and return
    bytes and refuse with `HostError`; any other name is `NOT_FOUND`. `attributes` are properties of all streams, by path.
    `clusters` are what the guest can call, by name (see `proxy_wasm.emulator.clusters`). `observers` hear of all that crosses the boundary
    between host and guest (see `proxy_wasm.emulator.observer`).

    Raises `ModuleRefused` where a proxy would not load the module, and `VmFailed` where its initializers trap.
    """

    def __init__(  # noqa: PLR0913 - each is an option of its own, by name
        self,
        guest_factory: GuestFactory,
        *,
        vm_configuration: bytes = b"",
        environment: Mapping[str, str] | None = None,
        log_level: LogLevel = LogLevel.TRACE,
        clock: Clock | None = None,
        vm_id: str = "",
        shared: SharedState | None = None,
        foreign_functions: Mapping[str, ForeignFunction] | None = None,
        attributes: properties.Properties | None = None,
        clusters: Clusters | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.log = Log(log_level)
        """Everything logged, oldest first."""
        self.clock = clock or Clock()
        self.shared = shared or SharedState()
        self._attributes = properties.tree(attributes or {})
        self._plugins: dict[PluginSettings, Plugin] = {}
        surroundings = Surroundings(
            self.log, self.clock, self.shared, foreign_functions or {}, clusters or {}, observers
        )
        self._vm = Vm(
            guest_factory, surroundings, vm_id=vm_id, configuration=vm_configuration, environment=environment or {}
        )
        if self._vm.failed:
            msg = "the VM failed while it started"
            raise VmFailed(msg, self.log)

    def start_plugin(
        self,
        configuration: bytes = b"",
        *,
        root_id: str = "",
        name: str = "",
        fail_open: bool = False,
        allow_on_headers_stop_iteration: bool = False,
    ) -> Plugin:
        """A plugin with `configuration` in the VM; the one that runs already, where all of it is the same.

        Raises `ConfigurationRejected` where the plugin refuses, with what it logged; `VmFailed` where it traps.
        """
        settings = PluginSettings(configuration, root_id, name, fail_open, allow_on_headers_stop_iteration)
        running = self._plugins.get(settings)
        if running is not None and not running.closed:
            return running
        if self._vm.failed:
            msg = "the VM has failed, no plugin can start in it"
            raise VmFailed(msg, self.log)
        plugin = Plugin(self._vm, settings, attributes=self._attributes)
        plugin.start()
        self._plugins[settings] = plugin
        return plugin

    def validate_configuration(self, configuration: bytes = b"", *, root_id: str = "") -> None:
        """Ask a plugin whether it could use `configuration` (`validate_configuration`), as Envoy never does.

        Raises `ConfigurationRejected` where the plugin refuses, with what it logged; `VmFailed` where it traps.
        """
        Plugin(self._vm, PluginSettings(configuration, root_id), attributes=self._attributes).validate()

    @property
    def failed(self) -> str:
        """How the VM failed; empty while it runs."""
        return self._vm.failed

    @property
    def metrics(self) -> dict[str, int]:
        """Counters and gauges by name."""
        return self.shared.metrics.values()

    @property
    def histograms(self) -> dict[str, list[int]]:
        """The samples of histograms by name."""
        return self.shared.metrics.histograms()

    def memory_size(self) -> int:
        """Bytes of the guest's memory; 0 for a native guest, which has none of its own."""
        return self._vm.guest.memory_size()

    def close(self) -> None:
        """Shut all plugins down, as a proxy does when their configuration goes."""
        for plugin in self._plugins.values():
            plugin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
