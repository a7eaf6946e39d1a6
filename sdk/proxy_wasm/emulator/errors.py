"""What the emulator raises.

    EmulatorError
    ├── ModuleRefused           a proxy would not load the module
    ├── ConfigurationRejected   the plugin refused its configuration
    ├── VmFailed                the guest trapped while it started
    ├── StreamPaused            an exchange that can never end
    └── NeverIdle               callbacks that cause each other for ever

A trap during traffic raises nothing: it fails the VM, and streams are answered with 503, as in a proxy.
"""

from collections.abc import Sequence

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.emulator.log import LogRecord


class EmulatorError(Exception):
    """The root of the emulator's errors."""


class ModuleRefused(EmulatorError):  # noqa: N818 - says what happened
    """A proxy would not load the module; the message names what is wrong with it."""


class StartRefused(EmulatorError):  # noqa: N818 - says what happened
    """The root of what keeps a plugin from starting."""

    def __init__(self, what: str, logs: Sequence[LogRecord]) -> None:
        self.logs = tuple(logs)
        """What was logged during the start."""
        said = [record for record in self.logs if record.level >= LogLevel.WARN] or self.logs
        super().__init__("\n".join([what, *(f"  {record.level.name.lower()}: {record.message}" for record in said)]))


class ConfigurationRejected(StartRefused):
    """`on_vm_start` or `on_configure` returned false; the message holds what the plugin logged."""


class VmFailed(StartRefused):
    """The guest trapped before it was ready; the message holds the trap and its backtrace."""


class StreamPaused(EmulatorError):  # noqa: N818 - says what happened
    """The filter paused the stream and nothing is left that could continue it: a client would wait for its timeout."""


class NeverIdle(EmulatorError):  # noqa: N818 - says what happened
    """Each of the guest's callbacks causes another, by a callout that is answered at once, or by a queue: a proxy would be busy with them for ever."""
