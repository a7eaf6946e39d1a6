"""Tests of filters, written once, run on three hosts: native, wasm and envoy.

The fixture `start_proxy` comes with the pytest plugin (`proxy_wasm.testing.plugin`), which pytest finds by itself.
"""

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.emulator import (
    ConfigurationRejected,
    Exchange,
    LogRecord,
    ModuleRefused,
    StreamPaused,
    UpstreamRequest,
    UpstreamResponse,
    VmFailed,
)
from proxy_wasm.testing.extension import Extension
from proxy_wasm.testing.hosts import HOST_NAMES, Host, HostName, PluginSettings, open_host
from proxy_wasm.testing.proxy import Proxy, StartProxy, respond

__all__ = [
    "HOST_NAMES",
    "ConfigurationRejected",
    "Exchange",
    "Extension",
    "Host",
    "HostName",
    "LogLevel",
    "LogRecord",
    "ModuleRefused",
    "PluginSettings",
    "Proxy",
    "StartProxy",
    "StreamPaused",
    "UpstreamRequest",
    "UpstreamResponse",
    "VmFailed",
    "open_host",
    "respond",
]
