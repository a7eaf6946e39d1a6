"""A trace, as values: what happened, in order, hostcalls within the callbacks that made them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.tracing.values import Fields, Value, plain

MICROSECOND = 1_000
"""In nanoseconds."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happened, in nanoseconds since the trace began."""

    clock: int
    """Of the proxy's clock: the emulator's, which stands still but where something is waited for."""
    real: int


@dataclass(frozen=True, slots=True)
class TracedLog:
    """A line of the proxy's log."""

    at: Moment
    level: LogLevel
    message: str
    from_host: bool = False
    """Whether the proxy itself says it."""


@dataclass(frozen=True, slots=True)
class TracedHostcall:
    """A hostcall, named without `proxy_`."""

    at: Moment
    duration: int
    """Real nanoseconds, those of callbacks that the host made meanwhile included."""
    name: str
    arguments: Fields
    status: Value | None
    """`None` where the host never answered."""
    results: Fields = ()
    inner: "tuple[Event, ...]" = ()
    """Log lines, and callbacks that the host made before it answered."""


@dataclass(frozen=True, slots=True)
class TracedCallback:
    """A callback, named without `proxy_`."""

    at: Moment
    duration: int
    """Real nanoseconds, those of its hostcalls included."""
    name: str
    arguments: Fields
    returned: Value | None
    """`None` where the guest trapped, or returns nothing."""
    trapped: bool = False
    inner: "tuple[Event, ...]" = ()
    """Hostcalls and log lines, in order."""

    @property
    def context_id(self) -> int:
        """The context that it was called for."""
        return next((number for name, number in self.arguments if name == "context_id" and isinstance(number, int)), 0)


Event: TypeAlias = TracedCallback | TracedHostcall | TracedLog


@dataclass(frozen=True, slots=True)
class Trace:
    """What went on between a proxy and a filter."""

    events: tuple[Event, ...]
    """Callbacks, and what was logged between them."""
    title: str = ""
    """What the trace is of: `GET /path`."""
    host: str = ""
    """`native`, `wasm` or `envoy`."""

    @property
    def callbacks(self) -> list[TracedCallback]:
        """The callbacks that no hostcall led to."""
        return [event for event in self.events if isinstance(event, TracedCallback)]

    def hostcalls(self, name: str | None = None) -> list[TracedHostcall]:
        """All hostcalls, or those of a name (without `proxy_`), in order."""
        return [
            event for event in walk(self.events) if isinstance(event, TracedHostcall) and name in (None, event.name)
        ]

    @property
    def logs(self) -> list[TracedLog]:
        """All log lines."""
        return [event for event in walk(self.events) if isinstance(event, TracedLog)]

    def text(self) -> str:
        """The trace for a terminal, without anything in it that a terminal would obey."""
        from proxy_wasm.tracing.text import lines  # noqa: PLC0415 - it needs this module

        return "\n".join(lines(self))

    def to_json(self) -> dict[str, Any]:
        """The trace as JSON: times in microseconds, symbols by name, bytes as text or in hexadecimal."""
        return {
            "title": self.title,
            "host": self.host,
            "events": [_to_json(event) for event in self.events],
        }

    def json(self) -> str:
        """`to_json`, as text."""
        return json.dumps(self.to_json(), indent=2)

    def html(self) -> str:
        """The trace as one page with a timeline, which needs neither network nor JavaScript."""
        from proxy_wasm.tracing.html import page  # noqa: PLC0415 - it needs this module

        return page(self)


def walk(events: Sequence[Event]) -> Iterator[Event]:
    """All events, those within others after them."""
    for event in events:
        yield event
        if not isinstance(event, TracedLog):
            yield from walk(event.inner)


def _to_json(event: Event) -> dict[str, Any]:
    at = {"clock_us": event.at.clock / MICROSECOND, "real_us": event.at.real / MICROSECOND}
    match event:
        case TracedLog():
            kind: Literal["log", "hostcall", "callback"] = "log"
            told: dict[str, Any] = {"level": event.level.name, "message": event.message, "from_host": event.from_host}
        case TracedHostcall():
            kind = "hostcall"
            told = {
                **_call(event),
                "status": None if event.status is None else plain(event.status),
                "results": _fields(event.results),
            }
        case TracedCallback():
            kind = "callback"
            told = {
                **_call(event),
                "returned": None if event.returned is None else plain(event.returned),
                "trapped": event.trapped,
            }
    inner = {} if isinstance(event, TracedLog) else {"events": [_to_json(within) for within in event.inner]}
    return {"kind": kind, **at, **told, **inner}


def _call(event: TracedHostcall | TracedCallback) -> dict[str, Any]:
    return {
        "duration_us": event.duration / MICROSECOND,
        "name": event.name,
        "arguments": _fields(event.arguments),
    }


def _fields(fields: Fields) -> dict[str, Any]:
    return {name: plain(value) for name, value in fields}
