"""Asks the proxy itself, by a function of the ABI: how large the headers are, without copying them into the filter."""

from proxy_wasm import Action, Headers, HttpContext, PluginContext
from proxy_wasm.abi.enums import MapType

LIMIT = 4096


class RawHostcalls(PluginContext):
    def http_context(self) -> "LimitedStream":
        return LimitedStream(self)


class LimitedStream(HttpContext[RawHostcalls]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        size = self.hostcalls.get_header_map_size(MapType.HTTP_REQUEST_HEADERS)
        return self.send_local_response(431, body=f"{size} bytes of headers\n") if size > LIMIT else None
