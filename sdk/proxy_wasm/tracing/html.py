"""A trace as one HTML page: a timeline that needs no network and no JavaScript.

The timeline is of the time inside the filter: callback follows callback, and the time between them, when the proxy had other things to do or
waited, is left out. Where the proxy's clock moved meanwhile a line says so.

All that comes from a trace goes through `_text`, which leaves nothing that a browser would take for markup; the page's own policy
(`Content-Security-Policy`) forbids scripts and anything from elsewhere besides.
"""

from collections.abc import Iterable, Iterator
from html import escape

from proxy_wasm.tracing.events import Event, Trace, TracedCallback, TracedHostcall, TracedLog
from proxy_wasm.tracing.text import clock_time, duration, outcome
from proxy_wasm.tracing.values import KEPT, Pairs, Symbol, Value, escaped, printable, show

_MILLISECOND = 1_000_000
_NOTHING_THERE = ("NOT_FOUND", "EMPTY", "CAS_MISMATCH")

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2024; --faint: #6b7280; --rule: #e5e7eb; --shade: #f6f7f9; --call: #4f6bed;
  --host: #9aa9f5; --good: #18794e; --mild: #946800; --bad: #c62a2f; --badpaper: #fdecec; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #e6e8eb; --faint: #9aa1ab; --rule: #2b3036; --shade: #1c2024;
  --call: #7b93ff; --host: #46539c; --good: #4cc38a; --mild: #f0c000; --bad: #ff8589; --badpaper: #3a1c1e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 100rem; padding: 1.5rem; background: var(--paper); color: var(--ink); font: 14px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.3rem; overflow-wrap: anywhere; }
.facts { margin: .3rem 0 1.2rem; color: var(--faint); }
.facts b { color: var(--ink); font-weight: 600; }
.strip { display: flex; gap: 2px; height: 2rem; margin-bottom: 1.2rem; }
.strip a { background: var(--call); color: #fff; min-width: 4px; padding: 0 .4rem; overflow: hidden; white-space: nowrap; line-height: 2rem;
  font-size: 12px; text-decoration: none; border-radius: 3px; text-overflow: ellipsis; }
.strip a.bad { background: var(--bad); }
.row, summary { display: grid; grid-template-columns: 5.5rem minmax(0, 1fr) 5rem minmax(8rem, 26%); gap: .8rem; align-items: start;
  padding: .16rem .4rem; }
.head { color: var(--faint); font-size: 12px; border-bottom: 1px solid var(--rule); }
summary { cursor: pointer; list-style: none; border-radius: 4px; }
summary::-webkit-details-marker { display: none; }
summary:hover { background: var(--shade); }
.said::before { content: ""; display: inline-block; width: .9rem; color: var(--faint); }
summary .said::before { content: "\\25B8"; }
details[open] > summary .said::before { content: "\\25BE"; }
.callback { border-bottom: 1px solid var(--rule); padding: .3rem 0; }
.callback > summary .name { font-weight: 650; }
.said { font: 13px/1.55 ui-monospace, "DejaVu Sans Mono", Menlo, monospace; overflow-wrap: anywhere; padding-left: calc(var(--depth) * 1.3rem); }
.arguments { color: var(--faint); }
.clock, .took { color: var(--faint); font-variant-numeric: tabular-nums; white-space: nowrap; text-align: right; font-size: 13px; }
.lane { position: relative; height: 1.3rem; background: var(--shade); border-radius: 3px; }
.lane i { position: absolute; top: .25rem; height: .8rem; min-width: 2px; background: var(--host); border-radius: 2px; }
.callback > summary .lane i { background: var(--call); }
.good { color: var(--good); } .mild { color: var(--mild); } .bad { color: var(--bad); }
.lane i.bad { background: var(--bad); }
.log .said { border-left: 3px solid var(--rule); white-space: pre-wrap; margin-left: calc(var(--depth) * 1.3rem); padding-left: .6rem; }
.log .said::before { display: none; }
.log.warn .said { border-color: var(--mild); } .log.error .said { border-color: var(--bad); background: var(--badpaper); }
.level { font-weight: 650; margin-right: .6rem; }
.pause { padding: .3rem .4rem .3rem 7rem; color: var(--faint); font-size: 13px; border-bottom: 1px solid var(--rule); background: var(--shade); }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .1rem 1rem; margin: .2rem 0 .6rem calc(7.2rem + var(--depth) * 1.3rem);
  font: 12.5px/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
dd table { border-collapse: collapse; } dd td { padding: 0 1rem 0 0; vertical-align: top; }
"""


def page(trace: Trace) -> str:
    """The whole page."""
    title = _text(trace.title or "trace")
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{title}</h1>",
            _facts(trace),
            *_Timeline(trace).rows(),
            "</body></html>\n",
        ]
    )


def _text(text: str) -> str:
    """`text` as the inside of an element or of an attribute in quotes."""
    return escape(escaped(text), quote=True)


def _facts(trace: Trace) -> str:
    hostcalls = trace.hostcalls()
    failed = sum(_color(call) == "bad" for call in hostcalls)
    busy = sum(callback.duration for callback in trace.callbacks)
    facts = [
        *([f"on <b>{_text(trace.host)}</b>"] if trace.host else []),
        f"<b>{len(trace.callbacks)}</b> callbacks",
        f"<b>{len(hostcalls)}</b> hostcalls",
        *([f'<b class="bad">{failed}</b> refused'] if failed else []),
        f"<b>{duration(busy)}</b> in the filter",
    ]
    return f'<p class="facts">{" · ".join(facts)}</p>'


class _Timeline:
    """Rows of calls, each with its place in the time inside the filter."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._total = max(1, sum(callback.duration for callback in trace.callbacks))
        self._shift = 0
        """From a moment of the trace to one of the time inside the filter."""

    def rows(self) -> Iterator[str]:
        yield self._strip()
        yield (
            '<div class="row head"><span class="clock">clock</span><span>call</span><span class="took">took</span>'
            "<span>time in the filter</span></div>"
        )
        busy = clock = 0
        for number, event in enumerate(self._trace.events):
            if event.at.clock - clock >= _MILLISECOND:
                yield f'<div class="pause">{duration(event.at.clock - clock)} later, by the clock of the proxy</div>'
            clock = event.at.clock
            if (
                isinstance(event, TracedCallback) and event.at.clock == event.at.real
            ):  # real time, which moves meanwhile
                clock += event.duration
            self._shift = busy - event.at.real
            if isinstance(event, TracedCallback):
                busy += event.duration
            yield from self._row(event, 0, f"event-{number}")

    def _strip(self) -> str:
        """All callbacks side by side, as wide as they took; each leads to its row."""
        links = [
            f'<a href="#event-{number}" style="flex: {max(event.duration, 1)} 1 0"{_class("bad" if event.trapped else "")} '
            f'title="{_text(event.name)}, {duration(event.duration)}">{_text(event.name)}</a>'
            for number, event in enumerate(self._trace.events)
            if isinstance(event, TracedCallback)
        ]
        return f'<nav class="strip" aria-label="callbacks">{"".join(links)}</nav>'

    def _row(self, event: Event, depth: int, anchor: str = "") -> Iterator[str]:
        if isinstance(event, TracedLog):
            yield _log(event, depth)
            return
        is_callback = isinstance(event, TracedCallback)
        opened = " open" if is_callback or event.inner else ""
        mark = f' id="{anchor}"' if anchor else ""
        kind = "callback" if depth == 0 and is_callback else "call"
        yield f'<details class="{kind}"{mark}{opened} style="--depth: {depth}"><summary>{self._summary(event, depth)}</summary>'
        if isinstance(event, TracedHostcall):
            yield _details([*event.arguments, *((f"→ {name}", value) for name, value in event.results)])
        for within in event.inner:
            yield from self._row(within, depth + 1)
        yield "</details>"

    def _summary(self, event: TracedCallback | TracedHostcall, depth: int) -> str:
        arguments = ", ".join(f"{name}={show(value)}" for name, value in event.arguments)
        came_to, color = outcome(event), _color(event)
        result = f" → <span{_class(color)}>{_text(came_to)}</span>" if came_to else ""
        clock = "" if depth else clock_time(event.at.clock)
        start = 100 * (event.at.real + self._shift) / self._total
        width = 100 * event.duration / self._total
        return (
            f'<span class="clock">{clock}</span>'
            f'<span class="said"><span class="name">{_text(event.name)}</span>'
            f'<span class="arguments">({_text(arguments)})</span>{result}</span>'
            f'<span class="took">{duration(event.duration)}</span>'
            f'<span class="lane"><i{_class("bad" if color == "bad" else "")} '
            f'style="left: min({start:.3f}%, 100% - 2px); width: {width:.3f}%"></i></span>'
        )


def _color(event: TracedCallback | TracedHostcall) -> str:
    if isinstance(event, TracedCallback):
        return "bad" if event.trapped else ""
    if not isinstance(event.status, Symbol):
        return "bad"
    return "mild" if event.status.name in _NOTHING_THERE else "bad" if event.status.number else "good"


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _log(event: TracedLog, depth: int) -> str:
    level = event.level.name.lower()
    shade = "error" if level == "critical" else level
    who = "proxy " if event.from_host else ""
    # The lines are printable already, and the row keeps their ends and spaces.
    message = escape("\n".join(printable(event.message)), quote=True)
    clock = "" if depth else clock_time(event.at.clock)
    return (
        f'<div class="row log {shade}" style="--depth: {depth}"><span class="clock">{clock}</span>'
        f'<span class="said"><span class="level">{who}{level}</span>{message}</span><span></span><span></span></div>'
    )


def _details(fields: Iterable[tuple[str, Value]]) -> str:
    rows = "".join(f"<dt>{_text(name)}</dt><dd>{_whole(value)}</dd>" for name, value in fields)
    return f"<dl>{rows}</dl>" if rows else ""


def _whole(value: Value) -> str:
    """A value with all that the trace kept of it."""
    if not isinstance(value, Pairs):
        return _text(show(value, KEPT))
    rows = [
        f"<tr><td>{_text(show(key, KEPT))}</td><td>{_text(show(text, KEPT))}</td></tr>" for key, text in value.pairs
    ]
    left = value.count - len(value.pairs)
    if left:
        rows.append(f'<tr><td colspan="2">… {left} more</td></tr>')
    return f"<table>{''.join(rows)}</table>"
