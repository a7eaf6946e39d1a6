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
from proxy_wasm.errors import (
    ConfigurationError,
    ExpressionError,
    PhaseError,
    PluginReferenceError,
    UnknownForeignFunctionError,
    UnknownQueueError,
    UpdateConflictError,
)
from proxy_wasm.foreign_functions import Expression, ForeignFunctions, LifeSpan, PropertyType
from proxy_wasm.headers import Headers
from proxy_wasm.log import TRACE
from proxy_wasm.metadata import Fields, Locality, Metadata
from proxy_wasm.metrics import Counter, Gauge, Histogram
from proxy_wasm.properties import Properties
from proxy_wasm.properties.values import TrafficDirection
from proxy_wasm.shared_data import SharedData
from proxy_wasm.shared_queues import SharedQueue

__all__ = [
    "TRACE",
    "Action",
    "Body",
    "Configuration",
    "ConfigurationError",
    "Counter",
    "Expression",
    "ExpressionError",
    "Fields",
    "ForeignFunctions",
    "Gauge",
    "Headers",
    "Histogram",
    "HostError",
    "HttpContext",
    "LifeSpan",
    "Locality",
    "LogLevel",
    "Metadata",
    "PhaseError",
    "PluginContext",
    "PluginReferenceError",
    "Properties",
    "PropertyType",
    "SharedData",
    "SharedQueue",
    "Status",
    "TrafficDirection",
    "UnknownForeignFunctionError",
    "UnknownQueueError",
    "UpdateConflictError",
]
