"""Adds a header to responses as configured, `{"header": "x-team", "value": "shop"}`; refuses any other configuration."""

from proxy_wasm import ConfigurationError, Headers, HttpContext, PluginContext


class HttpConfig(PluginContext):
    def on_configure(self) -> None:
        settings = self.configuration.json()
        for key in ("header", "value"):
            if not isinstance(settings.get(key), str) or not settings[key]:
                raise ConfigurationError(f'{key}: needs some text, as in {{"header": "x-team", "value": "shop"}}')
        self.header: str = settings["header"]
        self.value: str = settings["value"]

    def http_context(self) -> "ConfiguredStream":
        return ConfiguredStream(self)


class ConfiguredStream(HttpContext[HttpConfig]):
    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
        headers[self.plugin.header] = self.plugin.value
