"""Logs what passes over TCP connections, both ways, and counts them."""

import logging

from proxy_wasm import Body, PeerType, PluginContext, TcpContext

logger = logging.getLogger(__name__)


class Network(PluginContext):
    def on_configure(self) -> None:
        self.connections = self.counter("network.connections")

    def tcp_context(self) -> "LoggedConnection":
        return LoggedConnection(self)


class LoggedConnection(TcpContext[Network]):
    def on_new_connection(self) -> None:
        logger.info("new connection from %s", self.properties.source.address)

    def on_downstream_data(self, data: Body, end_of_stream: bool) -> None:
        logger.info(">>> %r", bytes(data))

    def on_upstream_data(self, data: Body, end_of_stream: bool) -> None:
        logger.info("<<< %r, from %s", bytes(data), self.properties.upstream.address)

    def on_downstream_connection_close(self, peer_type: PeerType) -> None:
        logger.info("the client's connection is closed")

    def on_done(self) -> None:
        self.plugin.connections.increment()
        logger.info("connection complete")
