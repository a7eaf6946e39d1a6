from pathlib import Path

import pytest
from wasmtime import wat2wasm

GREETER = """
from proxy_wasm import Action, ConfigurationError, Headers, HttpContext, PluginContext


class Greeter(PluginContext):
    def on_configure(self) -> None:
        self.greeting = self.configuration.json().get("greeting") if self.configuration.raw else "hello"
        if not isinstance(self.greeting, str):
            raise ConfigurationError("greeting: must be text")
        self.greeted = self.counter("greeted")

    def http_context(self) -> HttpContext:
        return Greeting(self)


class Greeting(HttpContext[Greeter]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        self.plugin.greeted.increment()
        headers["x-greeting"] = self.plugin.greeting
        if "x-deny" in headers:
            return self.send_local_response(403, body=b"no", details="not today")
        return None
"""
SETTINGS = """
[project]
name = "{name}"
[tool.proxy-wasm]
plugin = "{name}:Greeter"
"""


@pytest.fixture
def greeter(tmp_path: Path) -> Path:
    """The folder of a small extension."""
    folder = tmp_path / "greeter"
    folder.mkdir()
    (folder / "greeter.py").write_text(GREETER)
    (folder / "pyproject.toml").write_text(SETTINGS.format(name="greeter"))
    return folder


def assembled(name: str, directory: Path) -> Path:
    path = directory / f"{name}.wasm"
    path.write_bytes(wat2wasm((Path(__file__).parents[1] / "envoy" / f"{name}.wat").read_text()))
    return path


@pytest.fixture(scope="session")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The filter of envoy/calls.wat, assembled."""
    return assembled("calls", tmp_path_factory.mktemp("calls"))


@pytest.fixture(scope="session")
def connections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The filter of envoy/connections.wat, assembled."""
    return assembled("connections", tmp_path_factory.mktemp("connections"))
