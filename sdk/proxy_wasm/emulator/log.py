"""What the guest and the host say: the emulator's counterpart of a proxy's log."""

from dataclasses import dataclass, field

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.emulator.header_map import to_bytes, to_text


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One message in the proxy's log."""

    level: LogLevel
    message: str
    root_id: str = ""
    """Of the plugin in whose context the message was logged."""
    context_id: int = 0
    from_host: bool = False
    """Whether the proxy itself says it: a trap and its backtrace, a plugin's mistake that a real proxy hides."""
    thread: str = field(default="", compare=False)
    """Which thread of an emulated proxy has the VM that says it: `worker 0` and so on, `main`, or `canary`, where a configuration is tried."""


class Log(list[LogRecord]):
    """The messages at or above `level`, oldest first."""

    def __init__(self, level: LogLevel) -> None:
        super().__init__()
        self.level = level

    def write(
        self,
        level: int,
        message: bytes,
        *,
        root_id: str = "",
        context_id: int = 0,
        from_host: bool = False,
        thread: str = "",
    ) -> None:
        if level >= self.level:
            self.append(LogRecord(LogLevel(level), to_text(message), root_id, context_id, from_host, thread))

    def complain(self, message: str, *, root_id: str = "", context_id: int = 0) -> None:
        """Note, as the host, a mistake that a real proxy would not mention."""
        self.write(LogLevel.WARN, to_bytes(message), root_id=root_id, context_id=context_id, from_host=True)
