"""From the host's callbacks, numbers in and numbers out, to the objects of an author's classes.

Theory of operation
-------------------

The host names contexts by number. A context without parent is a plugin context, every other an HTTP stream of the plugin context that is its
parent. `on_context_create` makes the object, `on_delete` forgets it, and what comes between finds it in a dictionary. Hosts may
repeat `on_context_create` and `on_vm_start` for a plugin context (Envoy does, `WasmBase::start`): the object stays.

No exception leaves a callback, for it would end the VM and with it every stream of the worker. What happens instead:

- in `on_vm_start` and `on_configure`: the configuration is refused; `ConfigurationError` is the author's way to say so, anything else
  is logged with its traceback;
- in a request or response callback: logged with its traceback; the stream is answered with a local 500, or closed where its response's
  headers are already on their way to the client, or goes on unfiltered where the plugin says `fail_open`. From then on a stand-in (`Answered`,
  `Closed`, `Passed`) takes the place of the author's object, which hears no more of it;
- while a stream's object is made: the same, at the stream's first callback (`Unmade`), since there is nothing to answer before;
- in `on_log` and `on_done`: logged, no more.

That path must work when memory is short: the stand-ins exist from the start, the last resort of each step is a constant, and a reserve of
memory is given up for it.

In Wasm every exception is caught, `SystemExit` and `KeyboardInterrupt` too. In a native test `KeyboardInterrupt` passes, since it is meant
for the test run.

The stream callbacks are written out, six times nearly the same, because they are what a request costs.
"""

# The dispatcher is the other half of the contexts: it alone keeps their state. What the ABI passes is not always of use.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001, ARG002

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from proxy_wasm.abi.callbacks import LIFECYCLE_CALLBACKS
from proxy_wasm.abi.enums import NO_GRPC_STATUS, Action, BufferType, StreamType
from proxy_wasm.abi.hostcalls import Hostcalls, HostError
from proxy_wasm.configuration import Configuration
from proxy_wasm.contexts import (
    ANSWERED,
    GONE,
    REQUEST_PAUSED,
    RESET,
    RESPONSE_HEADERS_HELD,
    RESPONSE_PAUSED,
    HttpContext,
    PluginContext,
    make_plugin,
)
from proxy_wasm.errors import ConfigurationError
from proxy_wasm.failed_streams import Answered, Closed, NotMadeError, Passed, Unmade
from proxy_wasm.failures import forget_locals, log_error, report
from proxy_wasm.host import (
    CALLBACK_OF_PHASE,
    END,
    PLUGIN,
    REQUEST_BODY,
    REQUEST_HEADERS,
    REQUEST_TRAILERS,
    RESPONSE_BODY,
    RESPONSE_HEADERS,
    RESPONSE_TRAILERS,
    Host,
)
from proxy_wasm.log import ProxyLog, log_bytes

Stream = HttpContext[Any]

FAILURE_STATUS = 500
FAILURE_DETAILS = b"python_exception"
"""The response code's details of the local response to a stream whose callback failed."""

_RESERVE = 65_536
"""Bytes of memory that are kept for the end of a stream whose callback has taken all other memory."""

_CONTINUE, _PAUSE = int(Action.CONTINUE), int(Action.PAUSE)
_LAST_ACTION = 4
"""The largest number that Envoy's filter statuses have."""


def used_callbacks() -> list[str]:
    """Names of the callbacks that a module has to export: those of every life cycle, and all that a loaded class overrides."""
    return [name for name in _callback_names() if name in LIFECYCLE_CALLBACKS or _is_overridden(name)]


def _callback_names() -> list[str]:
    return [name for name in vars(Dispatcher) if name.startswith("on_")]


def _is_overridden(name: str) -> bool:
    for base in (PluginContext, HttpContext):
        default = getattr(base, name, None)
        if any(getattr(derived, name, None) is not default for derived in _descendants(base)):
            return True
    return False


def _descendants(base: type) -> list[type]:
    found: list[type] = []
    for derived in base.__subclasses__():
        if derived.__module__ != Unmade.__module__:
            found += [derived, *_descendants(derived)]
    return found


class Dispatcher:
    """The callbacks of one VM: `proxy_wasm.abi.callbacks.Callbacks` for authors' plugin classes.

    `plugins` maps each `root_id` to its class; "" stands for every `root_id` that is not named, and so does a plugin that is the
    only one. `native` says that the interpreter is not a compiled guest's but that of a test.
    """

    def __init__(
        self, plugins: Mapping[str, type[PluginContext]], hostcalls: Hostcalls, *, native: bool = True
    ) -> None:
        self._plugin_classes = dict(plugins)
        self._hostcalls = hostcalls
        self._native = native
        self._host = Host(hostcalls)
        self._plugins: dict[int, PluginContext] = {}
        self._streams: dict[int, Stream] = {}
        self._log = ProxyLog(hostcalls)
        self._reserve = bytearray()
        self._no_plugin = make_plugin(PluginContext, 0, "", self._host)
        self._passed, self._answered, self._closed = (
            stand_in(self._no_plugin) for stand_in in (Passed, Answered, Closed)
        )
        if native:
            for name in _callback_names():
                setattr(self, name, self._logging(getattr(self, name)))
        else:
            self._log.install()

    def _logging(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: int) -> Any:  # noqa: ANN401 - as the callback
            with self._log:
                return callback(*arguments)

        return run

    # Contexts

    def on_context_create(self, context_id: int, parent_context_id: int) -> None:
        self._log.stale = True
        self._host.context_id = context_id
        if parent_context_id:
            self._host.phase = END
            if context_id not in self._streams:
                self._make_stream(context_id, self._plugins.get(parent_context_id))
        else:
            self._host.phase = PLUGIN
            if context_id not in self._plugins:
                self._make_plugin(context_id)

    def _make_plugin(self, context_id: int) -> None:
        try:
            root_id = (self._hostcalls.get_property(b"plugin_root_id") or b"").decode("utf-8", "surrogateescape")
            plugin_class = self._plugin_class(root_id)
            self._plugins[context_id] = make_plugin(plugin_class, context_id, root_id, self._host)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            self._report("the plugin's constructor", error)

    def _plugin_class(self, root_id: str) -> type[PluginContext]:
        plugin_class = self._plugin_classes.get(root_id) or self._plugin_classes.get("")
        if plugin_class is None and len(self._plugin_classes) == 1:
            (plugin_class,) = self._plugin_classes.values()
        if plugin_class is None:
            named = ", ".join(sorted(self._plugin_classes)) or "none"
            msg = f"root_id {root_id!r}: no such plugin in this module; it has {named}"
            raise ConfigurationError(msg)
        return plugin_class

    def _make_stream(self, context_id: int, plugin: PluginContext | None) -> Stream:
        if plugin is None:
            plugin = next(iter(self._plugins.values())) if len(self._plugins) == 1 else self._no_plugin
        try:
            if plugin is self._no_plugin:
                msg = f"stream {context_id}: no plugin was started for it"
                raise LookupError(msg)  # noqa: TRY301 - handled as what authors raise
            stream = _checked_stream(plugin, context_id, plugin.http_context())
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            stream = Unmade(plugin)
            self._report(f"{type(plugin).__name__}.http_context", error)
        self._streams[context_id] = stream
        return stream

    def on_delete(self, context_id: int) -> None:
        stream = self._streams.pop(context_id, None)
        if stream is None:
            self._plugins.pop(context_id, None)
        else:
            stream._state |= GONE

    # Plugins

    def on_vm_start(self, context_id: int, configuration_size: int) -> int:
        return self._start(context_id, "on_vm_start", BufferType.VM_CONFIGURATION, configuration_size)

    def on_configure(self, context_id: int, configuration_size: int) -> int:
        return self._start(context_id, "on_configure", BufferType.PLUGIN_CONFIGURATION, configuration_size)

    def _start(self, context_id: int, callback: str, buffer: BufferType, size: int) -> int:
        self._log.stale = True
        self._host.context_id = context_id
        self._host.phase = PLUGIN
        self._keep_reserve()
        plugin = self._plugins.get(context_id)
        if plugin is None:  # its failure was logged when the host created it
            return 0
        try:
            raw = self._hostcalls.get_buffer_bytes(int(buffer), 0, size) if size else b""
            if buffer is BufferType.VM_CONFIGURATION:
                plugin.vm_configuration = Configuration(raw, "VM configuration")
                result: object = plugin.on_vm_start()
            else:
                plugin.configuration = Configuration(raw, "configuration")
                result = plugin.on_configure()
            _expect_none(result)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            self._report(f"{type(plugin).__name__}.{callback}", error)
            return 0
        return 1

    # Streams

    def on_request_headers(self, context_id: int, num_headers: int, end_of_stream: int) -> int:
        host = self._host
        host.context_id = context_id
        host.phase = REQUEST_HEADERS
        try:
            stream = self._streams.get(context_id)
            if stream is None:
                stream = self._make_stream(context_id, None)
            action = stream.on_request_headers(host.request_headers, end_of_stream != 0)
            if action is None and not stream._state:
                return _CONTINUE
            return self._settle(stream, action, REQUEST_HEADERS)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            return self._fail(context_id, REQUEST_HEADERS, error)

    def on_request_body(self, context_id: int, body_size: int, end_of_stream: int) -> int:
        host = self._host
        host.context_id = context_id
        host.phase = REQUEST_BODY
        try:
            stream = self._streams.get(context_id)
            if stream is None:
                stream = self._make_stream(context_id, None)
            action = stream.on_request_body(host.request_body, end_of_stream != 0)
            if action is None and not stream._state:
                return _CONTINUE
            return self._settle(stream, action, REQUEST_BODY)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            return self._fail(context_id, REQUEST_BODY, error)

    def on_request_trailers(self, context_id: int, num_trailers: int) -> int:
        host = self._host
        host.context_id = context_id
        host.phase = REQUEST_TRAILERS
        try:
            stream = self._streams.get(context_id)
            if stream is None:
                stream = self._make_stream(context_id, None)
            action = stream.on_request_trailers(host.request_trailers)
            if action is None and not stream._state:
                return _CONTINUE
            return self._settle(stream, action, REQUEST_TRAILERS)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            return self._fail(context_id, REQUEST_TRAILERS, error)

    def on_response_headers(self, context_id: int, num_headers: int, end_of_stream: int) -> int:
        host = self._host
        host.context_id = context_id
        host.phase = RESPONSE_HEADERS
        try:
            stream = self._streams.get(context_id)
            if stream is None:
                stream = self._make_stream(context_id, None)
            action = stream.on_response_headers(host.response_headers, end_of_stream != 0)
            if action is None and not stream._state:
                return _CONTINUE
            return self._settle(stream, action, RESPONSE_HEADERS)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            return self._fail(context_id, RESPONSE_HEADERS, error)

    def on_response_body(self, context_id: int, body_size: int, end_of_stream: int) -> int:
        host = self._host
        host.context_id = context_id
        host.phase = RESPONSE_BODY
        try:
            stream = self._streams.get(context_id)
            if stream is None:
                stream = self._make_stream(context_id, None)
            action = stream.on_response_body(host.response_body, end_of_stream != 0)
            if action is None and not stream._state:
                return _CONTINUE
            return self._settle(stream, action, RESPONSE_BODY)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            return self._fail(context_id, RESPONSE_BODY, error)

    def on_response_trailers(self, context_id: int, num_trailers: int) -> int:
        host = self._host
        host.context_id = context_id
        host.phase = RESPONSE_TRAILERS
        try:
            stream = self._streams.get(context_id)
            if stream is None:
                stream = self._make_stream(context_id, None)
            action = stream.on_response_trailers(host.response_trailers)
            if action is None and not stream._state:
                return _CONTINUE
            return self._settle(stream, action, RESPONSE_TRAILERS)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            return self._fail(context_id, RESPONSE_TRAILERS, error)

    def _settle(self, stream: Stream, action: object, phase: int) -> int:
        """Note what a callback's action means for the stream, and give it as a number; `TypeError` where it is none."""
        if action is None:
            action = Action.CONTINUE
        elif not isinstance(action, int) or isinstance(action, bool) or not 0 <= action <= _LAST_ACTION:
            raise _bad_result(action, "Action.CONTINUE, Action.PAUSE or None")
        state = stream._state
        if state & (ANSWERED | RESET) and stream._answered_in == phase:
            return _PAUSE
        if phase < RESPONSE_HEADERS:
            paused, changed = REQUEST_PAUSED, REQUEST_PAUSED
        else:
            paused = RESPONSE_PAUSED | RESPONSE_HEADERS_HELD if phase == RESPONSE_HEADERS else RESPONSE_PAUSED
            changed = RESPONSE_PAUSED | RESPONSE_HEADERS_HELD
        stream._state = state | paused if action else state & ~changed
        return int(action)

    def on_log(self, context_id: int) -> None:
        self._host.context_id = context_id
        self._host.phase = END
        context = self._context(context_id)
        if context is None:
            return
        try:
            _expect_none(context.on_log())
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            self._report(f"{type(context).__name__}.on_log", error)

    def on_done(self, context_id: int) -> int:
        self._host.context_id = context_id
        self._host.phase = END
        context = self._context(context_id)
        if context is None:
            return 1
        try:
            _expect_none(context.on_done())
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            self._report(f"{type(context).__name__}.on_done", error)
        return 1

    def _context(self, context_id: int) -> Stream | PluginContext | None:
        stream = self._streams.get(context_id)
        return self._plugins.get(context_id) if stream is None else stream

    # Failure

    def _report(self, where: str, error: BaseException) -> None:
        if self._native and isinstance(error, KeyboardInterrupt):
            raise error
        if isinstance(error, ConfigurationError):
            log_error(self._hostcalls, log_bytes(str(error)))
        else:
            report(self._hostcalls, where, error)

    def _fail(self, context_id: int, phase: int, error: BaseException) -> int:
        """End a stream whose callback failed, and give the action that the callback returns to the host."""
        if self._native and isinstance(error, KeyboardInterrupt):
            raise error
        short = isinstance(error, MemoryError)
        while True:
            try:
                if short:
                    self._reserve.clear()
                    forget_locals(error)
                action = self._handle(context_id, phase, error)
            except BaseException as further:  # noqa: BLE001 - see below
                if isinstance(further, MemoryError) and not short:
                    short = True
                    continue
                action = _PAUSE  # better a stream that hangs than one that passes, or a dead VM
            self._keep_reserve()
            return action

    def _keep_reserve(self) -> None:
        if not self._reserve:
            with suppress(MemoryError):
                self._reserve.extend(bytes(_RESERVE))

    def _handle(self, context_id: int, phase: int, error: BaseException) -> int:
        stream = self._streams[context_id]
        if not isinstance(error, NotMadeError):
            report(self._hostcalls, f"{type(stream).__name__}.{CALLBACK_OF_PHASE[phase]}", error)
        if stream.plugin.fail_open:
            return self._pass(context_id, stream, phase)
        return self._end(context_id, stream, phase)

    def _pass(self, context_id: int, stream: Stream, phase: int) -> int:
        self._streams[context_id] = self._passed
        state = stream._state
        if state & (ANSWERED | RESET):
            return _PAUSE if stream._answered_in == phase else _CONTINUE
        if state & REQUEST_PAUSED and phase >= RESPONSE_HEADERS:
            self._hostcalls.continue_stream(int(StreamType.HTTP_REQUEST))
        if state & (RESPONSE_PAUSED | RESPONSE_HEADERS_HELD) and phase < RESPONSE_HEADERS:
            self._hostcalls.continue_stream(int(StreamType.HTTP_RESPONSE))
        return _CONTINUE

    def _end(self, context_id: int, stream: Stream, phase: int) -> int:
        self._streams[context_id] = self._answered
        state = stream._state
        if state & (ANSWERED | RESET):
            if stream._answered_in != phase:  # it failed on its own answer, in whose place nothing else can be sent
                self._close(context_id, phase)
        elif phase > RESPONSE_HEADERS and not state & RESPONSE_HEADERS_HELD:
            self._close(context_id, phase)
        else:
            try:
                self._hostcalls.send_local_response(FAILURE_STATUS, FAILURE_DETAILS, b"", b"", NO_GRPC_STATUS)
            except HostError:
                self._close(context_id, phase)
        return _PAUSE

    def _close(self, context_id: int, phase: int) -> None:
        self._streams[context_id] = self._closed  # first: hosts may delete the context within the hostcall
        stream_type = StreamType.HTTP_REQUEST if phase < RESPONSE_HEADERS else StreamType.HTTP_RESPONSE
        self._hostcalls.close_stream(int(stream_type))

    # Callbacks that no class of this version has a use for

    def on_tick(self, context_id: int) -> None: ...

    def on_new_connection(self, context_id: int) -> int:
        return _CONTINUE

    def on_downstream_data(self, context_id: int, data_size: int, end_of_stream: int) -> int:
        return _CONTINUE

    def on_upstream_data(self, context_id: int, data_size: int, end_of_stream: int) -> int:
        return _CONTINUE

    def on_downstream_connection_close(self, context_id: int, peer_type: int) -> None: ...

    def on_upstream_connection_close(self, context_id: int, peer_type: int) -> None: ...

    def on_request_metadata(self, context_id: int, num_elements: int) -> int:
        return _CONTINUE

    def on_response_metadata(self, context_id: int, num_elements: int) -> int:
        return _CONTINUE

    def on_http_call_response(
        self, context_id: int, call_id: int, num_headers: int, body_size: int, num_trailers: int
    ) -> None: ...

    def on_grpc_receive_initial_metadata(self, context_id: int, call_id: int, num_elements: int) -> None: ...

    def on_grpc_receive(self, context_id: int, call_id: int, message_size: int) -> None: ...

    def on_grpc_receive_trailing_metadata(self, context_id: int, call_id: int, num_elements: int) -> None: ...

    def on_grpc_close(self, context_id: int, call_id: int, status_code: int) -> None: ...

    def on_queue_ready(self, context_id: int, queue_id: int) -> None: ...

    def on_foreign_function(self, context_id: int, function_id: int, arguments_size: int) -> None: ...


def _checked_stream(plugin: PluginContext, context_id: int, stream: Stream) -> Stream:
    if not isinstance(stream, HttpContext):  # pyright: ignore[reportUnnecessaryIsInstance] - authors' annotations may lie
        raise _bad_result(stream, "an HttpContext")
    made_for = getattr(stream, "context_id", None)
    if made_for == context_id:
        return stream
    where = f"{type(plugin).__name__}.http_context()"
    if made_for is None:
        msg = f"{where}: {type(stream).__name__}.__init__ must call super().__init__(plugin)"
        raise TypeError(msg)
    msg = f"{where}: returned the object of stream {made_for} for stream {context_id}; every stream needs its own"
    raise ValueError(msg)


def _expect_none(result: object) -> None:
    if result is not None:
        raise _bad_result(result, "None, and raises an exception to refuse")


def _bad_result(result: object, expected: str) -> TypeError:
    close = getattr(result, "close", None)
    if hasattr(result, "send") and close is not None:
        close()
        return TypeError("returned a coroutine: callbacks are plain functions; write `def`, not `async def`")
    return TypeError(f"returned {type(result).__name__}, {result!r:.100}; a callback returns {expected}")
