"""A report as one HTML page: tables, and plots in SVG; it needs no network and no JavaScript.

A plot has a line for each figure, on a scale that all figures of a kind in its case share: a dot for each round, a bar for the median and, where
the report is compared, a hollow mark for the earlier median.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from proxy_wasm.bench.comparison import Comparison
from proxy_wasm.bench.report import Curve, Figure, Report, Unit, by_case
from proxy_wasm.bench.text import amount, ratio

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2024; --faint: #5f6773; --rule: #e5e7eb; --shade: #f3f5f8; --bar: #b9c6fb;
  --dot: #3550d6; --good: #18794e; --bad: #c62a2f; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #e6e8eb; --faint: #9aa1ab; --rule: #2b3036; --shade: #1c2024;
  --bar: #34427f; --dot: #93a7ff; --good: #4cc38a; --bad: #ff8589; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.4rem; overflow-wrap: anywhere; } h2 { margin: 2rem 0 .6rem; font-size: 1.1rem; overflow-wrap: anywhere; }
p { margin: .2rem 0; color: var(--faint); } p.bad { color: var(--bad); font-weight: 600; } p.good { color: var(--good); font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; min-width: 40rem; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 500; color: var(--faint); font-size: 13px; } th:first-child { text-align: left; }
td, th { padding: .25rem .6rem; border-bottom: 1px solid var(--rule); white-space: nowrap; }
td { text-align: right; } td:first-child { text-align: left; } td.plot { width: 45%; min-width: 12rem; padding: .1rem .6rem; }
td.range { color: var(--faint); font-size: 13px; } td.bad { color: var(--bad); font-weight: 600; }
svg { display: block; width: 100%; }.bar { fill: var(--bar); } .dot { fill: var(--dot); } .before { fill: none; stroke: var(--ink); stroke-width: 1.5; }
.track { fill: var(--shade); } .curve { fill: none; stroke: var(--dot); stroke-width: 2; stroke-linejoin: round; }
.axis { stroke: var(--rule); } text { fill: var(--faint); font: 12px system-ui, sans-serif; }
"""

_WIDTH, _HEIGHT, _MARGIN = 400, 24, 6
_CURVE_WIDTH, _CURVE_HEIGHT, _LEFT, _BOTTOM, _TOP = 1080, 170, 76, 28, 24
_ALONE = ("start", "first stream", "memory growth per 1,000 streams")
"""Figures of a case that are of another size than the others of their unit."""


def page(report: Report, comparison: Comparison | None = None) -> str:
    """The whole page."""
    title = _text(f"{report.subject} on {report.host}")
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{title}</h1>",
            f"<p>{_text(report.traffic)}</p>",
            f"<p>{_text(report.machine)}. Bars are medians, dots are rounds{_key(comparison)}.</p>",
            *_verdict(comparison),
            *(f"<p>{_text(note)}</p>" for note in report.notes),
            *_cases(report, comparison),
            "</body></html>\n",
        ]
    )


def _key(comparison: Comparison | None) -> str:
    return "" if comparison is None else f", outlined marks are medians of {_text(comparison.file)}"


def _verdict(comparison: Comparison | None) -> Iterator[str]:
    if comparison is None:
        return
    count = len(comparison.worse)
    how = f"worse by more than {comparison.tolerance:.0%} than in {_text(comparison.file)}"
    if not count:
        yield f'<p class="good">Nothing is {how}.</p>'
    else:
        yield f'<p class="bad">{count} of {len(comparison.changes)} figures {"is" if count == 1 else "are"} {how}.</p>'
    for figure in comparison.only_old:
        yield f"<p>gone: {_text(figure.case)} {_text(figure.name)}</p>"


def _cases(report: Report, comparison: Comparison | None) -> Iterator[str]:
    curves = {curve.case: curve for curve in report.curves}
    for case, figures in by_case(report.figures).items():
        yield f"<h2>{_text(case or 'module')}</h2>"
        before = "<th>before</th><th>ratio</th>" if comparison is not None else ""
        yield '<div class="scroll"><table>'
        yield f'<tr><th></th><th>median</th><th>least to most</th>{before}<th aria-label="plot"></th></tr>'
        scales = _scales(figures, comparison)
        for figure in figures:
            yield _row(figure, comparison, scales[_scale_of(figure)])
        yield "</table></div>"
        if case in curves:
            yield _curve(curves[case])


def _scales(figures: Iterable[Figure], comparison: Comparison | None) -> dict[str, float]:
    """The largest value on each scale."""
    scales: dict[str, float] = {}
    for figure in figures:
        change = comparison.of(figure) if comparison is not None else None
        largest = max(figure.most, change.old.median if change is not None else 0.0)
        key = _scale_of(figure)
        scales[key] = max(scales.get(key, 0.0), largest)
    return scales


def _scale_of(figure: Figure) -> str:
    """The figure's unit; facts of the module have nothing in common but that, and so have each their own scale."""
    return figure.unit if figure.case and figure.name not in _ALONE else figure.name


def _row(figure: Figure, comparison: Comparison | None, scale: float) -> str:
    cells = [
        f"<td>{_text(figure.name)}</td><td>{_amount(figure.median, figure.unit)}</td>",
        f'<td class="range">{_amount(figure.least, figure.unit)} \N{EN DASH} {_amount(figure.most, figure.unit)}</td>',
    ]
    change = comparison.of(figure) if comparison is not None else None
    if comparison is not None:
        if change is None:
            cells.append("<td></td><td>new</td>")
        else:
            kind = ' class="bad"' if change.is_worse(comparison.tolerance) else ""
            cells.append(f"<td>{_amount(change.old.median, figure.unit)}</td><td{kind}>{ratio(change.ratio)}</td>")
    before = None if change is None else change.old.median
    cells.append(f'<td class="plot">{_plot(figure, before, scale)}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _plot(figure: Figure, before: float | None, scale: float) -> str:
    def x(value: float) -> float:
        share = value / scale if scale > 0 else 0.0
        return round(_MARGIN + (_WIDTH - 2 * _MARGIN) * min(1.0, max(0.0, share)), 1)

    middle = _HEIGHT / 2
    marks = [
        f'<rect class="track" x="{_MARGIN}" y="7" width="{_WIDTH - 2 * _MARGIN}" height="10" rx="2"/>',
        f'<rect class="bar" x="{_MARGIN}" y="7" width="{round(x(figure.median) - _MARGIN, 1)}" height="10" rx="2"/>',
    ]
    if before is not None:
        marks.append(f'<rect class="before" x="{x(before) - 2}" y="4" width="4" height="16" rx="1"/>')
    marks += [f'<circle class="dot" cx="{x(value)}" cy="{middle}" r="3"/>' for value in figure.values]
    label = _text(f"{figure.name}: {amount(figure.median, figure.unit)}")
    return f'<svg class="line" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(marks)}</svg>'


def _curve(curve: Curve) -> str:
    """The guest's memory over streams, in steps, since it stays what it is until it grows."""
    streams = max(1, curve.points[-1][0])
    largest = max(1, *(size for _, size in curve.points))
    width, height = _CURVE_WIDTH - _LEFT - 10, _CURVE_HEIGHT - _TOP - _BOTTOM

    def place(number: int, size: int) -> tuple[float, float]:
        return round(_LEFT + width * number / streams, 1), round(_TOP + height * (1 - size / largest), 1)

    path = _steps([place(*point) for point in curve.points])
    ground = _TOP + height
    return (
        f'<svg viewBox="0 0 {_CURVE_WIDTH} {_CURVE_HEIGHT}" role="img" aria-label="guest memory over {streams} streams">'
        f'<line class="axis" x1="{_LEFT}" y1="{ground}" x2="{_LEFT + width}" y2="{ground}"/>'
        f'<line class="axis" x1="{_LEFT}" y1="{_TOP}" x2="{_LEFT + width}" y2="{_TOP}"/>'
        f'<path class="curve" d="{path}"/>'
        f'<text x="{_LEFT - 8}" y="{_TOP + 4}" text-anchor="end">{_amount(largest, "B")}</text>'
        f'<text x="{_LEFT - 8}" y="{ground + 4}" text-anchor="end">0</text>'
        f'<text x="{_LEFT}" y="{ground + 18}">guest memory over {streams:,} streams</text></svg>'
    )


def _steps(points: Sequence[tuple[float, float]]) -> str:
    (first_x, first_y), *others = points
    return f"M{first_x} {first_y}" + "".join(f"H{x}V{y}" for x, y in others)


def _amount(value: float, unit: Unit) -> str:
    return _text(amount(value, unit))


def _text(value: object) -> str:
    """`value` as text that no browser takes for markup; what cannot be encoded is replaced."""
    return escape(str(value).encode("utf-8", "replace").decode())
