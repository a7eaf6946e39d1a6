"""Gives the access log a value: `%FILTER_STATE(wasm.tier:PLAIN)%`, readable by every filter after this one, too."""

from proxy_wasm import Headers, HttpContext, LifeSpan, PluginContext, PropertyType


class AccessLogState(PluginContext):
    def on_configure(self) -> None:
        self.foreign_functions.declare_property("tier", type=PropertyType.STRING, span=LifeSpan.DOWNSTREAM_REQUEST)

    def http_context(self) -> "LoggedStream":
        return LoggedStream(self)


class LoggedStream(HttpContext[AccessLogState]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        self.properties.set("tier", "gold" if headers.get("x-user") == "alice" else "standard")

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
        headers["x-tier"] = self.properties.get("tier") or b""
