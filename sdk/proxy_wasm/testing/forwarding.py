"""Clusters that are servers of their own: what the emulator calls them with is passed on to them."""

from collections.abc import Mapping
from http.client import HTTPConnection

from proxy_wasm.emulator import UpstreamRequest, UpstreamResponse
from proxy_wasm.emulator.clusters import Cluster, ServerAt
from proxy_wasm.emulator.header_map import HeaderMap

_SECONDS = 60
_FRAMING = ("transfer-encoding", "connection", "content-length")


def forwarded(clusters: Mapping[str, Cluster]) -> dict[str, Cluster]:
    """The clusters, with a function that passes requests on in place of each `ServerAt`."""
    return {
        name: Forwarding(cluster) if isinstance(cluster, ServerAt) else cluster for name, cluster in clusters.items()
    }


class Forwarding:
    """Passes each request on to a server in HTTP/1.1; equal to another one for the same server."""

    def __init__(self, server: ServerAt) -> None:
        self._server = server

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Forwarding) and other._server == self._server

    def __hash__(self) -> int:
        return hash(self._server)

    def __call__(self, request: UpstreamRequest) -> UpstreamResponse:
        """The server's answer."""
        connection = HTTPConnection(self._server.host, self._server.port, timeout=_SECONDS)
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
