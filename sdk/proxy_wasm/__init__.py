"""Envoy and Istio filters written in plain Python."""

import sys

if sys.platform == "wasi":
    # First of all: it puts lighter modules in place of some that the others would import.
    from importlib import import_module

    import_module("proxy_wasm.guest.imports")

from proxy_wasm.abi.enums import Action, LogLevel, Status
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.body import Body
from proxy_wasm.configuration import Configuration
from proxy_wasm.contexts import HttpContext, PluginContext
from proxy_wasm.errors import ConfigurationError, PhaseError, PluginReferenceError
from proxy_wasm.headers import Headers
from proxy_wasm.log import TRACE
from proxy_wasm.metadata import Fields, Locality, Metadata
from proxy_wasm.metrics import Counter, Gauge, Histogram
from proxy_wasm.properties import Properties
from proxy_wasm.properties.values import TrafficDirection

__all__ = [
    "TRACE",
    "Action",
    "Body",
    "Configuration",
    "ConfigurationError",
    "Counter",
    "Fields",
    "Gauge",
    "Headers",
    "Histogram",
    "HostError",
    "HttpContext",
    "Locality",
    "LogLevel",
    "Metadata",
    "PhaseError",
    "PluginContext",
    "PluginReferenceError",
    "Properties",
    "Status",
    "TrafficDirection",
]
