"""The emulator: a Proxy-Wasm host without sockets, processes or time of its own."""

from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Self

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.emulator import properties
from proxy_wasm.emulator.clock import Clock
from proxy_wasm.emulator.clusters import Clusters
from proxy_wasm.emulator.errors import VmFailed
from proxy_wasm.emulator.failure_policy import FailurePolicy
from proxy_wasm.emulator.guest import GuestFactory
from proxy_wasm.emulator.log import Log
from proxy_wasm.emulator.observer import Observer
from proxy_wasm.emulator.plugin import Plugin, PluginSettings
from proxy_wasm.emulator.shared_state import SharedState
from proxy_wasm.emulator.vm import ForeignFunction, Surroundings, Vm
from proxy_wasm.emulator.worker import Worker


class Emulator:
    """A proxy with one VM, or with one in each of several workers.

    `guest_factory` is `native_guest(...)` or `wasm_guest(...)`. `environment` is what a compiled guest finds in its
    environment variables. Messages below `log_level` are dropped. `clock` starts at the real time and moves only by
    `clock.advance`. Emulators that are given the same `shared` are VMs of one proxy. `foreign_functions` take and return
    bytes and refuse with `HostError`; any other name is `NOT_FOUND`. `attributes` are properties of all streams, by path.
    `clusters` are what the guest can call, by name (see `proxy_wasm.emulator.clusters`). `observers` hear of all that crosses the boundary
    between host and guest (see `proxy_wasm.emulator.observer`). `allowed_capabilities` are the hostcalls and callbacks, as `proxy_log`, and
    functions of WASI that alone the guest gets; all, where none is named.

    `workers` is how many worker threads the proxy has, each with a VM and the plugins in it. With `main_thread` it does, too, what Envoy does
    in its main thread: a VM is initialized before all others and never used; each plugin is tried in a VM of its own, the canary, before it starts
    anywhere; and it then runs in the main thread as well, where no stream comes but ticks, callouts and queues do.

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
        allowed_capabilities: Collection[str] = (),
        workers: int = 1,
        main_thread: bool = False,
    ) -> None:
        self.log = Log(log_level)
        """Everything logged, oldest first."""
        self.clock = clock or Clock()
        self.shared = shared or SharedState()
        self._attributes = properties.tree(attributes or {})
        self._plugins: dict[PluginSettings, Plugin] = {}
        surroundings = Surroundings(
            self.log,
            self.clock,
            self.shared,
            foreign_functions or {},
            {} if clusters is None else clusters,
            observers,
            frozenset(allowed_capabilities) or None,
        )

        def make_vm(thread: str) -> Vm:
            vm = Vm(
                guest_factory,
                surroundings,
                vm_id=vm_id,
                configuration=vm_configuration,
                environment=environment or {},
                thread=thread,
            )
            if vm.failed:
                msg = "the VM failed while it started"
                raise VmFailed(msg, self.log)
            return vm

        self._make_vm = make_vm
        if main_thread:
            make_vm("main")
        self._workers = [self._worker(f"worker {number}") for number in range(workers)]
        self._main = self._worker("main") if main_thread else None

    def _worker(self, thread: str) -> Worker:
        return Worker(lambda: self._make_vm(thread), self._attributes)

    @property
    def _vm(self) -> Vm:
        """The VM of the first worker."""
        return self._workers[0].vm

    def start_plugin(
        self,
        configuration: bytes = b"",
        *,
        root_id: str = "",
        name: str = "",
        failure_policy: FailurePolicy = FailurePolicy.CLOSED,
        allow_on_headers_stop_iteration: bool = False,
        reload_interval: float = 1.0,
    ) -> Plugin:
        """A plugin with `configuration` in the VM of each worker: the first one's, which knows the others (`Plugin.workers`, `Plugin.main`).

        Where one runs already of which all is the same, it is that one. A VM that has failed is replaced by another. Raises
        `ConfigurationRejected` where the plugin refuses, with what it logged; `VmFailed` where it traps.
        """
        settings = PluginSettings(
            configuration, root_id, name, failure_policy, allow_on_headers_stop_iteration, reload_interval
        )
        running = self._plugins.get(settings)
        if running is not None and not running.closed and not running.current.vm.failed:
            return running
        if self._vm.crashed:
            msg = "the proxy has crashed, no plugin can start in it"
            raise VmFailed(msg, self.log)
        if self._main is not None:
            self._worker("canary").start(settings).forget()
        plugin, *others = (worker.start(settings) for worker in self._workers)
        plugin.workers = (plugin, *others)
        plugin.main = self._main.start(settings) if self._main is not None else None
        self._plugins[settings] = plugin
        return plugin

    def validate_configuration(self, configuration: bytes = b"", *, root_id: str = "") -> None:
        """Ask a plugin whether it could use `configuration` (`validate_configuration`), as Envoy never does.

        Raises `ConfigurationRejected` where the plugin refuses, with what it logged; `VmFailed` where it traps.
        """
        Plugin(self._vm, PluginSettings(configuration, root_id), attributes=self._attributes).validate()

    @property
    def failed(self) -> str:
        """How the VM of the first worker failed; empty while it runs."""
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
        """Bytes of the guest's memory in the first worker; 0 for a native guest, which has none of its own."""
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
