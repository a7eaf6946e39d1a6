"""Asks a service whether a client may connect, before any of its data goes on; an exception closes the connection, too."""

import logging

from proxy_wasm import PluginContext, TcpContext

logger = logging.getLogger(__name__)

ALLOWED = 200


class TcpAllowList(PluginContext):
    def tcp_context(self) -> "AdmittedConnection":
        return AdmittedConnection(self)


class AdmittedConnection(TcpContext[TcpAllowList]):
    async def on_new_connection(self) -> None:
        address = self.properties.source.address or ""
        response = await self.http_call("allow_list", headers={"x-address": address}, timeout=1)
        if response.status != ALLOWED:
            logger.info("%s may not connect", address)
            self.close()
