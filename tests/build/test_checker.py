import pytest
import wasmtime

from proxy_wasm.abi.signatures import CALLBACKS, HOSTCALLS, WASI_IMPORTS, CoreSignature
from proxy_wasm.build.checker import check, violations
from proxy_wasm.build.errors import CheckError

ABI = '(func (export "proxy_abi_version_0_2_1"))'
ALLOCATE = '(func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 0))'
MEMORY = '(memory (export "memory") 1)'


def module(*fields: str) -> bytes:
    return bytes(wasmtime.wat2wasm(f"(module {' '.join(fields)})"))


def function_type(signature: CoreSignature) -> str:
    return f"(param {' '.join(signature.parameters)}) (result {' '.join(signature.results)})"


def imported(where: str, name: str, signature: CoreSignature) -> str:
    return f'(import "{where}" "{name}" (func {function_type(signature)}))'


def exported(name: str, signature: CoreSignature) -> str:
    return f'(func (export "{name}") {function_type(signature)} unreachable)'


def found(*fields: str) -> list[str]:
    return [str(violation) for violation in violations(module(*fields))]


def test_a_module_that_uses_every_hostcall_and_callback_is_accepted() -> None:
    check(
        module(
            *(imported("env", hostcall.import_name, hostcall.core) for hostcall in HOSTCALLS.values()),
            *(imported("wasi_snapshot_preview1", name, signature) for name, signature in WASI_IMPORTS.items()),
            *(exported(callback.export_name, callback.core) for callback in CALLBACKS.values()),
            '(func (export "_initialize")) (func (export "anything_else") (param f64))',
            ABI,
            ALLOCATE,
            MEMORY,
        )
    )


def test_malloc_serves_as_well() -> None:
    assert found(ABI, '(func (export "malloc") (param i32) (result i32) (i32.const 0))', MEMORY) == []


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        (
            '(import "env" "proxy_log" (func (param i32 i32) (result i32)))',
            "import env.proxy_log: has the type (i32, i32) -> (i32); hosts provide (i32, i32, i32) -> (i32)",
        ),
        (
            '(import "env" "proxy_logg" (func))',
            "import env.proxy_logg: hosts of ABI 0.2.1 provide no such function; did you mean 'proxy_log'?",
        ),
        (
            '(import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i32 i32) (result i32)))',
            (
                "import wasi_snapshot_preview1.clock_time_get: has the type (i32, i32, i32) -> (i32); "
                "hosts provide (i32, i64, i32) -> (i32)"
            ),
        ),
        (
            '(import "wasi_snapshot_preview1" "sock_send" (func))',
            (
                "import wasi_snapshot_preview1.sock_send: not every proxy provides it; what all provide is fd_write, "
                "clock_time_get, random_get, environ_get, environ_sizes_get"
            ),
        ),
        (
            '(import "js" "now" (func))',
            "import js.now: hosts provide env and wasi_snapshot_preview1, not js",
        ),
        (
            '(import "env" "counter" (global i32))',
            "import env.counter: a global is imported; hosts provide functions only",
        ),
        (
            '(import "env" "table" (table 1 funcref))',
            "import env.table: a table is imported; hosts provide functions only",
        ),
        (
            '(func (export "proxy_on_log") (param i64))',
            "export proxy_on_log: has the type (i64) -> (); hosts call (i32) -> ()",
        ),
        (
            '(func (export "proxy_on_done") (param i32))',
            "export proxy_on_done: has the type (i32) -> (); hosts call (i32) -> (i32)",
        ),
        (
            '(func (export "proxy_on_request_header") (param i32))',
            "export proxy_on_request_header: no host calls it; did you mean 'proxy_on_request_headers'?",
        ),
        (
            '(global (export "proxy_on_tick") i32 (i32.const 0))',
            "export proxy_on_tick: is a global; hosts look for a function",
        ),
        (
            '(func (export "malloc") (param i64) (result i32) (i32.const 0))',
            "export malloc: has the type (i64) -> (i32); hosts call (i32) -> (i32)",
        ),
        (
            '(func (export "_start") (param i32))',
            "export _start: has the type (i32) -> (); hosts call () -> ()",
        ),
    ],
)
def test_each_mismatch_is_named_with_what_was_found_and_expected(field: str, problem: str) -> None:
    assert found(field, ABI, ALLOCATE, MEMORY) == [problem]


def test_a_missing_abi_version_allocator_and_memory_are_each_reported() -> None:
    assert found() == [
        "export proxy_abi_version_0_2_1: missing; by it hosts tell which ABI a module speaks",
        "export proxy_on_memory_allocate: missing; through it hosts hand over what hostcalls return",
        "memory: 0 memories are there; hosts work with exactly one",
    ]


def test_another_abi_version_is_reported() -> None:
    assert found('(func (export "proxy_abi_version_0_2_0"))', ALLOCATE, MEMORY) == [
        "export proxy_abi_version_0_2_0: the module speaks this ABI; proxy_abi_version_0_2_1 is expected first"
    ]


def test_an_imported_memory_is_reported() -> None:
    assert found('(import "env" "memory" (memory 1))', ABI, ALLOCATE, '(export "memory" (memory 0))') == [
        "import env.memory: a memory is imported; hosts provide functions only"
    ]


def test_a_memory_must_be_exported_under_its_name() -> None:
    assert found(ABI, ALLOCATE, "(memory 1)") == ["memory: it is not exported under the name 'memory'"]
    assert found(ABI, ALLOCATE, '(memory (export "mem") 1)') == ["memory: it is not exported under the name 'memory'"]


def test_two_memories_are_reported() -> None:
    assert found(ABI, ALLOCATE, MEMORY, "(memory 1)") == ["memory: 2 memories are there; hosts work with exactly one"]


def test_an_export_of_a_function_that_is_not_there_is_reported() -> None:
    broken = bytearray(module(ABI, ALLOCATE, MEMORY, '(func (export "proxy_on_log") (param i32))'))
    position = broken.index(b"proxy_on_log") + len(b"proxy_on_log") + 1
    broken[position] = 99

    assert [str(violation) for violation in violations(bytes(broken))] == [
        "export proxy_on_log: there is no function 99"
    ]


def test_every_reason_is_listed_in_one_error() -> None:
    with pytest.raises(CheckError) as raised:
        check(module('(import "js" "now" (func))', MEMORY))

    assert str(raised.value).splitlines() == [
        "Proxy-Wasm hosts refuse this module:",
        "  import js.now: hosts provide env and wasi_snapshot_preview1, not js",
        "  export proxy_abi_version_0_2_1: missing; by it hosts tell which ABI a module speaks",
        "  export proxy_on_memory_allocate: missing; through it hosts hand over what hostcalls return",
    ]
    assert len(raised.value.violations) == 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "header, offset 0x0"),
        (b"\0asm\x0d\0\x01\0", "this is a component, not a core module"),
        (b"\0asm\x01\0\0\0\x01\x05\x01", "section header, offset 0xa: 5 bytes are announced, 1 are left"),
        (b"\0asm\x01\0\0\0\x07\x03\x01\x00\x09", "export section, offset 0xc: there is no kind of import or export 9"),
    ],
)
def test_a_malformed_module_is_refused_with_section_and_offset(data: bytes, message: str) -> None:
    with pytest.raises(CheckError) as raised:
        check(data)

    assert message in str(raised.value)


def test_a_function_body_that_is_not_valid_is_reported() -> None:
    broken = bytearray(
        module(ABI, ALLOCATE, MEMORY, '(func (export "proxy_on_tick") (param i32) (drop (i32.const 7)))')
    )
    broken[broken.rindex(b"\x41\x07\x1a")] = 0x42
    broken[broken.rindex(b"\x42\x07\x1a") + 2] = 0x45

    problems = [str(violation) for violation in violations(bytes(broken))]

    assert len(problems) == 1
    assert problems[0].startswith("module: is not valid: ")
    assert "type mismatch" in problems[0]
