"""The properties of a stream: what was asked and answered, over which connections, and by which configuration."""

from proxy_wasm.properties import values
from proxy_wasm.properties.attribute import (
    CONNECTED,
    END,
    FAILURE,
    HOST,
    REQUEST,
    RESPONSE,
    RESPONSE_HEADERS,
    RESPONSE_TRAILERS,
    ROUTED,
    STREAM,
    TLS,
    Attribute,
    Group,
)


class Request(Group):
    """The request, as the client sent it and filters before this one changed it."""

    __slots__ = ()

    path = Attribute("path", values.text, REQUEST)
    """The path with the query."""
    url_path = Attribute("url_path", values.text, REQUEST)
    """The path without the query."""
    query = Attribute("query", values.text, REQUEST)
    """The query without its question mark; empty where there is none."""
    host = Attribute("host", values.text, REQUEST)
    """The authority: host, and port where the client gave one."""
    scheme = Attribute("scheme", values.text, REQUEST)
    """`http` or `https`."""
    method = Attribute("method", values.text, REQUEST)
    """The method."""
    headers = Attribute("headers", values.texts, REQUEST)
    """The headers by lower-case name, the values of a repeated one joined by commas; `request_headers` keeps them apart."""
    headers_bytes = Attribute("headers_bytes", values.signed, STREAM)
    """The size of the headers; 0 where they are not available."""
    referer = Attribute("referer", values.text, REQUEST)
    """The header `referer`."""
    useragent = Attribute("useragent", values.text, REQUEST)
    """The header `user-agent`."""
    id = Attribute("id", values.text, REQUEST)
    """The header `x-request-id`, which Envoy makes unless told otherwise."""
    protocol = Attribute("protocol", values.text, STREAM)
    """`HTTP/1.0`, `HTTP/1.1`, `HTTP/2` or `HTTP/3`."""
    time = Attribute("time", values.time, STREAM)
    """When its first byte arrived."""
    duration = Attribute("duration", values.duration, END)
    """How long the stream lasted."""
    size = Attribute("size", values.signed, STREAM)
    """The bytes of its body: what `content-length` says where it is available, else what has arrived."""
    total_size = Attribute("total_size", values.signed, STREAM)
    """The bytes of body and headers that have arrived."""


class Response(Group):
    """The response, from upstream or made by the proxy."""

    __slots__ = ()

    code = Attribute("code", values.signed, RESPONSE)
    """The status."""
    code_details = Attribute("code_details", values.text, RESPONSE)
    """Where the response came from, such as `via_upstream`."""
    flags = Attribute("flags", values.signed, STREAM)
    """What went wrong, as bits that Envoy's `ResponseFlag` numbers."""
    grpc_status = Attribute("grpc_status", values.signed, RESPONSE)
    """The gRPC status; where the response names none, the one that its status stands for."""
    headers = Attribute("headers", values.texts, RESPONSE_HEADERS)
    """The headers by lower-case name, the values of a repeated one joined by commas."""
    headers_bytes = Attribute("headers_bytes", values.signed, STREAM)
    """The size of the headers; 0 where they are not available."""
    trailers = Attribute("trailers", values.texts, RESPONSE_TRAILERS)
    """The trailers, like `headers`."""
    size = Attribute("size", values.signed, STREAM)
    """The bytes of its body that went to the client."""
    total_size = Attribute("total_size", values.signed, STREAM)
    """The bytes of body, headers and trailers."""
    backend_latency = Attribute("backend_latency", values.duration, END)
    """From the first byte sent upstream to the last one received."""


class Source(Group):
    """The client's end of the connection."""

    __slots__ = ()

    address = Attribute("address", values.text, STREAM)
    """Address and port, such as `10.0.0.1:50000`; the client's own where the proxy trusts `x-forwarded-for`."""
    port = Attribute("port", values.signed, STREAM)
    """The port."""


class Destination(Group):
    """The proxy's end of the client's connection."""

    __slots__ = ()

    address = Attribute("address", values.text, STREAM)
    """Address and port; where traffic is redirected, those that the client meant."""
    port = Attribute("port", values.signed, STREAM)
    """The port."""


class Tls(Group):
    """A connection that may be TLS; of one that is not, nothing of this is known."""

    __slots__ = ()

    tls_version = Attribute("tls_version", values.text, TLS)
    """Such as `TLSv1.3`."""
    subject_local_certificate = Attribute("subject_local_certificate", values.text, TLS)
    """The subject of the proxy's certificate, such as `CN=proxy,O=Example`; empty where it has none."""
    subject_peer_certificate = Attribute("subject_peer_certificate", values.text, TLS)
    """The subject of the peer's certificate; empty where it has none."""
    dns_san_local_certificate = Attribute("dns_san_local_certificate", values.text, TLS)
    """The first DNS name among the alternative names in the proxy's certificate."""
    dns_san_peer_certificate = Attribute("dns_san_peer_certificate", values.text, TLS)
    """The first DNS name among the alternative names in the peer's certificate."""
    uri_san_local_certificate = Attribute("uri_san_local_certificate", values.text, TLS)
    """The first URI among the alternative names in the proxy's certificate; in a mesh its SPIFFE identity."""
    uri_san_peer_certificate = Attribute("uri_san_peer_certificate", values.text, TLS)
    """The first URI among the alternative names in the peer's certificate; in a mesh its SPIFFE identity."""
    sha256_peer_certificate_digest = Attribute("sha256_peer_certificate_digest", values.text, TLS)
    """The SHA-256 digest of the peer's certificate, in hexadecimal digits."""
    peer_certificate = Attribute("peer_certificate", values.pem, TLS)
    """The peer's certificate as PEM."""


class Connection(Tls):
    """The client's connection."""

    __slots__ = ()

    id = Attribute("id", values.unsigned, STREAM)
    """Its number, unique in the proxy's process."""
    mtls = Attribute("mtls", values.flag, STREAM)
    """Whether it is TLS and the client presented a certificate."""
    requested_server_name = Attribute("requested_server_name", values.text, STREAM)
    """The server name that the client asked for in TLS; empty where it asked for none."""
    transport_failure_reason = Attribute("transport_failure_reason", values.text, FAILURE)
    """Why TLS failed, where it did."""
    termination_details = Attribute("termination_details", values.text, FAILURE)
    """Why the proxy closed it, where it did."""


class Upstream(Tls):
    """The upstream host, and the connection to it."""

    __slots__ = ()

    address = Attribute("address", values.text, HOST)
    """Address and port of the host."""
    port = Attribute("port", values.signed, HOST)
    """The host's port."""
    local_address = Attribute("local_address", values.text, CONNECTED)
    """Address and port of the proxy's end."""
    num_endpoints = Attribute("num_endpoints", values.unsigned, ROUTED)
    """How many hosts the cluster has."""
    locality = Attribute("locality", values.locality, HOST)
    """Where the host is."""
    transport_failure_reason = Attribute("transport_failure_reason", values.text, HOST)
    """Why connecting failed; empty where it did not."""
    request_attempt_count = Attribute("request_attempt_count", values.unsigned, STREAM)
    """How often the request was sent upstream so far."""
    cx_pool_ready_duration = Attribute("cx_pool_ready_duration", values.duration, CONNECTED)
    """From the upstream request's start until it had a connection."""


class Xds(Group):
    """What configuration is at work on the stream."""

    __slots__ = ()

    cluster_name = Attribute("cluster_name", values.text, ROUTED)
    """The upstream cluster's name."""
    cluster_metadata = Attribute("cluster_metadata", values.metadata, ROUTED)
    """The upstream cluster's metadata."""
    listener_direction = Attribute("listener_direction", values.direction, STREAM)
    """The listener's traffic direction."""
    listener_metadata = Attribute("listener_metadata", values.metadata, STREAM)
    """The listener's metadata."""
    route_name = Attribute("route_name", values.text, ROUTED)
    """The route's name; empty where it has none."""
    route_metadata = Attribute("route_metadata", values.metadata, ROUTED)
    """The route's metadata."""
    virtual_host_name = Attribute("virtual_host_name", values.text, ROUTED)
    """The virtual host's name."""
    virtual_host_metadata = Attribute("virtual_host_metadata", values.metadata, ROUTED)
    """The virtual host's metadata."""
    upstream_host_metadata = Attribute("upstream_host_metadata", values.metadata, HOST)
    """The metadata of the upstream host's endpoint."""
    upstream_host_locality_metadata = Attribute("upstream_host_locality_metadata", values.metadata, HOST)
    """The metadata of the locality that the upstream host is in."""
    filter_chain_name = Attribute("filter_chain_name", values.text, STREAM)
    """The listener's filter chain; empty where it has no name."""
