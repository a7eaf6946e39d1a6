"""Keeps a list of blocked clients that a gRPC service streams to it, and opens the stream again where it ends."""

import logging

from proxy_wasm import Action, CalloutError, Headers, HttpContext, PluginContext, sleep

logger = logging.getLogger(__name__)


class GrpcStream(PluginContext):
    blocked: frozenset[str] = frozenset()

    def on_configure(self) -> None:
        self.create_task(self.watch())

    async def watch(self) -> None:
        while True:
            try:
                async with self.grpc_stream("clients", "example.Clients", "WatchBlocked") as stream:
                    stream.close_send()
                    async for message in stream:
                        self.blocked = frozenset(message.decode("utf-8", "replace").split())
            except CalloutError as error:
                logger.warning("the list stays as it was: %s", error)
            await sleep(1)

    def http_context(self) -> "FilteredStream":
        return FilteredStream(self)


class FilteredStream(HttpContext[GrpcStream]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        return self.send_local_response(403) if headers.get("x-client") in self.plugin.blocked else None
