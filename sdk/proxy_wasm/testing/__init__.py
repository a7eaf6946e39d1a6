"""Tests of filters, written once, run on three hosts: native, wasm and envoy.

The fixture `start_proxy` comes with the pytest plugin (`proxy_wasm.testing.plugin`), which pytest finds by itself.
"""

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.emulator import (
    ConfigurationRejected,
    Exchange,
    FailurePolicy,
    LogRecord,
    ModuleRefused,
    StreamPaused,
    UpstreamRequest,
    UpstreamResponse,
    VmFailed,
)
from proxy_wasm.emulator.clusters import (
    Absent,
    Answering,
    Closing,
    Cluster,
    GrpcCall,
    GrpcRefusal,
    GrpcServer,
    NoHosts,
    ServerAt,
    Silent,
    grpc_unary,
)
from proxy_wasm.testing import presets
from proxy_wasm.testing.extension import Extension
from proxy_wasm.testing.hosts import HOST_NAMES, Connection, Host, HostName, PluginSettings, open_host
from proxy_wasm.testing.proxy import Proxy, StartProxy, respond
from proxy_wasm.testing.strict import PluginFault
from proxy_wasm.testing.watch import Fault, LiveContexts, NotOnThisHost

__all__ = [
    "HOST_NAMES",
    "Absent",
    "Answering",
    "Closing",
    "Cluster",
    "ConfigurationRejected",
    "Connection",
    "Exchange",
    "Extension",
    "FailurePolicy",
    "Fault",
    "GrpcCall",
    "GrpcRefusal",
    "GrpcServer",
    "Host",
    "HostName",
    "LiveContexts",
    "LogLevel",
    "LogRecord",
    "ModuleRefused",
    "NoHosts",
    "NotOnThisHost",
    "PluginFault",
    "PluginSettings",
    "Proxy",
    "ServerAt",
    "Silent",
    "StartProxy",
    "StreamPaused",
    "UpstreamRequest",
    "UpstreamResponse",
    "VmFailed",
    "grpc_unary",
    "open_host",
    "presets",
    "respond",
]
