"""Numbers requests across all workers of the proxy, in shared data; none is lost where two count at once."""

from proxy_wasm import Headers, HttpContext, PluginContext

KEY = "examples.shared_data.requests"


class SharedData(PluginContext):
    def http_context(self) -> "NumberedStream":
        return NumberedStream(self)


class NumberedStream(HttpContext[SharedData]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        headers["x-request-number"] = self.shared_data.update(KEY, one_more)


def one_more(value: bytes | None) -> str:
    return str(int(value or 0) + 1)
