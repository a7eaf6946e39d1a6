"""The callbacks of plugin contexts: their configuration, and everything that the host answers or announces to them."""

# As `http_callbacks`.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

from collections.abc import Callable
from typing import Any

from proxy_wasm.abi.enums import BufferType
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.configuration import Configuration
from proxy_wasm.contexts import PluginContext
from proxy_wasm.grpc import unstarted
from proxy_wasm.host import PLUGIN
from proxy_wasm.shared_queues import SharedQueue
from proxy_wasm.tasks import Task, is_coroutine, start
from proxy_wasm.vm_state import VmState, bad_result, expect_none


class PluginCallbacks(VmState):
    """The callbacks of plugin contexts."""

    def on_vm_start(self, context_id: int, configuration_size: int) -> int:
        return self._start(context_id, "on_vm_start", BufferType.VM_CONFIGURATION, configuration_size)

    def on_configure(self, context_id: int, configuration_size: int) -> int:
        return self._start(context_id, "on_configure", BufferType.PLUGIN_CONFIGURATION, configuration_size)

    def validate_configuration(self, context_id: int, configuration_size: int) -> int:
        return self._start(context_id, "validate_configuration", BufferType.PLUGIN_CONFIGURATION, configuration_size)

    def _start(self, context_id: int, callback: str, buffer: BufferType, size: int) -> int:
        self._keep_reserve()
        plugin = self._enter_plugin(context_id)
        if plugin is None:  # its failure was logged when the host created it
            return 0
        try:
            raw = self._hostcalls.get_buffer_bytes(int(buffer), 0, size) if size else b""
            in_use = plugin.configuration
            if buffer is BufferType.VM_CONFIGURATION:
                plugin.vm_configuration = Configuration(raw, "VM configuration")
            else:
                plugin.configuration = Configuration(raw, "configuration")
            try:
                expect_none(getattr(plugin, callback)())
            finally:
                if callback == "validate_configuration":  # it was only asked about
                    plugin.configuration = in_use
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            self._report(f"{type(plugin).__name__}.{callback}", error)
            return 0
        self._directions.run()
        return 1

    def _enter_plugin(self, context_id: int) -> PluginContext | None:
        self._log.asked_by = -1
        self._host.context_id = context_id
        self._host.phase = PLUGIN
        return self._plugins.get(context_id)

    def _call_plugin(
        self, plugin: PluginContext, what: str, function: Callable[..., object], *arguments: object
    ) -> None:
        """Call an author's function that may be `async`, and whose failure is no stream's."""
        try:
            result = function(*arguments)
            if is_coroutine(result):
                start(plugin, result, PLUGIN)
            elif result is not None:
                raise bad_result(result, "None")  # noqa: TRY301 - handled as what authors raise
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            self._report(f"{type(plugin).__name__}.{what}", error)

    # Time

    def on_tick(self, context_id: int) -> None:
        plugin = self._enter_plugin(context_id)
        if plugin is None:
            return
        timers = plugin._own_timers
        for timer in timers.due():
            self._call_plugin(plugin, "timer", timer.fire)
        self._directions.run()
        self._host.context_id = context_id
        self._timed(plugin)

    def _timed(self, plugin: PluginContext) -> None:
        try:
            self._hostcalls.set_effective_context(plugin.context_id)
            plugin._own_timers.rearm()
        except HostError as error:
            self._report(f"{type(plugin).__name__}: timers", error)

    # Answers to callouts

    def on_http_call_response(
        self, context_id: int, call_id: int, num_headers: int, body_size: int, num_trailers: int
    ) -> None:
        host = self._host
        self._log.asked_by = -1  # as in `_enter_plugin`
        host.context_id = context_id
        host.phase = PLUGIN
        plugin = self._plugins.get(context_id)
        call = None if plugin is None else plugin._http_calls.pop(call_id, None)
        if call is None:  # nobody waits for it any more
            return
        try:
            call.receive(num_headers, body_size, num_trailers)
        except BaseException as error:  # noqa: BLE001 - as in `_receive`
            call.set_exception(error)
        if not host.may_be_nested:
            self._directions.run()

    def on_grpc_receive_initial_metadata(self, context_id: int, call_id: int, num_elements: int) -> None:
        call = self._grpc_call(context_id, call_id)
        if call is not None:
            self._receive(call, lambda: call._on_initial_metadata(num_elements))

    def on_grpc_receive(self, context_id: int, call_id: int, message_size: int) -> None:
        call = self._grpc_call(context_id, call_id)
        if call is not None:
            self._receive(call, lambda: call._on_message(message_size))

    def on_grpc_receive_trailing_metadata(self, context_id: int, call_id: int, num_elements: int) -> None:
        call = self._grpc_call(context_id, call_id)
        if call is not None:
            self._receive(call, lambda: call._on_trailing_metadata(num_elements))

    def on_grpc_close(self, context_id: int, call_id: int, status_code: int) -> None:
        call = self._grpc_call(context_id, call_id)
        if call is not None:
            self._plugins[context_id]._grpc_calls.pop(call_id, None)
        elif (plugin := self._plugins.get(context_id)) is not None:
            call = unstarted(plugin._grpc_calls)
            if call is not None:
                self._enter_plugin(context_id)
        if call is not None:
            self._receive(call, lambda: call._on_close(status_code))

    def _grpc_call(self, context_id: int, call_id: int) -> Any:  # noqa: ANN401 - a call or a stream
        """The call of that number; nothing is touched where there is none.

        Envoy tells of a stream that it cannot start before `proxy_grpc_stream` has returned (seen in 1.40), and may do so of one that breaks
        while something is sent over it.
        """
        plugin = self._plugins.get(context_id)
        call = None if plugin is None else plugin._grpc_calls.get(call_id)
        if call is not None and not self._host.may_be_nested:
            self._enter_plugin(context_id)
        return call

    def _receive(self, call: Any, receive: Callable[[], None]) -> None:  # noqa: ANN401 - of any protocol
        try:
            receive()
        except BaseException as error:  # noqa: BLE001 - out of memory, most likely: whoever waits has to hear of it
            call.set_exception(error)
        if not self._host.may_be_nested:
            self._directions.run()

    # What others announce

    def on_queue_ready(self, context_id: int, queue_id: int) -> None:
        plugin = self._enter_plugin(context_id)
        if plugin is None:
            return
        queue = plugin._queues.get(queue_id)
        if queue is None:  # registered by a raw hostcall
            queue = SharedQueue(self._hostcalls, queue_id, "")
        self._call_plugin(plugin, "on_queue_ready", plugin.on_queue_ready, queue)
        self._directions.run()

    def on_foreign_function(self, context_id: int, function_id: int, arguments_size: int) -> None:
        plugin = self._enter_plugin(context_id)
        stream = self._streams.get(context_id)
        if plugin is None and stream is not None:
            plugin = stream.plugin
        if plugin is None:
            return
        try:
            arguments = (
                self._hostcalls.get_buffer_bytes(int(BufferType.FOREIGN_FUNCTION_ARGUMENTS), 0, arguments_size)
                if arguments_size
                else b""
            )
        except HostError as error:
            self._report(f"{type(plugin).__name__}.on_foreign_function", error)
            return
        self._call_plugin(plugin, "on_foreign_function", plugin.on_foreign_function, function_id, arguments)
        self._directions.run()

    # The end

    def _plugin_done(self, plugin: PluginContext) -> int:
        """Whether the host may drop the plugin now."""
        self._host.phase = PLUGIN
        try:
            result = plugin.on_done()
            if is_coroutine(result):
                task: Task[Any] = start(plugin, result, PLUGIN)
                self._directions.run()
                if not task.done():
                    task._watch(lambda _: self._done_later(plugin, task))
                    return 0
                result = task.result()
            if result is False:
                return 0
            if result is not None and result is not True:
                raise bad_result(result, "None, or False where the plugin calls done() later")  # noqa: TRY301 - as what authors raise
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            self._report(f"{type(plugin).__name__}.on_done", error)
        plugin._end_tasks()
        return 1

    def _done_later(self, plugin: PluginContext, task: Task[Any]) -> None:
        """The coroutine of `on_done` has ended."""
        if plugin.gone:
            return
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._report(f"{type(plugin).__name__}.on_done", error)
        elif not task.cancelled() and task.result() is False:
            return
        try:
            plugin.done()
        except BaseException as refused:  # noqa: BLE001 - nothing may leave a callback
            self._report(f"{type(plugin).__name__}.on_done", refused)
