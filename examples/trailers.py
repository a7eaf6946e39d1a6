"""Counts how gRPC calls end, which their trailers say, or their headers where that is all there is."""

from proxy_wasm import Headers, HttpContext, PluginContext

STATUSES = frozenset(str(status) for status in range(17))


class Trailers(PluginContext):
    def count(self, status: str | None) -> None:
        if status in STATUSES:
            self.counter("grpc_calls", status=status).increment()

    def http_context(self) -> "GrpcStream":
        return GrpcStream(self)


class GrpcStream(HttpContext[Trailers]):
    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
        self.plugin.count(headers.get("grpc-status"))

    def on_response_trailers(self, trailers: Headers) -> None:
        self.plugin.count(trailers.get("grpc-status"))
        trailers["x-counted"] = "yes"
