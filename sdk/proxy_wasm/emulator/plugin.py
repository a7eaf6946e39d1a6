"""A plugin: one configuration at work in a VM, its plugin context, and the streams it filters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy_wasm.abi.enums import BufferType
from proxy_wasm.emulator import http1, properties
from proxy_wasm.emulator.buffers import ConstantBuffer, ReadableBuffer
from proxy_wasm.emulator.context import Context
from proxy_wasm.emulator.errors import ConfigurationRejected, VmFailed
from proxy_wasm.emulator.exchange import Exchange, Request, UpstreamRequest, UpstreamResponse
from proxy_wasm.emulator.http_stream import HttpStream

if TYPE_CHECKING:
    from proxy_wasm.emulator.vm import Vm


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """How a proxy is configured to run the plugin."""

    configuration: bytes = b""
    root_id: str = ""
    name: str = ""
    fail_open: bool = False
    """Whether streams pass unfiltered once the VM has failed; otherwise they are answered with 503."""
    allow_on_headers_stop_iteration: bool = False
    """Envoy's option of the name: pausing in headers lets the body pass through the filter meanwhile."""


class Plugin(Context):
    """Made by `Emulator.start_plugin`."""

    def __init__(self, vm: "Vm", settings: PluginSettings, *, attributes: properties.Tree) -> None:
        super().__init__(vm, vm.new_context_id())
        self.settings = settings
        self.root_id = settings.root_id
        self.fail_open = settings.fail_open
        self.allow_on_headers_stop_iteration = settings.allow_on_headers_stop_iteration
        self.attributes = attributes
        """Properties that the test supplies for all streams."""
        self.wasm_attributes: properties.Tree = {
            "plugin_name": settings.name,
            "plugin_root_id": settings.root_id,
            "plugin_vm_id": vm.vm_id,
        }
        self._configuring = False
        self._pending = False
        vm.contexts[self.context_id] = self

    def http_stream(self, *, attributes: properties.Properties | None = None) -> HttpStream:
        """A new HTTP stream through the filter; `attributes` are properties of this stream alone."""
        return HttpStream(self, attributes=properties.tree(attributes or {}))

    def exchange(
        self,
        request: Request | None = None,
        upstream: Callable[[UpstreamRequest], UpstreamResponse] | None = None,
        *,
        attributes: properties.Properties | None = None,
        chunk_size: int = 0,
    ) -> Exchange:
        """Pass a whole request through the filter, as a proxy does for HTTP/1.1 (see `proxy_wasm.emulator.http1`).

        `upstream` answers what reaches it; unless told, with 200 and a small body. Bodies pass in pieces of `chunk_size`
        bytes, or in one where it is 0. Raises `StreamPaused` where the filter pauses and nothing could ever continue it.
        """
        stream = self.http_stream(attributes=attributes)
        start = len(self.vm.log)
        driver = http1.Driver(stream, upstream or http1.default_upstream, chunk_size)
        return driver.run(request or Request(), log_start=start)

    def start(self) -> None:
        """Create the plugin context, start and configure it; `ConfigurationRejected` or `VmFailed` where that fails."""
        log_start = len(self.vm.log)
        vm, context_id = self.vm, self.context_id
        vm.call(self, "on_context_create", context_id, 0)
        self._check(vm.call(self, "on_vm_start", context_id, len(vm.configuration), absent=1), "on_vm_start", log_start)
        self._configuring = True
        accepted = vm.call(self, "on_configure", context_id, len(self.settings.configuration), absent=1)
        self._configuring = False
        self._check(accepted, "on_configure", log_start)
        vm.shared.run_posted()

    def _check(self, accepted: int, callback: str, log_start: int) -> None:
        logs = self.vm.log[log_start:]
        name = f"plugin {self.root_id!r}"
        if self.vm.failed:
            msg = f"{name}: the VM failed while it started"
            raise VmFailed(msg, logs)
        if not accepted:
            self.vm.contexts.pop(self.context_id, None)
            msg = f"{name}: {callback} refused the configuration"
            raise ConfigurationRejected(msg, logs)

    def close(self) -> None:
        """The configuration goes away: `on_done`, and `on_delete` unless the plugin asks for more time (`done`)."""
        if self.context_id not in self.vm.contexts or self._pending:
            return
        if self.vm.call(self, "on_done", self.context_id, absent=1):
            self._delete()
        else:
            self._pending = True
        self.vm.shared.run_posted()

    @property
    def closed(self) -> bool:
        """Whether the plugin context is gone."""
        return self.context_id not in self.vm.contexts

    def finish_closing(self) -> bool:
        """The plugin needs no more time; false where it had not asked for any."""
        if not self._pending:
            return False
        self._pending = False
        self.vm.after_call(self._delete)
        return True

    def _delete(self) -> None:
        self.vm.call(self, "on_delete", self.context_id)
        self.vm.set_tick_period(self, 0)
        self.vm.contexts.pop(self.context_id, None)

    # What the guest reaches.

    @property
    def plugin(self) -> "Plugin":
        return self

    def buffer(self, buffer_type: BufferType) -> ReadableBuffer | None:
        if buffer_type == BufferType.PLUGIN_CONFIGURATION and self._configuring:
            return ConstantBuffer(self.settings.configuration)
        return super().buffer(buffer_type)

    def get_property(self, path: bytes) -> bytes | None:
        return properties.look_up(path, [self.attributes, self.wasm_attributes], None)

    def queue_ready(self, queue_id: int) -> None:
        """Tell the plugin of a new item once the event at hand is over."""
        self.vm.shared.post(lambda: self._tell_queue_ready(queue_id))

    def _tell_queue_ready(self, queue_id: int) -> None:
        if not self.closed:
            self.vm.call(self, "on_queue_ready", self.context_id, queue_id)
