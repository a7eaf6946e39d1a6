"""The command as a whole: versions, help, errors and their status."""

import subprocess
import sys
from pathlib import Path

import pytest

from proxy_wasm.cli import main

BAD_INPUT = 2
FAILED = 1


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--version"])
    assert capsys.readouterr().out.startswith("proxy-wasm 0.")


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("build", "run", "request", "inspect", "manifest", "serve"):
        with pytest.raises(SystemExit, match=r"^0$"):
            main([command, "--help"])
        assert f"proxy-wasm {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["brew"], "invalid choice: 'brew'"),
        (["build", "/absent"], "/absent: no such folder"),
        (["build", __file__], f"{__file__}: is no folder"),
        (["build", "."], "holds no pyproject.toml"),
        (["inspect", "/absent.wasm"], "/absent.wasm: no such file"),
        (["inspect", "/"], "/: is no file"),
        (["inspect", __file__], "no core WebAssembly module: header, offset 0x0"),
        (["request", "/absent", "/"], "/absent: no such folder or file"),
        (["request", "MODULE", "/", "-H", "x-a"], "-H 'x-a': a header is given as 'name: value'"),
        (["request", "MODULE", "/", "--host", "native"], "give its folder"),
        (["request", "MODULE", "/", "--host", "nginx"], "invalid choice: 'nginx'"),
        (["request", "MODULE", "/", "--config", "/absent.json"], "/absent.json: no such file"),
        (["run", "MODULE", "--upstream", "localhost"], "--upstream 'localhost': must be HOST:PORT"),
        (["run", "MODULE", "--port", "70000"], "'70000' is no port"),
        (["manifest", "MODULE"], "the following arguments are required: --for"),
        (["manifest", "/absent", "--for", "istio"], "/absent: no such folder or file"),
        (["manifest", "oci://A", "--for", "istio"], "'oci://A' names no image"),
        (["serve", "/absent.toml"], "/absent.toml: no such file"),
        (["serve", __file__], f"{__file__}: "),
    ],
)
def test_wrong_input_is_one_line_and_status_2(
    arguments: list[str],
    message: str,
    module: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(module) if word == "MODULE" else word for word in arguments]) == BAD_INPUT
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_a_file_that_is_no_module_is_reported_by_every_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.wasm").write_text("text")
    for host in ("wasm", "envoy"):
        assert main(["request", str(tmp_path / "text.wasm"), "/", "--host", host]) == FAILED
        assert capsys.readouterr().err.startswith("error: ")


def test_a_reader_that_leaves_early_ends_the_command_silently(module: Path) -> None:
    command = [sys.executable, "-m", "proxy_wasm.cli", "inspect", str(module)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
