"""`breakpoint()` in a native filter: a debugger that reads what the test's author types."""

import subprocess
import sys
from pathlib import Path

import pytest

FILTER = """
from proxy_wasm import Headers, HttpContext, PluginContext


class Greeter(PluginContext):
    def http_context(self) -> HttpContext:
        return Greeting(self)


class Greeting(HttpContext[Greeter]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        greeting = "hello, " + headers["user"]
        breakpoint()
        headers["x-greeting"] = greeting
"""
TEST = """
def test_it(start_proxy):
    exchange = start_proxy().get("/", headers={"user": "alice"})
    assert exchange.upstream.headers["x-greeting"] == "changed by hand"
"""


@pytest.fixture
def greeter(tmp_path: Path) -> Path:
    (tmp_path / "greeter.py").write_text(FILTER)
    (tmp_path / "test_greeter.py").write_text(TEST)
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "greeter"\n[tool.proxy-wasm]\nplugin = "greeter:Greeter"\n'
    )
    return tmp_path


def run(folder: Path, typed: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        input=typed,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def request(folder: Path, typed: str) -> subprocess.CompletedProcess[str]:
    return run(folder, typed, "proxy_wasm.cli", "request", ".", "/", "-H", "user: alice", "--host", "native")


def test_a_request_stops_at_a_breakpoint_and_goes_on(greeter: Path) -> None:
    done = request(greeter, "p greeting\np headers.get('user').upper()\ncontinue\n")
    assert done.returncode == 0, done.stderr
    assert "greeter.py(" in done.stdout
    assert "'hello, alice'" in done.stdout
    assert "'ALICE'" in done.stdout
    assert "  x-greeting: hello, alice" in done.stdout


def test_whoever_leaves_the_debugger_ends_the_request(greeter: Path) -> None:
    done = request(greeter, "quit\n")
    assert done.returncode == 130
    assert "response:" not in done.stdout
    assert done.stderr == ""


def test_a_test_stops_at_a_breakpoint_and_goes_on(greeter: Path) -> None:
    typed = "greeting = 'changed by hand'\ncontinue\n"
    done = run(greeter, typed, "pytest", "-s", "--proxy-hosts", "native", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert "greeter.py(" in done.stdout
    assert "native 1 passed" in done.stdout


def test_whoever_leaves_the_debugger_ends_the_test_run(greeter: Path) -> None:
    done = run(greeter, "quit\n", "pytest", "-s", "--proxy-hosts", "native", "-p", "no:cacheprovider")
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "Quitting debugger" in done.stdout
