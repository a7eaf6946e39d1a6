"""The attributes that every stream has, as Envoy gives them (source/extensions/filters/common/expr/context.cc).

What a request said is known only while its headers are visible to the filter, and again in `on_log`.
"""

from typing import TYPE_CHECKING

from proxy_wasm.emulator.header_map import HeaderMap
from proxy_wasm.emulator.local_response import grpc_status_of
from proxy_wasm.emulator.numerals import number_in
from proxy_wasm.emulator.properties import Group, Tree, Value

if TYPE_CHECKING:
    from proxy_wasm.emulator.http_stream import HttpStream
    from proxy_wasm.emulator.tcp_stream import TcpStream

_FROM_HEADER = {
    "path": ":path",
    "host": ":authority",
    "scheme": ":scheme",
    "method": ":method",
    "referer": "referer",
    "useragent": "user-agent",
    "id": "x-request-id",
}


def stream_attributes(stream: "HttpStream") -> Tree:
    """Attributes of `stream` as they are now."""
    return {
        "request": _request(stream),
        "response": _response(stream),
        "xds": _xds(stream),
        **_upstream(stream),
        **connection_attributes(stream),
    }


def _xds(stream: "HttpStream") -> Group:
    """The upstream host here has no metadata, and neither has its locality, which makes nulls of both."""
    metadata = ("upstream_host_metadata", "upstream_host_locality_metadata")
    return Group(dict.fromkeys(metadata, Group()) if _has_upstream(stream) else {})


def _upstream(stream: "HttpStream") -> Tree:
    groups: Tree = {"upstream": Group()}
    return {**groups, "upstream_filter_state": Group()} if _has_upstream(stream) else groups


def _has_upstream(stream: "HttpStream") -> bool:
    """Whether there is a connection to an upstream; here that takes no time."""
    headers = stream.request.headers or HeaderMap()
    return stream.request.headers_sent and headers.get(":path", "").startswith("/")


def connection_attributes(stream: "HttpStream | TcpStream") -> Tree:
    """What is known of a stream's connection."""
    return {
        "source": Group({"address": "127.0.0.1:50000", "port": 50000}),
        "destination": Group({"address": "127.0.0.1:10000", "port": 10000}),
        "connection": Group({"id": stream.context_id, "mtls": False, "requested_server_name": ""}),
        "connection_id": stream.context_id,
        "metadata": {},
    }


def _request(stream: "HttpStream") -> Group:
    received = stream.request
    headers = received.visible.headers
    if headers is None and stream.logging:
        headers = received.headers
    size = received.received
    attributes = Group(
        {
            "time": stream.start_time,
            "protocol": "HTTP/1.1",
            "size": size,
            "total_size": size,
            "headers": HeaderMap(),
            "headers_bytes": 0,
        }
    )
    if stream.closed:
        attributes["duration"] = stream.vm.clock.time_nanoseconds - stream.start_time
    if headers is None:
        return attributes
    content_length = number_in(headers.get("content-length", ""))
    if content_length is not None:
        attributes["size"] = content_length
    attributes["headers"] = headers
    attributes["headers_bytes"] = headers.byte_size
    attributes["total_size"] = size + headers.byte_size
    attributes.update({name: headers[key] for name, key in _FROM_HEADER.items() if key in headers})
    if ":path" in headers:
        path, _, query = headers[":path"].partition("#")[0].partition("?")
        attributes["url_path"] = path
        attributes["query"] = query
    return attributes


def _response(stream: "HttpStream") -> Group:
    headers = stream.response.visible.headers
    trailers = stream.response.visible.trailers
    if stream.logging:
        headers = headers or stream.response.headers
        trailers = trailers or stream.response.trailers
    size = len(stream.response.sent.body)
    headers_size = 0 if headers is None else headers.byte_size
    known: dict[str, Value | None] = {
        "code": stream.response_code,
        "code_details": stream.details if stream.details or stream.answered_locally else None,
        "headers": headers or HeaderMap(),
        "trailers": trailers or HeaderMap(),
        "headers_bytes": headers_size,
        "size": size,
        "total_size": size + headers_size + (0 if trailers is None else trailers.byte_size),
        "flags": stream.flags,
        "backend_latency": 0 if stream.response.whole and stream.details in ("", "via_upstream") else None,
        "grpc_status": _grpc_status(stream, headers, trailers),
    }
    return Group({name: value for name, value in known.items() if value is not None})


def _grpc_status(stream: "HttpStream", headers: HeaderMap | None, trailers: HeaderMap | None) -> int | None:
    """What the response says, else what its HTTP status stands for: Envoy gives one to every response."""
    for said in (trailers, headers):
        status = None if said is None else number_in(said.get("grpc-status", ""))
        if status is not None:
            return status
    return None if stream.response_code is None else grpc_status_of(stream.response_code)
