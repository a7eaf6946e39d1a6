"""A run beside an earlier one, and runs that are read back."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy_wasm.bench import Figure, Report, ReportError, compare
from proxy_wasm.bench.html import page
from proxy_wasm.bench.report import Curve
from proxy_wasm.bench.text import amount, lines

FILE = Path("old.json")


def report(*figures: Figure, host: str = "wasm", traffic: str = "GET") -> Report:
    return Report("filter", host, traffic, "a machine", figures)


def times(name: str, *values: float) -> Figure:
    return Figure("plain", name, "s", values)


def test_a_figure_is_worse_where_its_median_is_beyond_the_tolerance_and_no_round_was_as_good() -> None:
    old = report(
        times("slower", 1.0, 1.1, 1.2), times("noisy", 1.0, 1.1, 2.0), times("a bit", 1.0), times("faster", 3.0)
    )
    new = report(
        times("slower", 1.5, 1.6, 1.7), times("noisy", 1.9, 1.9, 1.9), times("a bit", 1.2), times("faster", 1.0)
    )
    comparison = compare(old, new, FILE)
    assert [change.new.name for change in comparison.worse] == ["slower"]
    assert [change.new.name for change in compare(old, new, FILE, 0.1).worse] == ["slower", "a bit"]


def test_fewer_requests_a_second_are_worse_and_more_are_not() -> None:
    old = report(Figure("", "up", "1/s", (1000,)), Figure("", "down", "1/s", (1000,)))
    new = report(Figure("", "up", "1/s", (2000,)), Figure("", "down", "1/s", (700,)))
    assert [change.new.name for change in compare(old, new, FILE).worse] == ["down"]


def test_growth_where_there_was_none_is_worse() -> None:
    comparison = compare(report(Figure("", "growth", "B", (0,))), report(Figure("", "growth", "B", (65536,))), FILE)
    assert [change.ratio for change in comparison.worse] == [float("inf")]


def test_what_was_measured_only_once_is_told_and_not_judged() -> None:
    old = report(Figure("", "load, cold", "s", (5.0,), judged=False))
    new = report(Figure("", "load, cold", "s", (9.0,), judged=False))
    comparison = compare(old, new, FILE)
    assert not comparison.worse
    assert any("1.80x" in line for line in lines(new, comparison))


def test_figures_of_one_run_alone_are_named() -> None:
    comparison = compare(report(times("on_log", 1.0)), report(times("on_done", 1.0)), FILE)
    text = "\n".join(lines(report(times("on_done", 1.0)), comparison))
    assert "gone: plain: on_log" in text
    assert "0 of 0 figures are worse" in text
    assert text.splitlines()[4].split() == ["on_done", *["1", "s"] * 3, "new"]


@pytest.mark.parametrize(("different", "named"), [({"host": "native"}, "--host"), ({"traffic": "POST"}, "traffic")])
def test_runs_that_were_not_made_alike_are_not_compared(different: dict[str, str], named: str) -> None:
    with pytest.raises(ReportError, match=f"old.json: was measured with {named}"):
        compare(report(), report(**different), FILE)


def test_a_saved_run_is_read_back_as_it_was(tmp_path: Path) -> None:
    saved = Report(
        "filter",
        "wasm",
        "GET",
        "a machine",
        (Figure("", "load", "s", (1.5,), judged=False), Figure("a", "memory", "B", (65536, 131072))),
        (Curve("a", ((0, 65536), (10, 131072))),),
        ("something",),
    )
    saved.save(tmp_path / "run.json")
    assert Report.load(tmp_path / "run.json") == saved


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"format": "other"}, "format: is 'other', and this version compares with"),
    ({"host": 5}, "host: must be text"),
    ({"figures": {}}, "figures: must be a list"),
    ({"figures": [{"case": "", "name": "x", "unit": "s", "judged": True}]}, r"figures\[0\].values: is missing"),
    ({"figures": [{"case": "", "name": "x", "unit": "m", "values": [1], "judged": True}]}, "unit: 'm' is none of"),
    ({"figures": [{"case": "", "name": "x", "unit": "s", "values": [], "judged": True}]}, "needs at least one"),
    ({"figures": [{"case": "", "name": "x", "unit": "s", "values": ["1"], "judged": True}]}, "must be a number"),
    ({"curves": [{"case": "", "points": [[1]]}]}, "must be two numbers"),
]


@pytest.mark.parametrize(("broken", "message"), BROKEN)
def test_a_saved_run_that_cannot_be_used_is_refused_with_the_place(
    broken: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**report().to_json(), **broken}))
    with pytest.raises(ReportError, match=message) as raised:
        Report.load(path)
    assert str(raised.value).startswith(str(path))


@pytest.mark.parametrize("content", ["", "[]", "\x00", "5"])
def test_a_file_that_is_no_saved_run_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ReportError, match="is no saved run"):
        Report.load(tmp_path / "run.json")


def test_amounts_have_the_unit_that_fits_them() -> None:
    shown = [amount(value, "s") for value in (0, 2e-9, 1.5e-6, 0.012, 3)]
    assert shown == ["0 s", "2 ns", "1.5 \N{MICRO SIGN}s", "12 ms", "3 s"]
    assert [amount(value, "B") for value in (12, 65536, 3 << 20)] == ["12 B", "64.0 KiB", "3.0 MiB"]
    assert [amount(12345.6, "1/s"), amount(1.5, "1"), amount(4, "1")] == ["12,346 /s", "1.5", "4"]


def test_what_a_report_is_made_from_cannot_add_markup_to_its_page() -> None:
    evil = "<script>alert(1)</script>"
    told = Report(
        evil, "wasm", evil, evil, (Figure(evil, evil, "s", (1.0,)),), (Curve(evil, ((0, 1), (9, 2))),), (evil,)
    )
    html = page(told, compare(told, told, Path(evil)))
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 5


def test_a_page_has_a_plot_for_each_figure_and_one_of_the_memory() -> None:
    told = Report(
        "f", "wasm", "GET", "m", (times("on_log", 1.0, 2.0), times("on_done", 1.0)), (Curve("plain", ((0, 1), (9, 2))),)
    )
    html = page(told)
    assert html.count('<svg class="line"') == 2
    assert html.count('<circle class="dot"') == 3
    assert "guest memory over 9 streams" in html
    assert "http" not in html.replace("http-equiv", "")
