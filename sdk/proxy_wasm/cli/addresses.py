"""Servers that users name on the command line."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UserCluster:
    """A cluster of one server."""

    name: str
    host: str
    port: int
    http2: bool
