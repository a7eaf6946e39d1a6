"""Envoy and Istio filters written in plain Python."""

import sys

if sys.platform == "wasi":
    # First of all: it puts lighter modules in place of some that the others would import.
    from importlib import import_module

    import_module("proxy_wasm.guest.imports")

from proxy_wasm.abi.enums import Action, GrpcStatus, LogLevel, PeerType, Status
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.body import Body
from proxy_wasm.callouts import HttpCall, HttpResponse
from proxy_wasm.configuration import Configuration
from proxy_wasm.contexts import HttpContext, PluginContext
from proxy_wasm.errors import (
    BodyTooLargeError,
    CalloutArgumentError,
    CalloutError,
    CalloutResetError,
    CalloutTimeoutError,
    ConfigurationError,
    ConnectionFailedError,
    ExpressionError,
    GoneError,
    GrpcConnectionError,
    GrpcError,
    GrpcResetError,
    GrpcTimeoutError,
    PhaseError,
    PluginReferenceError,
    UnknownClusterError,
    UnknownForeignFunctionError,
    UnknownQueueError,
    UpdateConflictError,
)
from proxy_wasm.fingerprints import Fingerprint, HeadersFingerprint, make_fingerprint, make_headers_fingerprint
from proxy_wasm.foreign_functions import Expression, ForeignFunctions, LifeSpan, PropertyType
from proxy_wasm.grpc import GrpcCall
from proxy_wasm.grpc_streams import GrpcStream
from proxy_wasm.headers import Headers
from proxy_wasm.log import TRACE
from proxy_wasm.metadata import Fields, Locality, Metadata
from proxy_wasm.metrics import Counter, Gauge, Histogram
from proxy_wasm.properties import Properties
from proxy_wasm.properties.values import TrafficDirection
from proxy_wasm.shared_data import SharedData
from proxy_wasm.shared_queues import SharedQueue
from proxy_wasm.tasks import Cancelled, Future, Task, gather, sleep, timeout
from proxy_wasm.tcp import TcpContext
from proxy_wasm.timers import Timer

__all__ = [
    "TRACE",
    "Action",
    "Body",
    "BodyTooLargeError",
    "CalloutArgumentError",
    "CalloutError",
    "CalloutResetError",
    "CalloutTimeoutError",
    "Cancelled",
    "Configuration",
    "ConfigurationError",
    "ConnectionFailedError",
    "Counter",
    "Expression",
    "ExpressionError",
    "Fields",
    "Fingerprint",
    "ForeignFunctions",
    "Future",
    "Gauge",
    "GoneError",
    "GrpcCall",
    "GrpcConnectionError",
    "GrpcError",
    "GrpcResetError",
    "GrpcStatus",
    "GrpcStream",
    "GrpcTimeoutError",
    "Headers",
    "HeadersFingerprint",
    "Histogram",
    "HostError",
    "HttpCall",
    "HttpContext",
    "HttpResponse",
    "LifeSpan",
    "Locality",
    "LogLevel",
    "Metadata",
    "PeerType",
    "PhaseError",
    "PluginContext",
    "PluginReferenceError",
    "Properties",
    "PropertyType",
    "SharedData",
    "SharedQueue",
    "Status",
    "Task",
    "TcpContext",
    "Timer",
    "TrafficDirection",
    "UnknownClusterError",
    "UnknownForeignFunctionError",
    "UnknownQueueError",
    "UpdateConflictError",
    "gather",
    "make_fingerprint",
    "make_headers_fingerprint",
    "sleep",
    "timeout",
]
