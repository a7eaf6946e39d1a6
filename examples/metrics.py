"""Counts requests by a header's value, as a label; values that are not known share one, so that no client can make up metrics."""

from proxy_wasm import Headers, HttpContext, PluginContext

KNOWN = ("foo", "bar")


class Metrics(PluginContext):
    def on_configure(self) -> None:
        self.counters = {
            value: self.counter("custom_header_value_counts", value=value, reporter="python")
            for value in (*KNOWN, "other")
        }

    def http_context(self) -> "CountedStream":
        return CountedStream(self)


class CountedStream(HttpContext[Metrics]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        value = headers.get("my-custom-header")
        if value is not None:
            self.plugin.counters[value if value in KNOWN else "other"].increment()
