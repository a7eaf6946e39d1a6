"""`proxy-wasm build`, around the build itself."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy_wasm.build import BuildResult, LinkError, Project
from proxy_wasm.cli import main


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that takes no time."""

    def build(directory: Path, *, output: Path | None, progress: Callable[[str], None] | None) -> BuildResult:
        if progress is not None:
            progress("linking")
        path = output or directory / "dist/greeter.wasm"
        return BuildResult(
            Project.load(directory), path, b"\0" * 2048, reused=False, input_hash="", seconds={"link": 1.25}
        )

    monkeypatch.setattr("proxy_wasm.cli.build.build", build)


@pytest.mark.usefixtures("built")
def test_it_prints_the_module_and_nothing_else_in_a_pipe(greeter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", str(greeter)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{greeter}/dist/greeter.wasm (2.0 KiB, built in 1.2 s)\n"
    assert captured.err == ""


@pytest.mark.usefixtures("built")
def test_on_a_terminal_it_tells_what_it_does(
    greeter: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["build", str(greeter), "-o", "x.wasm"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("x.wasm (")
    assert captured.err == "linking ...\n"


def test_a_build_that_fails_is_an_error_without_traceback(
    greeter: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(*_: object, **__: object) -> BuildResult:
        msg = "libc.so: no function 'f'"
        raise LinkError(msg)

    monkeypatch.setattr("proxy_wasm.cli.build.build", build)
    assert main(["build", str(greeter)]) == 1
    assert capsys.readouterr().err == "error: libc.so: no function 'f'\n"


def test_a_wrong_setting_is_bad_input(greeter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (greeter / "pyproject.toml").open("a") as settings:
        settings.write("plugn = 1\n")
    assert main(["build", str(greeter)]) == 2
    assert "tool.proxy-wasm.plugn: unknown key" in capsys.readouterr().err
