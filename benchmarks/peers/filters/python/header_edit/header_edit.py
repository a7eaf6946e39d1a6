"""Reads all headers of a request, and adds one."""

from proxy_wasm import Headers, HttpContext, PluginContext


class HeaderEdit(PluginContext):
    def http_context(self) -> HttpContext["HeaderEdit"]:
        return HeaderEditStream(self)


class HeaderEditStream(HttpContext[HeaderEdit]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        size = sum([len(value) for _, value in headers.multi_items()])
        headers.add("x-size", str(size))
