"""What is read of a core module, and how a malformed one is refused."""

from typing import TYPE_CHECKING

import pytest

from proxy_wasm.build.wasm.binary import MalformedError, custom_section, name, section, u32, vector
from proxy_wasm.build.wasm.module import (
    EXTERNREF,
    F32,
    FUNCREF,
    HEADER,
    I32,
    I64,
    Export,
    FunctionType,
    GlobalType,
    Import,
    Kind,
    Limits,
    Module,
    Section,
    TableType,
    read_module,
)

if TYPE_CHECKING:
    from conftest import Assemble


@pytest.fixture(scope="module")
def module(component: "Assemble") -> Module:
    return read_module(component("every_section"))


def test_types_and_imports_are_read(module: Module) -> None:
    assert [str(item) for item in module.types] == [
        "(i32, i64) -> (f32)",
        "() -> ()",
        "(f64, v128, funcref, externref) -> (i32, i64)",
    ]
    assert module.imports == [
        Import("env", "function", Kind.FUNCTION, 1),
        Import("env", "table", Kind.TABLE, TableType(FUNCREF, Limits(1, 8, 1))),
        Import("env", "memory", Kind.MEMORY, Limits(1, None)),
        Import("env", "global", Kind.GLOBAL, GlobalType(I32, mutable=False)),
        Import("env", "variable", Kind.GLOBAL, GlobalType(I64, mutable=True)),
    ]
    assert [item.name for item in module.imported(Kind.GLOBAL)] == ["global", "variable"]
    assert [str(item.type) for item in module.imported(Kind.GLOBAL)] == ["i32", "mutable i64"]


def test_definitions_are_read(module: Module) -> None:
    assert module.functions == [1, 0]
    assert module.tables == [TableType(EXTERNREF, Limits(10, None))]
    assert module.memories == [Limits(2, 3, 1)]
    assert [str(item) for item in module.memories] == ["2..3"]
    assert module.start == 1
    assert {kind: module.count(kind) for kind in Kind} == {
        Kind.FUNCTION: 3,
        Kind.TABLE: 2,
        Kind.MEMORY: 2,
        Kind.GLOBAL: 8,
        Kind.TAG: 0,
    }


def test_imported_and_defined_functions_have_a_type(module: Module) -> None:
    assert module.function_type(0) == FunctionType(b"", b"")
    assert module.function_type(2) == FunctionType(bytes([I32, I64]), bytes([F32]))


def test_initializers_are_read_instruction_by_instruction(module: Module) -> None:
    assert [item.initializer.instructions for item in module.globals] == [
        ((0x23, 0), (0x41, -8), (0x6A, 0)),
        ((0x42, 0x100000000), (0x42, 2), (0x7E, 0)),
        ((0x43, 0x3F800000),),
        ((0x44, 0xC000000000000000),),
        ((0xD2, 1),),
        ((0xD0, 0),),
    ]


def test_exports_are_read(module: Module) -> None:
    assert module.exports == [
        Export("first", Kind.FUNCTION, 1),
        Export("table", Kind.TABLE, 1),
        Export("memory", Kind.MEMORY, 1),
        Export("wide", Kind.GLOBAL, 3),
    ]


def test_element_segments_of_every_form_are_read(module: Module) -> None:
    assert [(item.table, item.offset is not None, item.items, item.declarative) for item in module.elements] == [
        (0, True, (1, 0), False),
        (0, False, (1,), False),
        (0, True, (2,), False),
        (0, False, (2,), True),
        (0, True, (None, 1), False),
        (0, False, (1,), False),
        (0, True, (None,), False),
        (0, False, (1,), True),
    ]


def test_data_segments_and_bodies_are_found_in_the_file(module: Module) -> None:
    assert [(item.memory, item.offset is not None, module.data[item.start : item.end]) for item in module.segments] == [
        (0, True, b"abc"),
        (0, False, b"passive"),
        (1, True, b"\x00\x01"),
    ]
    assert [module.data[start:end] for start, end in module.code] == [
        b"\x00\xfc\x09\x01\x0b",
        b"\x02\x02\x7f\x01\x7c\x43\x00\x00\x00\x00\x0b",
    ]


def test_custom_sections_and_names_are_read(module: Module) -> None:
    assert module.custom_section("notes") == b"kept"
    assert module.custom_section("absent") is None
    assert module.function_names() == {0: "imported", 1: "first", 2: "second_function"}


def test_sizes_of_sections_add_up_to_the_file(module: Module) -> None:
    assert sum(module.section_sizes.values()) == len(module.data) - len(HEADER)
    assert {"type", "data count", "custom notes", "custom name"} <= module.section_sizes.keys()


def test_a_module_inside_a_file_is_read_at_its_place(component: "Assemble") -> None:
    data = component("every_section")
    inside = read_module(b"before" + data + b"after", 6, 6 + len(data), label="core module 3, ")
    assert inside.exports == read_module(data).exports
    assert inside.custom_section("notes") == b"kept"


def test_a_module_without_names_has_none() -> None:
    assert read_module(HEADER).function_names() == {}


@pytest.mark.parametrize(
    ("contents", "names"),
    [
        (b"\x01\x04" + vector([u32(0) + name("a")]), {0: "a"}),
        (b"\x00\x02\x01m" + b"\x01\x04" + vector([u32(0) + name("a")]), {0: "a"}),
        (b"\x01\x04" + vector([u32(0) + name("a")]) + b"\x02\x7f", {0: "a"}),
        (b"\x01\x05\x02\x00\x01a\x01", {}),
        (b"\x01\x04\x01\x00\x01\xff", {}),
    ],
)
def test_broken_names_cost_names_only(contents: bytes, names: dict[int, str]) -> None:
    assert read_module(HEADER + custom_section("name", contents)).function_names() == names


TYPE = section(Section.TYPE, vector([b"\x60\x00\x00"]))
FUNCTION = section(Section.FUNCTION, vector([u32(0)]))
CODE = section(Section.CODE, vector([b"\x02\x00\x0b"]))
MEMORY = section(Section.MEMORY, vector([b"\x00\x01"]))
TABLE = section(Section.TABLE, vector([b"\x70\x00\x01"]))


def globals_with(*initializers: bytes) -> bytes:
    return section(Section.GLOBAL, vector([b"\x7f\x00" + item for item in initializers]))


def elements(*items: bytes) -> bytes:
    return TYPE + FUNCTION + TABLE + section(Section.ELEMENT, vector(items)) + CODE


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (b"\x0e\x00", "section header, offset 0x8: there is no section with id 14"),
        (TYPE + TYPE, "section header, offset 0xe: the type section is repeated or out of order"),
        (MEMORY + TYPE, "section header, offset 0xd: the type section is repeated or out of order"),
        (b"\x01\x05\x00", "section header, offset 0xa: 5 bytes are announced, 1 are left"),
        (b"\x01\x02\x00\x00", "type section, offset 0xb: 1 bytes are left over"),
        (section(1, vector([b"\x5f\x00"])), "type section, offset 0xb: only function types are supported"),
        (section(1, vector([b"\x60\x01\x6e\x00"])), "type section, offset 0xc: an unknown value type"),
        (FUNCTION, "function section, offset 0xb: there is no type 0"),
        (TYPE + FUNCTION, "section header, offset 0x12: 1 functions are declared, 0 have a body"),
        (CODE, "section header, offset 0xe: 0 functions are declared, 1 have a body"),
        (section(2, vector([name("m") + name("n") + b"\x07"])), "offset 0xf: there is no kind of import or export 7"),
        (
            section(2, vector([name("m") + name("n") + b"\x04\x00\x00"])),
            "import section, offset 0x10: import m.n: exception tags are not supported",
        ),
        (section(13, vector([b"\x00\x00"])), "tag section, offset 0xa: exception tags are not supported"),
        (section(4, vector([b"\x6e\x00\x01"])), "table section, offset 0xb: an unknown element type"),
        (section(5, vector([b"\x02\x01\x01"])), "offset 0xb: shared or 64-bit memories and tables are not supported"),
        (section(6, vector([b"\x7f\x02\x41\x00\x0b"])), "global section, offset 0xb: an unknown type of global"),
        (section(6, vector([b"\x00\x00\x41\x00\x0b"])), "global section, offset 0xb: an unknown type of global"),
        (globals_with(b"\x41\x00"), "global section, offset 0xf: ends too early"),
        (
            globals_with(b"\x01\x0b"),
            "global section, offset 0xd: opcode 0x01 is not allowed in a constant expression",
        ),
        (
            globals_with(b"\xd0\x7f\x0b"),
            "global section, offset 0xd: opcode 0xd0 is not allowed in a constant expression",
        ),
        (globals_with(b"\x0b"), r"offset 0xd: a constant expression gives \(\) where i32 is expected"),
        (
            globals_with(b"\x41\x01\x41\x02\x0b"),
            r"offset 0xd: a constant expression gives \(i32, i32\) where i32 is expected",
        ),
        (globals_with(b"\x42\x01\x0b"), r"offset 0xd: a constant expression gives \(i64\) where i32 is expected"),
        (globals_with(b"\x41\x01\x6a\x0b"), "offset 0xf: an operation in a constant expression lacks its operands"),
        (
            globals_with(b"\x41\x01\x42\x01\x6a\x0b"),
            "offset 0x11: an operation in a constant expression lacks its operands",
        ),
        (globals_with(b"\x23\x00\x0b"), "global section, offset 0xe: there is no global 0"),
        (globals_with(b"\xd2\x00\x0b"), "global section, offset 0xe: there is no function 0"),
        (TYPE + section(8, u32(0)), "start section, offset 0x10: there is no function 0"),
        (elements(b"\x08"), "element section, offset 0x1b: an element segment of unknown form 8"),
        (elements(b"\x00\x41\x00\x0b\x01\x01"), "element section, offset 0x20: there is no function 1"),
        (elements(b"\x01\x01\x01\x00"), "offset 0x1c: only function references are supported in element segments"),
        (elements(b"\x05\x6f\x00"), "offset 0x1c: only function references are supported in element segments"),
        (elements(b"\x02\x01\x41\x00\x0b\x00\x00"), "element section, offset 0x1c: there is no table 1"),
        (elements(b"\x05\x70\x01\x41\x00\x0b"), r"offset 0x1e: a constant expression gives \(i32\) where funcref"),
        (
            section(9, vector([b"\x00\x41\x00\x0b\x00"])),
            "element section, offset 0xb: an element segment without a table",
        ),
        (section(11, vector([b"\x00\x41\x00\x0b\x00"])), "data section, offset 0xb: a data segment without a memory"),
        (MEMORY + section(11, vector([b"\x03"])), "data section, offset 0x10: a data segment of unknown form 3"),
        (
            MEMORY + section(11, vector([b"\x02\x01\x41\x00\x0b\x00"])),
            "data section, offset 0x11: there is no memory 1",
        ),
        (
            MEMORY + section(11, vector([b"\x01\x05abc"])),
            "data section, offset 0x12: 5 bytes are announced, 3 are left",
        ),
        (
            MEMORY + section(12, u32(2)) + section(11, vector([b"\x01\x01a"])),
            "section header, offset 0x16: 2 data segments are declared, 1 are there",
        ),
        (section(0, b"\x05ab"), "custom section, offset 0xb: 5 bytes are announced, 2 are left"),
    ],
)
def test_a_malformed_module_is_refused_with_section_and_offset(sections: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        read_module(HEADER + sections)


def test_an_element_that_is_neither_function_nor_null_is_refused(assemble: "Assemble") -> None:
    data = assemble('(module (import "m" "g" (global funcref)) (table 1 funcref) (elem funcref (global.get 0)))')
    with pytest.raises(MalformedError, match=r"element section, offset .*: an element must be ref.func or ref.null"):
        read_module(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "this is no WebAssembly module"),
        (b"\0asm\x02\0\0\0", "this is no WebAssembly module"),
        (b"\0asm\x0d\0\x01\0", "this is a component, not a core module"),
    ],
)
def test_what_is_no_module_is_refused_at_its_start(data: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=rf"^core module 7, header, offset 0x2: {message}"):
        read_module(b"\xee\xee" + data, 2, label="core module 7, ")


def test_errors_inside_a_labelled_module_say_which_module_it_is() -> None:
    with pytest.raises(MalformedError, match=r"^core module 7, type section, offset 0xd: only function types"):
        read_module(b"\xee\xee" + HEADER + section(1, vector([b"\x00"])), 2, label="core module 7, ")
