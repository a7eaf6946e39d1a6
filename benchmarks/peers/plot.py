"""What was measured, as one picture in SVG: bars for each work, a hollow mark where the Python filter was before.

The picture brings its own background, since a page that shows it may be light while the reader's system is dark.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape

from benchmarks.peers.contenders import NONE, PEERS, PYTHON
from benchmarks.peers.results import Results
from benchmarks.peers.table import megabytes, microseconds, seconds
from benchmarks.peers.works import WORKS

_STYLE = """
.paper { fill: #fff; } .bar { fill: #aab4c3; } .ours { fill: #3550d6; } .before { fill: none; stroke: #1c2024; stroke-width: 1.5; }
text { fill: #4b5563; font: 12px system-ui, sans-serif; } .title { fill: #1c2024; font-weight: 600; font-size: 13px; } .axis { stroke: #d5d9e0; }
@media (prefers-color-scheme: dark) {
.paper { fill: #14171a; } .bar { fill: #5b6675; } .ours { fill: #93a7ff; } .before { stroke: #e6e8eb; }
text { fill: #aeb5bf; } .title { fill: #e6e8eb; } .axis { stroke: #2b3036; } }
"""
_WIDTH, _MARGIN, _LABELS, _VALUES = 760, 16, 150, 150
"""Pixels: of all, around it, for the peers' names, and for the values behind the bars."""
_LINE, _BAR, _TITLE, _GAP = 20, 12, 26, 14


@dataclass(frozen=True, slots=True)
class _Bar:
    peer: str
    value: float
    before: float | None


@dataclass(frozen=True, slots=True)
class _Group:
    """Bars of one scale."""

    title: str
    bars: list[_Bar]
    text: Callable[[float], str]


def svg(results: Results, before: Results | None) -> str:
    """The picture."""
    parts: list[str] = []
    top = _MARGIN
    for group in _groups(results, before):
        parts += _drawn(group, top)
        top += _TITLE + _LINE * len(group.bars) + _GAP
    height = top + _MARGIN
    note = "CPU and memory: what each peer adds to an Envoy without a filter. Less is better."
    if before is not None:
        note += " Outlined: the Python filter before."
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" role="img">',
            f"<title>{escape(note)}</title><style>{_STYLE}</style>",
            f'<rect class="paper" width="{_WIDTH}" height="{height}" rx="6"/>',
            *parts,
            f'<text x="{_MARGIN}" y="{top + 2}">{escape(note)}</text>',
            "</svg>\n",
        ]
    )


def _groups(results: Results, before: Results | None) -> Iterator[_Group]:
    for work in WORKS.values():

        def cpu(run: Results, peer: str, name: str = work.name) -> float | None:
            return run.added_cpu(name, peer)

        yield from _group(f"{work.name}: CPU of a request ({work.title})", cpu, microseconds, results, before)
    yield from _group("start: until the first answer, one worker", Results.ready, seconds, results, before)
    yield from _group("memory, one worker", lambda run, peer: run.added_memory(peer, 1), megabytes, results, before)


def _group(
    title: str,
    value: Callable[[Results, str], float | None],
    text: Callable[[float], str],
    results: Results,
    before: Results | None,
) -> Iterator[_Group]:
    bars: list[_Bar] = []
    for peer in PEERS:
        found = value(results, peer) if peer != NONE else None
        if found is not None:
            earlier = value(before, peer) if before is not None and peer == PYTHON else None
            bars.append(_Bar(peer, found, earlier))
    if bars:
        yield _Group(title, bars, text)


def _drawn(group: _Group, top: int) -> Iterator[str]:
    left, room = _MARGIN + _LABELS, _WIDTH - 2 * _MARGIN - _LABELS - _VALUES
    largest = max(max(bar.value, bar.before or 0.0) for bar in group.bars)
    scale = room / largest if largest > 0 else 0.0
    yield f'<text class="title" x="{_MARGIN}" y="{top + 14}">{escape(group.title)}</text>'
    ground = top + _TITLE
    yield f'<line class="axis" x1="{left}" y1="{ground - 3}" x2="{left}" y2="{ground + _LINE * len(group.bars)}"/>'
    for number, bar in enumerate(group.bars):
        y = ground + _LINE * number
        width = round(max(0.0, bar.value) * scale, 1)
        words, end = group.text(bar.value), width
        kind = "ours" if bar.peer == PYTHON else "bar"
        yield f'<text x="{left - 8}" y="{y + 11}" text-anchor="end">{escape(PEERS[bar.peer].title)}</text>'
        yield f'<rect class="{kind}" x="{left}" y="{y}" width="{width}" height="{_BAR}" rx="2"/>'
        if bar.before is not None:
            mark = round(max(0.0, bar.before) * scale, 1)
            yield f'<rect class="before" x="{left}" y="{y}" width="{mark}" height="{_BAR}" rx="2"/>'
            words, end = f"{words} (before: {group.text(bar.before)})", max(width, mark)
        yield f'<text x="{left + end + 6}" y="{y + 11}">{escape(words)}</text>'
