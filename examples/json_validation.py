"""Lets only JSON objects pass that have the configured keys: `{"required_keys": ["id", "token"]}`."""

import json
from typing import Any

from proxy_wasm import Action, Body, Headers, HttpContext, PluginContext


class JsonValidation(PluginContext):
    def on_configure(self) -> None:
        self.required_keys = set[str](self.configuration.json()["required_keys"])

    def http_context(self) -> "ValidatedStream":
        return ValidatedStream(self)


class ValidatedStream(HttpContext[JsonValidation]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        if end_of_stream or headers.get("content-type") != "application/json":
            return self.send_local_response(415, body="application/json must be provided\n")
        return None

    async def on_request_body(self, body: Body, end_of_stream: bool) -> Action | None:
        try:
            payload: Any = json.loads(await self.read_request_body())
            missing = self.plugin.required_keys - payload.keys()
        except (ValueError, AttributeError):
            return self.send_local_response(400, body="the body must be a JSON object\n")
        if missing:
            return self.send_local_response(400, body=f"missing: {', '.join(sorted(missing))}\n")
        return None
