"""A thread of the proxy: the VM that it has, and the plugins in there.

How Envoy goes about it (proxy-wasm-cpp-host, `wasm.cc`; Envoy, source/extensions/common/wasm/wasm.cc):

* Each thread has one VM for all plugins with equal `vm_id`, module and VM configuration. Once that has failed, the next plugin that is started
  or reloaded gets another one; those that were in the failed one stay there.
* A plugin whose policy is `RELOAD` is started again when a stream comes and its VM has failed, but not before the time to wait for has passed
  since it was last started, or since that was last tried. Envoy draws that time between the configured one and one and a half times of it;
  here it is the latter. Only traps are made good so; what crashes the proxy is not.
"""

from collections.abc import Callable

from proxy_wasm.emulator import properties
from proxy_wasm.emulator.plugin import Plugin, PluginSettings
from proxy_wasm.emulator.vm import Vm


class Worker:
    """One thread; its VM is made at once. `make` makes one, and raises what the Emulator does."""

    def __init__(self, make: Callable[[], Vm], attributes: properties.Tree) -> None:
        self._make = make
        self._attributes = attributes
        self.vm = make()
        """The VM that the next plugin starts in, unless it has failed."""

    def start(self, settings: PluginSettings) -> Plugin:
        """A new plugin; `ConfigurationRejected` or `VmFailed` where it does not start."""
        if self.vm.failed and not self.vm.crashed:
            self.vm = self._make()
        plugin = Plugin(self.vm, settings, attributes=self._attributes, reload=lambda: self.start(settings))
        plugin.start()
        return plugin
