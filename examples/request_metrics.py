"""Measures requests: a gauge of those under way, a histogram of their milliseconds, a counter for each class of status."""

from proxy_wasm import HttpContext, PluginContext


class RequestMetrics(PluginContext):
    def on_configure(self) -> None:
        self.under_way = self.gauge("requests.under_way")
        self.milliseconds = self.histogram("requests.milliseconds")

    def http_context(self) -> "MeasuredStream":
        return MeasuredStream(self)


class MeasuredStream(HttpContext[RequestMetrics]):
    def __init__(self, plugin: RequestMetrics) -> None:
        super().__init__(plugin)
        plugin.under_way.increment()

    def on_log(self) -> None:
        code, duration = self.properties.response.code, self.properties.request.duration
        if code:
            self.plugin.counter("requests.total", code=f"{code // 100}xx").increment()
        if duration is not None:
            self.plugin.milliseconds.record(int(duration.total_seconds() * 1000))

    def on_done(self) -> None:
        self.plugin.under_way.increment(-1)
