"""Envoy's configuration for a filter in front of an upstream, as JSON-like dictionaries.

The listener changes as little as it can on the way: no request id, no forwarded-for address, no headers of Envoy's own, no
normalized path. What remains (`x-forwarded-proto` on requests, `date` on responses) Envoy always adds.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeAlias

from proxy_wasm.envoy.log import ACCESS_LOG_FIELDS

Json: TypeAlias = dict[str, Any]

UPSTREAM_CLUSTER = "upstream"
MAX_HEADERS = 10_000
"""How many headers a message may have; Envoy's default is 100."""
MAX_HEADERS_KB = 8192
"""How many KiB a message's headers may have together, Envoy's maximum; its default is 60."""

_TYPE = "@type"
_EXTENSIONS = "type.googleapis.com/envoy.extensions"


class FailurePolicy(Enum):
    """What becomes of requests while the filter's VM is dead, as Envoy names it."""

    CLOSED = "FAIL_CLOSED"
    OPEN = "FAIL_OPEN"
    RELOAD = "FAIL_RELOAD"


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

    def to_json(self) -> Json:
        """The entry of `http_filters`."""
        vm_config: Json = {
            "vm_id": self.vm_id,
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": str(self.module.absolute())}},
        }
        if self.vm_configuration is not None:
            vm_config["configuration"] = packed_bytes(self.vm_configuration)
        if self.environment:
            vm_config["environment_variables"] = {"key_values": dict(self.environment)}
        config: Json = {
            "name": self.name,
            "root_id": self.root_id,
            "vm_config": vm_config,
            "failure_policy": self.failure_policy.value,
        }
        if self.configuration is not None:
            config["configuration"] = packed_bytes(self.configuration)
        return {
            "name": "envoy.filters.http.wasm",
            "typed_config": {_TYPE: f"{_EXTENSIONS}.filters.http.wasm.v3.Wasm", "config": config},
        }


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
    cluster: str = UPSTREAM_CLUSTER,
) -> Json:
    """A listener on 127.0.0.1 that passes every request through `filters` to `cluster`."""
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}]
    return _http_listener(name, [entry.to_json() for entry in filters], routes, port=port, access_log=access_log)


def answering_listener(name: str) -> Json:
    """A listener that answers every request itself, with 204."""
    routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 204}}]
    return _http_listener(name, [], routes, port=0, access_log=None)


def _http_listener(name: str, filters: list[Json], routes: list[Json], *, port: int, access_log: Path | None) -> Json:
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
    }
    if access_log is not None:
        manager["access_log"] = [_access_log(access_log)]
    return {
        "name": name,
        "address": address("127.0.0.1", port),
        "enable_reuse_port": False,  # with it, two Envoys could listen on one port, and share its connections
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def _access_log(path: Path) -> Json:
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            _TYPE: f"{_EXTENSIONS}.access_loggers.file.v3.FileAccessLog",
            "path": str(path),
            "log_format": {"json_format": dict(ACCESS_LOG_FIELDS)},
        },
    }


def cluster(host: str, port: int, *, name: str = UPSTREAM_CLUSTER) -> Json:
    """An upstream spoken to in HTTP/1.1; `host` is an address or a name."""
    options: Json = {
        _TYPE: f"{_EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"max_headers_count": MAX_HEADERS, "max_response_headers_kb": MAX_HEADERS_KB},
        "explicit_http_config": {"http_protocol_options": {"enable_trailers": True}},
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


def _discovery(host: str) -> Json:
    """How the cluster finds its host: an address needs nothing; of a name's addresses the first that answers is taken."""
    try:
        ip_address(host)
    except ValueError:
        return {"type": "LOGICAL_DNS", "dns_lookup_family": "ALL"}
    return {"type": "STATIC"}


def bootstrap(
    *, clusters: Sequence[Json] = (), listeners: Sequence[Json] = (), listeners_file: Path | None = None
) -> Json:
    """What Envoy starts with: `listeners` fixed, and those of `listeners_file` (see `listeners_update`) as they change."""
    config: Json = {
        "node": {"id": "proxy-wasm", "cluster": "proxy-wasm"},
        "admin": {"address": address("127.0.0.1", 0)},
        "static_resources": {"clusters": list(clusters), "listeners": list(listeners)},
    }
    if listeners_file is not None:
        source: Json = {"path_config_source": {"path": str(listeners_file)}, "resource_api_version": "V3"}
        config["dynamic_resources"] = {"lds_config": source}
    return config


def listeners_update(version: int, listeners: Sequence[Json]) -> Json:
    """The content of a listeners file: all listeners that there shall be from now on."""
    listener_type = "type.googleapis.com/envoy.config.listener.v3.Listener"
    return {"version_info": str(version), "resources": [{_TYPE: listener_type, **entry} for entry in listeners]}
