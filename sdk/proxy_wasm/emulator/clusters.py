"""The clusters that a plugin can call: what stands behind each name, for the emulator and for a real proxy alike.

A cluster is one of these:

* a response, or a function from the request that arrives to the response: HTTP, answered at once;
* `Answering`: the same after a delay;
* `Silent`: takes the request and never answers; `Closing`: closes the connection in place of an answer; `Absent`: nothing
  listens there; `NoHosts`: there is nowhere to connect to;
* `ServerAt`: a server of one's own, over HTTP/1.1;
* a `GrpcServer`: gRPC over HTTP/2, one method of yours for each event of a call; `grpc_unary` makes one of plain functions.

The functions run in the process of the test, whichever host calls them; for a real proxy on another thread.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from proxy_wasm.emulator.exchange import UpstreamRequest, UpstreamResponse
from proxy_wasm.emulator.header_map import HeaderMap, Headers

GRPC_UNKNOWN = 2
GRPC_UNIMPLEMENTED = 12

Respond: TypeAlias = Callable[[UpstreamRequest], UpstreamResponse]
"""Answers a request."""


@dataclass(frozen=True, slots=True)
class Answering:
    """HTTP: answers each request `delay` seconds after it arrived."""

    respond: Respond | UpstreamResponse
    delay: float = 0.0

    def response(self, request: UpstreamRequest) -> UpstreamResponse:
        """The answer to `request`."""
        return self.respond if isinstance(self.respond, UpstreamResponse) else self.respond(request)


@dataclass(frozen=True, slots=True)
class Silent:
    """Accepts connections and requests, and never answers."""


@dataclass(frozen=True, slots=True)
class Closing:
    """Reads a request and closes its connection without an answer."""


@dataclass(frozen=True, slots=True)
class Absent:
    """The cluster exists, but nothing listens at its address: connections are refused."""


@dataclass(frozen=True, slots=True)
class NoHosts:
    """The cluster exists, but has not a single host: the hostcall itself fails with `INTERNAL_FAILURE`."""


@dataclass(frozen=True, slots=True)
class ServerAt:
    """A server that runs already, at a host and port: a real proxy calls it itself, the test passes on what an emulated one sends.

    Its answers take no time of the emulator's clock; where it brings none, the test fails.
    """

    host: str
    port: int


class GrpcCall(Protocol):
    """One call, as the server sees it.

    A call has begun when `on_call` gets it; the same object comes with each of its events. What is sent to a call that has
    ended, by whichever side, is dropped.
    """

    @property
    def method(self) -> str:
        """`"/package.Service/Method"`."""
        ...

    @property
    def metadata(self) -> HeaderMap:
        """The initial metadata of the client, without pseudo-headers and what the protocol or the proxy adds.

        Values of names that end in `-bin` are the bytes that were meant, here and in what the server sends; on the wire, and so in
        a filter that receives them, they are base64.
        """
        ...

    def send_initial_metadata(self, metadata: Headers = ()) -> None:
        """Begin the response; otherwise it begins, without metadata, with the first message."""
        ...

    def send(self, message: bytes) -> None:
        """Send a message."""
        ...

    def close(self, status: int = 0, message: str = "", metadata: Headers = ()) -> None:
        """End the call with a status, its message and trailing metadata."""
        ...


class GrpcServer:
    """gRPC over HTTP/2: derive from it and override what the server answers to."""

    def on_call(self, call: GrpcCall) -> None:
        """A call begins."""

    def on_message(self, call: GrpcCall, message: bytes) -> None:
        """The client sent a message."""

    def on_half_close(self, call: GrpcCall) -> None:
        """The client will send no more."""

    def on_cancel(self, call: GrpcCall) -> None:
        """The client gave the call up; nothing can be sent to it any more."""


class GrpcRefusal(Exception):  # noqa: N818 - says what happened
    """A function of `grpc_unary` raises it to end the call with a status other than OK."""

    def __init__(self, status: int, message: str = "", metadata: Iterable[tuple[str, str]] = ()) -> None:
        self.status = status
        self.message = message
        self.metadata = tuple(metadata)
        super().__init__(status, message)


class UnaryServer(GrpcServer):
    """Answers each call's message with that of the function of its method; unknown methods are `UNIMPLEMENTED`."""

    def __init__(self, methods: Mapping[str, Callable[[bytes], bytes]]) -> None:
        self._methods = dict(methods)

    def on_call(self, call: GrpcCall) -> None:
        if call.method not in self._methods:
            call.close(GRPC_UNIMPLEMENTED, f"unknown method {call.method}")

    def on_message(self, call: GrpcCall, message: bytes) -> None:
        method = self._methods.get(call.method)
        if method is None:
            return
        try:
            answer = method(message)
        except GrpcRefusal as refusal:
            call.close(refusal.status, refusal.message, refusal.metadata)
        else:
            call.send(answer)
            call.close()


def grpc_unary(methods: Mapping[str, Callable[[bytes], bytes]]) -> GrpcServer:
    """A server of unary calls: by `"/package.Service/Method"`, functions from the request's message to the response's.

    A function may raise `GrpcRefusal`. Methods that are not named are refused with `UNIMPLEMENTED`.
    """
    return UnaryServer(methods)


Cluster: TypeAlias = (
    Respond | UpstreamResponse | Answering | Silent | Closing | Absent | NoHosts | ServerAt | GrpcServer
)
"""What stands behind a cluster's name."""
Clusters: TypeAlias = Mapping[str, Cluster]
