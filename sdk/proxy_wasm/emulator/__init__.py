"""A Proxy-Wasm host for tests: Envoy's behaviour without Envoy, in this process, driven call by call.

`Emulator` runs a guest, `native_guest` (the author's classes) or `wasm_guest` (the built module); `Emulator.start_plugin`
gives a `Plugin`, and a plugin passes whole exchanges (`Plugin.exchange`) or a stream's events one by one
(`Plugin.http_stream`, `Plugin.tcp_stream`). What plugins can call stands in `proxy_wasm.emulator.clusters`. docs/emulator.md tells what is modelled.
"""

from proxy_wasm.emulator.clock import Clock
from proxy_wasm.emulator.emulator import Emulator
from proxy_wasm.emulator.errors import (
    ConfigurationRejected,
    EmulatorError,
    ModuleRefused,
    NeverIdle,
    StreamPaused,
    VmFailed,
)
from proxy_wasm.emulator.exchange import Exchange, Request, UpstreamRequest, UpstreamResponse
from proxy_wasm.emulator.failure_policy import FailurePolicy
from proxy_wasm.emulator.guest import GuestFactory
from proxy_wasm.emulator.guests import native_guest, wasm_guest
from proxy_wasm.emulator.header_map import HeaderMap
from proxy_wasm.emulator.http_stream import HttpStream
from proxy_wasm.emulator.log import LogRecord
from proxy_wasm.emulator.plugin import Plugin
from proxy_wasm.emulator.shared_state import SharedState
from proxy_wasm.emulator.tcp_stream import TcpStream

__all__ = [
    "Clock",
    "ConfigurationRejected",
    "Emulator",
    "EmulatorError",
    "Exchange",
    "FailurePolicy",
    "GuestFactory",
    "HeaderMap",
    "HttpStream",
    "LogRecord",
    "ModuleRefused",
    "NeverIdle",
    "Plugin",
    "Request",
    "SharedState",
    "StreamPaused",
    "TcpStream",
    "UpstreamRequest",
    "UpstreamResponse",
    "VmFailed",
    "native_guest",
    "wasm_guest",
]
