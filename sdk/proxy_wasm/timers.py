"""Any number of timers on the one tick that a host gives to a plugin context.

The tick is set to the moment at which the first timer falls due, and off while there is none. Periods are kept by schedule: a timer
that fires late fires next when it should have anyway.
"""

# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy_wasm.host import Host

_SECOND = 1_000_000_000
_MILLISECOND = 1_000_000
_LONGEST = 0x7FFF_FFFF
"""In milliseconds: what hosts take for a period."""
_FEW = 64
"""Cancelled timers below this number are not worth collecting."""


class Timer:
    """A call that is due later, once or again and again."""

    __slots__ = ("_due", "_function", "_number", "_period", "_timers", "_waiting")

    def __init__(self, timers: "Timers", due: int, number: int, period: int, function: Callable[[], object]) -> None:
        self._timers = timers
        self._due = due
        self._number = number
        self._period = period
        self._function: Callable[[], object] | None = function
        self._waiting = True
        """Whether it is among those that wait."""

    def __lt__(self, other: "Timer") -> bool:
        return (self._due, self._number) < (other._due, other._number)

    @property
    def active(self) -> bool:
        """Whether it will fire, once more at least."""
        return self._function is not None

    @property
    def period(self) -> float:
        """Seconds between two calls; 0 where there is one call only."""
        return self._period / _SECOND

    def cancel(self) -> None:
        """Never fire again."""
        if self._function is not None:
            self._function = None
            self._timers._cancelled(self)

    def fire(self) -> object:
        """Call the function, unless the timer was cancelled since it fell due."""
        function = self._function
        if function is None:
            return None
        if not self._period:
            self._function = None
        return function()


class Timers:
    """The timers of one plugin context."""

    __slots__ = ("_armed", "_cancelled_ones", "_context_id", "_heap", "_host", "_number")

    def __init__(self, host: "Host", context_id: int) -> None:
        self._host = host
        self._context_id = context_id
        self._heap: list[Timer] = []
        self._number = 0
        self._cancelled_ones = 0
        self._armed = 0
        """When the host ticks next; 0 while it does not."""

    def call_later(self, seconds: float, function: Callable[[], object]) -> Timer:
        """Call `function` once, that many seconds from now; `ValueError` for what is no such time."""
        return self._add(self._checked(seconds), 0, function)

    def every(self, seconds: float, function: Callable[[], object]) -> Timer:
        """Call `function` again and again, first that many seconds from now; `ValueError` for what is no such time."""
        period = max(self._checked(seconds), _MILLISECOND)
        return self._add(period, period, function)

    def _checked(self, seconds: float) -> int:
        if not 0 <= seconds <= _LONGEST / 1000:  # also where it is no number
            msg = f"{seconds} seconds: a timer takes 0 to {_LONGEST // 1000}"
            raise ValueError(msg)
        return int(seconds * _SECOND)

    def _add(self, delay: int, period: int, function: Callable[[], object]) -> Timer:
        self._number += 1
        timer = Timer(self, self._host.monotonic() + delay, self._number, period, function)
        heapq.heappush(self._heap, timer)
        if not self._armed or timer._due < self._armed:
            self._arm(timer._due)
        return timer

    def _arm(self, due: int) -> None:
        left = due - self._host.monotonic()
        milliseconds = min(max(-(-left // _MILLISECOND), 1), _LONGEST)
        self._host.call_for(self._context_id, self._host.hostcalls.set_tick_period_milliseconds, milliseconds)
        self._armed = due

    def _cancelled(self, timer: Timer) -> None:
        if not timer._waiting:
            return
        self._cancelled_ones += 1
        if self._cancelled_ones > _FEW and self._cancelled_ones * 2 > len(self._heap):
            self._heap = [timer for timer in self._heap if timer._function is not None]
            heapq.heapify(self._heap)
            self._cancelled_ones = 0

    def due(self) -> list[Timer]:
        """The timers to `fire` at this tick, in order; periodic ones fall due again."""
        now = self._host.monotonic()
        timers: list[Timer] = []
        heap = self._heap
        while heap and (heap[0]._function is None or heap[0]._due <= now):
            timer = heapq.heappop(heap)
            if timer._function is None:
                self._cancelled_ones -= 1
                continue
            timers.append(timer)
            if not timer._period:
                timer._waiting = False
            else:
                missed = (now - timer._due) // timer._period
                timer._due += (missed + 1) * timer._period
                heapq.heappush(heap, timer)
        return timers

    def rearm(self) -> None:
        """Have the host tick for the next timer, after the calls of a tick."""
        while self._heap and self._heap[0]._function is None:
            heapq.heappop(self._heap)
            self._cancelled_ones -= 1
        if self._heap:
            self._arm(self._heap[0]._due)
        elif self._armed:
            self._host.call_for(self._context_id, self._host.hostcalls.set_tick_period_milliseconds, 0)
            self._armed = 0

    def close(self) -> None:
        """Forget all timers."""
        self._heap.clear()
