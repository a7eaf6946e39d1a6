"""`proxy-wasm test`."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from proxy_wasm.cli import main

CASES = """
plugin: {configuration: good day}
cases:
  - name: the upstream is greeted
    request: GET /
    upstream: {headers: {x-greeting: good day}}
  - name: the upstream is shouted at
    request: GET /
    upstream: {headers: {x-greeting: GOOD DAY}}
"""


@pytest.fixture
def cases(greeter: Path) -> Path:
    """Cases beside the greeter, of which one fails."""
    path = greeter / "greetings.proxy-wasm.yaml"
    path.write_text(CASES)
    return path


def test_the_cases_of_a_folder_run_natively_and_failures_are_told(
    greeter: Path, cases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", str(greeter)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{cases} on native",
        "  ok    the upstream is greeted",
        "  FAIL  the upstream is shouted at",
        "",
        f"{cases}:7: the upstream is shouted at (on native)",
        "  GET /:",
        "                                 expected  came",
        "    upstream.headers.x-greeting  GOOD DAY  good day",
        "  the client got 200 (via_upstream)",
        "    content-type: text/plain",
        "    content-length: 20",
        "",
        "    hello from upstream",
        "  the upstream got GET /",
        "    x-greeting: good day",
        "  the log is empty",
        "",
        "native 1 passed, 1 failed",
    ]


@pytest.mark.usefixtures("cases")
def test_cases_are_selected_by_a_part_of_their_names(greeter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(greeter), "-k", "is greeted"]) == 0
    assert capsys.readouterr().out.endswith("\nnative 1 passed\n")
    assert main(["test", str(greeter), "-k", "nowhere"]) == 2
    assert "there is no case with 'nowhere' in its name for native" in capsys.readouterr().err


def test_a_module_is_tested_with_the_cases_that_are_named(
    tmp_path: Path, module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "any_name.yaml"
    path.write_text("filter: absent.wasm\ncases: [{name: a, request: GET /, response: {headers: {x-answered: yes}}}]")
    assert main(["test", str(module), str(path), "--host", "envoy,wasm"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{path} on wasm",
        "  ok    a",
        f"{path} on envoy",
        "  ok    a",
        "wasm 1 passed; envoy 1 passed",
    ]


def test_a_module_is_tested_in_the_emulator_with_the_cases_beside_it(
    tmp_path: Path, module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "filter.wasm"
    copy.write_bytes(module.read_bytes())
    (tmp_path / "a.proxy-wasm.yaml").write_text("cases: [{name: a, request: GET /, response: {status: 200}}]")
    assert main(["test", str(copy)]) == 0
    assert capsys.readouterr().out.endswith("\nwasm 1 passed\n")


def test_a_folder_of_several_extensions_tests_each_with_its_own_cases(
    greeter: Path, cases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = greeter.parent / "other"
    other.mkdir()
    for name in ("greeter.py", "pyproject.toml"):
        (other / name).write_text((greeter / name).read_text().replace("x-greeting", "x-other"))
    (other / "other.proxy-wasm.yaml").write_text(cases.read_text().replace("x-greeting", "x-other"))
    assert main(["test", str(greeter.parent), "-k", "is greeted"]) == 0
    assert capsys.readouterr().out.endswith("\nnative 2 passed\n")


def test_it_prints_one_json_array(greeter: Path, cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(greeter), "--json"]) == 1
    passed, failed = json.loads(capsys.readouterr().out)
    assert passed.pop("seconds") > 0
    assert passed == {
        "name": "the upstream is greeted",
        "file": str(cases),
        "line": 4,
        "host": "native",
        "passed": True,
        "failure": None,
        "log": [],
    }
    assert not failed["passed"]
    assert failed["failure"] == {
        "step": "GET /",
        "problem": "",
        "differences": [{"place": "upstream.headers.x-greeting", "expected": "GOOD DAY", "came": "good day"}],
    }


def test_it_writes_junit_xml(greeter: Path, cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(greeter), "--junit", str(tmp_path / "results.xml")]) == 1
    assert "FAIL" in capsys.readouterr().out
    (suite,) = ET.parse(tmp_path / "results.xml").getroot()  # noqa: S314 - written by the command
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == (f"{cases} on native", "2", "1")
    passed, failed = suite
    assert (passed.get("name"), list(passed)) == ("the upstream is greeted", [])
    assert "GOOD DAY" in (failed[0].text or "")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("cases: [{name: a, reqest: GET /}]", "a.proxy-wasm.yaml:1: cases[0].reqest: there is no such key"),
        ("cases: [{name: a, hosts: [envoy], refused: true}]", "there is no case for native; choose others with --host"),
    ],
)
def test_cases_that_cannot_run_are_an_error(
    greeter: Path, text: str, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (greeter / "a.proxy-wasm.yaml").write_text(text)
    assert main(["test", str(greeter)]) == 2
    assert error in capsys.readouterr().err


def test_a_folder_without_cases_is_an_error(greeter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(greeter)]) == 2
    assert f"{greeter}: no files of cases (*.proxy-wasm.yaml) there" in capsys.readouterr().err


def test_a_module_does_not_run_natively(module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("cases: [{name: a, request: GET /, response: {}}]")
    assert main(["test", str(module), str(path), "--host", "native"]) == 2
    assert "--host native runs an extension's sources; give its folder" in capsys.readouterr().err


def test_an_unknown_host_is_refused(greeter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(greeter), "--host", "native,nginx"]) == 2
    assert "unknown host 'nginx'; hosts are native, wasm, envoy" in capsys.readouterr().err


@pytest.mark.usefixtures("cases")
def test_an_extension_that_cannot_be_imported_is_named_with_its_line(
    greeter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (greeter / "greeter.py").write_text("1 / 0\n")
    assert main(["test", str(greeter)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {greeter}/greeter.py:1: ZeroDivisionError")
