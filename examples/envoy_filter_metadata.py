"""Answers with dynamic metadata that another filter, such as Lua or `set_metadata`, has left on the stream."""

from proxy_wasm import Action, Headers, HttpContext, PluginContext


class EnvoyFilterMetadata(PluginContext):
    def http_context(self) -> "MetadataStream":
        return MetadataStream(self)


class MetadataStream(HttpContext[EnvoyFilterMetadata]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        data = self.properties.metadata["com.example"]["greeting"]
        if data is None:
            return None
        return self.send_local_response(200, headers={"x-metadata": str(data)}, body=f"Metadata: {data}\n")
