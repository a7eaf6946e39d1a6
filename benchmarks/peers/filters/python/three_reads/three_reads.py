"""Reads three headers of a request, and denies it unless they are as wanted."""

from proxy_wasm import Action, Headers, HttpContext, PluginContext


class ThreeReads(PluginContext):
    def http_context(self) -> HttpContext["ThreeReads"]:
        return ThreeReadsStream(self)


class ThreeReadsStream(HttpContext[ThreeReads]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | int | None:
        if headers.get("x-tenant") == "acme" and headers.get("x-plan") == "gold" and headers.get("x-region") == "eu":
            return None
        return self.send_local_response(403)
