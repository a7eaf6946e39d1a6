"""Reads a request's JSON, changes one field, and passes it on."""

import json

from proxy_wasm import Action, Body, Headers, HttpContext, PluginContext


class JsonBody(PluginContext):
    def http_context(self) -> HttpContext["JsonBody"]:
        return JsonBodyStream(self)


class JsonBodyStream(HttpContext[JsonBody]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        headers.discard("content-length")

    def on_request_body(self, body: Body, end_of_stream: bool) -> Action | int | None:
        if not end_of_stream:
            return Action.PAUSE
        try:
            document = json.loads(bytes(body))
            document["status"] = "checked"
        except (ValueError, TypeError):
            return self.send_local_response(400)
        body.replace(json.dumps(document, separators=(",", ":")))
        return None
