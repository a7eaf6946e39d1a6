"""What can go wrong with a real Envoy.

EnvoyError
├── EnvoyNotFound      there is no binary to start
├── EnvoyFailed        the process ended, or did not answer in time
├── ClusterTaken       a cluster's name stands for something else already
└── FilterRefused      Envoy lives, and refused the filter: its configuration, its module, or Envoy's own configuration
"""

from collections.abc import Sequence

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.envoy.log import LogLine


class EnvoyError(Exception):
    """Base of this package's errors; the text is one sentence for the user, without a traceback."""


class EnvoyNotFound(EnvoyError):  # noqa: N818 - named for what happened, as the standard library's FileNotFoundError is not
    """There is no Envoy binary to start."""


class EnvoyFailed(EnvoyError):  # noqa: N818
    """The process ended by itself, or did not answer in time."""


class NoResponse(EnvoyFailed):
    """A request through Envoy was not answered in time."""


class ClusterTaken(EnvoyError):  # noqa: N818
    """A cluster's name stands for something else in this Envoy."""


class FilterRefused(EnvoyError):  # noqa: N818
    """Envoy refused a filter: `reason` is Envoy's word for it, `log` what was logged meanwhile (the filter's messages too)."""

    def __init__(self, reason: str, log: Sequence[LogLine]) -> None:
        super().__init__(reason, tuple(log))
        self.reason = reason
        self.log = tuple(log)

    @property
    def errors(self) -> list[str]:
        """What Envoy says against the filter's VM, each once: `Wasm VM failed ...`, traps with their backtraces.

        Envoy's critical messages only repeat that the plugin failed.
        """
        lines = (line for line in self.log if line.logger == "wasm" and line.wasm is None)
        return list(dict.fromkeys(line.message for line in lines if LogLevel.WARN <= line.level <= LogLevel.ERROR))

    @property
    def messages(self) -> list[str]:
        """The filter's own messages, in the order in which it logged them."""
        return [line.wasm.message for line in self.log if line.wasm is not None]

    def __str__(self) -> str:
        """What the filter said where its VM failed; without a word of it, Envoy's reason and errors."""
        said = [line.wasm.message for line in self.log if line.wasm is not None and line.level >= LogLevel.WARN]
        return "\n".join((self.errors and (said or self.messages)) or [self.reason, *self.errors])
