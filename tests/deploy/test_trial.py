"""A plugin is tried before any proxy gets it: what is accepted, and why something is not."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from wasmtime import wat2wasm

from proxy_wasm.deploy import Refused, Trial, try_out

if TYPE_CHECKING:
    from conftest import Versioned

TRAPPING = """
(module
  (import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 100) "users")
  (data (i32.const 200)
    "\\03\\00\\00\\00\\07\\00\\00\\00\\03\\00\\00\\00\\05\\00\\00\\00\\01\\00\\00\\00\\0a\\00\\00\\00\\01\\00\\00\\00:method\\00GET\\00:path\\00/\\00:authority\\00u\\00")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    CONFIGURE))
"""
CALLING = """(i32.eqz (call $call (i32.const 100) (i32.const 5) (i32.const 200) (i32.const 61)
  (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 0)))"""


def refusal(trial: Trial, seconds: float = 60) -> str:
    with pytest.raises(Refused) as refused:
        try_out(trial, seconds)
    return str(refused.value)


def written(folder: Path, module: bytes) -> Path:
    path = folder / "module.wasm"
    path.write_bytes(module)
    return path


def test_a_plugin_that_takes_its_configuration_is_accepted(first: Path) -> None:
    try_out(Trial(first, b"{}"))


def test_a_refused_configuration_is_told_in_the_plugins_words(first: Path) -> None:
    text = refusal(Trial(first, b"!rules[2]: no such user"))
    assert "on_configure refused the configuration" in text
    assert "error: !rules[2]: no such user" in text


def test_a_plugin_that_never_returns_is_ended(first: Path) -> None:
    assert refusal(Trial(first, b"~"), 3) == "it did not start within 3 seconds"


def test_a_damaged_module_is_refused(first: Path, tmp_path: Path) -> None:
    module = first.read_bytes()
    assert "Failed to load Wasm bytecode" in refusal(Trial(written(tmp_path, module[:-20])))
    assert "does not begin as a module does" in refusal(Trial(written(tmp_path, b"<html>")))


def test_a_module_for_another_abi_is_refused_with_both_named(tmp_path: Path, module_of: "Versioned") -> None:
    other = module_of(1).replace(b"proxy_abi_version_0_2_1", b"proxy_abi_version_0_3_0")
    text = refusal(Trial(written(tmp_path, other)))
    assert "proxy_abi_version_0_2_1, but proxy_abi_version_0_3_0" in text
    assert "proxy_abi_version" in refusal(Trial(written(tmp_path, b"\0asm\1\0\0\0")))


def test_a_trap_is_refused_with_its_place(tmp_path: Path) -> None:
    text = refusal(Trial(written(tmp_path, bytes(wat2wasm(TRAPPING.replace("CONFIGURE", "unreachable"))))))
    assert "the VM failed while it started" in text
    assert "Function: proxy_on_configure failed" in text


def test_a_plugin_may_call_any_cluster_while_it_starts(tmp_path: Path) -> None:
    try_out(Trial(written(tmp_path, bytes(wat2wasm(TRAPPING.replace("CONFIGURE", CALLING))))))


def test_an_extension_in_python_is_tried_likewise(basic_auth: Path) -> None:
    rules = b'{"basic_auth_rules": [{"prefix": "/", "request_methods": ["GET"], "credentials": ["a:b"]}]}'
    try_out(Trial(basic_auth, rules))
    assert "basic_auth_rules: must be an array" in refusal(Trial(basic_auth, b'{"basic_auth_rules": {}}'))
