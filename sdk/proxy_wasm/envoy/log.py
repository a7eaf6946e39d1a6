"""Envoy's logs, read back: the application log with what filters wrote to it, and the access log.

Envoy is told to write one JSON object per record (`LOG_FORMAT`), so that a message of several lines, such as a traceback,
stays one record. A filter's message arrives as `wasm log NAME ROOT_ID VM_ID: MESSAGE`, without those of the three that are
empty (cpp-host, `PluginBase::makeLogPrefix`), and from a plugin context without NAME (`ContextBase::makeRootLogPrefix`).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from proxy_wasm.abi.enums import LogLevel

LOG_FORMAT = '{"time":"%Y-%m-%dT%H:%M:%S.%f","thread":%t,"level":"%l","logger":"%n","message":"%j"}'
"""For `--log-format`; `%j` is Envoy's addition to spdlog's patterns: the message as the inside of a JSON string."""

LEVELS = {
    "trace": LogLevel.TRACE,
    "debug": LogLevel.DEBUG,
    "info": LogLevel.INFO,
    "warning": LogLevel.WARN,
    "error": LogLevel.ERROR,
    "critical": LogLevel.CRITICAL,
}
"""Envoy's names of levels."""

_WASM = re.compile(r"wasm log(?: ([^\n]*?))?: (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class WasmMessage:
    """What a filter logged."""

    source: str
    """The plugin's name (in a stream), root id and VM id, those that are not empty, separated by spaces."""
    message: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """One record of Envoy's application log."""

    level: LogLevel
    logger: str
    """The component: `wasm`, `config`, `main`, ..."""
    message: str
    thread: int = 0
    time: str = ""
    """Local time, ISO 8601."""

    @property
    def wasm(self) -> WasmMessage | None:
        """The filter's message in this record, if it is one."""
        found = _WASM.fullmatch(self.message) if self.logger == "wasm" else None
        return None if found is None else WasmMessage(found[1] or "", found[2])


def parse_log_line(line: bytes) -> LogLine:
    """The record in one line, which may be one that Envoy wrote without the format (a crash, a failed assertion).

    Bytes that are no UTF-8 become surrogate escapes.
    """
    text = line.decode("utf-8", "surrogateescape").rstrip("\n")
    try:
        fields = cast("dict[str, Any]", json.loads(text, strict=False))
        return LogLine(LEVELS[fields["level"]], fields["logger"], fields["message"], fields["thread"], fields["time"])
    except (ValueError, LookupError, TypeError):
        return LogLine(LogLevel.CRITICAL, "", text)


class GrowingFile:
    """The complete lines of a file that another process appends to, each given once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0

    def lines(self) -> Iterator[bytes]:
        """The lines that were completed since the last call."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._position)
                content = file.read()
        except FileNotFoundError:
            return
        complete = content.rfind(b"\n") + 1
        self._position += complete
        yield from content[:complete].splitlines()


ACCESS_LOG_FIELDS = {
    "client_port": "%DOWNSTREAM_DIRECT_REMOTE_PORT%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH)%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "milliseconds": "%DURATION%",
}
"""The access log's fields. A client that opens a connection for each request knows its own record by `client_port`."""


@dataclass(frozen=True, slots=True)
class AccessRecord:
    """What Envoy says of one stream at its end."""

    client_port: int
    status: int
    """0 where the client got no response."""
    details: str
    """The response code details."""
    flags: str
    """The response flags, such as `UF`; empty for none."""
    method: str = ""
    path: str = ""
    """As the filter left it, with the query."""
    milliseconds: int = 0
    """How long the stream lasted."""
    further: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The values of the fields that the log has besides `ACCESS_LOG_FIELDS`; `None` for those without a value."""


def parse_access_record(line: bytes) -> AccessRecord:
    """The record in one line of the access log; raises `ValueError` for anything else."""
    try:
        fields = cast("dict[str, Any]", json.loads(line.decode("utf-8", "surrogateescape"), strict=False))
        return AccessRecord(
            int(fields["client_port"]),
            int(fields["status"] or 0),
            fields["details"] or "",
            "" if fields["flags"] in (None, "-") else fields["flags"],
            fields["method"] or "",
            fields["path"] or "",
            int(fields["milliseconds"] or 0),
            {name: value for name, value in fields.items() if name not in ACCESS_LOG_FIELDS},
        )
    except (KeyError, TypeError) as error:
        msg = f"access log: unexpected record {line!r}"
        raise ValueError(msg) from error
