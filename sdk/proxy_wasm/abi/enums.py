"""The numbers of Proxy-Wasm ABI 0.2.1, named as the specification names them.

Source: proxy-wasm/spec, abi-versions/v0.2.1; where Envoy knows more values than the specification, Envoy's are given too
and say so.
"""

from enum import IntEnum


class Status(IntEnum):
    """What a hostcall returns (`proxy_status_t`)."""

    OK = 0
    NOT_FOUND = 1
    BAD_ARGUMENT = 2
    SERIALIZATION_FAILURE = 3
    PARSE_FAILURE = 4
    BAD_EXPRESSION = 5
    INVALID_MEMORY_ACCESS = 6
    EMPTY = 7
    CAS_MISMATCH = 8
    RESULT_MISMATCH = 9
    INTERNAL_FAILURE = 10
    BROKEN_CONNECTION = 11
    UNIMPLEMENTED = 12


class LogLevel(IntEnum):
    """Levels of `proxy_log` (`proxy_log_level_t`)."""

    TRACE = 0
    DEBUG = 1
    INFO = 2
    WARN = 3
    ERROR = 4
    CRITICAL = 5


class Action(IntEnum):
    """What a headers, body or trailers callback tells the proxy to do with the stream.

    The specification knows `CONTINUE` and `PAUSE`. Envoy also honours the larger numbers of its own filter status enums,
    which can be returned as plain integers.
    """

    CONTINUE = 0
    PAUSE = 1


class BufferType(IntEnum):
    """Which bytes a buffer hostcall reads or writes (`proxy_buffer_type_t`)."""

    HTTP_REQUEST_BODY = 0
    HTTP_RESPONSE_BODY = 1
    DOWNSTREAM_DATA = 2
    UPSTREAM_DATA = 3
    HTTP_CALL_RESPONSE_BODY = 4
    GRPC_CALL_MESSAGE = 5
    VM_CONFIGURATION = 6
    PLUGIN_CONFIGURATION = 7
    FOREIGN_FUNCTION_ARGUMENTS = 8


class MapType(IntEnum):
    """Which header map a map hostcall reads or writes (`proxy_map_type_t`)."""

    HTTP_REQUEST_HEADERS = 0
    HTTP_REQUEST_TRAILERS = 1
    HTTP_RESPONSE_HEADERS = 2
    HTTP_RESPONSE_TRAILERS = 3
    GRPC_CALL_INITIAL_METADATA = 4
    GRPC_CALL_TRAILING_METADATA = 5
    HTTP_CALL_RESPONSE_HEADERS = 6
    HTTP_CALL_RESPONSE_TRAILERS = 7


class StreamType(IntEnum):
    """Which half of a stream `continue_stream` and `close_stream` mean (`proxy_stream_type_t`)."""

    HTTP_REQUEST = 0
    HTTP_RESPONSE = 1
    DOWNSTREAM = 2
    UPSTREAM = 3


class MetricType(IntEnum):
    """Kinds of metrics (`proxy_metric_type_t`)."""

    COUNTER = 0
    GAUGE = 1
    HISTOGRAM = 2


class PeerType(IntEnum):
    """Who closed a TCP connection (`proxy_peer_type_t`)."""

    UNKNOWN = 0
    LOCAL = 1
    REMOTE = 2


class GrpcStatus(IntEnum):
    """How a gRPC call ended (gRPC's "Status codes and their use")."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


NO_GRPC_STATUS = -1
"""The `grpc_status` of `send_local_response` that asks for no gRPC status of the filter's own."""
