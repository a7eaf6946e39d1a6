"""What is read of a component, and how one that is malformed or goes beyond the linker is refused."""

from typing import TYPE_CHECKING

import pytest

from proxy_wasm.build.wasm import binary
from proxy_wasm.build.wasm.binary import MalformedError, name, section, u32, vector
from proxy_wasm.build.wasm.component import (
    Builtin,
    ComponentSection,
    CoreItem,
    ExportBag,
    ImportedFunction,
    InstanceExport,
    Lifted,
    Lowered,
    ModuleInstance,
    OpaqueFunction,
    read_component,
)
from proxy_wasm.build.wasm.module import COMPONENT_HEADER, HEADER, Kind, read_module

if TYPE_CHECKING:
    from conftest import Assemble


def test_modules_instances_and_bags_are_read(assemble: "Assemble") -> None:
    found = read_component(
        assemble("""(component
          (core module $library (func (export "f")) (memory (export "memory") 1) (global (export "g") i32 (i32.const 1)))
          (core module $user (import "env" "f" (func)) (import "env" "memory" (memory 1)))
          (core instance $library (instantiate $library))
          (core instance $bag (export "f" (func $library "f")) (export "memory" (memory $library "memory")))
          (core instance $user (instantiate $user (with "env" (instance $bag)))))""")
    )
    assert len(found.modules) == 2
    assert [export.name for export in read_module(found.data, *found.modules[0]).exports] == ["f", "memory", "g"]
    assert found.core_instances == [
        ModuleInstance(0, {}),
        ExportBag({"f": CoreItem(Kind.FUNCTION, 0), "memory": CoreItem(Kind.MEMORY, 0)}),
        ModuleInstance(1, {"env": 1}),
    ]
    assert found.core[Kind.FUNCTION] == [InstanceExport(0, "f")]
    assert found.core[Kind.MEMORY] == [InstanceExport(0, "memory")]
    assert found.core[Kind.TABLE] == found.core[Kind.GLOBAL] == []


def test_imported_functions_are_lowered_and_core_functions_lifted(assemble: "Assemble") -> None:
    found = read_component(
        assemble("""(component
          (import "log" (func $log (param "text" string)))
          (import "wasi:clocks/wall-clock@0.2.0" (instance $clock (export "now" (func (result u64)))))
          (alias export $clock "now" (func $now))
          (core module $m
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
            (func (export "run") (result i32) i32.const 0)
            (func (export "after") (param i32)))
          (core instance $i (instantiate $m))
          (alias core export $i "memory" (core memory $memory))
          (core func $lowered (canon lower (func $log) (memory $memory) string-encoding=utf16))
          (core func $lowered_now (canon lower (func $now)))
          (func $run (result string) (canon lift (core func $i "run") (memory $memory)
            (realloc (core func $i "realloc")) (post-return (core func $i "after")) string-encoding=utf8))
          (func $plain (result u32) (canon lift (core func $i "run")))
          (export "run" (func $run))
          (export "plain" (func $plain)))""")
    )
    assert found.instances == ["wasi:clocks/wall-clock@0.2.0"]
    assert found.functions[:2] == [
        ImportedFunction("", "log"),
        ImportedFunction("wasi:clocks/wall-clock@0.2.0", "now"),
    ]
    core = found.core[Kind.FUNCTION]
    assert [item for item in core if isinstance(item, Lowered)] == [Lowered(0), Lowered(1)]
    run, plain = (found.functions[found.exports[name]] for name in ("run", "plain"))
    assert isinstance(run, Lifted)
    assert isinstance(plain, Lifted)
    assert core[run.core_function] == core[plain.core_function] == InstanceExport(0, "run")
    assert run.post_return is not None
    assert core[run.post_return] == InstanceExport(0, "after")
    assert plain.post_return is None


def test_nested_components_and_their_instances_hide_what_they_define(assemble: "Assemble") -> None:
    found = read_component(
        assemble("""(component
          (import "f" (func $f))
          (type $t (func))
          (component $inner
            (import "f" (func $f))
            (core module (func (export "hidden")))
            (instance $bag (export "h" (func $f)))
            (export "g" (func $f))
            (export "bag" (instance $bag)))
          (core module $m)
          (instance $made (instantiate $inner (with "f" (func $f)) (with "m" (core module $m))))
          (alias export $made "t" (type $u))
          (alias outer 0 $t (type $v))
          (instance $bag (export "f" (func $f)))
          (alias export $made "g" (func $g))
          (alias export $made "bag" (instance $nested))
          (export "g" (func $g))
          (export "t" (type $t))
          (export "made" (instance $made)))""")
    )
    assert len(found.modules) == 1
    assert found.instances == [None, None, None, None]
    assert found.functions == [ImportedFunction("", "f"), OpaqueFunction(), OpaqueFunction()]
    assert found.exports == {"g": 1}


def test_types_and_resources_only_take_their_place(assemble: "Assemble") -> None:
    found = read_component(
        assemble("""(component
          (import "limit" (type $limit (sub resource)))
          (import "same" (type $same (eq $limit)))
          (import "whole" (component))
          (type $own (resource (rep i32)))
          (core func $new (canon resource.new $own))
          (core func $rep (canon resource.rep $own))
          (core func $drop (canon resource.drop $own))
          (component (alias outer 1 $own (type $o))))""")
    )
    assert found.core[Kind.FUNCTION] == [Builtin(2), Builtin(4), Builtin(3)]
    assert found.functions == []


def test_custom_sections_are_skipped() -> None:
    found = read_component(COMPONENT_HEADER + binary.custom_section("producers", b"anything"))
    assert found.core_instances == []


IMPORT_F = section(ComponentSection.IMPORT, vector([b"\x00" + name("f") + b"\x01" + u32(0)]))
EMPTY_MODULE = section(ComponentSection.CORE_MODULE, HEADER)
INSTANCE = section(ComponentSection.CORE_INSTANCE, vector([b"\x00" + u32(0) + b"\x00"]))
CORE_FUNCTION = EMPTY_MODULE + INSTANCE + section(ComponentSection.ALIAS, vector([b"\x00\x00\x01\x00" + name("f")]))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (b"\x0d\x00", "component section header, offset 0x8: there is no section with id 13"),
        (b"\x02\x7f\x00", "component section header, offset 0xa: 127 bytes are announced, 1 are left"),
        (b"\x02\x02\x00\x00", "component core instance section, offset 0xb: 1 bytes are left over"),
        (section(3, b"\x00"), "section header, offset 0x8: a component core type section is not supported"),
        (section(9, b"\x00\x00\x00"), "section header, offset 0x8: a component start section is not supported"),
        (
            section(2, vector([b"\x00\x00\x00"])),
            "component core instance section, offset 0xc: there is no core module 0",
        ),
        (section(2, vector([b"\x02"])), "core instance section, offset 0xb: a core instance of unknown form 2"),
        (
            EMPTY_MODULE + section(2, vector([b"\x00\x00\x01" + name("env") + b"\x12\x00"])),
            "core instance section, offset 0x1d: there is no core instance 0",
        ),
        (
            EMPTY_MODULE + section(2, vector([b"\x00\x00\x01" + name("env") + b"\x11\x00"])),
            "core instance section, offset 0x1c: argument 'env' is not a core instance",
        ),
        (
            section(2, vector([b"\x01\x01" + name("f") + b"\x00\x00"])),
            "core instance section, offset 0x10: there is no core function 0",
        ),
        (
            section(2, vector([b"\x01\x01" + name("f") + b"\x10\x00"])),
            "core instance section, offset 0xf: core items of sort 0x10 are not supported here",
        ),
        (section(5, vector([b"\x02"])), "component instance section, offset 0xb: an instance of unknown form 2"),
        (
            section(5, vector([b"\x01\x01\x07"])),
            "component instance section, offset 0xd: a name of unknown form 7",
        ),
        (section(6, vector([b"\x01\x00\x00" + name("f")])), "alias section, offset 0xd: there is no instance 0"),
        (
            section(6, vector([b"\x00\x00\x01\x00" + name("f")])),
            "alias section, offset 0xe: there is no core instance 0",
        ),
        (
            EMPTY_MODULE + INSTANCE + section(6, vector([b"\x00\x10\x01\x00" + name("f")])),
            "alias section, offset 0x1b: an alias of a core export must be a function, table, memory or global",
        ),
        (
            EMPTY_MODULE + INSTANCE + section(6, vector([b"\x01\x01\x00" + name("f")])),
            "alias section, offset 0x1b: an alias of a core export must be a function, table, memory or global",
        ),
        (
            section(6, vector([b"\x00\x11\x02\x00\x00"])),
            "alias section, offset 0xb: aliases of core modules are not supported",
        ),
        (section(6, vector([b"\x03\x03\x00\x00"])), "alias section, offset 0xb: an alias of unknown form 3"),
        (section(8, vector([b"\x01\x00\x00\x00"])), "canon section, offset 0xd: there is no function 0"),
        (section(8, vector([b"\x00\x00\x00\x00\x00"])), "canon section, offset 0xd: there is no core function 0"),
        (section(8, vector([b"\x00\x01\x00\x00\x00"])), "canon section, offset 0xb: lift and lower must be followed"),
        (section(8, vector([b"\x09\x00"])), "canon section, offset 0xb: the canonical built-in 0x09 is not supported"),
        (
            IMPORT_F + section(8, vector([b"\x01\x00\x00\x01\x0b"])),
            "canon section, offset 0x17: the canonical option 0x0b is not supported",
        ),
        (
            CORE_FUNCTION + section(8, vector([b"\x00\x00\x00\x01\x05\x09\x00"])),
            "canon section, offset 0x29: there is no core function 9",
        ),
        (
            section(10, vector([b"\x00" + name("m") + b"\x00\x11\x00"])),
            "import section, offset 0xe: imported core modules are not supported",
        ),
        (
            section(10, vector([b"\x00" + name("v") + b"\x02\x00\x00"])),
            "import section, offset 0xe: an import or export of unknown sort 2",
        ),
        (
            section(11, vector([b"\x00" + name("m") + b"\x00\x11\x00\x00"])),
            "export section, offset 0xe: exports of core items are not supported",
        ),
        (
            section(11, vector([b"\x00" + name("f") + b"\x01\x00\x00"])),
            "export section, offset 0xe: there is no function 0",
        ),
    ],
)
def test_a_malformed_component_is_refused_with_section_and_offset(sections: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        read_component(COMPONENT_HEADER + sections)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "this is no WebAssembly component"),
        (b"PK\x03\x04", "this is no WebAssembly component"),
        (HEADER, "this is a core module, not a component"),
    ],
)
def test_what_is_no_component_is_refused_at_its_start(data: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=rf"^component header, offset 0x0: {message}"):
        read_component(data)


def test_an_export_may_state_its_type() -> None:
    export = section(ComponentSection.EXPORT, vector([b"\x00" + name("g") + b"\x01" + u32(0) + b"\x01\x01" + u32(0)]))
    assert read_component(COMPONENT_HEADER + IMPORT_F + export).exports == {"g": 0}


def test_the_realloc_option_leads_to_no_post_return() -> None:
    lift = section(ComponentSection.CANON, vector([b"\x00\x00\x00\x03\x00\x04\x00\x03\x00\x00"]))
    assert read_component(COMPONENT_HEADER + CORE_FUNCTION + lift).functions == [Lifted(0, None)]
