"""The clusters that scripts can call."""

from proxy_wasm.emulator import HeaderMap, UpstreamRequest, UpstreamResponse
from proxy_wasm.emulator.clusters import Absent, Closing, Cluster, NoHosts


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
