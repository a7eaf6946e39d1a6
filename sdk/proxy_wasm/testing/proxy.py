"""A proxy with one plugin in it, the same to a test on each host."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from proxy_wasm.emulator import Exchange, LogRecord, Request, UpstreamRequest, UpstreamResponse
from proxy_wasm.emulator.clusters import Cluster
from proxy_wasm.emulator.header_map import HeaderMap, Headers
from proxy_wasm.metrics import full_name
from proxy_wasm.testing.extension import Extension
from proxy_wasm.testing.hosts import Connection, Host, HostName, PluginSettings, RunningPlugin, TcpUpstream, Upstream

Configuration: TypeAlias = Mapping[str, Any] | list[Any] | str | bytes | None
"""What a plugin is configured with: a mapping or list goes as JSON, text as UTF-8, bytes as they are."""

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
    status: int = 200, headers: Headers = (), body: bytes | str = b"", trailers: Headers = ()
) -> UpstreamResponse:
    """A response for `upstream=`."""
    return UpstreamResponse(status, HeaderMap(headers), _bytes(body), HeaderMap(trailers))


def _bytes(body: bytes | str) -> bytes:
    return body.encode("utf-8", "surrogateescape") if isinstance(body, str) else body


def default_upstream(_: UpstreamRequest) -> UpstreamResponse:
    """The upstream of a request that names none: 200, and a line of text."""
    return respond(200, {"content-type": "text/plain"}, b"hello from upstream\n")


def echo(data: bytes) -> bytes:
    """The upstream of a connection that names none: sends back what it gets."""
    return data


def _request(
    method: str, path: str, headers: Headers, body: bytes | str, trailers: Headers, authority: str | None
) -> Request:
    fields = HeaderMap(headers)
    if authority is None:
        authority = fields.get("host", DEFAULT_AUTHORITY)
    return Request(method, path, fields.without("host"), _bytes(body), HeaderMap(trailers), authority)


def _answer(upstream: UpstreamResponse | Upstream) -> Upstream:
    return (lambda _: upstream) if isinstance(upstream, UpstreamResponse) else upstream


class Proxy:
    """A proxy in front of an upstream, with one plugin that every request passes through."""

    def __init__(self, host: HostName, plugin: RunningPlugin) -> None:
        self.host = host
        """`"native"`, `"wasm"` or `"envoy"`."""
        self._plugin = plugin

    @classmethod
    def start(cls, host: Host, extension: Extension, settings: PluginSettings) -> "Proxy":
        """Raises `ConfigurationRejected` with the plugin's own words where it refuses its configuration."""
        return cls(host.name, host.start(extension, settings))

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Headers = (),
        body: bytes | str = b"",
        trailers: Headers = (),
        authority: str | None = None,
        upstream: UpstreamResponse | Upstream = default_upstream,
        timeout: float = TIMEOUT,
    ) -> Exchange:
        """Send one request through the plugin.

        `headers` and `trailers` are a mapping or pairs, of text or bytes; `authority` is the `Host`, which `headers` may
        name instead. `upstream` is the response, or a function from the request that arrives there to the response. Raises
        `StreamPaused` where the request is not answered within `timeout` seconds; in the emulator these are seconds of its
        clock, which moves while the plugin waits for a timer or a callout, and no real time passes.
        """
        request = _request(method, path, headers, body, trailers, authority)
        return self._plugin.exchange(request, _answer(upstream), timeout)

    def get(self, path: str, **options: Any) -> Exchange:  # noqa: ANN401 - those of `request`
        """`request("GET", ...)`."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> Exchange:  # noqa: ANN401 - those of `request`
        """`request("POST", ...)`."""
        return self.request("POST", path, **options)

    def abandon(
        self,
        method: str,
        path: str,
        *,
        after: float = DISCONNECT_AFTER,
        headers: Headers = (),
        body: bytes | str = b"",
        trailers: Headers = (),
        authority: str | None = None,
        upstream: UpstreamResponse | Upstream = default_upstream,
    ) -> Exchange:
        """Send one request, and disconnect `after` that many seconds; the exchange as far as it came by then.

        Its `reset` is true, and its `status` 0, where no response had begun.
        """
        request = _request(method, path, headers, body, trailers, authority)
        return self._plugin.abandon(request, _answer(upstream), after)

    def connect(self, upstream: TcpUpstream = echo) -> Connection:
        """A TCP connection through the plugin (`start_proxy(network=True)`) to an upstream.

        `upstream` is called with each piece that arrives there, and what it returns, unless that is `None`, is sent back;
        unless told, it sends back what it gets.
        """
        return self._plugin.connect(upstream)

    def advance(self, seconds: float) -> None:
        """Let time pass: in the emulator its clock moves by `seconds`, in Envoy the test really waits."""
        self._plugin.advance(seconds)

    @property
    def logs(self) -> list[LogRecord]:
        """What the plugin logged since it was started, oldest first, its configuration included."""
        return self._plugin.logs()

    def metrics(self) -> dict[str, int]:
        """The plugin's counters and gauges by name.

        In Envoy counters count from the first request on, and metrics of plugins in other tests appear too: ask by name.
        """
        return self._plugin.metrics()

    def metric(self, name: str, /, **labels: str) -> int:
        """The value of one counter or gauge, named as the plugin names it; 0 where it was not made yet."""
        return self.metrics().get(full_name(name, labels), 0)

    def stop(self) -> None:
        """Take the plugin out of its host."""
        self._plugin.stop()


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
    ) -> Proxy:
        """A proxy with the extension's plugin in it; stopped when the test ends.

        `project` is an extension's folder or a built module, relative to the test's file; unless told, the nearest folder
        above that file which is an extension. `isolated` gives the plugin an Envoy process of its own, for tests that may
        harm it. `clusters` are what the plugin can call, by name; see `proxy_wasm.emulator.clusters`. All plugins that a test
        starts live in one proxy; those with an equal `vm_id` that is not empty share data and queues, and the VM too if their
        module and VM configuration are equal. `network` makes the plugin a filter of connections. Raises
        `ConfigurationRejected` with the plugin's own words where it refuses its configuration.
        """
        ...
