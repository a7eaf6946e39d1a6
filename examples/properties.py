"""Asks for the header that the metadata of the request's route names; routes without any are open to all."""

from proxy_wasm import Action, Headers, HttpContext, PluginContext


class Properties(PluginContext):
    def http_context(self) -> "GuardedStream":
        return GuardedStream(self)


class GuardedStream(HttpContext[Properties]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        name = self.properties.xds.route_metadata["envoy.filters.http.wasm"]["auth"]
        if name is not None and str(name) not in headers:
            return self.send_local_response(401, details="no credentials")
        return None
