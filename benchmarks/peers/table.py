"""What was measured, as lines of text."""

import statistics
from collections.abc import Iterable, Iterator, Sequence

from benchmarks.peers.contenders import NONE, PEERS, PYTHON
from benchmarks.peers.results import PERCENTILES, Cell, Results
from benchmarks.peers.targets import Verdict, further_worker, judge, ratio
from benchmarks.peers.works import WORKS

Rows = list[list[str]]
"""The first one holds the headings."""


def lines(results: Results, before: Results | None) -> Iterator[str]:
    """Everything, a table after the other."""
    options = results.options
    yield f"{results.machine}; {results.software}"
    yield f"one worker; medians of {options['rounds']} rounds of {options['seconds']:g} s; added: over no filter"
    yield from (f"left out: {line}" for line in results.left_out)
    for title, rows in tables(results, before):
        yield ""
        yield title
        yield from _aligned(rows)


def tables(results: Results, before: Results | None) -> Iterator[tuple[str, Rows]]:
    """Each table with its title, where there is anything in it."""
    for work in WORKS.values():
        rows = work_rows(results, before, work.name)
        if rows:
            left_out = f" ({work.left_out})" if work.left_out else ""
            yield f"{work.name}: {work.title}{left_out}", rows
    if results.starts:
        yield "start: basic_auth, until the first answer; memory over no filter by workers", start_rows(results, before)
    if results.sizes:
        yield "size: basic_auth", size_rows(results)
    for kind, title in CURVES.items():
        rows = curve_rows(results, kind)
        if rows:
            yield title, rows
    verdicts = judge(results)
    if verdicts:
        yield "targets", target_rows(verdicts, before)


CURVES = {
    "requests": "requests: CPU of a request after so many, and memory",
    "streams": "streams: added CPU of a request beside so many open streams, and memory",
    "headers": "headers: added CPU of a request by the number of its headers",
    "paths": "paths: added CPU of a request of basic_auth where so many paths come in turn",
}


def work_rows(results: Results, before: Results | None, work: str) -> Rows:
    """A row for each peer that does the work."""
    cells = [cell for name in PEERS if (cell := results.cell(work, name)) is not None]
    if not cells:
        return []
    percentiles = [name for name in PERCENTILES if name in cells[0].latencies]
    headings = ["", "CPU", "added CPU", "least to most", "/ ours"]
    headings += ["before"] if before is not None else []
    headings += ["requests/s", *percentiles, *(["added p50"] if "p50" in percentiles else [])]
    return [headings, *(_work_row(results, before, cell, percentiles) for cell in cells)]


def _work_row(results: Results, before: Results | None, cell: Cell, percentiles: Sequence[str]) -> list[str]:
    work, peer = cell.work, cell.peer
    added = results.added_cpu(work, peer) if peer != NONE else None
    without = results.cell(work, NONE)
    differences = (
        [value - base for value, base in zip(cell.cpu, without.cpu, strict=True)]
        if without is not None and peer != NONE
        else []
    )
    row = [
        PEERS[peer].title,
        microseconds(statistics.median(cell.cpu)),
        microseconds(added),
        f"{microseconds(min(differences))} to {microseconds(max(differences))}" if differences else "",
        times(ratio(added, results.added_cpu(work, PYTHON))),
    ]
    if before is not None:
        row.append(microseconds(before.added_cpu(work, peer)) if peer != NONE else "")
    row.append(f"{statistics.median(cell.rate):,.0f}")
    row += [microseconds(statistics.median(cell.latencies[name])) for name in percentiles]
    if "p50" in percentiles:
        row.append(microseconds(results.added_latency(work, peer, "p50")) if peer != NONE else "")
    return row


def start_rows(results: Results, before: Results | None) -> Rows:
    """A row for each peer whose Envoy was started."""
    workers = results.workers()
    headings = ["", "ready", *(["before"] if before is not None else [])]
    headings += [f"{count} worker{'s' * (count > 1)}" for count in workers]
    headings += ["each further", *(["1 worker before"] if before is not None else [])]
    rows: Rows = [headings]
    for name, peer in PEERS.items():
        start = results.start(name, workers[0])
        if start is None:
            continue
        row = [peer.title, seconds(statistics.median(start.ready))]
        if before is not None:
            earlier = before.start(name, workers[0])
            row.append(seconds(statistics.median(earlier.ready)) if earlier is not None else "")
        if name == NONE:
            found = [results.start(name, count) for count in workers]
            row += [f"({megabytes(statistics.median(each.resident))})" if each is not None else "" for each in found]
            row.append("")
        else:
            row += [megabytes(results.added_memory(name, count)) for count in workers]
            row.append(megabytes(further_worker(results, name)))
        if before is not None:
            row.append(megabytes(before.added_memory(name, workers[0])) if name != NONE else "")
        rows.append(row)
    return rows


def size_rows(results: Results) -> Rows:
    """A row for each module."""
    rows = [
        [PEERS[size.peer].title, megabytes(size.module, 3), megabytes(size.compressed, 3)] for size in results.sizes
    ]
    return [["", "module", "compressed"], *rows]


def curve_rows(results: Results, kind: str) -> Rows:
    """A row for each count, with a column for each peer."""
    curves = [curve for name in PEERS if (curve := results.curve(kind, name)) is not None]
    if not curves:
        return []
    if kind != "requests":
        curves = [curve for curve in curves if curve.peer != NONE]
    rows: Rows = [["", *(PEERS[curve.peer].title for curve in curves)]]
    if any(curve.resident for curve in curves):
        rows[0] += [f"memory, {PEERS[curve.peer].title}" for curve in curves]
    for count in sorted({count for curve in curves for count in curve.cpu}):
        row = [f"{count:,}"]
        for curve in curves:
            if kind == "requests":
                row.append(microseconds(statistics.median(curve.cpu[count])))
            else:
                row.append(microseconds(results.added_curve(kind, curve.peer).get(count)))
        row += [megabytes(curve.resident[count]) for curve in curves if count in curve.resident]
        rows.append(row)
    return rows


def target_rows(verdicts: Iterable[Verdict], before: Results | None) -> Rows:
    """A row for each target that can be judged."""
    rows: Rows = [["", "measured", *(["before"] if before is not None else []), "wanted", ""]]
    for verdict in verdicts:
        target = verdict.target
        unit = f" {target.unit}" if target.unit else ""
        row = [target.title, f"{verdict.value:.2f}{unit}"]
        if before is not None:
            earlier = target.value(before)
            row.append(f"{earlier:.2f}{unit}" if earlier is not None else "")
        sense = "at least" if target.at_least else "at most"
        rows.append([*row, f"{sense} {target.limit:g}{unit}", verdict.words])
    return rows


def _aligned(rows: Rows) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join([f"  {first.ljust(widths[0])}", *cells]).rstrip()


def microseconds(value: float | None) -> str:
    """A time as text."""
    if value is None:
        return ""
    scaled = value * 1e6
    return f"{scaled:,.0f} µs" if abs(scaled) >= 100 else f"{scaled:.1f} µs"  # noqa: PLR2004 - three digits


def seconds(value: float) -> str:
    """A longer time as text."""
    return f"{value:.2f} s"


def megabytes(value: float | None, digits: int = 1) -> str:
    """A size as text."""
    return "" if value is None else f"{value / 1e6:.{digits}f} MB"


def times(value: float | None) -> str:
    """A ratio as text."""
    return "" if value is None else f"{value:.2f}x"
