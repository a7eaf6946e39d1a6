import json

import pytest
import wasmtime

from proxy_wasm.build.inspection import Inspection, Item, inspect
from proxy_wasm.build.wasm.binary import MalformedError, custom_section
from proxy_wasm.guest import manifest


def module(*fields: str) -> bytes:
    return bytes(wasmtime.wat2wasm(f"(module {' '.join(fields)})"))


def data(contents: bytes, address: int) -> str:
    escaped = "".join(f"\\{byte:02x}" for byte in contents)
    return f'(data (i32.const {address}) "{escaped}")'


@pytest.fixture(scope="module")
def inspection() -> Inspection:
    found = manifest.encode(
        {"sdk": "1.2", "plugins": {"": "greeter:Greeter"}, "modules": ["greeter", "json"], "callbacks": ["on_log"]}
    )
    return inspect(
        module(
            '(import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))',
            '(import "env" "limit" (global i64))',
            '(func $small (export "proxy_abi_version_0_2_1"))',
            '(func $large (export "proxy_on_log") (param i32) nop nop nop nop nop nop nop nop)',
            '(memory (export "memory") 2 5)',
            '(table (export "table") 3 funcref)',
            '(global (export "depth") (mut i32) (i32.const 0))',
            # A manifest that is split as snapshots split data: at any place.
            data(found[:20], 1024),
            data(found[20:], 1044),
            '(data "passive")',
        )
        + custom_section("proxy-wasm.inputs", json.dumps({"hash": "abcd", "tools": {}}).encode())
    )


def test_the_interface_is_listed_with_its_types(inspection: Inspection) -> None:
    assert inspection.abi_version == "0.2.1"
    assert inspection.imports == (
        Item("env.proxy_log", "function", "(i32, i32, i32) -> (i32)"),
        Item("env.limit", "global", "i64"),
    )
    assert inspection.exports == (
        Item("proxy_abi_version_0_2_1", "function", "() -> ()"),
        Item("proxy_on_log", "function", "(i32) -> ()"),
        Item("memory", "memory", "2..5 pages"),
        Item("table", "table", "3.. funcref"),
        Item("depth", "global", "mutable i32"),
    )


def test_sizes_are_given_by_section_and_function(inspection: Inspection) -> None:
    assert {part.name for part in inspection.sections} >= {"type", "import", "code", "data", "custom name"}
    assert sum(part.size for part in inspection.sections) + 8 == inspection.size
    assert inspection.functions == 2
    assert [part.name for part in inspection.largest_functions] == ["large", "small"]
    assert inspection.largest_functions[0].size > inspection.largest_functions[1].size
    assert inspection.initial_memory == 2 * 65536
    assert inspection.snapshot > 100


def test_what_python_put_into_the_snapshot_is_found(inspection: Inspection) -> None:
    assert inspection.python_modules == ("greeter", "json")
    assert inspection.plugins == {"": "greeter:Greeter"}
    assert inspection.sdk_version == "1.2"
    assert inspection.input_hash == "abcd"


def test_a_module_of_another_sdk_can_be_inspected() -> None:
    found = inspect(
        module('(func (export "proxy_abi_version_0_1_0"))', '(data (i32.const 0x7fffffff) "far away")', "(memory 1)")
    )

    assert found.abi_version == "0.1.0"
    assert found.python_modules == ()
    assert found.plugins == {}
    assert found.sdk_version is None
    assert found.input_hash is None


def test_a_module_without_anything_can_be_inspected() -> None:
    found = inspect(module())

    assert found.abi_version is None
    assert found.size == 8
    assert found.initial_memory == 0
    assert found.largest_functions == ()


def test_parts_of_cpython_that_are_left_out_are_told_by_their_stand_ins() -> None:
    stand_ins = [f'(func $"left_out_of_this_build:{name}")' for name in ("sqlite3", "compile", "sqlite3 ")]
    assert inspect(module(*stand_ins)).left_out == ("compile", "sqlite3", "sqlite3 ")
    assert inspect(module("(func $kept)")).left_out == ()


def test_functions_without_a_name_are_numbered() -> None:
    found = inspect(module("(func) (func nop)"))

    assert [part.name for part in found.largest_functions] == ["function 1", "function 0"]


@pytest.mark.parametrize(
    "record",
    [{}, {"extension": 3, "packages": 4, "tools": 5}, {"packages": [None, {"name": "x"}, {"name": 1, "version": 2}]}],
)
def test_what_is_malformed_in_a_record_of_inputs_is_left_out(record: dict[str, object]) -> None:
    found = inspect(module() + custom_section("proxy-wasm.inputs", json.dumps({"hash": "abcd", **record}).encode()))

    assert found.input_hash == "abcd"
    assert found.extension is None
    assert found.packages == ()
    assert found.tools == {}


@pytest.mark.parametrize("contents", [b"no json", b"[]", b"{}", b'{"hash": 3}'])
def test_a_record_of_inputs_that_is_none_is_passed_over(contents: bytes) -> None:
    assert inspect(module() + custom_section("proxy-wasm.inputs", contents)).input_hash is None


def test_an_export_of_what_is_not_there_is_shown_as_such() -> None:
    broken = bytearray(module('(func (export "gone"))'))
    broken[broken.index(b"gone") + 5] = 9

    assert inspect(bytes(broken)).exports == (Item("gone", "function", "there is none of this index"),)


def test_a_file_that_is_no_module_is_refused_with_section_and_offset() -> None:
    with pytest.raises(MalformedError, match="header, offset 0x0"):
        inspect(b"#!/bin/sh")
