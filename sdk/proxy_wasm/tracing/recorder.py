"""Records what crosses the boundary between host and guest, as it is told of it.

Recording is done for every stream of every test, and looked at seldom: what is heard is only kept (`Recorder`), and made a trace when one is asked
for (`_Tree`).
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from proxy_wasm.abi.enums import LogLevel, Status
from proxy_wasm.abi.signatures import CALLBACKS, HOSTCALLS
from proxy_wasm.emulator.log import LogRecord
from proxy_wasm.emulator.observer import Arguments, Results, Unseen
from proxy_wasm.tracing import values
from proxy_wasm.tracing.events import Event, Moment, Trace, TracedCallback, TracedHostcall, TracedLog
from proxy_wasm.tracing.values import Fields, Octets

MOST_EVENTS = 100_000
"""How many beginnings and ends of calls a recorder keeps: the last ones."""


class Ticking(Protocol):
    """The proxy's clock."""

    monotonic_nanoseconds: int


_Heard: TypeAlias = "tuple[Callable[..., None], tuple[object, ...], int, int, int]"
"""A method of `_Tree` with its arguments; the proxy's clock, the real one, and how long the log was."""


class Recorder:
    """An observer of an emulator (`proxy_wasm.emulator.observer.Observer`): `Emulator(..., clock=clock, observers=[Recorder(clock)])`.

    The log lines come into the trace once the recorder is told of the log: `recorder.follow(emulator.log)`. `real` is the clock by which
    calls are timed, in nanoseconds.
    """

    def __init__(self, clock: Ticking, real: Callable[[], int] = time.perf_counter_ns) -> None:
        self._clock = clock
        self._real = real
        self._log: Sequence[LogRecord] = ()
        self._heard: deque[_Heard] = deque(maxlen=MOST_EVENTS)
        self.restart()

    def follow(self, log: Sequence[LogRecord]) -> None:
        """Record what is appended to `log`, and what is in there."""
        self._log = log
        self._log_start = 0

    def restart(self) -> None:
        """Forget what was recorded: a trace begins."""
        self._heard.clear()
        self._start = Moment(self._clock.monotonic_nanoseconds, self._real())
        self._log_start = len(self._log)

    def trace(self, *, title: str = "", host: str = "") -> Trace:
        """What was recorded since the recorder was made or told to `restart`."""
        tree = _Tree(self._log, self._log_start)
        for tell, arguments, clock, real, logged in self._heard:
            tree.move_to(Moment(clock - self._start.clock, real - self._start.real), logged)
            tell(tree, *arguments)
        tree.take_logs(len(self._log))
        return Trace(tree.close(), title, host)

    def entered(self, callback: str, arguments: tuple[int, ...]) -> None:
        """See `Observer`."""
        self._hear(_Tree.entered, callback, arguments)

    def left(self, callback: str, returned: int | None) -> None:
        """See `Observer`."""
        self._hear(_Tree.left, callback, returned)

    def called(self, hostcall: str, arguments: Arguments) -> None:
        """See `Observer`."""
        self._hear(_Tree.called, hostcall, arguments)

    def answered(self, hostcall: str, status: int, results: Results) -> None:
        """See `Observer`."""
        self._hear(_Tree.answered, hostcall, status, results)

    def said(self, level: LogLevel, message: str, *, from_host: bool = False) -> None:
        """A line of the proxy's log that no log has which the recorder follows."""
        self._hear(_Tree.said, level, message, from_host)

    def _hear(self, tell: Callable[..., None], *arguments: object) -> None:
        self._heard.append((tell, arguments, self._clock.monotonic_nanoseconds, self._real(), len(self._log)))


@dataclass(slots=True)
class _Open:
    """A callback or hostcall that is not over."""

    at: Moment
    kind: Literal["callback", "hostcall"]
    name: str
    arguments: Fields
    inner: list[Event] = field(default_factory=list[Event])


class _Tree:
    """Puts calls into those that they happened in, and log lines where they were written."""

    def __init__(self, log: Sequence[LogRecord], log_start: int) -> None:
        self._log = log
        self._logged = log_start
        self._now = Moment(0, 0)
        self._open: list[_Open] = []
        self._events: list[Event] = []

    def move_to(self, now: Moment, logged: int) -> None:
        """Something happens, when the log has so many lines."""
        self._now = now
        self.take_logs(logged)

    def take_logs(self, end: int) -> None:
        """What was logged since the last event."""
        for record in self._log[self._logged : end]:
            self.said(record.level, record.message, record.from_host)
        self._logged = max(self._logged, end)

    def close(self) -> tuple[Event, ...]:
        """All events; what never ended was ended by a trap."""
        while self._open:
            self._close_trapped()
        return tuple(self._events)

    def said(self, level: LogLevel, message: str, from_host: bool) -> None:
        self._add(TracedLog(self._now, level, message, from_host))

    def entered(self, callback: str, arguments: tuple[int, ...]) -> None:
        names = CALLBACKS[callback].parameters if callback in CALLBACKS else ()
        self._open.append(_Open(self._now, "callback", callback, _fields(callback, names, arguments)))

    def left(self, callback: str, returned: int | None) -> None:
        if self._is_open(callback, "callback"):
            self._close_callback(returned)

    def called(self, hostcall: str, arguments: Arguments) -> None:
        names = [name for name, _ in HOSTCALLS[hostcall].parameters] if hostcall in HOSTCALLS else []
        self._open.append(_Open(self._now, "hostcall", hostcall, _fields(hostcall, names, arguments)))

    def answered(self, hostcall: str, status: int, results: Results) -> None:
        if self._is_open(hostcall, "hostcall"):
            self._close_hostcall(status, _results(hostcall, results))

    def _is_open(self, name: str, kind: Literal["callback", "hostcall"]) -> bool:
        """Whether the call that ends has begun. What began after it, and never ended, was ended by a trap."""
        if not any((call.name, call.kind) == (name, kind) for call in self._open):
            return False
        while (self._open[-1].name, self._open[-1].kind) != (name, kind):
            self._close_trapped()
        return True

    def _close_trapped(self) -> None:
        if self._open[-1].kind == "callback":
            self._close_callback(None)
        else:
            self._close_hostcall(None, ())

    def _close_callback(self, returned: int | None) -> None:
        call = self._open.pop()
        gives = call.name not in CALLBACKS or CALLBACKS[call.name].returns
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
        return self._now.real - call.at.real

    def _add(self, event: Event) -> None:
        (self._open[-1].inner if self._open else self._events).append(event)


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
