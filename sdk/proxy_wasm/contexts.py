"""The classes that authors derive from: one object per plugin configuration in each VM, one per HTTP stream."""

# The classes of this module are halves of one another.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

import logging
from typing import Any, Generic, TypeVar

from proxy_wasm.abi.enums import NO_GRPC_STATUS, Action, StreamType
from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.body import Body, Data, octets
from proxy_wasm.configuration import Configuration
from proxy_wasm.errors import PhaseError
from proxy_wasm.foreign_functions import PluginForeignFunctions, StreamForeignFunctions
from proxy_wasm.headers import HeaderPairs, Headers, serialize
from proxy_wasm.host import END, PLUGIN, REQUEST_HEADERS, RESPONSE_HEADERS, Host
from proxy_wasm.metrics import Counter, Gauge, Histogram, Metric, full_name
from proxy_wasm.properties import Properties
from proxy_wasm.shared_data import SharedData
from proxy_wasm.shared_queues import SharedQueue, register, resolve

_logger = logging.getLogger("proxy_wasm")

MetricT = TypeVar("MetricT", bound=Metric)

# What has become of a stream, as bits of `HttpContext._state`; 0 as long as nothing special has happened.
REQUEST_PAUSED = 1
RESPONSE_PAUSED = 2
RESPONSE_HEADERS_HELD = 4
ANSWERED = 8
RESET = 16
GONE = 32

_FIRST_STATUS, _LAST_STATUS = 200, 599
_LAST_GRPC_STATUS = 16


def property_path(path: tuple[str | bytes, ...]) -> bytes:
    """The path of a property as the proxy takes it; `ValueError` where it is empty."""
    if not path:
        msg = 'a property needs a path, for example get_property("request", "path")'
        raise ValueError(msg)
    return b"\0".join([octets(part) for part in path])


class PluginContext:
    """One configuration of the plugin in one VM of the proxy: every worker thread has its own.

    Derive from it, override what is of interest, and name the class in `pyproject.toml`. A constructor, if any, takes no
    arguments; the attributes below are already set when it runs.
    """

    context_id: int
    """The proxy's number for this context."""
    root_id: str
    """The `root_id` under which the proxy configured the plugin; empty where it gave none."""
    configuration: Configuration
    """The plugin's configuration, from `on_configure` on; empty before."""
    vm_configuration: Configuration
    """The VM's configuration, from `on_vm_start` on; empty before."""
    hostcalls: Hostcalls
    """The raw hostcalls, for what this class does not offer."""
    fail_open: bool = False
    """Whether a stream goes on unfiltered after an exception has left one of its callbacks; else it is answered with 500."""

    _host: Host
    shared_data: SharedData
    """Values by key, shared by all VMs with the same `vm_id`."""
    foreign_functions: PluginForeignFunctions
    """What the proxy offers beyond the specification: signatures, compression, CEL expressions, declared properties."""

    _metrics: dict[tuple[object, ...], Metric]
    _queues: dict[int, SharedQueue]

    def on_vm_start(self) -> None:
        """The VM has started. Raise `ConfigurationError` to refuse `vm_configuration`."""

    def on_configure(self) -> None:
        """The plugin is configured. Raise `ConfigurationError` to refuse `configuration`."""

    def http_context(self) -> "HttpContext[Any]":
        """A new object for a new HTTP stream."""
        return HttpContext(self)

    def on_queue_ready(self, queue: SharedQueue, /) -> None:
        """Something was enqueued in a queue of `shared_queue`; other workers may dequeue it before: `for item in queue.drain()`."""

    def on_log(self) -> None:
        """The proxy uses the plugin as an access logger: a request is over."""

    def on_done(self) -> None:
        """The proxy is about to drop the plugin: its configuration changed, or the proxy is shutting down."""

    @property
    def properties(self) -> Properties:
        """The properties that are there without a stream: `self.properties.node.id`, `self.properties.workload.namespace`."""
        return self._host.properties

    def get_property(self, *path: str | bytes) -> bytes | None:
        """The bytes of a property of the proxy, such as `get_property("node", "id")`; `None` where there is none."""
        return self.hostcalls.get_property(property_path(path))

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
        queue = self._host.call_for(self.context_id, register, self.hostcalls, name)
        return self._queues.setdefault(queue.id, queue)

    def resolve_queue(self, vm_id: str, name: str) -> SharedQueue:
        """The queue `name` that VMs with `vm_id` (this VM's own, if empty) consume, to enqueue in.

        Raises `UnknownQueueError` as long as none of them has registered it: resolve it where it is needed rather than in `on_configure`, as
        filters start in no particular order.
        """
        return resolve(self.hostcalls, vm_id, name)

    def _metric(self, kind: type[MetricT], name: str, labels: dict[str, str]) -> MetricT:
        key = (kind, name, *labels.items())
        metric = self._metrics.get(key)
        if not isinstance(metric, kind):
            metric = self._metrics[key] = kind(self.hostcalls, full_name(name, labels))
        return metric


PluginT = TypeVar("PluginT", bound=PluginContext)


def make_plugin(plugin_class: type[PluginT], context_id: int, root_id: str, host: Host) -> PluginT:
    """A plugin context, its attributes set before its constructor runs."""
    plugin = plugin_class.__new__(plugin_class)
    plugin.context_id = context_id
    plugin.root_id = root_id
    plugin.configuration = Configuration()
    plugin.vm_configuration = Configuration()
    plugin.hostcalls = host.hostcalls
    plugin._host = host
    plugin.shared_data = SharedData(host.hostcalls)
    plugin.foreign_functions = PluginForeignFunctions(host, context_id)
    plugin._metrics = {}
    plugin._queues = {}
    plugin.__init__()
    return plugin


class HttpContext(Generic[PluginT]):
    """One HTTP stream: a request and its response.

    Derive from it as `HttpContext[YourPlugin]` and override the callbacks of interest; what is not overridden is not called. A
    callback returns an `Action` (or one of Envoy's larger numbers), or `None` for `Action.CONTINUE`. An exception that leaves
    a callback ends this stream alone.
    """

    __slots__ = ("_answered_in", "_state", "context_id", "plugin")

    plugin: PluginT
    """The plugin context that the stream belongs to."""
    context_id: int
    """The proxy's number for this stream."""

    def __init__(self, plugin: PluginT) -> None:
        self.plugin = plugin
        self.context_id = plugin._host.context_id
        self._state = 0
        self._answered_in = PLUGIN

    # Callbacks

    def on_request_headers(self, headers: Headers, end_of_stream: bool, /) -> Action | int | None:
        """The request's headers have arrived; with `end_of_stream` that is all of it."""

    def on_request_body(self, body: Body, end_of_stream: bool, /) -> Action | int | None:
        """A chunk of the request's body has arrived. `Action.PAUSE` has the proxy keep it and add the next to it."""

    def on_request_trailers(self, trailers: Headers, /) -> Action | int | None:
        """The request's trailers have arrived; that is all of it."""

    def on_response_headers(self, headers: Headers, end_of_stream: bool, /) -> Action | int | None:
        """The response's headers have arrived, from upstream or as a local response; with `end_of_stream` that is all of it."""

    def on_response_body(self, body: Body, end_of_stream: bool, /) -> Action | int | None:
        """A chunk of the response's body has arrived. `Action.PAUSE` has the proxy keep it and add the next to it."""

    def on_response_trailers(self, trailers: Headers, /) -> Action | int | None:
        """The response's trailers have arrived; that is all of it."""

    def on_log(self) -> None:
        """The stream is over; its headers can be read once more, for logging."""

    def on_done(self) -> None:
        """The stream is over."""

    # What the proxy holds

    @property
    def request_headers(self) -> Headers:
        """The request's headers, until `on_request_headers` has returned `Action.CONTINUE`, and in `on_log`."""
        return self.plugin._host.request_headers

    @property
    def request_body(self) -> Body:
        """The request's body, in `on_request_body`."""
        return self.plugin._host.request_body

    @property
    def request_trailers(self) -> Headers:
        """The request's trailers, in `on_request_trailers`."""
        return self.plugin._host.request_trailers

    @property
    def response_headers(self) -> Headers:
        """The response's headers, until `on_response_headers` has returned `Action.CONTINUE`, and in `on_log`."""
        return self.plugin._host.response_headers

    @property
    def response_body(self) -> Body:
        """The response's body, in `on_response_body`."""
        return self.plugin._host.response_body

    @property
    def response_trailers(self) -> Headers:
        """The response's trailers, in `on_response_trailers`, and in `on_log`."""
        return self.plugin._host.response_trailers

    @property
    def properties(self) -> Properties:
        """The properties of the stream whose callback runs, with their types: `self.properties.request.path`."""
        return self.plugin._host.properties

    def get_property(self, *path: str | bytes) -> bytes | None:
        """The bytes of a property of the stream, such as `get_property("source", "address")`; `None` where there is none.

        Text is UTF-8, numbers are 8 bytes, little-endian; see "Attributes" in Envoy's documentation.
        """
        return self.plugin.hostcalls.get_property(property_path(path))

    def set_property(self, *path: str | bytes, value: Data) -> None:
        """Set a property of the stream, which other filters and access logs can read (in Envoy as filter state `wasm.PATH`)."""
        self.plugin.hostcalls.set_property(property_path(path), octets(value))

    # What the proxy shares and offers

    @property
    def shared_data(self) -> SharedData:
        """Values by key, shared by all VMs with the same `vm_id`."""
        return self.plugin.shared_data

    def resolve_queue(self, vm_id: str, name: str) -> SharedQueue:
        """The queue `name` that VMs with `vm_id` (this VM's own, if empty) consume; `UnknownQueueError` where none has registered it."""
        return self.plugin.resolve_queue(vm_id, name)

    @property
    def foreign_functions(self) -> StreamForeignFunctions:
        """What the proxy offers beyond the specification: signatures, compression, filter state, the choice of the route."""
        return StreamForeignFunctions(self.plugin._host, self.context_id)

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
        `PhaseError` in `on_log`, in `on_done` and in a callback of another stream.
        """
        if not _FIRST_STATUS <= status <= _LAST_STATUS:
            msg = f"status {status}: a local response has a status from {_FIRST_STATUS} to {_LAST_STATUS}"
            raise ValueError(msg)
        if grpc_status is not None and not 0 <= grpc_status <= _LAST_GRPC_STATUS:
            msg = f"grpc_status {grpc_status}: from 0 to {_LAST_GRPC_STATUS}"
            raise ValueError(msg)
        host = self.plugin._host
        if self._state & (ANSWERED | RESET | GONE):
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
        self._state |= ANSWERED
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
        """Let a paused request go on, from a later callback than the one that paused it."""
        self._continue(StreamType.HTTP_REQUEST, REQUEST_PAUSED, range(REQUEST_HEADERS, RESPONSE_HEADERS))

    def continue_response(self) -> None:
        """Let a paused response go on, from a later callback than the one that paused it."""
        self._continue(StreamType.HTTP_RESPONSE, RESPONSE_PAUSED | RESPONSE_HEADERS_HELD, range(RESPONSE_HEADERS, END))

    def _continue(self, stream_type: StreamType, paused: int, own_phases: range) -> None:
        what = "request" if stream_type is StreamType.HTTP_REQUEST else "response"
        if self._state & (ANSWERED | RESET | GONE):
            _logger.warning("the %s does not go on: the stream was answered, closed or is over", what)
            return
        if not self._state & paused:
            msg = f"the {what} is not paused: it pauses when one of its callbacks returns Action.PAUSE"
            raise PhaseError(msg)
        host = self.plugin._host
        if host.context_id == self.context_id and host.phase in own_phases:
            msg = f"a callback of the {what} lets it go on by returning Action.CONTINUE"
            raise PhaseError(msg)
        host.call_for(self.context_id, host.hostcalls.continue_stream, int(stream_type))
        self._state &= ~paused

    def reset(self) -> None:
        """Close the stream without an answer."""
        if self._state & (RESET | GONE):
            return
        host = self.plugin._host
        in_response = RESPONSE_HEADERS <= host.phase < END and host.context_id == self.context_id
        self._state |= RESET
        self._answered_in = host.phase
        stream_type = StreamType.HTTP_RESPONSE if in_response else StreamType.HTTP_REQUEST
        host.call_for(self.context_id, host.hostcalls.close_stream, int(stream_type))
