"""`proxy-wasm bench`."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy_wasm.cli import main

QUICK = ["--rounds", "2", "--streams", "10"]
CASES = """
cases:
  - name: a greeting
    plugin: {configuration: good day}
    request: {method: POST, path: /, chunks: [one, two]}
    response: {status: 404}
  - name: nothing is sent
    steps:
      - advance: 1
      - logs: none
  - name: refused
    refused: true
"""


def figures(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {(figure["case"], figure["name"]): figure for figure in json.loads(path.read_text())["figures"]}


def test_time_and_memory_of_a_module_are_told_for_each_callback_and_stream(
    module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(module), *QUICK, "--json", str(tmp_path / "run.json")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("filter.wasm on wasm: GET with 12 headers")
    found = figures(tmp_path / "run.json")
    plain = {name: figure for (case, name), figure in found.items() if case == "plain request"}
    for name in ("start", "first stream", "stream", "on_request_headers", "on_log", "memory growth per 1,000 streams"):
        assert name in plain
        assert f"\n  {name}  " in printed
    assert len(plain["stream"]["values"]) == 2
    assert plain["hostcalls per stream"]["median"] > 0
    assert plain["memory after load"]["median"] % 65536 == 0
    assert found["", "module size"]["values"] == [module.stat().st_size]
    assert found["", "load, cold"]["median"] > 0
    assert len(found["", "load, from the cache"]["values"]) == 2


def test_the_cases_of_a_file_are_measured_without_what_they_expect(
    greeter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cases.yaml").write_text(CASES)
    arguments = ["--host", "native", "--cases", str(tmp_path / "cases.yaml"), "--json", str(tmp_path / "run.json")]
    assert main(["bench", str(greeter), *QUICK, *arguments]) == 0
    printed = capsys.readouterr().out
    assert "note: left out: nothing is sent: sends nothing\n" in printed
    assert "note: left out: refused: its plugin refuses to start\n" in printed
    found = figures(tmp_path / "run.json")
    assert {case for case, _ in found} == {"a greeting"}
    assert found["a greeting", "on_request_headers"]["median"] > 0


def test_a_run_is_compared_with_a_saved_one_and_what_is_worse_decides(
    greeter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, page = tmp_path / "saved.json", tmp_path / "report.html"
    bench = ["bench", str(greeter), "--host", "native", *QUICK]
    assert main([*bench, "--save", str(saved)]) == 0
    document = json.loads(saved.read_text())
    for figure in document["figures"]:
        figure["values"] = [value * 1000 for value in figure["values"]]
    saved.write_text(json.dumps(document))
    capsys.readouterr()
    assert main([*bench, "--compare", str(saved), "--html", str(page), "--json", str(tmp_path / "now.json")]) == 0
    assert (
        f"0 of {len(document['figures'])} figures are worse by more than 25% than in {saved}" in capsys.readouterr().out
    )
    assert "Nothing is worse" in page.read_text()
    assert json.loads((tmp_path / "now.json").read_text())["comparison"]["worse"] == 0
    for figure in document["figures"]:
        figure["values"] = [value / 1e6 for value in figure["values"]]
    saved.write_text(json.dumps(document))
    assert main([*bench, "--compare", str(saved), "--tolerance", "100%"]) == 1
    assert "WORSE" in capsys.readouterr().out


def test_envoy_tells_what_the_filter_adds_to_each_request(
    module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--host", "envoy", "--rounds", "1", "--seconds", "1", "--json", str(tmp_path / "run.json")]
    assert main(["bench", str(module), *arguments]) == 0
    found = figures(tmp_path / "run.json")
    plain = {name: figure["median"] for (case, name), figure in found.items() if case == "plain request"}
    with_filter, without = plain["CPU per request, with"], plain["CPU per request, without"]
    assert with_filter > 0
    assert without > 0
    assert plain["added CPU per request"] == pytest.approx(with_filter - without)
    assert plain["CPU ratio"] == pytest.approx(with_filter / without)
    assert plain["requests per second, with"] > 0
    assert found["", "resident memory, with"]["median"] > 0
    assert "filter.wasm on envoy" in capsys.readouterr().out


def test_what_envoy_would_measure_wrongly_is_left_out(
    module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = tmp_path / "cases.yaml"
    cases.write_text(
        "clusters: {users: {body: alice}}\ncases:\n  - {name: one, request: GET /, response: {status: 200}}\n"
    )
    assert main(["bench", str(module), "--host", "envoy", "--cases", str(cases)]) == 1
    assert "left out: one: has clusters, which would be measured too" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["native", "envoy"])
def test_a_configuration_that_the_plugin_refuses_is_told_in_its_words(
    host: str, module: Path, greeter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config").write_text("!realm: must be text")
    source = greeter if host == "native" else module
    if host == "native":
        code = (greeter / "greeter.py").read_text()
        raising = 'if self.configuration.text.startswith("!"):\n            raise ValueError(self.configuration.text)\n        '
        (greeter / "greeter.py").write_text(code.replace("self.greeting = self", raising + "self.greeting = self"))
    assert main(["bench", str(source), "--host", host, *QUICK, "--config", str(tmp_path / "config")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "!realm: must be text" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "--rounds '0': must be a whole number from 1 to 1000"),
        (["--streams", "many"], "--streams 'many': must be a whole number"),
        (["--tolerance", "-1"], "--tolerance '-1': must be a share, such as 0.25 or 25%"),
        (["--tolerance", "nan"], "--tolerance 'nan': must be a share"),
        (["--compare", "/absent.json"], "/absent.json: no such file"),
        (["--compare", __file__], f"{__file__}: is no saved run"),
        (["--cases", "/absent.yaml"], "/absent.yaml: no such file"),
        (["--html", "/absent/report.html"], "/absent/report.html: its folder does not exist"),
        (["--save", "/"], "/: is a folder"),
        (["--host", "native"], "give its folder"),
        (["--host", "nginx"], "invalid choice: 'nginx'"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(
    arguments: list[str], message: str, module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(module), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
