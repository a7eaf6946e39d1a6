"""A trace as text.

One line for each call, indented below what it happened in: the proxy's clock where it has moved, how long the call took, the call with
its arguments, what it returned.
"""

from collections.abc import Iterator

from proxy_wasm.tracing.events import Event, Trace, TracedCallback, TracedHostcall, TracedLog
from proxy_wasm.tracing.values import Fields, escaped, printable, show

_CLOCK = 10
_TOOK = 10
_INDENT = "  "


def lines(trace: Trace) -> Iterator[str]:
    """The lines of a trace, the first of them a heading."""
    if trace.title or trace.host:
        yield escaped(" on ".join(part for part in (trace.title, trace.host) if part))
    yield f"{'clock':>{_CLOCK}} {'took':>{_TOOK}}"
    clock = -1
    for event in trace.events:
        for line in _of(event, 0, clock):
            yield line.rstrip()
        clock = event.at.clock // _MILLISECOND


_MILLISECOND = 1_000_000
_SECOND = 1_000_000_000


def duration(nanoseconds: int) -> str:
    """A real time in the unit that fits: `312 µs`."""
    if nanoseconds < _MILLISECOND:
        return f"{nanoseconds / 1000:.0f} µs"
    if nanoseconds < _SECOND:
        return f"{nanoseconds / _MILLISECOND:.1f} ms"
    return f"{nanoseconds / _SECOND:.2f} s"


def clock_time(nanoseconds: int) -> str:
    """A moment of the proxy's clock: `+0.200 s`."""
    return f"+{nanoseconds / _SECOND:.3f} s"


def outcome(event: TracedCallback | TracedHostcall) -> str:
    """What a call came to: `PAUSE`, `OK "alice"`, `NOT_FOUND`; nothing, where a callback gives nothing."""
    if isinstance(event, TracedCallback):
        if event.trapped:
            return "trapped"
        return "" if event.returned is None else show(event.returned)
    status = "no answer" if event.status is None else show(event.status)
    return " ".join([status, *_results(event.results)])


def call_text(event: TracedCallback | TracedHostcall) -> str:
    """A call with its arguments and what it came to, in one line: `get_property(path="plugin_name") -> OK "x"`."""
    arguments = ", ".join(f"{name}={show(value)}" for name, value in event.arguments)
    came_to = outcome(event)
    return f"{event.name}({arguments}){' -> ' if came_to else ''}{came_to}"


def _results(results: Fields) -> list[str]:
    return [show(value) if len(results) == 1 else f"{name}={show(value)}" for name, value in results]


def _of(event: Event, depth: int, clock: int) -> Iterator[str]:
    indent = _INDENT * depth
    if isinstance(event, TracedLog):
        first, *further = printable(event.message)
        said = f"{indent}{'proxy: ' if event.from_host else ''}{event.level.name.lower()}: "
        yield _line(event.at.clock, clock, "", f"{said}{first}")
        for line in further:
            yield _line(event.at.clock, event.at.clock // _MILLISECOND, "", " " * len(said) + line)
        return
    yield _line(event.at.clock, clock, duration(event.duration), f"{indent}{call_text(event)}")
    for within in event.inner:
        yield from _of(within, depth + 1, event.at.clock // _MILLISECOND)


def _line(at: int, clock: int, took: str, said: str) -> str:
    moment = clock_time(at) if at // _MILLISECOND != clock else ""
    return f"{moment:>{_CLOCK}} {took:>{_TOOK}}  {said}"
