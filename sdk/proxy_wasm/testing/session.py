"""What all tests of a pytest run share."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from proxy_wasm.testing.agreement import COMPARED, Observations, ObservingHost
from proxy_wasm.testing.extension import Extension
from proxy_wasm.testing.hosts import Host, HostName, open_host


class Session:
    """The hosts and extensions of a run."""

    def __init__(self, observations: Observations | None = None) -> None:
        self.observations = observations
        """What tests see, where hosts are compared."""
        self._hosts: dict[HostName, Host] = {}
        self._extensions: dict[Path, Extension] = {}

    def host(self, name: HostName) -> Host:
        if name not in self._hosts:
            if self.observations is not None and name in COMPARED:
                self._hosts[name] = ObservingHost(open_host(name, self.observations.clock_start), self.observations)
            else:
                self._hosts[name] = open_host(name)
        return self._hosts[name]

    def extension(self, path: Path) -> Extension:
        return self._extensions.setdefault(path, Extension(path))

    def close(self) -> None:
        with ExitStack() as stack:
            for host in self._hosts.values():
                stack.callback(host.close)
        self._hosts.clear()


SESSION = pytest.StashKey[Session]()
