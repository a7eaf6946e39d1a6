"""A trace from a real Envoy's log, at level trace (see `proxy_wasm.envoy.crossings`).

The log has names, numbers and statuses. Of bytes it tells how many a filter passes, not what they are, and of results nothing. Its time is
real time, in microseconds.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from proxy_wasm.envoy.crossings import tell
from proxy_wasm.envoy.log import LogLine
from proxy_wasm.tracing.events import MICROSECOND, Trace
from proxy_wasm.tracing.recorder import Recorder


class _LineClock:
    """The time of the line that is read."""

    def __init__(self, first: LogLine) -> None:
        self._first = datetime.fromisoformat(first.time)
        self.monotonic_nanoseconds = 0

    def move_to(self, line: LogLine) -> None:
        passed = datetime.fromisoformat(line.time) - self._first
        self.monotonic_nanoseconds = passed // timedelta(microseconds=1) * MICROSECOND


def read(lines: Iterable[LogLine], *, title: str = "") -> Trace:
    """The trace in the `lines` of one of Envoy's threads."""
    said = [line for line in lines if line.logger == "wasm" and line.time]
    if not said:
        return Trace((), title, "envoy")
    clock = _LineClock(said[0])
    recorder = Recorder(clock, lambda: clock.monotonic_nanoseconds)
    for line in said:
        clock.move_to(line)
        if line.message.startswith("["):
            tell(line, recorder)
        else:
            message = line.wasm
            recorder.said(line.level, line.message if message is None else message.message, from_host=message is None)
    return recorder.trace(title=title, host="envoy")
