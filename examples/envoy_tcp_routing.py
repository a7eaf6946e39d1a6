"""Chooses the cluster of a TCP connection by its client's address: "egress_even" or "egress_odd", by the last byte."""

import logging
from ipaddress import ip_address

from proxy_wasm import PluginContext, TcpContext

logger = logging.getLogger(__name__)


class EnvoyTcpRouting(PluginContext):
    def tcp_context(self) -> "RoutedConnection":
        return RoutedConnection(self)


class RoutedConnection(TcpContext[EnvoyTcpRouting]):
    def on_new_connection(self) -> None:
        host = (self.properties.source.address or "").rpartition(":")[0].strip("[]")
        cluster = "egress_odd" if ip_address(host).packed[-1] % 2 else "egress_even"
        self.foreign_functions.set_envoy_filter_state("envoy.tcp_proxy.cluster", cluster)
        logger.info("%s goes to %s", host, cluster)
