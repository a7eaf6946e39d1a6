"""Sends a share of the requests, in percent by configuration, to the canary: a changed host has its route chosen anew."""

import random

from proxy_wasm import Headers, HttpContext, PluginContext


class HttpRouting(PluginContext):
    def on_configure(self) -> None:
        self.share = float(self.configuration.text or "50")

    def http_context(self) -> "RoutedStream":
        return RoutedStream(self)


class RoutedStream(HttpContext[HttpRouting]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        if random.uniform(0, 100) < self.plugin.share:  # noqa: S311 - no secret
            headers[":authority"] += "-canary"
