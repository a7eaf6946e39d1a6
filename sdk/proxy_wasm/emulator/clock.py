"""Time inside the emulator: it stands still until the test moves it."""

import heapq
import itertools
import time
from collections.abc import Callable

NANOSECONDS = 1_000_000_000


class Timer:
    """Something due at a moment of the monotonic clock."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Never run the action."""
        self.action = None


class Clock:
    """The wall clock and the monotonic clock of a host.

    Both advance only through `advance`, together. The wall clock starts at `start` (seconds since 1970; the real time unless
    told), the monotonic clock at one hour, so that differences stay positive.
    """

    def __init__(self, start: float | None = None) -> None:
        self.time_nanoseconds = time.time_ns() if start is None else round(start * NANOSECONDS)
        self.monotonic_nanoseconds = 3600 * NANOSECONDS
        self._timers: list[tuple[int, int, Timer]] = []
        self._order = itertools.count()

    def call_later(self, nanoseconds: int, action: Callable[[], None]) -> Timer:
        """Run `action` once the clock has advanced by `nanoseconds`."""
        timer = Timer(action)
        heapq.heappush(self._timers, (self.monotonic_nanoseconds + nanoseconds, next(self._order), timer))
        return timer

    def next_due(self) -> int | None:
        """The moment of the monotonic clock, in nanoseconds, at which something is due; `None` where nothing is."""
        while self._timers and self._timers[0][2].action is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def advance_to_next(self, limit: int) -> bool:
        """Move to the next moment at which something is due, and run that.

        False, and the clock does not move, where nothing is due at or before `limit`, a moment of the monotonic clock.
        """
        due = self.next_due()
        if due is None or due > limit:
            return False
        self._run_until(due)
        return True

    def advance(self, seconds: float) -> None:
        """Move both clocks forward; whatever falls due on the way runs at its own moment, in order."""
        self._run_until(self.monotonic_nanoseconds + round(seconds * NANOSECONDS))

    def _run_until(self, end: int) -> None:
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self._move_to(due)
            if timer.action is not None:
                timer.action()
        self._move_to(end)

    def _move_to(self, monotonic: int) -> None:
        self.time_nanoseconds += monotonic - self.monotonic_nanoseconds
        self.monotonic_nanoseconds = monotonic
