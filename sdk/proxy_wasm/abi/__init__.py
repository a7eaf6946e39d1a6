"""The wire level: numbers, serialized maps, hostcalls and callbacks as Proxy-Wasm ABI 0.2.1 names them."""

from proxy_wasm.abi.callbacks import Callbacks
from proxy_wasm.abi.enums import (
    NO_GRPC_STATUS,
    Action,
    BufferType,
    LogLevel,
    MapType,
    MetricType,
    PeerType,
    Status,
    StreamType,
)
from proxy_wasm.abi.header_map import decode_pairs, encode_pairs
from proxy_wasm.abi.hostcalls import Hostcalls, HostError

__all__ = [
    "NO_GRPC_STATUS",
    "Action",
    "BufferType",
    "Callbacks",
    "HostError",
    "Hostcalls",
    "LogLevel",
    "MapType",
    "MetricType",
    "PeerType",
    "Status",
    "StreamType",
    "decode_pairs",
    "encode_pairs",
]
