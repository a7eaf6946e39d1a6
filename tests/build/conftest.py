from collections.abc import Callable
from pathlib import Path

import pytest

from proxy_wasm.build.cache import Cache

GREETER = """from proxy_wasm import Headers, HttpContext, PluginContext


class Greeter(PluginContext):
    def http_context(self) -> HttpContext:
        return Greeting(self)


class Greeting(HttpContext[Greeter]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        headers["x-greeting"] = "hello"
"""


@pytest.fixture(scope="session")
def greeter_source() -> str:
    return GREETER


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Path]:
    """Write an extension's folder: a `pyproject.toml` and files by their path."""

    def make(
        settings: str = "",
        *,
        folder: str = "greeter",
        project: str = 'name = "greeter"',
        files: dict[str, str] | None = None,
    ) -> Path:
        directory = tmp_path / folder
        settings = settings or 'plugin = "greeter:Greeter"'
        written = {"greeter.py": GREETER, **(files or {})}
        written["pyproject.toml"] = f"[project]\n{project}\n[tool.proxy-wasm]\n{settings}\n"
        for name, text in written.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        return directory

    return make
