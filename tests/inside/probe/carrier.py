"""A filter that reads all headers and trailers, and adds one, or writes all of them anew."""

from proxy_wasm import Headers, HttpContext, PluginContext


class Carrier(PluginContext):
    def on_configure(self) -> None:
        self.rewrites = self.configuration.text == "rewrite"

    def http_context(self) -> HttpContext["Carrier"]:
        return CarriedStream(self)


class CarriedStream(HttpContext[Carrier]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        self.carry(headers)

    def on_request_trailers(self, trailers: Headers) -> None:
        self.carry(trailers)

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
        self.carry(headers)

    def on_response_trailers(self, trailers: Headers) -> None:
        self.carry(trailers)

    def carry(self, headers: Headers) -> None:
        pairs = headers.multi_items()
        if self.plugin.rewrites:
            headers.replace(pairs)
        values = sum(len(value.encode("utf-8", "surrogateescape")) for _, value in pairs)
        headers["x-carried"] = f"{len(pairs)} headers, {values} bytes"
