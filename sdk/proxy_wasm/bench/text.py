"""A report as text, and figures in units that people read."""

from collections.abc import Iterable, Iterator, Sequence

from proxy_wasm.bench.comparison import Comparison
from proxy_wasm.bench.report import Figure, Report, Unit, by_case

_KIB = 1024
_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "\N{MICRO SIGN}s"), (1e-9, "ns"))


def amount(value: float, unit: Unit) -> str:
    """A value with the unit that fits it: `1.25 ms`."""
    if unit == "s":
        return _time(value)
    if unit == "B":
        return _size(value)
    if unit == "1/s":
        return f"{value:,.0f} /s"
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def _time(seconds: float) -> str:
    if not seconds:
        return "0 s"
    scale, name = next((pair for pair in _TIMES if abs(seconds) >= pair[0]), _TIMES[-1])
    return f"{seconds / scale:.3g} {name}" if abs(seconds / scale) < 1000 else f"{seconds / scale:.0f} {name}"  # noqa: PLR2004


def _size(count: float) -> str:
    if abs(count) < _KIB:
        return f"{count:.0f} B"
    if abs(count) < _KIB * _KIB:
        return f"{count / _KIB:.1f} KiB"
    return f"{count / _KIB / _KIB:.1f} MiB"


def ratio(value: float) -> str:
    """`1.04x`."""
    return f"{value:.2f}x"


def lines(report: Report, comparison: Comparison | None = None) -> Iterator[str]:
    """The report as a table for each case; with `comparison`, each line says how many times the old value the new one is."""
    yield f"{report.subject} on {report.host}: {report.traffic}"
    yield f"medians of rounds, on {report.machine}"
    for case, figures in by_case(report.figures).items():
        yield ""
        yield from _table(case or "module", figures, comparison)
    if report.notes:
        yield ""
        yield from (f"note: {note}" for note in report.notes)
    if comparison is not None:
        yield ""
        yield from _verdict(comparison)


def _table(title: str, figures: Iterable[Figure], comparison: Comparison | None) -> list[str]:
    heading = [title, "median", "least", "most", *(["before", "ratio", ""] if comparison else [])]
    rows = [heading, *(_row(figure, comparison) for figure in figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [_aligned(row, widths) for row in rows]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.rjust(width) if position else cell.ljust(width)
        for position, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()


def _row(figure: Figure, comparison: Comparison | None) -> list[str]:
    cells = [f"  {figure.name}", *(amount(value, figure.unit) for value in (figure.median, figure.least, figure.most))]
    if comparison is None:
        return cells
    change = comparison.of(figure)
    if change is None:
        return [*cells, "", "", "new"]
    worse = "WORSE" if change.is_worse(comparison.tolerance) else ""
    return [*cells, amount(change.old.median, figure.unit), ratio(change.ratio), worse]


def _verdict(comparison: Comparison) -> Iterator[str]:
    for figure in comparison.only_old:
        yield f"gone: {f'{figure.case}: ' if figure.case else ''}{figure.name}"
    count = len(comparison.worse)
    how = f"worse by more than {comparison.tolerance:.0%} than in {comparison.file}"
    yield f"{count} of {len(comparison.changes)} figures {'is' if count == 1 else 'are'} {how}"
