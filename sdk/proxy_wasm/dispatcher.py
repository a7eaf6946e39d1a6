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
- in `on_log`, `on_done` and callbacks of a plugin: logged, no more.

A callback may be a coroutine. What then becomes of its stream is told in `directions`; what it awaits, in `tasks`.

That path must work when memory is short: the stand-ins exist from the start, the last resort of each step is a constant, and a reserve of
memory is given up for it.

In Wasm every exception is caught, `SystemExit` and `KeyboardInterrupt` too. In a native test what is meant for the test run passes:
`KeyboardInterrupt`, and what leaves a debugger (`failures.is_for_the_test`).
"""

# The dispatcher is the other half of the contexts: it alone keeps their state.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

import time
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any

from proxy_wasm.abi.callbacks import LIFECYCLE_CALLBACKS
from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.contexts import GONE, OVER, HttpContext, PluginContext
from proxy_wasm.failed_streams import Unmade
from proxy_wasm.host import END, PLUGIN
from proxy_wasm.http_callbacks import HttpCallbacks
from proxy_wasm.plugin_callbacks import PluginCallbacks
from proxy_wasm.tcp import GONE as CONNECTION_GONE
from proxy_wasm.tcp import TcpContext
from proxy_wasm.tcp_callbacks import TcpCallbacks
from proxy_wasm.vm_state import Connection, Stream, expect_none

ANSWERING_CALLBACKS = (
    "on_tick",
    "on_http_call_response",
    "on_grpc_receive_initial_metadata",
    "on_grpc_receive",
    "on_grpc_receive_trailing_metadata",
    "on_grpc_close",
)
"""Callbacks that every module exports: they bring what a plugin has asked for, and cost nothing where it has not."""


_NO_ON_LOG = vars(HttpContext)["on_log"]
_FOLLOWING = {
    "on_request_headers": ("on_request_body", "on_request_trailers"),
    "on_request_body": ("on_request_trailers",),
    "on_response_headers": ("on_response_body", "on_response_trailers"),
    "on_response_body": ("on_response_trailers",),
}
"""What else a module has to export where a callback can pause its stream.

Envoy takes a missing callback for one that continues. With `allow_on_headers_stop_iteration` it would let a request go on, headers and all, with the first
bytes of its body, whatever the headers wait for; and a body that is waited for ends with its trailers, if it has any.
"""
_REPLACING = {"on_request_headers": "replaces_request_body", "on_response_headers": "replaces_response_body"}
"""Callbacks in which `content-length` is taken away, and the attributes of classes that want it so."""
_IS_COROUTINE_FUNCTION = 0x80
"""A flag of code objects: `inspect.CO_COROUTINE`."""


def used_callbacks() -> list[str]:
    """Names of the callbacks that a module has to export.

    They are those of every life cycle, those that bring answers, all that a loaded class overrides, and those that must not pass unseen
    while one of these has paused its stream.
    """
    used = {*LIFECYCLE_CALLBACKS, *ANSWERING_CALLBACKS, *(name for name in _callback_names() if _is_overridden(name))}
    for name, attribute in _REPLACING.items():
        if any(getattr(derived, attribute) for derived in _descendants(HttpContext)):
            used.add(name)
    for name, following in _FOLLOWING.items():
        if any(_can_pause(derived, name) for derived in _descendants(HttpContext)):
            used.update(following)
    return [name for name in _callback_names() if name in used]


def _can_pause(kind: type, name: str) -> bool:
    """Whether a class overrides a callback such that it is `async`, or that `PAUSE` is spoken of in the class or the function's module."""
    function: Any = getattr(kind, name)
    if function is getattr(HttpContext, name):
        return False
    code: CodeType | None = getattr(function, "__code__", None)
    if code is None or code.co_flags & _IS_COROUTINE_FUNCTION:
        return True
    places = [function.__globals__, *(vars(owner) for owner in kind.__mro__ if not issubclass(HttpContext, owner))]
    codes = [getattr(value, "__code__", None) for place in places for value in list(place.values())]
    return any(found is not None and _pauses(found) for found in codes)


def _pauses(code: CodeType) -> bool:
    return "PAUSE" in code.co_names or any(_pauses(inner) for inner in code.co_consts if isinstance(inner, CodeType))


def _callback_names() -> list[str]:
    classes = (HttpCallbacks, TcpCallbacks, PluginCallbacks, Dispatcher)
    return [name for kind in classes for name in vars(kind) if name.startswith(("on_", "validate_"))]


def _is_overridden(name: str) -> bool:
    for base in (PluginContext, HttpContext, TcpContext):
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


class Dispatcher(HttpCallbacks, TcpCallbacks, PluginCallbacks):
    """The callbacks of one VM: `proxy_wasm.abi.callbacks.Callbacks` for authors' plugin classes.

    `plugins` maps each `root_id` to its class; "" stands for every `root_id` that is not named, and so does a plugin that is the
    only one. `native` says that the interpreter is not a compiled guest's but that of a test; `monotonic` is the host's monotonic
    clock, in nanoseconds.
    """

    def __init__(
        self,
        plugins: Mapping[str, type[PluginContext]],
        hostcalls: Hostcalls,
        *,
        native: bool = True,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        super().__init__(plugins, hostcalls, native=native, monotonic=monotonic)
        self._directions.exports = used_callbacks
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

    def on_context_create(self, context_id: int, parent_context_id: int) -> None:
        host = self._host
        host.context_id = context_id
        if parent_context_id:
            host.phase = END
            if context_id not in self._streams:
                self._make_context(context_id, self._plugins.get(parent_context_id))
        else:
            host.phase = PLUGIN
            if context_id not in self._plugins:
                self._make_plugin(context_id)

    def on_log(self, context_id: int) -> None:
        host = self._host
        host.context_id = context_id
        host.phase = END
        context = self._streams.get(context_id)
        if context is None:
            context = self._connections.get(context_id)
            if context is None:
                context = self._plugins.get(context_id)
                if context is None:
                    return
        elif type(context).on_log is _NO_ON_LOG:
            return  # a module without any `on_log` is not called, and whatever ends with the stream ends in `on_done`
        elif context._tasks:
            self._end_context_tasks(context)
        try:
            result: object = context.on_log()
            if result is not None:
                expect_none(result)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            self._report(f"{type(context).__name__}.on_log", error)
        if self._ready:
            self._directions.run(context)

    def on_done(self, context_id: int) -> int:
        host = self._host
        host.context_id = context_id
        host.phase = END
        context = self._streams.get(context_id)
        if context is None:
            context = self._connections.get(context_id)
            if context is None:
                plugin = self._plugins.get(context_id)
                return 1 if plugin is None else self._plugin_done(plugin)
        if context._tasks:
            self._end_context_tasks(context)
        try:
            result: object = context.on_done()
            if result is not None:
                expect_none(result)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            self._report(f"{type(context).__name__}.on_done", error)
        if self._ready:
            self._directions.run(context)
        return 1

    def _end_context_tasks(self, context: Stream | Connection) -> None:
        """End the tasks of a stream that is over."""
        if isinstance(context, HttpContext):
            context._state |= OVER
        context._end_tasks()

    def on_delete(self, context_id: int) -> None:
        self._host.context_id = context_id
        self._host.phase = END
        self._undecided.pop(context_id, None)
        stream = self._streams.pop(context_id, None)
        if stream is not None:
            if stream._tasks:
                stream._state |= OVER
                stream._end_tasks()
            if stream.plugin is not self._no_plugin:  # stand-ins serve many streams
                stream._state |= GONE
            return
        connection = self._connections.pop(context_id, None)
        if connection is not None:
            connection._end_tasks()
            connection._state |= CONNECTION_GONE
            return
        plugin = self._plugins.pop(context_id, None)
        if plugin is not None:
            plugin._end_tasks()
            plugin._own_timers.close()
            plugin._http_calls.clear()
            plugin._grpc_calls.clear()
            plugin._gone = True
            if self.dropped is not None:
                self.dropped(context_id)
