"""Reads the whole body before the request's headers go on, to route by what is in it; needs `allow_on_headers_stop_iteration`."""

import json

from proxy_wasm import Action, Headers, HttpContext, PluginContext


class BodyBeforeHeaders(PluginContext):
    def http_context(self) -> "TenantStream":
        return TenantStream(self)


class TenantStream(HttpContext[BodyBeforeHeaders]):
    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        body = await self.read_request_body(limit=64 * 1024)
        try:
            headers["x-tenant"] = json.loads(body)["tenant"]
        except (ValueError, KeyError, TypeError):
            return self.send_local_response(400, body="tenant: needs some text\n")
        return None
