"""A real Envoy: its binary, configuration, process, logs and stats, and filters that come and go in a living one."""

from proxy_wasm.envoy.admin import Admin
from proxy_wasm.envoy.binary import find_envoy
from proxy_wasm.envoy.client import Reply, abandon, send
from proxy_wasm.envoy.configuration import (
    FailurePolicy,
    WasmFilter,
    bootstrap,
    cluster,
    cluster_without_hosts,
    file_access_log,
    listener,
    tcp_listener,
)
from proxy_wasm.envoy.errors import ClusterTaken, EnvoyError, EnvoyFailed, EnvoyNotFound, FilterRefused, NoResponse
from proxy_wasm.envoy.filters import FilteredConnection, FilteringEnvoy, Outcome, RunningFilter
from proxy_wasm.envoy.http1 import Message, encode_request, encode_request_in_pieces, encode_response
from proxy_wasm.envoy.log import AccessRecord, LogLine, WasmMessage
from proxy_wasm.envoy.process import EnvoyProcess
from proxy_wasm.envoy.upstream import Upstream

__all__ = [
    "AccessRecord",
    "Admin",
    "ClusterTaken",
    "EnvoyError",
    "EnvoyFailed",
    "EnvoyNotFound",
    "EnvoyProcess",
    "FailurePolicy",
    "FilterRefused",
    "FilteredConnection",
    "FilteringEnvoy",
    "LogLine",
    "Message",
    "NoResponse",
    "Outcome",
    "Reply",
    "RunningFilter",
    "Upstream",
    "WasmFilter",
    "WasmMessage",
    "abandon",
    "bootstrap",
    "cluster",
    "cluster_without_hosts",
    "encode_request",
    "encode_request_in_pieces",
    "encode_response",
    "file_access_log",
    "find_envoy",
    "listener",
    "send",
    "tcp_listener",
]
