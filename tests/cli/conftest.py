from pathlib import Path

import pytest

GREETER = """
from proxy_wasm import Headers, HttpContext, PluginContext


class Greeter(PluginContext):
    def on_configure(self) -> None:
        self.greeting = self.configuration.text or "hello"

    def http_context(self) -> HttpContext:
        return Greeting(self)


class Greeting(HttpContext[Greeter]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        headers["x-greeting"] = self.plugin.greeting
"""
SETTINGS = """
[project]
name = "greeter"
[tool.proxy-wasm]
plugin = "greeter:Greeter"
"""


@pytest.fixture
def greeter(tmp_path: Path) -> Path:
    """The folder of a small extension."""
    folder = tmp_path / "greeter"
    folder.mkdir()
    (folder / "greeter.py").write_text(GREETER)
    (folder / "pyproject.toml").write_text(SETTINGS)
    return folder
