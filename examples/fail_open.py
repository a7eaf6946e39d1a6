"""A filter that must never stop traffic: after an exception, which is logged, the stream goes on without it."""

from proxy_wasm import Headers, HttpContext, PluginContext


class FailOpen(PluginContext):
    fail_open = True

    def http_context(self) -> "DecoratedStream":
        return DecoratedStream(self)


class DecoratedStream(HttpContext[FailOpen]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        major, _ = headers["x-app-version"].split(".", 1)
        headers["x-app-major"] = str(int(major))
