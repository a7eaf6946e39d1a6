"""`proxy-wasm inspect`."""

import json
from pathlib import Path

import pytest

from proxy_wasm.cli import main


def test_it_lists_what_a_module_consists_of(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(module)]) == 0
    out = capsys.readouterr().out
    assert "ABI version  0.2.1" in out
    assert "env.proxy_log                   (i32, i32, i32) -> (i32)" in out
    assert "proxy_on_request_headers   (i32, i32, i32) -> (i32)" in out
    assert "imports (7)" in out
    assert "largest of 11 functions" in out


def test_it_prints_one_json_object(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(module), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["abi_version"] == "0.2.1"
    assert found["size"] == module.stat().st_size
    assert found["imports"][0] == {"name": "env.proxy_log", "kind": "function", "type": "(i32, i32, i32) -> (i32)"}
    assert found["python_modules"] == []


def test_a_module_of_something_else_is_no_proxy_wasm_module(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.wasm").write_bytes(b"\0asm\1\0\0\0")
    assert main(["inspect", str(tmp_path / "empty.wasm")]) == 0
    assert "none: no Proxy-Wasm module" in capsys.readouterr().out
