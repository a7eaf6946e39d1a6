"""What can go wrong with a real Envoy.

EnvoyError
├── EnvoyNotFound      there is no binary to start
├── EnvoyFailed        the process ended, or did not answer in time
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


class FilterRefused(EnvoyError):  # noqa: N818
    """Envoy refused a filter: `reason` is Envoy's word for it, `log` what was logged meanwhile (the filter's messages too)."""

    def __init__(self, reason: str, log: Sequence[LogLine]) -> None:
        super().__init__(reason, tuple(log))
        self.reason = reason
        self.log = tuple(log)

    @property
    def messages(self) -> list[str]:
        """The filter's own messages, in the order in which it logged them."""
        return [line.wasm.message for line in self.log if line.wasm is not None]

    def __str__(self) -> str:
        """The filter's own messages; where it said nothing, Envoy's reason with the errors around it."""
        if self.messages:
            return "\n".join(self.messages)
        errors = [line.message for line in self.log if line.logger == "wasm" and line.level >= LogLevel.ERROR]
        return "\n".join(dict.fromkeys([self.reason, *errors]))
