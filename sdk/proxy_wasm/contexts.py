"""The classes that authors derive from: one object per plugin configuration in each VM, one per HTTP stream."""

# The classes of this module are halves of one another.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from proxy_wasm.abi.enums import NO_GRPC_STATUS, Action, Status, StreamType
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.body import Body, Data, octets
from proxy_wasm.configuration import Configuration
from proxy_wasm.context import Context, property_path
from proxy_wasm.errors import PhaseError
from proxy_wasm.foreign_functions import PluginForeignFunctions, StreamForeignFunctions
from proxy_wasm.headers import HeaderPairs, Headers, serialize
from proxy_wasm.host import END, PLUGIN, REQUEST_HEADERS, RESPONSE_HEADERS, Host
from proxy_wasm.metrics import Counter, Gauge, Histogram, Metric, full_name
from proxy_wasm.properties import Properties
from proxy_wasm.shared_queues import SharedQueue, register
from proxy_wasm.tasks import CallbackTask, Future, is_coroutine, start
from proxy_wasm.tcp import TcpContext
from proxy_wasm.timers import Timer, Timers
from proxy_wasm.whole_bodies import DEFAULT_BODY_LIMIT, read_body

if TYPE_CHECKING:
    from proxy_wasm.callouts import HttpCall
    from proxy_wasm.directions import Direction

_logger = logging.getLogger("proxy_wasm")

MetricT = TypeVar("MetricT", bound=Metric)

# What has become of a stream, as bits of `HttpContext._state`; 0 as long as nothing special has happened.
REQUEST_PAUSED = 1
RESPONSE_PAUSED = 2
RESPONSE_HEADERS_HELD = 4
ANSWERED = 8
RESET = 16
GONE = 32
REQUEST_HELD = 64
"""An async callback of the request is at work, or what the proxy holds of the body was seen in part."""
RESPONSE_HELD = 128
REPLACES_REQUEST = 256
REPLACES_RESPONSE = 512
OVER = 1024
"""The proxy has told that the stream is over, and will drop it."""
REQUEST_WAITED = 2048
"""The request's headers were paused."""
RESPONSE_WAITED = 4096

Result = Action | int | Coroutine[Any, Any, Action | int | None] | None
"""What a callback of a stream returns: an action, or a coroutine that does."""

_FIRST_STATUS, _LAST_STATUS = 200, 599
_LAST_GRPC_STATUS = 16


class PluginContext(Context):
    """One configuration of the plugin in one VM of the proxy: every worker thread has its own.

    Derive from it, override what is of interest, and name the class in `pyproject.toml`. A constructor, if any, takes no
    arguments; the attributes below are already set when it runs.
    """

    root_id: str
    """The `root_id` under which the proxy configured the plugin; empty where it gave none."""
    configuration: Configuration
    """The plugin's configuration, from `on_configure` on; empty before."""
    vm_configuration: Configuration
    """The VM's configuration, from `on_vm_start` on; empty before."""
    fail_open: bool = False
    """Whether a stream goes on unfiltered after an exception has left one of its callbacks; else it is answered with 500."""

    _foreign_functions: PluginForeignFunctions
    _metrics: dict[tuple[object, ...], Metric]
    _own_timers: Timers
    _http_calls: "dict[int, HttpCall]"
    _grpc_calls: dict[int, Any]
    _queues: dict[int, SharedQueue]
    _tick: Timer | None
    _holds_bodies_back: bool
    """Whether the proxy was seen to hold bodies back while headers wait for them."""
    _gone: bool

    # Callbacks

    def validate_configuration(self) -> None:
        """The proxy asks whether it could use `configuration`, without using it: raise `ConfigurationError` where it could not.

        Envoy (1.40) never asks; it configures a trial VM instead.
        """

    def on_vm_start(self) -> None:
        """The VM has started. Raise `ConfigurationError` to refuse `vm_configuration`."""

    def on_configure(self) -> None:
        """The plugin is configured. Raise `ConfigurationError` to refuse `configuration`. Work that takes longer: `create_task`."""

    def http_context(self) -> "HttpContext[Any]":
        """A new object for a new HTTP stream."""
        return HttpContext(self)

    def tcp_context(self) -> "TcpContext[Any]":
        """A new object for a new TCP connection; to be overridden by plugins that run as network filters."""
        return TcpContext(self)

    def on_tick(self) -> object:
        """`tick_period` has passed. May be `async`."""

    def on_queue_ready(self, queue: SharedQueue, /) -> object:
        """Something was put into a queue that this plugin has registered (`shared_queue`). May be `async`.

        The proxy tells one VM of those that registered the queue, the last; another one may have emptied it before.
        """

    def on_foreign_function(self, function_id: int, arguments: bytes, /) -> object:
        """The proxy calls a function that it knows by number; only proxies with extensions of their own do. May be `async`."""

    def on_log(self) -> None:
        """The proxy uses the plugin as an access logger: a request is over. `properties` are the request's, and so are the header maps of the raw hostcalls."""

    def on_done(self) -> object:
        """The proxy is about to drop the plugin: its configuration changed, or the proxy is shutting down.

        Its tasks end now. A plugin that needs more time makes this `async`, and is dropped when it has ended; or returns `False`, and calls `done`
        later. Envoy (1.40) waits only as long as another plugin keeps the VM: where it goes with this one, what is awaited here never comes.
        """

    def done(self) -> None:
        """The plugin needs no more time, after `on_done` has returned `False`. Raises `PhaseError` where the proxy does not wait for it."""
        self._check_living()
        self._end_tasks()
        try:
            self._host.call_for(self.context_id, self.hostcalls.done)
        except HostError as error:
            if error.status is not Status.NOT_FOUND:
                raise
            msg = "done: the proxy does not wait for this plugin; it does after on_done has returned False"
            raise PhaseError(msg) from None

    # Timers

    def call_later(self, seconds: float, function: Callable[[], object], /) -> Timer:
        """Call `function`, which may be `async`, once, that many seconds from now.

        Every worker's plugin context has its own timers; they count in milliseconds. `ValueError` where `seconds` is no such time.
        """
        self._check_living()
        return self._own_timers.call_later(seconds, self._timed(function))

    def every(self, seconds: float, function: Callable[[], object], /) -> Timer:
        """Call `function`, which may be `async`, again and again, first that many seconds from now.

        It keeps to its schedule. A call that falls due while an async one is still at work is left out. `ValueError` where `seconds` is no such time.
        """
        self._check_living()
        return self._own_timers.every(seconds, self._timed(function))

    def _timed(self, function: Callable[[], object]) -> Callable[[], object]:
        at_work = False

        def over(_: Future[Any]) -> None:
            nonlocal at_work
            at_work = False

        def call() -> None:
            nonlocal at_work
            if at_work:
                return
            result = function()
            if is_coroutine(result):
                at_work = True
                start(self, result, PLUGIN)._watch(over)

        return call

    @property
    def tick_period(self) -> float:
        """Seconds between two calls of `on_tick`; 0 for none."""
        self._check_living()
        return 0 if self._tick is None else self._tick.period

    @tick_period.setter
    def tick_period(self, seconds: float) -> None:
        self._check_living()
        if self._tick is not None:
            self._tick.cancel()
        self._tick = self.every(seconds, self.on_tick) if seconds else None

    # What the proxy keeps, and what else it offers

    @property
    def foreign_functions(self) -> PluginForeignFunctions:
        """What the proxy offers beyond the specification: signatures, compression, CEL expressions, declared properties."""
        self._check_living()
        return self._foreign_functions

    def counter(self, name: str, /, **labels: str) -> Counter:
        """The counter of that name and those labels, made if need be; `ValueError` for names that no proxy could show."""
        return self._metric(Counter, name, labels)

    def gauge(self, name: str, /, **labels: str) -> Gauge:
        """The gauge of that name and those labels, made if need be; `ValueError` for names that no proxy could show."""
        return self._metric(Gauge, name, labels)

    def histogram(self, name: str, /, **labels: str) -> Histogram:
        """The histogram of that name and those labels, made if need be; `ValueError` for names that no proxy could show."""
        return self._metric(Histogram, name, labels)

    def shared_queue(self, name: str) -> SharedQueue:
        """The queue `name` of this VM's `vm_id`, made if need be, for this plugin to consume; in `on_configure`.

        From now on, and until another plugin or worker registers the same queue, `on_queue_ready` is called here for every item.
        """
        self._check_living()
        queue = self._host.call_for(self.context_id, register, self.hostcalls, name)
        return self._queues.setdefault(queue.id, queue)

    def _metric(self, kind: type[MetricT], name: str, labels: dict[str, str]) -> MetricT:
        self._check_living()
        key = (kind, name, *labels.items())
        metric = self._metrics.get(key)
        if not isinstance(metric, kind):
            metric = self._metrics[key] = kind(self.hostcalls, full_name(name, labels))
        return metric

    @property
    def _plugin_context(self) -> "PluginContext":
        return self

    @property
    def gone(self) -> bool:
        """Whether the proxy has dropped the plugin."""
        return self._gone


PluginT = TypeVar("PluginT", bound=PluginContext)


def make_plugin(plugin_class: type[PluginT], context_id: int, root_id: str, host: Host) -> PluginT:
    """A plugin context, its attributes set before its constructor runs."""
    plugin = plugin_class.__new__(plugin_class)
    plugin.context_id = context_id
    plugin.root_id = root_id
    plugin.configuration = Configuration()
    plugin.vm_configuration = Configuration()
    plugin._host = host
    plugin._tasks = None
    plugin._foreign_functions = PluginForeignFunctions(host, context_id)
    plugin._metrics = {}
    plugin._own_timers = Timers(host, context_id)
    plugin._http_calls = {}
    plugin._grpc_calls = {}
    plugin._queues = {}
    plugin._tick = None
    plugin._holds_bodies_back = False
    plugin._gone = False
    plugin.__init__()
    return plugin


class _Replaces:
    """An attribute of streams that is a bit of their state, unless a class puts a value in its place."""

    __slots__ = ("_bit",)

    def __init__(self, bit: int) -> None:
        self._bit = bit

    def __get__(self, stream: "HttpContext[Any] | None", _owner: type) -> bool:
        return stream is not None and stream._state & self._bit != 0

    def __set__(self, stream: "HttpContext[Any]", value: object) -> None:
        stream._state = stream._state | self._bit if value else stream._state & ~self._bit


class HttpContext(Context, Generic[PluginT]):
    """One HTTP stream: a request and its response.

    Derive from it as `HttpContext[YourPlugin]` and override the callbacks of interest; what is not overridden is not called. A
    callback returns an `Action` (or one of Envoy's larger numbers), or `None` for `Action.CONTINUE`. An exception that leaves
    a callback ends this stream alone.
    """

    __slots__ = ("_answered_in", "_directions", "_state", "plugin")

    plugin: PluginT
    """The plugin context that the stream belongs to."""
    replaces_request_body: bool = cast("bool", _Replaces(REPLACES_REQUEST))
    """Whether the length of request bodies may change: `content-length` is taken away after `on_request_headers`."""
    replaces_response_body: bool = cast("bool", _Replaces(REPLACES_RESPONSE))
    """Whether the length of response bodies may change: `content-length` is taken away after `on_response_headers`."""

    _directions: "list[Direction | None] | None"

    def __init__(self, plugin: PluginT) -> None:
        self.plugin = plugin
        self._host = host = plugin._host
        self.context_id = host.context_id
        self._tasks = None
        self._directions = None
        self._state = 0
        self._answered_in = PLUGIN

    def _note_replacements(self) -> None:
        if self.replaces_request_body:
            self._state |= REPLACES_REQUEST
        if self.replaces_response_body:
            self._state |= REPLACES_RESPONSE

    # Callbacks. All but on_log and on_done may be `async`.

    def on_request_headers(self, headers: Headers, end_of_stream: bool, /) -> Result:
        """The request's headers have arrived; with `end_of_stream` that is all of it."""

    def on_request_body(self, body: Body, end_of_stream: bool, /) -> Result:
        """A chunk of the request's body has arrived. `Action.PAUSE` has the proxy keep it and add the next to it.

        Unless overridden it is kept as long as `on_request_headers` has paused the request.
        """

    def on_request_trailers(self, trailers: Headers, /) -> Result:
        """The request's trailers have arrived; that is all of it."""

    def on_request_metadata(self, num_elements: int, /) -> int | None:
        """HTTP/2 METADATA has arrived with the request. The proxy tells how many entries it has, and not which."""

    def on_response_headers(self, headers: Headers, end_of_stream: bool, /) -> Result:
        """The response's headers have arrived, from upstream or as a local response; with `end_of_stream` that is all of it."""

    def on_response_body(self, body: Body, end_of_stream: bool, /) -> Result:
        """A chunk of the response's body has arrived. `Action.PAUSE` has the proxy keep it and add the next to it.

        Unless overridden it is kept as long as `on_response_headers` has paused the response.
        """

    def on_response_trailers(self, trailers: Headers, /) -> Result:
        """The response's trailers have arrived; that is all of it."""

    def on_response_metadata(self, num_elements: int, /) -> int | None:
        """HTTP/2 METADATA has arrived with the response. The proxy tells how many entries it has, and not which."""

    def on_log(self) -> None:
        """The stream is over; its headers can be read once more, for logging."""

    def on_done(self) -> None:
        """The stream is over."""

    # What the proxy holds

    @property
    def _plugin_context(self) -> PluginContext:
        return self.plugin

    @property
    def gone(self) -> bool:
        """Whether the stream is over, and the proxy has dropped it."""
        return self._state & GONE != 0

    @property
    def request_headers(self) -> Headers:
        """The request's headers, until `on_request_headers` has returned `Action.CONTINUE`, and in `on_log`."""
        return self._here().request_headers

    @property
    def request_body(self) -> Body:
        """The request's body, in `on_request_body`."""
        return self._here().request_body

    @property
    def request_trailers(self) -> Headers:
        """The request's trailers, in `on_request_trailers`; new ones can be made with the end of the body.

        Envoy (1.40) loses the body where the callback that makes them returns `Action.PAUSE`, or waits after that.
        """
        return self._here().request_trailers

    @property
    def response_headers(self) -> Headers:
        """The response's headers, until `on_response_headers` has returned `Action.CONTINUE`, and in `on_log`."""
        return self._here().response_headers

    @property
    def response_body(self) -> Body:
        """The response's body, in `on_response_body`."""
        return self._here().response_body

    @property
    def response_trailers(self) -> Headers:
        """The response's trailers, in `on_response_trailers`, and in `on_log`."""
        return self._here().response_trailers

    def read_request_body(self, limit: int = DEFAULT_BODY_LIMIT) -> Future[bytes]:
        """Wait for the whole request body: `body = await self.read_request_body()`, `limit` in bytes.

        In an async `on_request_body` it works everywhere. In an async `on_request_headers`, where the headers can still be changed
        by what the body says, the plugin's configuration in Envoy must say `allow_on_headers_stop_iteration: true` (Envoy 1.35 and
        later); else the proxy holds the body back while the headers wait, and `PhaseError` is raised as soon as that shows. A body that was read is not given to
        `on_request_body`; replace it with `self.request_body.replace(...)`.

        What is awaited raises `BodyTooLargeError` where the body is longer than `limit`; the proxy's own limit (Envoy:
        `per_connection_buffer_limit_bytes`, 1 MiB) answers with 413 before.
        """
        return read_body(self, is_response=False, limit=limit)

    def peek_request_body(self, size: int) -> Future[bytes]:
        """Wait for the first `size` bytes of the request body, or all of it where it has fewer: `start = await self.peek_request_body(8192)`.

        Where it can be awaited, and when it raises `PhaseError`, is as for `read_request_body`. The body is not taken: `on_request_body` is given all of
        it, as if nobody had looked.
        """
        return read_body(self, is_response=False, limit=size, peeks=True)

    def read_response_body(self, limit: int = DEFAULT_BODY_LIMIT) -> Future[bytes]:
        """Wait for the whole response body, in an async `on_response_headers` or `on_response_body`; see `read_request_body`.

        The proxy's own limit answers with 500, or breaks the response off where its headers are with the client already; so does a
        `BodyTooLargeError` that the callback lets pass, with 502.
        """
        return read_body(self, is_response=True, limit=limit)

    def set_property(self, *path: str | bytes, value: Data) -> None:
        """Set a property of the stream, which other filters and access logs can read (in Envoy as filter state `wasm.PATH`)."""
        serialized = property_path(path)
        self._check_living()
        self._host.call_for(self.context_id, self.hostcalls.set_property, serialized, octets(value))

    @property
    def properties(self) -> Properties:
        """The stream's properties with Python's types: `self.properties.request.path`; in its own callbacks and tasks."""
        return self._here().properties

    @property
    def foreign_functions(self) -> StreamForeignFunctions:
        """What the proxy offers beyond the specification: signatures, compression, filter state, the choice of the route."""
        self._check_living()
        return StreamForeignFunctions(self._host, self.context_id)

    # What the stream can be told

    def send_local_response(
        self,
        status: int,
        *,
        headers: HeaderPairs | None = None,
        body: Data = b"",
        details: str = "",
        grpc_status: int | None = None,
    ) -> Action:
        """Answer the request from here, and give what the callback should return: `return self.send_local_response(403)`.

        `status` is 200 to 599; `details` goes into the access log as the response code's details, its white space as
        underscores; `grpc_status` replaces what the proxy derives from `status` where the request is gRPC. A stream can be answered once: the
        second time a warning is logged and nothing else happens. Raises `ValueError` for what the proxy would not take, and
        `PhaseError` in `on_log`, in `on_done` and in a callback of another stream; `GoneError` once the stream is gone.
        """
        self._check_living()
        if not _FIRST_STATUS <= status <= _LAST_STATUS:
            msg = f"status {status}: a local response has a status from {_FIRST_STATUS} to {_LAST_STATUS}"
            raise ValueError(msg)
        if grpc_status is not None and not 0 <= grpc_status <= _LAST_GRPC_STATUS:
            msg = f"grpc_status {grpc_status}: from 0 to {_LAST_GRPC_STATUS}"
            raise ValueError(msg)
        host = self._host
        if self._state & (ANSWERED | RESET):
            _logger.warning("local response %d ignored: the stream was answered or closed before", status)
            return Action.PAUSE if self._answered_in == host.phase else Action.CONTINUE
        self._check_answerable(host)
        host.call_for(
            self.context_id,
            host.hostcalls.send_local_response,
            int(status),
            octets("_".join(details.split()) if details else ""),
            octets(body),
            serialize(headers) if headers else b"",
            NO_GRPC_STATUS if grpc_status is None else int(grpc_status),
        )
        self._state = self._state & ~(RESPONSE_PAUSED | RESPONSE_HEADERS_HELD) | ANSWERED
        self._answered_in = host.phase
        return Action.PAUSE

    def _check_answerable(self, host: Host) -> None:
        if host.phase == END or (host.phase != PLUGIN and host.context_id != self.context_id):
            # Envoy stops the iteration of whichever stream's callback runs (`WasmBase::stopNextIteration`).
            msg = (
                "no local response from here: answer a stream in one of its own request or response callbacks, "
                "or in a callback of the plugin"
            )
            raise PhaseError(msg)

    def continue_request(self) -> None:
        """Let a paused request go on, from a later callback than the one that paused it. Raises `PhaseError` where it is not paused, `GoneError` once it is gone."""
        self._continue(StreamType.HTTP_REQUEST, REQUEST_PAUSED, range(REQUEST_HEADERS, RESPONSE_HEADERS))

    def continue_response(self) -> None:
        """Let a paused response go on, from a later callback than the one that paused it; see `continue_request`."""
        self._continue(StreamType.HTTP_RESPONSE, RESPONSE_PAUSED | RESPONSE_HEADERS_HELD, range(RESPONSE_HEADERS, END))

    def _continue(self, stream_type: StreamType, paused: int, own_phases: range) -> None:
        what = "request" if stream_type is StreamType.HTTP_REQUEST else "response"
        self._check_living()
        own_answer = stream_type is StreamType.HTTP_RESPONSE and self._state & paused  # paused since it was answered
        if self._state & RESET or (self._state & ANSWERED and not own_answer):
            _logger.warning("the %s does not go on: the stream was answered or closed", what)
            return
        if not self._state & paused:
            msg = f"the {what} is not paused: it pauses when one of its callbacks returns Action.PAUSE"
            raise PhaseError(msg)
        host = self._host
        inside = host.context_id == self.context_id and host.phase in own_phases and not host.resumed
        if inside or self._at_work(stream_type):
            msg = f"a callback of the {what} lets it go on by returning Action.CONTINUE"
            raise PhaseError(msg)
        host.call_for(self.context_id, host.hostcalls.continue_stream, int(stream_type))
        self._state &= ~(paused | (REQUEST_HELD if stream_type is StreamType.HTTP_REQUEST else RESPONSE_HELD))
        if self._directions is not None:  # nothing of the body is held any more
            self._directions[stream_type] = None

    def _at_work(self, stream_type: StreamType) -> bool:
        direction = self._direction(is_response=stream_type is StreamType.HTTP_RESPONSE)
        return direction is not None and direction.at_work

    def _direction(self, *, is_response: bool) -> "Direction | None":
        """A direction of the stream, from the moment on at which one of its callbacks first had to wait; `None` before."""
        direction = None if self._directions is None else self._directions[is_response]
        if direction is None and self._tasks:
            for task in self._tasks:
                if isinstance(task, CallbackTask) and (task.phase >= RESPONSE_HEADERS) == is_response:
                    return self._host.directions.direction_behind(task)
        return direction

    def reset(self) -> None:
        """Close the stream without an answer; nothing happens where it was closed before. Raises `GoneError` once it is gone."""
        self._check_living()
        if self._state & RESET:
            return
        host = self._host
        in_response = RESPONSE_HEADERS <= host.phase < END and host.context_id == self.context_id
        self._state |= RESET
        self._answered_in = host.phase
        stream_type = StreamType.HTTP_RESPONSE if in_response else StreamType.HTTP_REQUEST
        host.call_for(self.context_id, host.hostcalls.close_stream, int(stream_type))
