"""A plugin: one configuration at work in a VM, its plugin context, and the streams it filters."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy_wasm.abi.enums import BufferType, MapType
from proxy_wasm.emulator import http1, properties
from proxy_wasm.emulator.buffers import ConstantBuffer, ReadableBuffer
from proxy_wasm.emulator.clock import NANOSECONDS
from proxy_wasm.emulator.context import Context
from proxy_wasm.emulator.errors import ConfigurationRejected, StartRefused, VmFailed
from proxy_wasm.emulator.exchange import Disconnect, Exchange, Request
from proxy_wasm.emulator.failure_policy import FailurePolicy
from proxy_wasm.emulator.grpc_calls import GrpcCalls
from proxy_wasm.emulator.header_map import HeaderMap
from proxy_wasm.emulator.http_calls import HttpCalls
from proxy_wasm.emulator.http_stream import HttpStream
from proxy_wasm.emulator.received import Received
from proxy_wasm.emulator.tcp_stream import TcpStream

if TYPE_CHECKING:
    from proxy_wasm.emulator.vm import Vm


_LONGEST_BACKOFF = 1.5


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """How a proxy is configured to run the plugin."""

    configuration: bytes = b""
    root_id: str = ""
    name: str = ""
    failure_policy: FailurePolicy = FailurePolicy.CLOSED
    allow_on_headers_stop_iteration: bool = False
    """Envoy's option of the name: pausing in headers lets the body pass through the filter meanwhile."""
    reload_interval: float = 1.0
    """Seconds, at least, between a start of the plugin and the next where its policy is `RELOAD`."""


class Plugin(Context):
    """Made by `Emulator.start_plugin`."""

    def __init__(
        self,
        vm: "Vm",
        settings: PluginSettings,
        *,
        attributes: properties.Tree,
        reload: "Callable[[], Plugin] | None" = None,
    ) -> None:
        super().__init__(vm, vm.new_context_id())
        self.settings = settings
        self.root_id = settings.root_id
        self.workers: tuple[Plugin, ...] = (self,)
        """The plugin in each worker, this one in the first."""
        self.main: Plugin | None = None
        """The plugin in the proxy's main thread, if that has it too."""
        self._start_again = reload
        self._successor: Plugin | None = None
        self._last_load = vm.clock.monotonic_nanoseconds
        self.allow_on_headers_stop_iteration = settings.allow_on_headers_stop_iteration
        self.attributes = attributes
        """Properties that the test supplies for all streams."""
        self.wasm_attributes: properties.Tree = {
            "plugin_name": settings.name,
            "plugin_root_id": settings.root_id,
            "plugin_vm_id": vm.vm_id,
            "xds": properties.Group(
                {"node": {"id": "proxy-wasm", "cluster": "proxy-wasm", "user_agent_name": "envoy"}}
            ),
        }
        self.received = Received()
        """What the callout brought that the running callback tells of."""
        self.status: tuple[int, bytes] = (0, b"")
        """What `get_status` answers: the last code that a callout left, and its message while the callback runs that tells of it."""
        self.http_calls = HttpCalls(self)
        self.grpc_calls = GrpcCalls(self)
        self._configuring = False
        self._foreign_arguments = b""
        self._pending = False
        vm.contexts[self.context_id] = self

    def http_stream(self, *, attributes: properties.Properties | None = None) -> HttpStream:
        """A new HTTP stream through the filter; `attributes` are properties of this stream alone."""
        return HttpStream(self.serving(), attributes=properties.tree(attributes or {}))

    def tcp_stream(self, *, attributes: properties.Properties | None = None) -> TcpStream:
        """A new TCP connection through the filter; `attributes` are properties of this connection alone."""
        return TcpStream(self.serving(), attributes=properties.tree(attributes or {}))

    def passes_unfiltered(self, *, new: bool) -> bool:
        """Whether a stream passes without the plugin, whose VM has failed; `new` tells that it came after that."""
        policy = self.settings.failure_policy
        return policy is FailurePolicy.ALWAYS_OPEN or (new and policy is FailurePolicy.OPEN)

    @property
    def current(self) -> "Plugin":
        """What filters new streams: this, or what a reload has put in its place."""
        return self if self._successor is None else self._successor

    def serving(self) -> "Plugin":
        """`current`, reloaded where its policy says so, its VM has failed, and it is time."""
        plugin = self.current
        if plugin.vm.failed and not plugin.vm.crashed and self._start_again is not None and self._may_reload():
            self._last_load = self.vm.clock.monotonic_nanoseconds
            with suppress(StartRefused):
                self._successor = self._start_again()
                plugin.forget()
        return self.current

    def _may_reload(self) -> bool:
        if self.settings.failure_policy is not FailurePolicy.RELOAD:
            return False
        passed = self.vm.clock.monotonic_nanoseconds - self._last_load
        return passed >= self.settings.reload_interval * _LONGEST_BACKOFF * NANOSECONDS

    def exchange(
        self,
        request: Request | None = None,
        upstream: http1.Upstream | None = None,
        *,
        attributes: properties.Properties | None = None,
        chunk_size: int = 0,
        timeout: float = http1.TIMEOUT,
    ) -> Exchange:
        """Pass a whole request through the filter, as a proxy does for HTTP/1.1 (see `proxy_wasm.emulator.http1`).

        `upstream` answers what reaches it; unless told, with 200 and a small body. Bodies pass in their pieces, or else in pieces of
        `chunk_size` bytes, or in one where it is 0. While the filter pauses, the clock moves to whatever is due next; `StreamPaused` is raised where
        nothing is, or `timeout` seconds of the clock have passed.
        """
        stream = self.http_stream(attributes=attributes)
        start = len(self.vm.log)
        driver = http1.Driver(stream, upstream or http1.default_upstream, chunk_size)
        return driver.run(request or Request(), log_start=start, timeout=timeout)

    def abandon(
        self,
        request: Request,
        upstream: http1.Upstream | None = None,
        *,
        after: float | None = None,
        after_sending: int | None = None,
        after_receiving: int | None = None,
        attributes: properties.Properties | None = None,
        timeout: float = http1.TIMEOUT,
    ) -> Exchange:
        """As `exchange`, but the client disconnects at one of these moments (see `Disconnect`): the exchange as far as it came.

        Raises `StreamPaused` where it does not receive `after_receiving` bytes within `timeout` seconds of the clock.
        """
        start = len(self.vm.log)
        disconnect = Disconnect(after, after_sending, after_receiving)
        stream = self.http_stream(attributes=attributes)
        driver = http1.Driver(stream, upstream or http1.default_upstream, disconnect=disconnect)
        return driver.abandon(request, log_start=start, timeout=timeout)

    def start(self) -> None:
        """Create the plugin context, start and configure it; `ConfigurationRejected` or `VmFailed` where that fails."""
        log_start = len(self.vm.log)
        vm, context_id = self.vm, self.context_id
        self._configuring = True
        vm.call(self, "on_context_create", context_id, 0)
        self._configuring = False
        self._check(vm.call(self, "on_vm_start", context_id, len(vm.configuration), absent=1), "on_vm_start", log_start)
        self._configuring = True
        accepted = vm.call(self, "on_configure", context_id, len(self.settings.configuration), absent=1)
        self._configuring = False
        self._check(accepted, "on_configure", log_start)
        vm.shared.run_posted()

    def validate(self) -> None:
        """Create the plugin context, ask whether it could use its configuration, and drop it; raises as `start`."""
        log_start = len(self.vm.log)
        vm, context_id = self.vm, self.context_id
        vm.call(self, "on_context_create", context_id, 0)
        self._configuring = True
        accepted = vm.call(self, "validate_configuration", context_id, len(self.settings.configuration), absent=1)
        self._configuring = False
        self._check(accepted, "validate_configuration", log_start)
        self.close()

    def call_function(self, function_id: int, arguments: bytes = b"") -> None:
        """Call a function of the plugin by its number (`on_foreign_function`), as proxies with extensions of their own may."""
        self._foreign_arguments = arguments
        self.vm.call(self, "on_foreign_function", self.context_id, function_id, len(arguments))
        self._foreign_arguments = b""

    def _check(self, accepted: int, callback: str, log_start: int) -> None:
        logs = self.vm.log[log_start:]
        name = f"plugin {self.root_id!r}"
        if self.vm.failed:
            msg = f"{name}: the VM failed while it started"
            raise VmFailed(msg, logs)
        if not accepted:
            self.forget()
            msg = f"{name}: {callback} refused the configuration"
            raise ConfigurationRejected(msg, logs)

    def close(self) -> None:
        """The configuration goes away: `on_done`, and `on_delete` unless the plugin asks for more time (`done`)."""
        for plugin in (*self.workers, self.main):
            if plugin is not None:
                plugin.current.close_context()
        self.vm.shared.run_posted()

    def close_context(self) -> None:
        """As `close`, in this VM alone."""
        if self.context_id not in self.vm.contexts or self._pending:
            return
        if self.vm.call(self, "on_done", self.context_id, absent=1):
            self._delete()
        else:
            self._pending = True

    @property
    def closed(self) -> bool:
        """Whether the plugin context is gone."""
        return self.current.context_id not in self.current.vm.contexts

    def finish_closing(self) -> bool:
        """The plugin needs no more time; false where it had not asked for any."""
        if not self._pending:
            return False
        self._pending = False
        self.vm.after_call(self._delete)
        return True

    def _delete(self) -> None:
        self.vm.call(self, "on_delete", self.context_id)
        self.forget()

    def forget(self) -> None:
        """The plugin context is gone, whatever the guest makes of that."""
        self.vm.set_tick_period(self, 0)
        self.vm.contexts.pop(self.context_id, None)
        self.http_calls.cancel_all()
        self.grpc_calls.cancel_all()

    def tell(self, callback: str, call_id: int, *arguments: int) -> None:
        """Call a callback about a callout. What it brought (`received`) goes when the guest returns, before anything continues."""
        if not self.vm.failed and self.vm.guest.has(callback):
            self.vm.after_call(self._forget_received)
            self.vm.call(self, callback, self.context_id, call_id, *arguments)
        self._forget_received()

    def _forget_received(self) -> None:
        self.received.clear()
        self.status = (self.status[0], b"")

    # What the guest reaches.

    def configuration(self) -> bytes:
        return self.settings.configuration if self._configuring else super().configuration()

    @property
    def plugin(self) -> "Plugin":
        return self

    def buffer(self, buffer_type: BufferType) -> ReadableBuffer | None:
        if buffer_type == BufferType.PLUGIN_CONFIGURATION and self._configuring:
            return ConstantBuffer(self.settings.configuration)
        if buffer_type in (BufferType.HTTP_CALL_RESPONSE_BODY, BufferType.GRPC_CALL_MESSAGE):
            return self.received.buffer(buffer_type)
        if buffer_type == BufferType.FOREIGN_FUNCTION_ARGUMENTS:
            return ConstantBuffer(self._foreign_arguments)
        return super().buffer(buffer_type)

    def readable_map(self, map_type: MapType) -> HeaderMap | None:
        return self.received.maps.get(map_type)

    def get_property(self, path: bytes) -> bytes | None:
        return properties.look_up(path, [properties.of_the_proxy(self.attributes), self.wasm_attributes], None)

    def queue_ready(self, queue_id: int) -> None:
        """Tell the plugin of a new item once the event at hand is over."""
        self.vm.shared.post(lambda: self._tell_queue_ready(queue_id))

    def _tell_queue_ready(self, queue_id: int) -> None:
        if not self.closed:
            self.vm.call(self, "on_queue_ready", self.context_id, queue_id)
