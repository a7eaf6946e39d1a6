"""Lets another service decide, at random, whether a request may pass; an exception answers with 500."""

import logging

from proxy_wasm import Action, Headers, HttpContext, PluginContext

logger = logging.getLogger(__name__)


class HttpAuthRandom(PluginContext):
    def http_context(self) -> "AuthorizedStream":
        return AuthorizedStream(self)


class AuthorizedStream(HttpContext[HttpAuthRandom]):
    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        response = await self.http_call("httpbin", path="/bytes/1", authority="httpbin.org", timeout=1)
        if response.content[0] % 2 == 0:
            logger.info("access granted")
            return None
        logger.info("access forbidden")
        return self.send_local_response(403, body="Access forbidden.\n")

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
        headers["powered-by"] = "proxy-wasm"
