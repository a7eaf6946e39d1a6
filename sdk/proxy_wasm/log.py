"""Python's `logging`, written to the proxy's log.

The root logger gets a handler that calls `proxy_log`, and the proxy's level, so that what the proxy would drop is never formatted. In a
compiled guest that holds for good, and the level, which an operator can change at run time, is asked for anew by the first log call after
another context's. In a native test the interpreter is somebody else's, pytest's mostly: there handler and level are in place only while a callback runs.
"""

import logging
from types import TracebackType

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.abi.hostcalls import Hostcalls, HostError
from proxy_wasm.host import Host

TRACE = 5
"""The level below `logging.DEBUG` that proxies have and Python has not: `logger.log(TRACE, ...)`."""

_PYTHON_LEVELS = (TRACE, logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
_SILENT = logging.CRITICAL + 10
"""Envoy's level `off`, which comes after the specification's levels."""


def proxy_level(level: int) -> LogLevel:
    """The proxy's level for one of Python's."""
    if level >= logging.WARNING:
        if level >= logging.ERROR:
            return LogLevel.CRITICAL if level >= logging.CRITICAL else LogLevel.ERROR
        return LogLevel.WARN
    if level >= logging.INFO:
        return LogLevel.INFO
    return LogLevel.DEBUG if level >= logging.DEBUG else LogLevel.TRACE


def log_bytes(message: str) -> bytes:
    """A message as the proxy takes it: always UTF-8, whatever bytes of a client went into the text."""
    return message.encode("utf-8", "backslashreplace")


class ProxyLogHandler(logging.Handler):
    """Writes records to the proxy's log; a message with a traceback becomes one entry of several lines."""

    def __init__(self, hostcalls: Hostcalls) -> None:
        super().__init__()
        self._hostcalls = hostcalls

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            message = self.format(record).rstrip("\n")
            self._hostcalls.log(int(proxy_level(record.levelno)), log_bytes(message))
        except Exception:  # noqa: BLE001 - as every handler of the standard library does
            self.handleError(record)


class ProxyLog:
    """The tie between Python's root logger and one VM's log.

    `install` makes it for good; as a context manager, which may be entered again inside, it lasts while a callback runs.
    """

    def __init__(self, hostcalls: Hostcalls, host: Host) -> None:
        logging.addLevelName(TRACE, "TRACE")
        self._host = host
        self.asked_by = -1
        """The context that the proxy's level was asked for last; -1 has it asked for anew before the next record."""
        self._hostcalls = hostcalls
        self._handler = ProxyLogHandler(hostcalls)
        self._outer_levels: list[int] = []

    def refresh(self) -> None:
        """Give the root logger the proxy's level."""
        self.asked_by = self._host.context_id
        try:
            level = self._hostcalls.get_log_level()
        except HostError:
            level = LogLevel.INFO
        python_level = _PYTHON_LEVELS[level] if level < len(_PYTHON_LEVELS) else _SILENT
        if logging.root.level != python_level:
            logging.root.setLevel(python_level)

    def install(self) -> None:
        """Make the proxy's log the only one, for good.

        Every logger asks first whether its level is enabled; there the proxy's level is brought up to date, so streams that log
        nothing make no hostcall for it.
        """
        is_enabled_for = logging.Logger.isEnabledFor

        def is_enabled_for_proxy(logger: logging.Logger, level: int) -> bool:
            if self.asked_by != self._host.context_id:
                self.refresh()
            return is_enabled_for(logger, level)

        setattr(logging.Logger, "isEnabledFor", is_enabled_for_proxy)  # noqa: B010 - or else a type checker sees a redefinition
        logging.root.handlers[:] = [self._handler]
        logging.captureWarnings(capture=True)
        # What one thread of one process need not look up for each record (Python's logging documentation, "Optimization").
        for name in ("logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks"):
            setattr(logging, name, False)

    def __enter__(self) -> None:
        self._outer_levels.append(logging.root.level)
        if len(self._outer_levels) == 1:
            logging.root.addHandler(self._handler)
        self.refresh()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        logging.root.setLevel(self._outer_levels.pop())
        if not self._outer_levels:
            logging.root.removeHandler(self._handler)
