"""The recording of used hostcalls and callbacks, and the page that is made from it."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import pytest

from proxy_wasm.abi.signatures import ABI_VERSION_EXPORT, CALLBACKS, HOSTCALLS, MEMORY_ALLOCATE_EXPORT

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "abi_coverage.py"

HOSTCALL_NAMES = [hostcall.import_name for hostcall in HOSTCALLS.values()]
CALLBACK_NAMES = [callback.export_name for callback in CALLBACKS.values()]
NOT_IN_ENVOY = {"proxy_validate_configuration", "proxy_on_foreign_function"}
ON_WASM = {*HOSTCALL_NAMES, *CALLBACK_NAMES, ABI_VERSION_EXPORT, MEMORY_ALLOCATE_EXPORT}
EVERYTHING = {
    "native": [*HOSTCALL_NAMES, *CALLBACK_NAMES],
    "wasm": sorted(ON_WASM),
    "envoy": sorted(ON_WASM - NOT_IN_ENVOY),
}
"""What a test has used that fills all cells that can be filled."""

Tests = Mapping[str, Mapping[str, list[str]]]


class Repository:
    """A record and a page, and the script that compares them."""

    def __init__(self, folder: Path) -> None:
        self.page = folder / "abi-coverage.md"
        self.record = folder / "calls.json"

    def ran(self, tests: Tests, *, complete: bool = True) -> None:
        self.record.write_text(json.dumps({"complete": complete, "tests": tests}))

    def run(self, *options: str) -> tuple[int, str]:
        command = [sys.executable, str(SCRIPT), "--record", str(self.record), "--page", str(self.page), *options]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert not done.stderr
        return done.returncode, done.stdout

    def row(self, function: str) -> str:
        (row,) = (line for line in self.page.read_text().splitlines() if line.startswith(f"| `{function}`"))
        return row


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository whose page is up to date with one test, `tests/test_a.py::test_a`, that uses everything."""
    made = Repository(tmp_path)
    made.ran({"tests/test_a.py::test_a": EVERYTHING})
    assert made.run()[0] == 0
    return made


def without(function: str, host: str) -> dict[str, list[str]]:
    return {key: [name for name in used if (name, key) != (function, host)] for key, used in EVERYTHING.items()}


def test_the_page_names_a_test_for_each_function_and_says_what_a_host_cannot_show(repository: Repository) -> None:
    link = "[`test_a.py::test_a`](../tests/test_a.py)"
    no = "[no](#what-a-host-cannot-show)"
    assert repository.row("proxy_log") == f"| `proxy_log` | yes | yes | yes | {link} |"
    assert repository.row("proxy_validate_configuration").endswith(f"| yes | yes | {no} | {link} |")
    assert repository.row(MEMORY_ALLOCATE_EXPORT).endswith(f"| {no} | yes | yes | {link} |")
    assert repository.run("--check")[0] == 0


def test_a_test_that_the_page_names_stays_as_long_as_it_holds(repository: Repository) -> None:
    both = {f"tests/{name}.py::{name}": EVERYTHING for name in ("test_a", "test_0")}
    repository.ran(both)
    assert repository.run("--check")[0] == 0
    repository.page.write_text(repository.page.read_text().replace("test_a", "test_0"))
    assert repository.run("--check")[0] == 0


@pytest.mark.parametrize(
    "tests",
    [
        {"tests/test_b.py::test_b": EVERYTHING},
        {"tests/test_a.py::test_a": without("proxy_done", "envoy"), "tests/test_b.py::test_b": EVERYTHING},
    ],
    ids=["gone or failed", "does without it"],
)
def test_another_test_takes_the_place_of_one_that_no_longer_proves_it(repository: Repository, tests: Tests) -> None:
    repository.ran(tests)
    status, said = repository.run("--check")
    assert status == 1
    assert "abi-coverage.md is not as the tests are" in said
    assert repository.run()[0] == 0
    assert "test_b" in repository.row("proxy_done")
    assert repository.run("--check")[0] == 0


def test_tests_that_fill_more_cells_come_first_and_then_those_about_capabilities(repository: Repository) -> None:
    repository.page.write_text("")
    repository.ran(
        {
            "tests/a/test_a.py::test_a": without("proxy_log", "wasm"),
            "tests/b/test_b.py::test_b": EVERYTHING,
            "tests/capabilities/test_c.py::test_c": EVERYTHING,
        }
    )
    assert repository.run()[0] == 0
    assert "test_c" in repository.row("proxy_done")
    assert "test_a" not in repository.row("proxy_log")


def test_hosts_can_have_tests_of_their_own(repository: Repository) -> None:
    repository.page.write_text("")
    repository.ran(
        {
            "tests/test_a.py::test_a": without("proxy_log", "envoy"),
            "tests/test_b.py::test_b": {"envoy": ["proxy_log"]},
        }
    )
    assert repository.run()[0] == 0
    assert repository.row("proxy_log").endswith(
        "| native, wasm: [`test_a.py::test_a`](../tests/test_a.py)<br>Envoy: [`test_b.py::test_b`](../tests/test_b.py) |"
    )
    assert repository.run("--check")[0] == 0


def test_a_cell_without_a_test_needs_a_reason(repository: Repository) -> None:
    repository.ran({"tests/test_a.py::test_a": without("proxy_done", "envoy")})
    status, said = repository.run()
    assert status == 1
    assert said.splitlines() == [
        "proxy_done on Envoy: no test that passed has used it; write one, or a reason in abi_coverage.py"
    ]


def test_a_cell_with_a_reason_has_no_test(repository: Repository) -> None:
    used = {**EVERYTHING, "envoy": [*EVERYTHING["envoy"], "proxy_validate_configuration"]}
    repository.ran({"tests/test_a.py::test_a": used})
    status, said = repository.run("--check")
    assert status == 1
    assert "proxy_validate_configuration on Envoy: tests/test_a.py::test_a has used it; take the reason out" in said


def test_a_callback_that_the_module_lacks_is_not_proved_by_the_native_guest(repository: Repository) -> None:
    repository.ran({"tests/test_a.py::test_a": without("proxy_on_tick", "wasm")})
    status, said = repository.run("--check")
    assert status == 1
    assert "proxy_on_tick on native: no test" in said


def test_a_page_that_was_edited_is_told(repository: Repository) -> None:
    repository.page.write_text(repository.page.read_text().replace("Each hostcall", "Any hostcall"))
    assert repository.run("--check") == (
        1,
        "abi-coverage.md is not as the tests are: run `python scripts/abi_coverage.py`\n",
    )


def test_a_run_of_some_tests_counts_only_where_that_is_accepted(repository: Repository) -> None:
    repository.ran({"tests/test_b.py::test_b": {"native": ["proxy_log"]}}, complete=False)
    status, said = repository.run("--check")
    assert (status, said) == (
        1,
        "calls.json: not all tests ran and passed; run `make test`, or accept that with --partial\n",
    )
    assert repository.run("--check", "--partial")[0] == 0
    repository.ran({"tests/test_a.py::test_a": without("proxy_log", "envoy")}, complete=False)
    assert repository.run("--check", "--partial")[0] == 1


# Recording

PROJECT = """
[project]
name = "recorded"

[tool.proxy-wasm]
plugin = "recorded:Recorded"
"""
FILTER = """
from proxy_wasm import HttpContext, PluginContext
from proxy_wasm.abi.hostcalls import HostError


class Recorded(PluginContext):
    def http_context(self):
        return Stream(self)


class Stream(HttpContext):
    def on_request_headers(self, headers, end_of_stream):
        self.hostcalls.set_property(b"name", b"value")
        self.hostcalls.get_header_map_value(0, b"missing")
        try:
            self.hostcalls.get_shared_data(b"missing")
        except HostError:
            pass
"""
TESTS = """
import pytest


def test_passes(start_proxy):
    assert start_proxy().get("/").status == 200


def test_fails(start_proxy):
    assert start_proxy().get("/").status == 500


@pytest.mark.xfail
def test_is_known_to_fail(start_proxy):
    assert start_proxy().get("/").status == 500


@pytest.fixture
def failing_at_its_end():
    yield
    raise RuntimeError


def test_fails_at_its_end(start_proxy, failing_at_its_end):
    assert start_proxy().get("/").status == 200


@pytest.mark.parametrize("path", ["/a", "/b"])
def test_passes_twice(start_proxy, path):
    assert start_proxy().get(path).status == 200


def test_of_something_else():
    pass
"""


class Record(Protocol):
    def __call__(self, files: Mapping[str, str], *options: str) -> dict[str, Any]: ...


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Runs the tests in these files, and gives what is recorded."""

    def run(files: Mapping[str, str], *options: str) -> dict[str, Any]:
        for name, content in files.items():
            (tmp_path / name).write_text(content)
        recorded = tmp_path / "calls.json"
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        command = [sys.executable, "-m", "pytest", "-p", "scripts.abi_recording", "--abi-calls", str(recorded)]
        subprocess.run(
            [*command, "-p", "no:cacheprovider", *options],
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
        )
        return json.loads(recorded.read_text())

    return run


@pytest.fixture
def recorded(record: Record) -> dict[str, Any]:
    """What is recorded of a run of `TESTS` on the native host."""
    files = {"pyproject.toml": PROJECT, "recorded.py": FILTER, "test_recorded.py": TESTS}
    return record(files, "--proxy-hosts", "native")


@pytest.mark.parametrize(
    ("options", "complete"),
    [((), True), (("--tb=short",), True), (("-k", "one"), False), (("test_two.py",), False)],
)
def test_a_run_is_complete_where_nothing_is_left_out(record: Record, options: tuple[str, ...], complete: bool) -> None:
    passing = "def test_one(): pass\ndef test_two(): pass\n"
    files = {"pytest.ini": "[pytest]\ntestpaths = .\n", "test_one.py": passing, "test_two.py": passing}
    assert record(files, *options)["complete"] is complete


def test_a_run_in_which_a_test_fails_is_not_complete(record: Record) -> None:
    files = {"pytest.ini": "[pytest]\ntestpaths = .\n", "test_one.py": "def test_one(): assert False\n"}
    assert not record(files)["complete"]


def test_what_tests_that_passed_have_used_is_recorded(recorded: dict[str, Any]) -> None:
    assert list(recorded["tests"]) == ["test_recorded.py::test_passes", "test_recorded.py::test_passes_twice"]
    assert not recorded["complete"]
    used = recorded["tests"]["test_recorded.py::test_passes"]
    assert list(used) == ["native"]
    assert {"proxy_set_property", "proxy_on_request_headers", "proxy_on_log", "proxy_on_delete"} <= {*used["native"]}


def test_hostcalls_that_were_refused_or_found_nothing_are_not_recorded(recorded: dict[str, Any]) -> None:
    used = recorded["tests"]["test_recorded.py::test_passes"]["native"]
    assert not {"proxy_get_shared_data", "proxy_get_header_map_value"} & {*used}
    assert not {ABI_VERSION_EXPORT, MEMORY_ALLOCATE_EXPORT} & {*used}


@pytest.fixture
def recording() -> ModuleType:
    """`scripts/abi_recording.py`, imported."""
    spec = importlib.util.spec_from_file_location("abi_recording", ROOT / "scripts" / "abi_recording.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_envoys_log_tells_what_succeeded(recording: ModuleType) -> None:
    said = [
        "[host->vm] _initialize()",
        "[host<-vm] _initialize return: void",
        "[host->vm] proxy_on_vm_start(1, 0)",
        "[vm->host] env.proxy_set_property(1, 2, 3, 4)",
        "[vm<-host] env.proxy_set_property return: 1",
        "[vm->host] env.proxy_log(2, 1, 2)",
        "[vm<-host] env.proxy_log return: 0",
        "[vm<-host] env.proxy_done return: 10",
        "[vm<-host] wasi_snapshot_preview1.fd_write return: 0",
        "[host<-vm] proxy_on_vm_start return: 1",
        "[host->vm] proxy_on_tick(1)",
        "wasm log: [vm<-host] env.proxy_http_call return: 0",
    ]
    lines = [json.dumps({"logger": "wasm", "message": message}, separators=(",", ":")) for message in said]
    functions_in_log: Callable[[bytes], set[str]] = recording.functions_in_log
    assert functions_in_log("\n".join(lines).encode()) == {ABI_VERSION_EXPORT, "proxy_log", "proxy_on_vm_start"}


def test_each_line_of_envoys_log_counts_once_and_when_it_is_whole(recording: ModuleType, tmp_path: Path) -> None:
    class Started:
        log_path = tmp_path / "envoy.log"

    logs = recording.EnvoyLogs()
    logs.follow(Started())
    assert logs.read() == set()
    line = b'{"message":"[vm<-host] env.proxy_log return: 0"}\n'
    with Started.log_path.open("ab", buffering=0) as log:
        log.write(line + line[:-4])
        assert logs.read() == {"proxy_log"}
        assert logs.read() == set()
        log.write(line[-4:])
        assert logs.read() == {"proxy_log"}
