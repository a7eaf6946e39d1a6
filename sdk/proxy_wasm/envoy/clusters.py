"""Servers on this machine behind an Envoy's clusters, for each kind of cluster that a test can define.

The kinds are those of `proxy_wasm.emulator.clusters`, where they are said to be what. What an author's function raises is kept, and raised again
where the test waits (`failures`).
"""

import socket
import threading
from collections.abc import Callable
from typing import Protocol

from proxy_wasm.emulator.clusters import Absent, Answering, Closing, Cluster, GrpcServer, NoHosts, ServerAt, Silent
from proxy_wasm.emulator.exchange import UpstreamRequest, UpstreamResponse
from proxy_wasm.emulator.header_map import HeaderMap, to_text
from proxy_wasm.envoy.configuration import ADDED_TO_CALLOUTS, Json, cluster, cluster_without_hosts
from proxy_wasm.envoy.http1 import Message, encode_response_in_pieces
from proxy_wasm.envoy.upstream import Pieces, Respond, Response, Upstream

FRAMING = ("transfer-encoding", "connection")
"""Headers that are the hop's, not the message's."""
_FAILED = 500


class ServedCluster(Protocol):
    """A cluster with its server running."""

    failures: list[Exception]
    """What the author's functions raised and nobody has been told yet."""

    def to_json(self, name: str) -> Json:
        """The cluster in Envoy's configuration."""
        ...

    def stop(self) -> None:
        """Stop the server."""
        ...


def serve(definition: Cluster) -> ServedCluster:
    """Start what stands behind a cluster; raises `EnvoyError` where that needs a package which is not installed."""
    if isinstance(definition, GrpcServer):
        # Only those who test gRPC need grpcio.
        from proxy_wasm.envoy.grpc_server import ServedGrpc  # noqa: PLC0415

        return ServedGrpc(definition)
    if isinstance(definition, Absent):
        return _Unserved()
    if isinstance(definition, NoHosts):
        return _Hostless()
    if isinstance(definition, ServerAt):
        return _RunningAlready(definition)
    return _ServedHttp(definition)


def upstream_request(message: Message, added: tuple[str, ...], scheme: str) -> UpstreamRequest:
    """A request that reached a server, without its framing and without the headers that the proxy `added`."""
    headers = HeaderMap(message.headers)
    return UpstreamRequest(
        to_text(message.start[0]),
        to_text(message.start[1]),
        headers.get("host", ""),
        headers.without("host", *FRAMING, *added),
        message.body,
        HeaderMap(message.trailers),
        scheme,
    )


def encoded(response: UpstreamResponse, message: Message) -> bytes | Pieces:
    """A response on the wire, to the request in `message`."""
    pieces = encode_response_in_pieces(
        response.status,
        response.headers.raw,
        response.pieces or (response.body,),
        response.trailers.raw,
        method=to_text(message.start[0]),
        ends=not response.breaks,
    )
    if response.pieces or response.breaks:
        return Pieces(tuple(pieces), response.breaks or "keep")
    return b"".join(pieces)


class _ServedHttp:
    def __init__(
        self, definition: "Answering | Silent | Closing | Callable[..., UpstreamResponse] | UpstreamResponse"
    ) -> None:
        self.failures: list[Exception] = []
        self._stopped = threading.Event()
        self._server = Upstream(self._respond_as(definition))

    def _respond_as(self, definition: object) -> Respond:
        match definition:
            case Silent():
                return self._wait
            case Closing():
                return lambda _: None
            case Answering():
                return lambda message: self._answer(definition, message)
            case UpstreamResponse():
                return lambda message: self._answer(Answering(definition), message)
            case _:
                return self._respond_as(Answering(definition))  # pyright: ignore[reportArgumentType]

    def _wait(self, _: Message) -> None:
        self._stopped.wait()

    def _answer(self, answering: Answering, message: Message) -> Response:
        try:
            response = answering.response(upstream_request(message, ADDED_TO_CALLOUTS, "http"))
        except Exception as error:  # noqa: BLE001 - raised again in the test's thread
            self.failures.append(error)
            response = UpstreamResponse(_FAILED)
        return None if self._stopped.wait(answering.delay) else encoded(response, message)

    def to_json(self, name: str) -> Json:
        return cluster(*self._server.address, name=name)

    def stop(self) -> None:
        self._stopped.set()
        self._server.stop()


class _Unserved:
    """A port that is taken, so that nobody else listens there, and on which nobody listens."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))

    def to_json(self, name: str) -> Json:
        return cluster(*self._socket.getsockname(), name=name)

    def stop(self) -> None:
        self._socket.close()


class _Hostless:
    def __init__(self) -> None:
        self.failures: list[Exception] = []

    def to_json(self, name: str) -> Json:
        return cluster_without_hosts(name)

    def stop(self) -> None:
        """Nothing was started."""


class _RunningAlready:
    def __init__(self, server: ServerAt) -> None:
        self.failures: list[Exception] = []
        self._server = server

    def to_json(self, name: str) -> Json:
        return cluster(self._server.host, self._server.port, name=name)

    def stop(self) -> None:
        """It is somebody else's."""
