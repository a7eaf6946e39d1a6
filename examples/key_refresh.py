"""Lets clients in whose key is in a set that is fetched in the background, every so many seconds (configured; 60)."""

import logging

from proxy_wasm import Action, CalloutError, Headers, HttpContext, PluginContext

logger = logging.getLogger(__name__)


class KeyRefresh(PluginContext):
    def on_configure(self) -> None:
        self.clients: dict[str, str] = {}
        self.every(float(self.configuration.text or "60"), self.refresh)
        self.create_task(self.refresh())

    async def refresh(self) -> None:
        try:
            response = await self.http_call("keys", path="/keys.json")
            self.clients = response.json()
        except (CalloutError, ValueError) as error:
            logger.warning("the keys stay as they were: %s", error)

    def http_context(self) -> "ClientStream":
        return ClientStream(self)


class ClientStream(HttpContext[KeyRefresh]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        client = self.plugin.clients.get(headers.get("x-api-key", ""))
        if client is None:
            return self.send_local_response(401)
        headers["x-client"] = client
        return None
