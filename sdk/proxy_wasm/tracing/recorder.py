"""Records what crosses the boundary between host and guest, as it is told of it."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from proxy_wasm.abi.enums import LogLevel, Status
from proxy_wasm.abi.signatures import CALLBACKS, HOSTCALLS
from proxy_wasm.emulator.log import LogRecord
from proxy_wasm.emulator.observer import Arguments, Results, Unseen
from proxy_wasm.tracing import values
from proxy_wasm.tracing.events import Event, Moment, Trace, TracedCallback, TracedHostcall, TracedLog
from proxy_wasm.tracing.values import Fields, Octets

MOST_EVENTS = 10_000
"""How many callbacks a recorder keeps: the last ones."""


class Ticking(Protocol):
    """The proxy's clock."""

    monotonic_nanoseconds: int


@dataclass(slots=True)
class _Open:
    """A callback or hostcall that is not over."""

    at: Moment
    is_callback: bool
    name: str
    arguments: Fields
    inner: list[Event] = field(default_factory=list[Event])


class Recorder:
    """An observer of an emulator (`proxy_wasm.emulator.observer.Observer`): `Emulator(..., clock=clock, observers=[Recorder(clock)])`.

    The log lines come into the trace once the recorder is told of the log: `recorder.follow(emulator.log)`. `real` is the clock by which
    calls are timed, in nanoseconds.
    """

    def __init__(self, clock: Ticking, real: Callable[[], int] = time.perf_counter_ns) -> None:
        self._clock = clock
        self._real = real
        self._start = Moment(clock.monotonic_nanoseconds, real())
        self._log: Sequence[LogRecord] = ()
        self._logged = 0
        self._open: list[_Open] = []
        self._events: deque[Event] = deque(maxlen=MOST_EVENTS)
        self._seen = 0
        """How many events there were."""

    def follow(self, log: Sequence[LogRecord]) -> None:
        """Record what is appended to `log`, and what is in there."""
        self._log = log

    def position(self) -> int:
        """A mark for `trace`: what happens from now on comes after it."""
        self._note_logs()
        return self._seen

    def trace(self, since: int = 0, *, title: str = "", host: str = "") -> Trace:
        """What was recorded since a `position`, from the beginning unless told."""
        self._note_logs()
        events = list(self._events)
        forgotten = self._seen - len(events)
        return Trace(tuple(events[max(0, since - forgotten) :]), title, host)

    # What the recorder is told

    def said(self, level: LogLevel, message: str, *, from_host: bool = False) -> None:
        """A line of the proxy's log that no log has which the recorder follows."""
        self._add(TracedLog(self._now(), level, message, from_host))

    def entered(self, callback: str, arguments: tuple[int, ...]) -> None:
        """See `Observer`."""
        names = CALLBACKS[callback].parameters if callback in CALLBACKS else ()
        self._begin(callback, names, arguments, is_callback=True)

    def left(self, callback: str, returned: int | None) -> None:
        """See `Observer`."""
        if self._is_open(callback, is_callback=True):
            self._close_callback(returned)

    def called(self, hostcall: str, arguments: Arguments) -> None:
        """See `Observer`."""
        names = [name for name, _ in HOSTCALLS[hostcall].parameters] if hostcall in HOSTCALLS else []
        self._begin(hostcall, names, arguments, is_callback=False)

    def answered(self, hostcall: str, status: int, results: Results) -> None:
        """See `Observer`."""
        if self._is_open(hostcall, is_callback=False):
            self._close_hostcall(status, _results(hostcall, results))

    def _begin(self, name: str, names: Sequence[str], arguments: Arguments, *, is_callback: bool) -> None:
        self._note_logs()
        self._open.append(_Open(self._now(), is_callback, name, _fields(name, names, arguments)))

    def _is_open(self, name: str, *, is_callback: bool) -> bool:
        """Whether the call that ends has begun. What began after it, and never ended, was ended by a trap."""
        self._note_logs()
        if not any((call.name, call.is_callback) == (name, is_callback) for call in self._open):
            return False
        while (self._open[-1].name, self._open[-1].is_callback) != (name, is_callback):
            self._close_trapped()
        return True

    def _close_trapped(self) -> None:
        if self._open[-1].is_callback:
            self._close_callback(None)
        else:
            self._close_hostcall(None, ())

    def _close_callback(self, returned: int | None) -> None:
        call = self._open.pop()
        gives = returned is not None and (call.name not in CALLBACKS or CALLBACKS[call.name].returns)
        self._add(
            TracedCallback(
                call.at,
                self._took(call),
                call.name,
                call.arguments,
                values.returned(call.name, returned) if gives and returned is not None else None,
                returned is None,
                tuple(call.inner),
            )
        )

    def _close_hostcall(self, status: int | None, results: Fields) -> None:
        call = self._open.pop()
        if call.name == "log" and status == Status.OK and call.inner:
            for event in call.inner:  # the line says it all
                self._add(event)
            return
        code = None if status is None else values.status(status)
        took = self._took(call)
        self._add(TracedHostcall(call.at, took, call.name, call.arguments, code, results, tuple(call.inner)))

    def _took(self, call: _Open) -> int:
        return self._real() - self._start.real - call.at.real

    def _now(self) -> Moment:
        return Moment(self._clock.monotonic_nanoseconds - self._start.clock, self._real() - self._start.real)

    def _note_logs(self) -> None:
        """Take in what was logged since the last event."""
        while self._logged < len(self._log):
            record = self._log[self._logged]
            self._logged += 1
            self._add(TracedLog(self._now(), record.level, record.message, record.from_host))

    def _add(self, event: Event) -> None:
        if self._open:
            self._open[-1].inner.append(event)
        else:
            self._events.append(event)
            self._seen += 1


def _fields(call: str, names: Sequence[str], raw: Arguments) -> Fields:
    """Numbers and bytes under their names; those beyond the names, as calls of other ABI versions have, by their positions."""
    return tuple(
        (
            name,
            Octets(argument.size, seen=False) if isinstance(argument, Unseen) else values.value(call, name, argument),
        )
        for position, argument in enumerate(raw)
        for name in (names[position] if position < len(names) else str(position),)
    )


def _results(hostcall: str, results: Results) -> Fields:
    if results is None:
        return ()
    names = [name for name, _ in HOSTCALLS[hostcall].results] if hostcall in HOSTCALLS else []
    return _fields(hostcall, names, results if isinstance(results, tuple) else (results,))
