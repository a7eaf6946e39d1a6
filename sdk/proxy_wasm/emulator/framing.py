"""What HTTP/1.1 says of a message's length, and which headers end at each hop."""

from proxy_wasm.emulator.exchange import UpstreamResponse
from proxy_wasm.emulator.header_map import HeaderMap
from proxy_wasm.emulator.header_maps import JOINED_IN_RESPONSES, joined

HOP_BY_HOP = ("connection", "keep-alive", "proxy-connection", "transfer-encoding")
BODILESS_METHODS = frozenset({"GET", "HEAD", "DELETE", "TRACE", "CONNECT"})
"""A request of these methods that has no body says nothing about its length."""
BODILESS_STATUSES = frozenset({204, 304})


def response_headers(response: UpstreamResponse, *, is_head: bool) -> HeaderMap:
    """The header map that the proxy makes of an upstream's response."""
    headers = HeaderMap([(":status", str(response.status))])
    for name, value in joined(response.headers.without(*HOP_BY_HOP[:3]), JOINED_IN_RESPONSES).raw:
        headers.add(name, value)
    if response.status not in BODILESS_STATUSES and "content-length" not in headers and not is_head:
        if response.trailers or response.breaks:
            headers.set("transfer-encoding", "chunked")
        elif "transfer-encoding" not in headers:
            headers.add("content-length", str(len(response.body)))
    return headers
