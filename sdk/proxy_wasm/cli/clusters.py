"""Clusters that a user names with `--cluster`: servers of his own that a filter may call."""

import socket
from collections.abc import Iterable, Mapping

from proxy_wasm.cli.addresses import UserCluster
from proxy_wasm.emulator.clusters import Absent, Cluster, ServerAt

_CONNECT_SECONDS = 2


def served(clusters: Iterable[UserCluster]) -> Mapping[str, Cluster]:
    """The same as clusters of a test's proxy."""
    return {cluster.name: _served(cluster) for cluster in clusters}


def _served(cluster: UserCluster) -> Cluster:
    try:
        socket.create_connection((cluster.host, cluster.port), _CONNECT_SECONDS).close()
    except OSError:
        return Absent()
    return ServerAt(cluster.host, cluster.port)
