"""A filter that verifies the one signature that it is configured with, as many times as the header `x-times` of a request says."""

from abc import abstractmethod
from typing import Any

from proxy_wasm import Action, Headers, HttpContext, PluginContext


class SignaturesFilter(PluginContext):
    """How signatures are verified, classes derived from this one know."""

    def on_configure(self) -> None:
        settings: dict[str, Any] = self.configuration.json()
        self.text = bytes.fromhex(settings["text"])
        self.signature = bytes.fromhex(settings["signature"])
        self.use(settings["algorithm"], settings["jwk"])

    def http_context(self) -> HttpContext["SignaturesFilter"]:
        return SignaturesStream(self)

    @abstractmethod
    def use(self, algorithm: str, jwk: dict[str, Any]) -> None:
        """Take this algorithm and this key from now on."""

    @abstractmethod
    def verify(self) -> bool:
        """Whether `signature` is one of `text`."""


class SignaturesStream(HttpContext[SignaturesFilter]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        genuine = [self.plugin.verify() for _ in range(int(headers["x-times"]))]
        return self.send_local_response(200 if all(genuine) else 500)
