"""Sends an entry for each request over one gRPC stream of the plugin, opened when it is needed."""

import json

from proxy_wasm import GrpcStream, HttpContext, PluginContext


class GrpcAccessLog(PluginContext):
    stream: GrpcStream | None = None

    def send(self, entry: bytes) -> None:
        if self.stream is None or self.stream.status is not None:  # never opened, or over
            self.stream = self.grpc_stream("logs", "example.Logs", "Append")
        self.stream.send(entry)

    def http_context(self) -> "LoggedStream":
        return LoggedStream(self)


class LoggedStream(HttpContext[GrpcAccessLog]):
    def on_log(self) -> None:
        request, response = self.properties.request, self.properties.response
        entry = {"method": request.method, "path": request.path, "status": response.code}
        self.plugin.send(json.dumps(entry).encode())
