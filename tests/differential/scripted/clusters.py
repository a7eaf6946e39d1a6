"""The clusters that scripts can call."""

from proxy_wasm.emulator import HeaderMap, UpstreamRequest, UpstreamResponse
from proxy_wasm.emulator.clusters import Absent, Closing, Cluster, GrpcCall, GrpcServer, NoHosts


def echo(request: UpstreamRequest) -> UpstreamResponse:
    """What came, with the status and in the form that the path asks for: `/503`, `/200/trailers`."""
    status, _, form = request.path[1:].partition("/")
    headers = HeaderMap([("x-method", request.method), ("x-path", request.path), ("x-authority", request.authority)])
    for name, value in request.headers.raw:
        headers.add(b"x-got-" + name, value)
    return UpstreamResponse(
        int(status) if status.isdecimal() else 200,
        headers,
        b"" if form == "empty" else b"got " + request.body,
        HeaderMap([("x-end", "1"), ("x-end", "2")] if form == "trailers" else []),
    )


CLUSTERS: dict[str, Cluster] = {"echo": echo, "absent": Absent(), "closing": Closing(), "nowhere": NoHosts()}


class MessageServer(GrpcServer):
    """Does what each message says; what says nothing comes back. Half-closed calls end well."""

    def on_message(self, call: GrpcCall, message: bytes) -> None:
        match message:
            case b"two":
                call.send(b"one")
                call.send(b"two")
            case b"metadata":
                call.send_initial_metadata([("x-initial", "1"), ("x-initial", "2")])
            case b"fail":
                call.close(5, "no way", [("x-trailing", "1")])
            case b"end":
                call.close(0, "", [("x-trailing", "1")])
            case b"silent":
                pass
            case _:
                call.send(b"got " + message)

    def on_half_close(self, call: GrpcCall) -> None:
        call.close()


MESSAGE_SERVER = MessageServer()
CLUSTERS["grpc"] = MESSAGE_SERVER
