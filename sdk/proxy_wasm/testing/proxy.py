"""A proxy with one plugin in it, the same to a test on each host."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from proxy_wasm.emulator import Exchange, FailurePolicy, LogRecord, Request, UpstreamRequest, UpstreamResponse
from proxy_wasm.emulator.clusters import Closing, Cluster, Silent
from proxy_wasm.emulator.exchange import Break, Disconnect
from proxy_wasm.emulator.header_map import HeaderMap, Headers
from proxy_wasm.emulator.http1 import Answer
from proxy_wasm.emulator.properties import Properties, tree
from proxy_wasm.metrics import full_name
from proxy_wasm.testing.extension import Extension
from proxy_wasm.testing.hosts import Connection, Host, HostName, PluginSettings, RunningPlugin, TcpUpstream, Upstream
from proxy_wasm.testing.strict import Judge
from proxy_wasm.testing.watch import Fault, LiveContexts
from proxy_wasm.tracing import Trace

Configuration: TypeAlias = Mapping[str, Any] | list[Any] | str | bytes | None
"""What a plugin is configured with: a mapping or list goes as JSON, text as UTF-8, bytes as they are."""

Body: TypeAlias = bytes | str | Sequence[bytes | str]
"""A body: at once, or in pieces that are sent one after the other. Text goes as UTF-8."""

DEFAULT_AUTHORITY = "localhost"
TIMEOUT = 30.0
"""Seconds until a request must have been answered: real ones in Envoy, those of its clock in the emulator."""
DISCONNECT_AFTER = 0.05
"""Seconds until a client that abandons its request disconnects."""


def configuration_bytes(configuration: Configuration) -> bytes | None:
    """A configuration as the proxy hands it to the plugin."""
    match configuration:
        case None | bytes():
            return configuration
        case str():
            return configuration.encode("utf-8", "surrogateescape")
        case _:
            return json.dumps(configuration).encode()


def respond(
    status: int = 200, headers: Headers = (), body: Body = b"", trailers: Headers = (), *, breaks: Break = ""
) -> UpstreamResponse:
    """A response for `upstream=`.

    `body` may be a list of pieces, which the filter gets one by one. With `breaks` the response is never whole: after its last piece the
    upstream's connection is closed (`"close"`) or reset (`"reset"`).
    """
    whole, pieces = _body(body)
    return UpstreamResponse(status, HeaderMap(headers), whole, HeaderMap(trailers), pieces, breaks)


def _body(body: Body) -> tuple[bytes, tuple[bytes, ...]]:
    """The whole body, and its pieces where it is given in pieces; those without a byte do not exist on the wire."""
    if isinstance(body, bytes | str):
        return _bytes(body), ()
    pieces = tuple(piece for piece in map(_bytes, body) if piece)
    return b"".join(pieces), pieces


def _bytes(body: bytes | str) -> bytes:
    return body.encode("utf-8", "surrogateescape") if isinstance(body, str) else body


def default_upstream(_: UpstreamRequest) -> UpstreamResponse:
    """The upstream of a request that names none: 200, and a line of text."""
    return respond(200, {"content-type": "text/plain"}, b"hello from upstream\n")


def echo(data: bytes) -> bytes:
    """The upstream of a connection that names none: sends back what it gets."""
    return data


def _answer(upstream: Answer | Upstream) -> Upstream:
    return (lambda _: upstream) if isinstance(upstream, UpstreamResponse | Closing | Silent) else upstream


def _is_tls(properties: Properties) -> bool:
    connection = tree(properties).get("connection")
    return isinstance(connection, dict) and "tls_version" in connection


def _disconnect(request: Request, after: float | None, sending: int | None, receiving: int | None) -> Disconnect:
    if sum(moment is not None for moment in (after, sending, receiving)) > 1:
        msg = "abandon: a client leaves at one moment: after, after_sending or after_receiving"
        raise ValueError(msg)
    if sending is not None and not 0 <= sending < len(request.pieces):
        msg = (
            f"abandon: after_sending={sending}: the body has {len(request.pieces)} pieces, of which at least one must remain; "
            "give it as a list of pieces"
        )
        raise ValueError(msg)
    if after is None and sending is None and receiving is None:
        after = DISCONNECT_AFTER
    return Disconnect(after, sending, receiving)


class Proxy:
    """A proxy in front of an upstream, with one plugin that every request passes through."""

    def __init__(self, host: HostName, plugin: RunningPlugin, settings: PluginSettings | None = None) -> None:
        self.host = host
        """`"native"`, `"wasm"` or `"envoy"`."""
        self._plugin = plugin
        settings = settings or PluginSettings()
        self._properties = settings.properties
        self._judge = Judge(settings.allowed_faults) if settings.strict else None
        self._is_stopped = False
        self._traced = "start"

    @classmethod
    def start(cls, host: Host, extension: Extension, settings: PluginSettings) -> "Proxy":
        """Raises `ConfigurationRejected` with the plugin's own words where it refuses its configuration."""
        proxy = cls(host.name, host.start(extension, settings), settings)
        try:
            proxy._check()
        except BaseException:
            proxy.stop()
            raise
        return proxy

    def _request(
        self,
        method: str,
        path: str,
        headers: Headers,
        body: Body,
        trailers: Headers,
        authority: str | None,
        properties: Properties | None,
    ) -> Request:
        fields = HeaderMap(headers)
        if authority is None:
            authority = fields.get("host", DEFAULT_AUTHORITY)
        whole, pieces = _body(body)
        return Request(
            method,
            path,
            fields.without("host"),
            whole,
            HeaderMap(trailers),
            authority,
            "https" if _is_tls({**self._properties, **(properties or {})}) else "http",
            pieces,
            properties or {},
        )

    def _check(self) -> None:
        """In strict mode, raise for what the plugin did since the last time that no plugin should."""
        if self._judge is not None:
            self._judge.judge(self._plugin.faults())

    def request(  # noqa: PLR0913 - each is an option of its own, by name
        self,
        method: str,
        path: str,
        *,
        headers: Headers = (),
        body: Body = b"",
        trailers: Headers = (),
        authority: str | None = None,
        upstream: Answer | Upstream = default_upstream,
        timeout: float = TIMEOUT,
        properties: Properties | None = None,
    ) -> Exchange:
        """Send one request through the plugin.

        `headers` and `trailers` are a mapping or pairs, of text or bytes; `authority` is the `Host`, which `headers` may
        name instead. `body` may be a list of pieces, each of which is sent once the proxy is done with the one before. `upstream` is the
        response, `Closing()` or `Silent()`, or a function from the request that arrives there to one of these. Raises
        `StreamPaused` where the request is not answered within `timeout` seconds; in the emulator these are seconds of its
        clock, which moves while the plugin waits for a timer or a callout, and no real time passes.

        `properties` are what the proxy knows of this stream besides; see `presets`. In strict mode `PluginFault` is raised for what the plugin
        did that no plugin should.
        """
        request = self._request(method, path, headers, body, trailers, authority, properties)
        self._traced = f"{method} {path}"
        exchange = self._plugin.exchange(request, _answer(upstream), timeout)
        self._check()
        return exchange

    def get(self, path: str, **options: Any) -> Exchange:  # noqa: ANN401 - those of `request`
        """`request("GET", ...)`."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> Exchange:  # noqa: ANN401 - those of `request`
        """`request("POST", ...)`."""
        return self.request("POST", path, **options)

    def abandon(  # noqa: PLR0913 - each is an option of its own, by name
        self,
        method: str,
        path: str,
        *,
        after: float | None = None,
        after_sending: int | None = None,
        after_receiving: int | None = None,
        headers: Headers = (),
        body: Body = b"",
        trailers: Headers = (),
        authority: str | None = None,
        upstream: Answer | Upstream = default_upstream,
        timeout: float = TIMEOUT,
        properties: Properties | None = None,
    ) -> Exchange:
        """Send one request, and disconnect before the exchange is over; the exchange as far as it came by then.

        The client leaves `after` so many seconds; or `after_sending` so many pieces of a `body` that is a list, at least one of which
        remains; or `after_receiving` the response's headers and so many bytes of its body, if it has that many. Unless told, it leaves
        after a moment. `reset` of the exchange is true where the response was not whole, and its `status` 0 where none had begun.

        Raises `StreamPaused` where the client waits longer than `timeout` seconds for what it is to receive, and `ValueError` for a moment
        that cannot be.
        """
        request = self._request(method, path, headers, body, trailers, authority, properties)
        disconnect = _disconnect(request, after, after_sending, after_receiving)
        self._traced = f"{method} {path}"
        exchange = self._plugin.abandon(request, _answer(upstream), disconnect, timeout)
        self._check()
        return exchange

    def connect(self, upstream: TcpUpstream = echo, *, properties: Properties | None = None) -> Connection:
        """A TCP connection through the plugin (`start_proxy(network=True)`) to an upstream.

        `upstream` is called with each piece that arrives there, and what it returns, unless that is `None`, is sent back;
        unless told, it sends back what it gets. `properties` are what the proxy knows of it besides.
        """
        self._traced = "connection"
        return self._plugin.connect(upstream, properties)

    def advance(self, seconds: float) -> None:
        """Let time pass: in the emulator its clock moves by `seconds`, in Envoy the test really waits."""
        self._plugin.advance(seconds)
        self._check()

    @property
    def logs(self) -> list[LogRecord]:
        """What the plugin logged since it was started, oldest first, its configuration included."""
        return self._plugin.logs()

    def trace(self) -> Trace:
        """What went on between the proxy and the plugin in the last request or connection, and since then: callbacks, hostcalls, log lines.

        `print(proxy.trace().text())` shows it; see `proxy_wasm.tracing.Trace` for JSON and a page with a timeline. Before the first request
        it is that of the plugin's start. Envoy tells of bytes how many a plugin passed, not which, and nothing of results; and where a request
        is over, nothing of what follows it.
        """
        return self._plugin.trace(self._traced)

    def metrics(self) -> dict[str, int]:
        """The plugin's counters and gauges by name.

        In Envoy counters count from the first request on, and metrics of plugins in other tests appear too: ask by name.
        """
        return self._plugin.metrics()

    def metric(self, name: str, /, **labels: str) -> int:
        """The value of one counter or gauge, named as the plugin names it; 0 where it was not made yet."""
        return self.metrics().get(full_name(name, labels), 0)

    @property
    def live_contexts(self) -> LiveContexts:
        """The contexts that live in the plugin's VM: its own, and those of streams that are not over.

        Raises `NotOnThisHost` for modules that have no callback for a context's end.
        """
        return self._plugin.live_contexts()

    @property
    def pending_callouts(self) -> int:
        """How many of the plugin's callouts are under way: calls that were not answered, gRPC streams that were not closed."""
        return self._plugin.pending_callouts()

    @property
    def memory(self) -> int:
        """The bytes of the VM's memory. Raises `NotOnThisHost` but on `wasm`."""
        return self._plugin.memory_size()

    def shared_data(self, key: str) -> bytes | None:
        """A value that the plugin shares with others of its `vm_id`; `None` where there is none."""
        return self._plugin.shared_data(key)

    def set_shared_data(self, key: str, value: bytes | str) -> None:
        """Set a value that the plugin shares with others of its `vm_id`, as another one might."""
        self._plugin.set_shared_data(key, _bytes(value))

    @property
    def faults(self) -> list[Fault]:
        """What the plugin did so far that no plugin should, strict mode or not; see `proxy_wasm.testing.watch`."""
        return self._plugin.faults()

    def stop(self) -> None:
        """Take the plugin out of its host; in strict mode raises `PluginFault` for what it leaves behind."""
        if not self._is_stopped:
            self._is_stopped = True
            self._plugin.stop()
            self._check()


class StartProxy(Protocol):
    """The fixture `start_proxy`, as tests may annotate it."""

    def __call__(  # noqa: PLR0913 - each is an option of its own, by name
        self,
        project: str | Path | None = None,
        configuration: Configuration = None,
        *,
        vm_configuration: Configuration = None,
        root_id: str = "",
        environment: Mapping[str, str] | None = None,
        isolated: bool = False,
        clusters: Mapping[str, Cluster] | None = None,
        vm_id: str = "",
        allow_on_headers_stop_iteration: bool = False,
        network: bool = False,
        properties: Properties | None = None,
        shared_data: Mapping[str, bytes | str] | None = None,
        observed_properties: Iterable[str] = (),
        strict: bool | None = None,
        allowed_faults: Iterable[str] = (),
        failure_policy: FailurePolicy = FailurePolicy.CLOSED,
        capabilities: Iterable[str] = (),
    ) -> Proxy:
        """A proxy with the extension's plugin in it; stopped when the test ends.

        `project` is an extension's folder or a built module, relative to the test's file; unless told, the nearest folder
        above that file which is an extension. `isolated` gives the plugin an Envoy process of its own, for tests that may
        harm it. `clusters` are what the plugin can call, by name; see `proxy_wasm.emulator.clusters`. All plugins that a test
        starts live in one proxy; those with an equal `vm_id` that is not empty share data and queues, and the VM too if their
        module and VM configuration are equal. `network` makes the plugin a filter of connections.

        `properties` are what the proxy knows of itself and of every stream; see `presets`. `shared_data` is there before the plugin starts.
        `observed_properties` are the names of properties that the plugin sets and the test looks at, which Envoy must know beforehand.

        With `strict` whatever the plugin does that no plugin should fails the test (see `proxy_wasm.testing.watch`), but for what one of the
        regular expressions in `allowed_faults` is found in. Unless told, the marker `strict` says so, or the setting `proxy_wasm_strict`.

        `failure_policy` says what becomes of streams once the plugin's VM has failed. `capabilities` are the hostcalls and callbacks, as
        `proxy_log`, and functions of WASI that alone the plugin gets; all of them, where none is named.

        Raises `ConfigurationRejected` with the plugin's own words where it refuses its configuration.
        """
        ...
