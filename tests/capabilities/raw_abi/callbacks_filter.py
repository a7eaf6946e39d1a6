"""A plugin that logs its callbacks, and those of its requests and connections, by name."""

import logging
from typing import Any

from proxy_wasm import Body, Headers, HttpContext, PluginContext, TcpContext
from proxy_wasm.abi.enums import PeerType

logger = logging.getLogger(__name__)


class Logged(PluginContext):
    def on_vm_start(self) -> None:
        logger.info("plugin: on_vm_start")

    def on_configure(self) -> None:
        logger.info("plugin: on_configure")
        self.tick_period = 0.01

    def on_tick(self) -> None:
        self.tick_period = 0
        logger.info("plugin: on_tick")

    def http_context(self) -> HttpContext[Any]:
        return LoggedStream(self)

    def tcp_context(self) -> TcpContext[Any]:
        return LoggedConnection(self)


class LoggedStream(HttpContext[Logged]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        logger.info("stream: on_request_headers")

    def on_request_body(self, body: Body, end_of_stream: bool) -> None:
        logger.info("stream: on_request_body")

    def on_request_trailers(self, trailers: Headers) -> None:
        logger.info("stream: on_request_trailers")

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
        logger.info("stream: on_response_headers")

    def on_response_body(self, body: Body, end_of_stream: bool) -> None:
        logger.info("stream: on_response_body")

    def on_response_trailers(self, trailers: Headers) -> None:
        logger.info("stream: on_response_trailers")

    def on_log(self) -> None:
        logger.info("stream: on_log")

    def on_done(self) -> None:
        logger.info("stream: on_done")


class LoggedConnection(TcpContext[Logged]):
    def on_new_connection(self) -> None:
        logger.info("connection: on_new_connection")

    def on_downstream_data(self, data: Body, end_of_stream: bool) -> None:
        logger.info("connection: on_downstream_data")

    def on_upstream_data(self, data: Body, end_of_stream: bool) -> None:
        logger.info("connection: on_upstream_data")

    def on_downstream_connection_close(self, peer: PeerType) -> None:
        logger.info("connection: on_downstream_connection_close")

    def on_upstream_connection_close(self, peer: PeerType) -> None:
        logger.info("connection: on_upstream_connection_close")

    def on_log(self) -> None:
        logger.info("connection: on_log")

    def on_done(self) -> None:
        logger.info("connection: on_done")
