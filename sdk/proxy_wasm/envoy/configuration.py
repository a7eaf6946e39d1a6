"""Envoy's configuration for a filter in front of an upstream, as JSON-like dictionaries.

The listener changes as little as it can on the way: no request id, no forwarded-for address, no headers of Envoy's own, no
normalized path. What remains (`x-forwarded-proto` on requests, `date` on responses) Envoy always adds.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeAlias

from proxy_wasm.emulator.failure_policy import FailurePolicy
from proxy_wasm.envoy.log import ACCESS_LOG_FIELDS

Json: TypeAlias = dict[str, Any]

UPSTREAM_CLUSTER = "upstream"
ADDED_TO_CALLOUTS = ("x-envoy-internal", "x-envoy-expected-rq-timeout-ms")
"""Headers that Envoy adds to what a filter calls a cluster with."""
MAX_HEADERS = 10_000
"""How many headers a message may have; Envoy's default is 100."""
MAX_HEADERS_KB = 8192
"""How many KiB a message's headers may have together, Envoy's maximum; its default is 60."""

_TYPE = "@type"
_EXTENSIONS = "type.googleapis.com/envoy.extensions"


@dataclass(frozen=True, slots=True)
class Retries:
    """How often Envoy fetches again what it could not get (`config.core.v3.RetryPolicy`)."""

    count: int
    interval: float = 1.0
    """Seconds before the first of them; later ones wait longer, each a random time."""
    longest: float | None = None
    """Seconds, at most; ten times the first unless told."""

    def to_json(self) -> Json:
        """The retry policy of a remote source."""
        back_off: Json = {"base_interval": seconds(self.interval)}
        if self.longest is not None:
            back_off["max_interval"] = seconds(self.longest)
        return {"num_retries": self.count, "retry_back_off": back_off}


@dataclass(frozen=True, slots=True)
class RemoteModule:
    """A module that Envoy itself fetches over HTTP (`config.core.v3.RemoteDataSource`)."""

    url: str
    sha256: str
    """Of the module, in hexadecimal digits; Envoy drops whatever has another one."""
    cluster: str
    """The name of the cluster that the module comes from."""
    timeout: float = 30.0
    """Seconds for one fetch."""
    retries: Retries | None = None
    """Envoy fetches once more unless told."""

    def to_json(self) -> Json:
        """The source of the code."""
        remote: Json = {
            "http_uri": {"uri": self.url, "cluster": self.cluster, "timeout": seconds(self.timeout)},
            "sha256": self.sha256,
        }
        if self.retries is not None:
            remote["retry_policy"] = self.retries.to_json()
        return {"remote": remote}


@dataclass(frozen=True, slots=True)
class WasmFilter:
    """One plugin configuration of a Wasm HTTP filter."""

    module: Path
    configuration: bytes | None = None
    vm_configuration: bytes | None = None
    root_id: str = ""
    name: str = "filter"
    """The plugin's name: a part of its log lines, and of what makes it another plugin than one configured alike."""
    vm_id: str = ""
    """Filters with the same `vm_id`, module and VM configuration share the VM of a worker."""
    failure_policy: FailurePolicy = FailurePolicy.CLOSED
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    allow_on_headers_stop_iteration: bool = False
    """Whether a pause in a headers callback holds the headers alone, and lets the body's callbacks come (Envoy 1.35)."""
    capabilities: tuple[str, ...] = ()
    """The hostcalls and callbacks, as `proxy_log`, that alone the plugin gets; all of them where none is named."""
    host_environment: tuple[str, ...] = ()
    """Names of environment variables that the VM gets with the values that they have for Envoy."""
    remote: RemoteModule | None = None
    """Where Envoy fetches the module from, in place of the file."""

    def to_json(self) -> Json:
        """The entry of an HTTP connection manager's `http_filters`."""
        return self._entry("http")

    def to_network_json(self) -> Json:
        """The entry of a filter chain's `filters`, where the plugin filters connections."""
        return self._entry("network")

    def _entry(self, kind: str) -> Json:
        vm_config: Json = {"runtime": "envoy.wasm.runtime.v8", "code": self._code()}
        if self.vm_id:
            vm_config["vm_id"] = self.vm_id
        if self.vm_configuration is not None:
            vm_config["configuration"] = packed_bytes(self.vm_configuration)
        if self.environment or self.host_environment:
            vm_config["environment_variables"] = self._environment_variables()
        config: Json = {"name": self.name, "vm_config": vm_config}
        if self.root_id:
            config["root_id"] = self.root_id
        if self.failure_policy is FailurePolicy.ALWAYS_OPEN:
            config["fail_open"] = True
        else:
            config["failure_policy"] = self.failure_policy.value
        if self.configuration is not None:
            config["configuration"] = packed_bytes(self.configuration)
        if self.allow_on_headers_stop_iteration:
            config["allow_on_headers_stop_iteration"] = True
        if self.capabilities:
            allowed: Json = {name: {} for name in self.capabilities}
            config["capability_restriction_config"] = {"allowed_capabilities": allowed}
        return {
            "name": f"envoy.filters.{kind}.wasm",
            "typed_config": {_TYPE: f"{_EXTENSIONS}.filters.{kind}.wasm.v3.Wasm", "config": config},
        }

    def _code(self) -> Json:
        if self.remote is not None:
            return self.remote.to_json()
        return {"local": {"filename": str(self.module.absolute())}}

    def _environment_variables(self) -> Json:
        variables: Json = {}
        if self.host_environment:
            variables["host_env_keys"] = list(self.host_environment)
        if self.environment:
            variables["key_values"] = dict(self.environment)
        return variables


def seconds(value: float) -> str:
    """A time as protobuf's JSON has it, to the millisecond."""
    return f"{round(value, 3):g}s"


def packed_bytes(value: bytes) -> Json:
    """`value` as the protobuf message that carries text, or bytes where it is no text, to a plugin unchanged."""
    try:
        return {_TYPE: "type.googleapis.com/google.protobuf.StringValue", "value": value.decode()}
    except UnicodeDecodeError:
        encoded = base64.b64encode(value).decode("ascii")
        return {_TYPE: "type.googleapis.com/google.protobuf.BytesValue", "value": encoded}


def address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def listener(
    name: str,
    filters: Sequence[WasmFilter],
    *,
    port: int = 0,
    access_log: Path | None = None,
    further_fields: Mapping[str, str] | None = None,
    cluster: str = UPSTREAM_CLUSTER,
) -> Json:
    """A listener on 127.0.0.1 that passes every request through `filters`, the first one first, to `cluster`.

    The records of `access_log` have `further_fields` besides `ACCESS_LOG_FIELDS`: Envoy's command operators by name.
    """
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}]
    logs = _access_logs(access_log, further_fields)
    return _http_listener(name, [entry.to_json() for entry in filters], routes, port=port, access_logs=logs)


def answering_listener(name: str) -> Json:
    """A listener that answers every request itself, with 204."""
    routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 204}}]
    return _http_listener(name, [], routes, port=0, access_logs=[])


def tcp_listener(
    name: str,
    filters: Sequence[WasmFilter],
    *,
    port: int = 0,
    access_log: Path | None = None,
    further_fields: Mapping[str, str] | None = None,
    cluster: str = UPSTREAM_CLUSTER,
) -> Json:
    """A listener on 127.0.0.1 that passes every connection through `filters`, the first one first, to `cluster`.

    The access log gets a record when a connection ends; see `listener`.
    """
    proxy: Json = {
        _TYPE: f"{_EXTENSIONS}.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp",
        "cluster": cluster,
        "access_log": _access_logs(access_log, further_fields),
    }
    last: Json = {"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}
    return _listener(name, [*(entry.to_network_json() for entry in filters), last], port)


def _http_listener(name: str, filters: list[Json], routes: list[Json], *, port: int, access_logs: list[Json]) -> Json:
    manager: Json = {
        _TYPE: f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "codec_type": "HTTP1",
        "generate_request_id": False,
        "preserve_external_request_id": True,
        "skip_xff_append": True,
        "server_header_transformation": "PASS_THROUGH",
        "normalize_path": False,
        "max_request_headers_kb": MAX_HEADERS_KB,
        "common_http_protocol_options": {"max_headers_count": MAX_HEADERS},
        "http_protocol_options": {"enable_trailers": True},
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            *filters,
            {
                "name": "envoy.filters.http.router",
                "typed_config": {_TYPE: f"{_EXTENSIONS}.filters.http.router.v3.Router", "suppress_envoy_headers": True},
            },
        ],
        "access_log": access_logs,
    }
    return _listener(name, [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}], port)


def _listener(name: str, filters: list[Json], port: int) -> Json:
    return {
        "name": name,
        "address": address("127.0.0.1", port),
        "enable_reuse_port": False,  # with it, two Envoys could listen on one port, and share its connections
        "filter_chains": [{"filters": filters}],
    }


def _access_logs(path: Path | None, further_fields: Mapping[str, str] | None) -> list[Json]:
    return [] if path is None else [file_access_log(path, {**ACCESS_LOG_FIELDS, **(further_fields or {})})]


def file_access_log(path: Path, fields: Mapping[str, str]) -> Json:
    """An access log with one JSON object for each stream: Envoy's command operators by the names of the `fields`."""
    config: Json = {
        _TYPE: f"{_EXTENSIONS}.access_loggers.file.v3.FileAccessLog",
        "path": str(path),
        "log_format": {"json_format": dict(fields)},
    }
    return {"name": "envoy.access_loggers.file", "typed_config": config}


def cluster(host: str, port: int, *, name: str = UPSTREAM_CLUSTER, http2: bool = False) -> Json:
    """An upstream spoken to in HTTP/1.1, or in HTTP/2; `host` is an address or a name."""
    protocol: Json = {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {"enable_trailers": True}}
    options: Json = {
        _TYPE: f"{_EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"max_headers_count": MAX_HEADERS, "max_response_headers_kb": MAX_HEADERS_KB},
        "explicit_http_config": protocol,
    }
    return {
        "name": name,
        **_discovery(host),
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(host, port)}}]}],
        },
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }


def cluster_without_hosts(name: str) -> Json:
    """A cluster with nowhere to send anything to."""
    return {"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name}}


def announcing_cluster(host: str, port: int, *, name: str) -> Json:
    """An upstream of connections that begin with a line of the PROXY protocol (version 1), which names the client's address."""
    transports = f"{_EXTENSIONS}.transport_sockets"
    announcing: Json = {
        _TYPE: f"{transports}.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
        "config": {"version": "V1"},
        "transport_socket": {
            "name": "envoy.transport_sockets.raw_buffer",
            "typed_config": {_TYPE: f"{transports}.raw_buffer.v3.RawBuffer"},
        },
    }
    return {
        "name": name,
        **_discovery(host),
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(host, port)}}]}],
        },
        "transport_socket": {"name": "envoy.transport_sockets.upstream_proxy_protocol", "typed_config": announcing},
    }


def _discovery(host: str) -> Json:
    """How the cluster finds its host: an address needs nothing; of a name's addresses the first that answers is taken."""
    try:
        ip_address(host)
    except ValueError:
        return {"type": "LOGICAL_DNS", "dns_lookup_family": "ALL"}
    return {"type": "STATIC"}


def bootstrap(
    *,
    clusters: Sequence[Json] = (),
    listeners: Sequence[Json] = (),
    clusters_file: Path | None = None,
    listeners_file: Path | None = None,
    stats_tags: Mapping[str, str] | None = None,
) -> Json:
    """What Envoy starts with.

    `clusters` and `listeners` are fixed; those of `clusters_file` and `listeners_file` (see `clusters_update` and
    `listeners_update`) change with the files. `stats_tags` are regular expressions by the name of the tag that each extracts
    from the names of stats: of two groups the first is cut out, the second is the value.
    """
    config: Json = {
        "node": {"id": "proxy-wasm", "cluster": "proxy-wasm"},
        "admin": {"address": address("127.0.0.1", 0)},
        "static_resources": {"clusters": list(clusters), "listeners": list(listeners)},
    }
    files = {"cds_config": clusters_file, "lds_config": listeners_file}
    dynamic: Json = {name: _file_source(path) for name, path in files.items() if path is not None}
    if dynamic:
        config["dynamic_resources"] = dynamic
    if stats_tags:
        tags = [{"tag_name": name, "regex": expression} for name, expression in stats_tags.items()]
        config["stats_config"] = {"stats_tags": tags}
    return config


def _file_source(path: Path) -> Json:
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def clusters_update(version: int, clusters: Sequence[Json]) -> Json:
    """The content of a clusters file: all clusters that there shall be from now on, besides the fixed ones."""
    return _update(version, "type.googleapis.com/envoy.config.cluster.v3.Cluster", clusters)


def listeners_update(version: int, listeners: Sequence[Json]) -> Json:
    """The content of a listeners file: all listeners that there shall be from now on, besides the fixed ones."""
    return _update(version, "type.googleapis.com/envoy.config.listener.v3.Listener", listeners)


def _update(version: int, resource_type: str, resources: Sequence[Json]) -> Json:
    return {"version_info": str(version), "resources": [{_TYPE: resource_type, **entry} for entry in resources]}
