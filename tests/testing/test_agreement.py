"""What tests see on two hosts, compared."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

FILTER = """
import sys

from proxy_wasm import HttpContext, PluginContext


class Greeter(PluginContext):
    def http_context(self):
        return Greeting(self)


class Greeting(HttpContext[Greeter]):
    def on_request_headers(self, headers, end_of_stream):
        if headers[":path"] == "/shown":
            headers["x-platform"] = sys.platform
        if headers[":path"] == "/asked":
            headers.get(f"x-{sys.platform}")
        if headers[":path"].startswith("/whole"):
            headers.multi_items()
            headers.get("host"), headers[":path"], headers.getall(":method")
        if headers[":path"] == "/whole-and-asked":
            headers.get(f"x-{sys.platform}")
"""
TESTS = """
import pytest

pytestmark = pytest.mark.hosts("native", "wasm")

@pytest.mark.parametrize("path", ["/", "/wasm", "/whole", "/shown", "/asked", "/whole-and-asked"])
def test_any(start_proxy, path):
    assert start_proxy({project!r}).get(path).status == 200

@pytest.mark.differs_between_hosts("it is meant to")
def test_marked(start_proxy):
    assert start_proxy({project!r}).get("/shown").status == 200
"""


@pytest.fixture
def run(pytester: pytest.Pytester, greeter: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A run with a filter that is not the same on both hosts."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeini("[pytest]\naddopts = --import-mode=importlib -p no:hypothesispytest\n")
    (greeter / "greeter.py").write_text(FILTER)
    pytester.makepyfile(TESTS.format(project=str(greeter)))
    return pytester


def test_what_only_one_host_shows_fails_a_test_whatever_it_asserts(run: pytest.Pytester) -> None:
    result = run.runpytest_subprocess("--proxy-compare", "-v")
    result.assert_outcomes(passed=14, errors=3)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_any?wasm-/shown?*",
            "native and wasm differ in what the test saw:",
            "-  upstream headers: *(b'x-platform', b'*')*",
            "+  upstream headers: *(b'x-platform', b'wasi')*",
            "*ERROR at teardown of test_any?wasm-/asked?*",
            '-*get_header_map_value(map_type=HTTP_REQUEST_HEADERS, key="x-*") -> NOT_FOUND*',
            '+*get_header_map_value(map_type=HTTP_REQUEST_HEADERS, key="x-wasi") -> NOT_FOUND*',
        ]
    )
    run.runpytest_subprocess().assert_outcomes(passed=14)
