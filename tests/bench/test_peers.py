"""The benchmark that compares filters in Python with others: a short run, and what it makes of runs that were saved."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from benchmarks.peers.contenders import PEERS
from benchmarks.peers.modules import FILTERS
from benchmarks.peers.results import FORMAT
from benchmarks.peers.schedule import latencies, percentile
from benchmarks.peers.works import WORKS

from proxy_wasm.bench.load import LoadFailed, Wire
from proxy_wasm.envoy import Message, Upstream, encode_request, encode_response

ROOT = Path(__file__).parents[2]
REQUEST = encode_request("GET", "/", [(b"host", b"a")])
SVG = "{http://www.w3.org/2000/svg}"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.peers", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=300
    )


def test_a_short_run_measures_two_peers_names_the_missing_one_and_writes_table_json_plot_and_page(
    tmp_path: Path,
) -> None:
    saved, page, nothing = tmp_path / "run.json", tmp_path / "page.md", tmp_path / "no programs"
    nothing.mkdir()
    done = run(
        *("--rounds", "2", "--seconds", "0.05", "--rate", "200", "--work", "three_reads", "--only", "python,lua,go"),
        *("--json", str(saved), "--page", str(page)),
        PATH=str(nothing),
    )
    assert done.returncode == 0, done.stderr
    assert "left out: Go filter: go is not installed" in done.stdout.splitlines()
    table = done.stdout[done.stdout.index("three_reads: reads three headers, decides") :].splitlines()
    assert table[1].split()[:3] == ["CPU", "added", "CPU"]
    assert [line[2:16].strip() for line in table[2:5]] == ["no filter", "Python filter", "Lua filter"]
    document = json.loads(saved.read_text())
    assert [(cell["work"], cell["peer"]) for cell in document["cells"]] == [
        ("three_reads", name) for name in ("none", "python", "lua")
    ]
    for cell in document["cells"]:
        assert len(cell["cpu"]) == len(cell["rate"]) == len(cell["latencies"]["p50"]) == 2
        assert min(cell["cpu"]) > 0
        assert cell["sent"] == 10
    text = page.read_text()
    assert "- Left out: Go filter: go is not installed." in text
    assert "![What each peer adds](page.svg)" in text
    assert text.count("| Python filter |") == 1
    picture = ET.parse(tmp_path / "page.svg")  # noqa: S314 - it was written just now
    assert len(picture.findall(f"{SVG}rect[@class='ours']")) == 1


def cell(work: str, peer: str, cpu: float, p50: float) -> dict[str, Any]:
    latencies = {"p50": [p50 * 1e-6] * 3, "p90": [p50 * 1e-6] * 3}
    return {
        "work": work,
        "peer": peer,
        "cpu": [cpu * 1e-6] * 3,
        "rate": [1000.0] * 3,
        "latencies": latencies,
        "sent": 9,
    }


def saved(path: Path, python: float) -> Path:
    """A run in which the Python filter adds so many microseconds to requests that cost 20 without it."""
    cells = [
        cell("basic_auth", "none", 20, 100),
        cell("basic_auth", "python", 20 + python, 100 + python),
        cell("basic_auth", "lua", 25, 105),
        cell("basic_auth", "ext_authz", 100, 250),
    ]
    starts = [
        {"peer": peer, "workers": workers, "ready": [ready] * 3, "resident": [size * workers * 1_000_000] * 3}
        for peer, ready, size in (("none", 0.1, 50), ("python", 1.5, 60))
        for workers in (1, 4)
    ]
    curves = [
        {"kind": "headers", "peer": peer, "cpu": {str(n): [(20 + n * more) * 1e-6] for n in (1, 8, 48)}, "resident": {}}
        for peer, more in (("none", 0), ("python", 1))
    ]
    document = {
        "format": FORMAT,
        "machine": "2 processors",
        "software": "Envoy 1",
        "options": {"rounds": 3, "seconds": 1.0, "rate": 500.0, "requests": 1000},
        "left_out": ["Go filter: go is not installed"],
        "cells": cells,
        "starts": starts,
        "sizes": [{"peer": "python", "module": 9_000_000, "compressed": 5_000_000}],
        "curves": curves,
    }
    path.write_text(json.dumps(document))
    return path


def test_a_saved_run_is_judged_by_the_targets_and_shown_beside_an_earlier_one(tmp_path: Path) -> None:
    now, before, page = saved(tmp_path / "now.json", 10), saved(tmp_path / "before.json", 40), tmp_path / "page.md"
    done = run("--from", str(now), "--before", str(before), "--page", str(page))
    assert done.returncode == 1, done.stderr  # one target is missed
    (line,) = (line for line in done.stdout.splitlines() if "CPU, Python / Lua" in line)
    assert line.split()[-6:] == ["2.00", "8.00", "at", "most", "2", "met"]
    text = page.read_text()
    assert "| basic_auth: CPU, Python / Lua | 2.00 | 8.00 | at most 2 | met |" in text
    assert "| basic_auth: CPU, ext_authz / Python | 8.00 | 2.00 | at least 8 | met |" in text
    assert "| size of basic_auth.wasm, compressed | 5.00 MB | 5.00 MB | at most 4 MB | MISSED |" in text
    assert "| memory for each further worker | 10.00 MB | 10.00 MB | at most 14 MB | met |" in text
    assert "| cost of a further header, of many / of all | 1.00 | 1.00 | at most 1.2 | met |" in text
    assert "three_reads" not in text
    picture = ET.parse(tmp_path / "page.svg")  # noqa: S314 - it was written just now
    assert len(picture.findall(f"{SVG}rect[@class='ours']")) == len(picture.findall(f"{SVG}rect[@class='before']")) == 3


def test_a_run_that_meets_all_targets_ends_with_status_0(tmp_path: Path) -> None:
    path = saved(tmp_path / "now.json", 10)
    path.write_text(path.read_text().replace("5000000", "3000000"))
    assert run("--from", str(path)).returncode == 0


@pytest.mark.parametrize("content", ["", "[]", '{"format": "proxy-wasm peers 0"}', json.dumps({"format": FORMAT})])
def test_a_file_that_is_no_saved_run_is_refused_by_its_name(content: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)
    done = run("--from", str(path))
    assert done.returncode == 2
    assert done.stderr.startswith(str(path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "python,perl"), "perl: unknown; there are none, python, lua"),
        (("--work", "jsno"), "jsno: unknown; there are header_edit"),
        (("--rounds", "0"), "needs to be more than 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_every_peer_has_a_filter_for_each_work_that_it_is_compared_in() -> None:
    files = {"python": "python/{0}/{0}.py", "lua": "lua/{0}.lua", "go": "go/{0}/main.go", "c": "c/{0}/{0}.c"}
    for work in WORKS.values():
        assert set(work.peers) <= set(PEERS)
        for peer in set(work.peers) & set(files):
            if (peer, work.name) != ("python", "basic_auth"):
                assert (FILTERS / files[peer].format(work.folder)).exists()


# Requests at fixed times.


def test_requests_are_sent_when_they_are_due_though_none_is_answered_yet_and_the_wait_counts() -> None:
    arrived = threading.Barrier(5)

    def respond(_: Message) -> bytes:
        arrived.wait(20)
        return encode_response(200, [], b"ok")

    with Upstream(respond) as upstream:
        times = latencies(upstream.address, Wire(REQUEST, 200), 50, 0.1)
    assert len(times) == 5
    assert max(times) >= 4 / 50  # the first one was due so long before the last, which let all be answered


def test_an_answer_that_is_not_due_ends_the_measurement() -> None:
    with (
        Upstream(lambda _: encode_response(503, [], b"")) as upstream,
        pytest.raises(LoadFailed, match="answered with 503, 200 is due"),
    ):
        latencies(upstream.address, Wire(REQUEST, 200), 100, 0.05)


def test_a_connection_that_is_closed_ends_the_measurement() -> None:
    with Upstream(lambda _: None) as upstream, pytest.raises(LoadFailed, match="closed a connection"):
        latencies(upstream.address, Wire(REQUEST, 200), 100, 0.05)


def test_a_percentile_is_one_of_the_values() -> None:
    assert [percentile([3.0, 1.0, 2.0, 4.0], share) for share in (0.5, 0.9, 0.01, 1.0)] == [2.0, 4.0, 1.0, 4.0]
