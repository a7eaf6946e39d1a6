"""Clusters that a user names with `--cluster`: servers of his own that a filter may call."""

import socket
from collections.abc import Iterable, Mapping
from http.client import HTTPConnection

from proxy_wasm.cli.addresses import UserCluster
from proxy_wasm.emulator import UpstreamRequest, UpstreamResponse
from proxy_wasm.emulator.clusters import Absent, Cluster
from proxy_wasm.emulator.header_map import HeaderMap

_CONNECT_SECONDS = 2
_SECONDS = 60
_FRAMING = ("transfer-encoding", "connection", "content-length")


def served(clusters: Iterable[UserCluster]) -> Mapping[str, Cluster]:
    """The same as clusters of a test's proxy: each request is passed on in HTTP/1.1."""
    return {cluster.name: _served(cluster) for cluster in clusters}


def _served(cluster: UserCluster) -> Cluster:
    try:
        socket.create_connection((cluster.host, cluster.port), _CONNECT_SECONDS).close()
    except OSError:
        return Absent()

    def forward(request: UpstreamRequest) -> UpstreamResponse:
        connection = HTTPConnection(cluster.host, cluster.port, timeout=_SECONDS)
        try:
            connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("host", request.authority)
            for name, value in request.headers.without(*_FRAMING, "host").raw:
                connection.putheader(name.decode("latin-1"), value)
            if request.body:
                connection.putheader("content-length", str(len(request.body)))
            connection.endheaders(request.body or None)
            response = connection.getresponse()
            headers = HeaderMap(response.getheaders()).without(*_FRAMING)
            return UpstreamResponse(response.status, headers, response.read())
        finally:
            connection.close()

    return forward
