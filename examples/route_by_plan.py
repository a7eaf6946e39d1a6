"""Chooses the route by filter state, `wasm.plan`, that the filter sets from a request's API key; configured as `{KEY: PLAN}`."""

from proxy_wasm import Headers, HttpContext, PluginContext


class RouteByPlan(PluginContext):
    def on_configure(self) -> None:
        self.plans: dict[str, str] = self.configuration.json()

    def http_context(self) -> "PlannedStream":
        return PlannedStream(self)


class PlannedStream(HttpContext[RouteByPlan]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        plan = self.plugin.plans.get(headers.get("x-api-key", ""), "free")
        self.set_property("plan", value=plan)
        self.foreign_functions.clear_route_cache()
