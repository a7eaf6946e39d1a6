"""Compiled guests: what is refused, how values cross the boundary, when hostcalls trap, WASI."""

import gc
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from struct import pack

import pytest
import wasmtime

from proxy_wasm import emulator as emulator_package
from proxy_wasm.abi.enums import LogLevel, MetricType, Status
from proxy_wasm.abi.header_map import encode_pairs
from proxy_wasm.abi.signatures import HOSTCALLS, WASI_IMPORTS
from proxy_wasm.emulator import (
    Clock,
    ConfigurationRejected,
    Emulator,
    HeaderMap,
    ModuleRefused,
    Request,
    SharedState,
    VmFailed,
    wasm_guest,
)

SCRATCH = 256
"""Where the test modules let the host write results."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_WASM_CACHE", str(tmp_path / "cache"))


def _imports() -> str:
    def declare(module: str, name: str, parameters: tuple[str, ...]) -> str:
        return f'(import "{module}" "{name}" (func ${name} (param {" ".join(parameters)}) (result i32)))'

    lines = [declare("env", call.import_name, call.core.parameters) for call in HOSTCALLS.values()]
    lines += [declare("wasi_snapshot_preview1", name, core.parameters) for name, core in WASI_IMPORTS.items()]
    return "\n".join(lines).replace("(param )", "")


ABI = '(func (export "proxy_abi_version_0_2_1"))'
MEMORY = '(memory (export "memory") 2)'
ALLOCATE = """
(global $heap (mut i32) (i32.const 65536))
(func $allocate (export "proxy_on_memory_allocate") (param $size i32) (result i32)
  global.get $heap
  (global.set $heap (i32.add (global.get $heap) (local.get $size))))
"""


def data(at: int, content: bytes) -> str:
    return f'(data (i32.const {at}) "{"".join(f"{chr(92)}{byte:02x}" for byte in content)}")'


def module(*parts: str, base: str = f"{MEMORY}{ALLOCATE}{ABI}", imports: str | None = None) -> bytes:
    text = f"(module {_imports() if imports is None else imports} {base} {' '.join(parts)})"
    return bytes(wasmtime.wat2wasm(text))


def callback(name: str, parameters: int, *code: str) -> str:
    """An exported callback; `code` leaves its result."""
    return f'(func (export "proxy_{name}") (param {"i32 " * parameters}) (result i32) {" ".join(code)})'


def on_configure(*code: str) -> str:
    """Accepts the configuration if `code` leaves 0, a status that is OK."""
    return callback("on_configure", 2, *code, "i32.eqz")


def start(
    *parts: str,
    shared: SharedState | None = None,
    foreign_functions: Mapping[str, Callable[[bytes], bytes]] | None = None,
    clock: Clock | None = None,
    environment: Mapping[str, str] | None = None,
) -> Emulator:
    emulator = Emulator(
        wasm_guest(module(*parts)),
        shared=shared,
        foreign_functions=foreign_functions,
        clock=clock,
        environment=environment,
    )
    emulator.start_plugin(b"configuration")
    return emulator


def messages(emulator: Emulator) -> list[str]:
    return [record.message for record in emulator.log]


def log_result(level: LogLevel = LogLevel.INFO) -> str:
    """Logs the bytes whose pointer and size are at SCRATCH."""
    return f"(drop (call $proxy_log (i32.const {level}) (i32.load (i32.const {SCRATCH})) (i32.load (i32.const {SCRATCH + 4}))))"


def log_at(at: int, size: int) -> str:
    return f"(drop (call $proxy_log (i32.const 2) (i32.const {at}) (i32.const {size})))"


# What is refused.


@pytest.mark.parametrize(
    ("wasm", "complaint"),
    [
        (lambda: b"\0asm", "Failed to load Wasm bytecode"),
        (
            lambda: module(imports='(import "env" "getenv" (func))'),
            r"Failed to load Wasm module due to a missing import: env\.getenv$",
        ),
        (
            lambda: module(imports='(import "env" "g" (global i32))'),
            r"Failed to load Wasm module due to a missing import: env\.g$",
        ),
        (
            lambda: module(imports='(import "wasi_snapshot_preview1" "proc_raise" (func (param i32) (result i32)))'),
            r"Failed to load Wasm module due to a missing import: wasi_snapshot_preview1\.proc_raise$",
        ),
        (
            lambda: module(imports='(import "env" "proxy_done" (func (param i64) (result i32)))'),
            r"due to an import type mismatch: env\.proxy_done, want: i64 -> i32, but host exports: void -> i32$",
        ),
        (
            lambda: module(imports='(import "env" "proxy_done" (func (param f32)))'),
            r"due to an import type mismatch: env\.proxy_done, want: f32 -> void, but host exports: void -> i32$",
        ),
        (lambda: module(base=MEMORY + ALLOCATE), "Missing or unknown Proxy-Wasm ABI version"),
        (
            lambda: module('(func (export "proxy_abi_version_0_3_0"))', base=MEMORY + ALLOCATE),
            r"exports none of the functions .*proxy_abi_version_0_2_1, but proxy_abi_version_0_3_0$",
        ),
        (lambda: module(base=MEMORY + ABI), "Wasm module is missing malloc function"),
        (
            lambda: module('(func (export "proxy_on_done") (param i64) (result i32) i32.const 0)'),
            "Bad function signature for: proxy_on_done, want: i32 -> i32, but the module exports: i64 -> i32$",
        ),
        (
            lambda: module('(func (export "_initialize") (param i32))'),
            "Bad function signature for: _initialize, want: void -> void, but the module exports: i32 -> void$",
        ),
    ],
    ids=[
        "garbage",
        "import",
        "global",
        "wasi",
        "type",
        "float",
        "abi",
        "other abi",
        "allocator",
        "callback",
        "initializer",
    ],
)
def test_modules_that_a_proxy_would_not_load_are_refused(wasm: Callable[[], bytes], complaint: str) -> None:
    with pytest.raises(ModuleRefused, match=complaint):
        Emulator(wasm_guest(wasm()))


@pytest.mark.parametrize(("name", "parameters"), [("fd_tell", "i32 i32"), ("clock_res_get", "i32 i32")])
def test_a_module_that_needs_newer_wasi_can_be_refused_as_older_releases_of_envoy_do(
    name: str, parameters: str
) -> None:
    wasm = module(imports=f'(import "wasi_unstable" "{name}" (func (param {parameters}) (result i32)))')
    Emulator(wasm_guest(wasm))
    with pytest.raises(ModuleRefused, match=rf"due to a missing import: wasi_unstable\.{name}$"):
        Emulator(wasm_guest(wasm, older_wasi=True))
    Emulator(wasm_guest(module(), older_wasi=True))


def test_a_module_without_callbacks_lets_everything_pass() -> None:
    exchange = Emulator(wasm_guest(module())).start_plugin().exchange(Request("POST", body=b"b"))
    assert (exchange.status, exchange.body) == (200, b"upstream\n")


def test_the_name_wasm_guest_stays_what_it_is_when_modules_have_run() -> None:
    Emulator(wasm_guest(module()))
    assert emulator_package.wasm_guest is wasm_guest


# Starting.


def test_initialize_then_main_run_before_everything() -> None:
    parts = (
        data(0, b"initmain"),
        f'(func (export "_initialize") {log_at(0, 4)})',
        f'(func (export "main") (param i32 i32) (result i32) {log_at(4, 4)} i32.const 0)',
        f'(func (export "_start") {log_at(0, 1)})',
    )
    assert messages(Emulator(wasm_guest(module(*parts)))) == ["init", "main"]


def test_main_void_runs_where_there_is_no_main_and_start_where_there_is_no_initialize() -> None:
    main_void = f'(func (export "__main_void") (result i32) {log_at(0, 1)} i32.const 0)'
    parts = (data(0, b"ms"), main_void, '(func (export "_initialize"))')
    assert messages(Emulator(wasm_guest(module(*parts)))) == ["m"]
    parts = (data(0, b"ms"), main_void, f'(func (export "_start") {log_at(1, 1)})')
    assert messages(Emulator(wasm_guest(module(*parts)))) == ["s"]


def test_most_hostcalls_trap_during_initialization() -> None:
    wasm = module('(func (export "_initialize") (drop (call $proxy_done)))')
    with pytest.raises(VmFailed, match="Function: _initialize failed: Uncaught Error: restricted_callback: proxy_done"):
        Emulator(wasm_guest(wasm))


def test_most_hostcalls_trap_while_memory_is_allocated() -> None:
    base = f'{MEMORY}{ABI}(func (export "malloc") (param i32) (result i32) call $proxy_done)'
    get = f"(call $proxy_get_buffer_bytes (i32.const 7) (i32.const 0) (i32.const 9) (i32.const {SCRATCH}) (i32.const {SCRATCH + 4}))"
    emulator = Emulator(wasm_guest(module(on_configure(get), base=base)))
    with pytest.raises(VmFailed, match="Function: malloc failed: Uncaught Error: restricted_callback: proxy_done"):
        emulator.start_plugin(b"configuration")


def test_malloc_is_preferred_to_the_specifications_allocator() -> None:
    base = f'{MEMORY}{ABI}{ALLOCATE}(func (export "malloc") (param i32) (result i32) i32.const 512)'
    get = f"(call $proxy_get_buffer_bytes (i32.const 7) (i32.const 0) (i32.const 9) (i32.const {SCRATCH}) (i32.const {SCRATCH + 4}))"
    emulator = Emulator(wasm_guest(module(on_configure(get, log_at(512, 9)), base=base)))
    emulator.start_plugin(b"configuration")
    assert messages(emulator) == ["configura"]


def test_a_refusing_module_is_rejected_with_its_log() -> None:
    wasm = module(data(0, b"bad field"), callback("on_configure", 2, log_at(0, 9), "i32.const 0"))
    with pytest.raises(ConfigurationRejected, match="bad field"):
        Emulator(wasm_guest(wasm)).start_plugin()


# Hostcalls.


def test_bytes_and_numbers_cross_in_both_directions() -> None:
    # Gets the configuration, stores it under the key "k", and reads it back with its cas.
    shared = SharedState()
    emulator = start(
        data(0, b"k"),
        on_configure(
            f"(call $proxy_get_buffer_bytes (i32.const 7) (i32.const 3) (i32.const 6) (i32.const {SCRATCH}) (i32.const {SCRATCH + 4}))",
            log_result(),
            f"(call $proxy_set_shared_data (i32.const 0) (i32.const 1) (i32.load (i32.const {SCRATCH})) (i32.const 6) (i32.const 0))",
            "i32.or",
            f"(call $proxy_get_shared_data (i32.const 0) (i32.const 1) (i32.const {SCRATCH}) (i32.const {SCRATCH + 4}) (i32.const {SCRATCH + 8}))",
            "i32.or",
            log_result(LogLevel.WARN),
        ),
        shared=shared,
    )
    assert [(record.level, record.message) for record in emulator.log] == [
        (LogLevel.INFO, "figura"),
        (LogLevel.WARN, "figura"),
    ]
    assert shared.data.get(b"", b"k") == (b"figura", 1)


def test_signed_and_wide_numbers_keep_their_value() -> None:
    metric = f"(i32.load (i32.const {SCRATCH}))"
    emulator = start(
        data(0, b"gauge"),
        on_configure(
            f"(call $proxy_define_metric (i32.const {MetricType.GAUGE}) (i32.const 0) (i32.const 5) (i32.const {SCRATCH}))",
            f"(call $proxy_record_metric {metric} (i64.const 0xffffffffffffffff))",
            "i32.or",
            f"(call $proxy_increment_metric {metric} (i64.const -2))",
            "i32.or",
            f"(call $proxy_get_metric {metric} (i32.const {SCRATCH + 8}))",
            "i32.or",
            log_at(SCRATCH + 8, 8),
        ),
    )
    assert emulator.metrics == {"gauge": 0xFFFFFFFFFFFFFFFD}
    assert emulator.log[0].message.encode("utf-8", "surrogateescape") == pack("<Q", 0xFFFFFFFFFFFFFFFD)


def test_a_filter_reads_and_changes_headers_and_answers() -> None:
    header_pairs = encode_pairs([(b"x-who", b"wasm")])
    plugin_code = (
        data(0, b":path/denyx-seenno"),
        data(64, header_pairs),
        callback(
            "on_request_headers",
            3,
            f"(drop (call $proxy_get_header_map_value (i32.const 0) (i32.const 0) (i32.const 5) (i32.const {SCRATCH}) (i32.const {SCRATCH + 4})))",
            f"(drop (call $proxy_add_header_map_value (i32.const 0) (i32.const 10) (i32.const 6)"
            f" (i32.load (i32.const {SCRATCH})) (i32.load (i32.const {SCRATCH + 4}))))",
            f"(if (i32.eq (i32.load (i32.const {SCRATCH + 4})) (i32.const 5)) (then",
            f"(drop (call $proxy_send_local_response (i32.const 403) (i32.const 1) (i32.const 4) (i32.const 16) (i32.const 2)"
            f" (i32.const 64) (i32.const {len(header_pairs)}) (i32.const -1)))))",
            "(i32.const 0)",
        ),
    )
    plugin = Emulator(wasm_guest(module(*plugin_code))).start_plugin()
    passed = plugin.exchange(Request(path="/"))
    assert passed.upstream is not None
    assert passed.upstream.headers == [("x-seen", "/")]
    denied = plugin.exchange(Request(path="/deny"))
    assert (denied.status, denied.body, denied.details) == (403, b"no", "path")
    assert denied.headers["x-who"] == "wasm"


def test_statuses_come_back_as_numbers() -> None:
    def check(call: str, status: Status) -> str:
        return f"(if (i32.ne {call} (i32.const {status})) (then unreachable))"

    outside = "(i32.const 131070) (i32.const 3)"
    start(
        on_configure(
            check("(call $proxy_log (i32.const 9) (i32.const 0) (i32.const 0))", Status.BAD_ARGUMENT),
            check(f"(call $proxy_log (i32.const 2) {outside})", Status.INVALID_MEMORY_ACCESS),
            check("(call $proxy_log (i32.const 2) (i32.const -1) (i32.const -1))", Status.INVALID_MEMORY_ACCESS),
            check("(call $proxy_get_log_level (i32.const 131070))", Status.INVALID_MEMORY_ACCESS),
            check(
                "(call $proxy_get_property (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0))", Status.NOT_FOUND
            ),
            check(
                "(call $proxy_get_header_map_value (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0))",
                Status.BAD_ARGUMENT,
            ),
            check("(call $proxy_continue_stream (i32.const 3))", Status.UNIMPLEMENTED),
            "(i32.const 0)",
        )
    )


def test_results_without_bytes_are_a_null_pointer() -> None:
    start(
        data(SCRATCH, b"\xff" * 8),
        on_configure(
            f"(call $proxy_get_header_map_pairs (i32.const 0) (i32.const {SCRATCH}) (i32.const {SCRATCH + 4}))",
            f"(i32.or (i32.load (i32.const {SCRATCH})) (i32.load (i32.const {SCRATCH + 4})))",
            "i32.or",
        ),
    )


def test_an_allocator_that_gives_nothing_is_an_invalid_memory_access() -> None:
    base = f'{MEMORY}{ABI}(func (export "malloc") (param i32) (result i32) i32.const 0)'
    get = f"(call $proxy_get_buffer_bytes (i32.const 7) (i32.const 0) (i32.const 9) (i32.const {SCRATCH}) (i32.const {SCRATCH + 4}))"
    wasm = module(on_configure(get, f"i32.const {Status.INVALID_MEMORY_ACCESS}", "i32.ne"), base=base)
    Emulator(wasm_guest(wasm)).start_plugin(b"configuration")


def test_foreign_functions_may_be_called_without_wanting_their_result() -> None:
    calls: list[bytes] = []

    def function(arguments: bytes) -> bytes:
        calls.append(arguments)
        return b"result"

    call = "(call $proxy_call_foreign_function (i32.const 8) (i32.const 1) (i32.const 9) (i32.const 2)"
    emulator = start(
        data(8, b"fab"),
        on_configure(
            f"{call} (i32.const 0) (i32.const 0))",
            "(i32.load (i32.const 0))",
            "i32.or",
            f"{call} (i32.const {SCRATCH}) (i32.const {SCRATCH + 4}))",
            "i32.or",
            log_result(),
        ),
        foreign_functions={"f": function},
    )
    assert calls == [b"ab", b"ab"]
    assert messages(emulator) == ["result"]


# WASI.


def test_writes_to_standard_streams_are_log_messages() -> None:
    def write(fd: int, vectors: int) -> str:
        return f"(call $fd_write (i32.const {fd}) (i32.const {vectors}) (i32.const 2) (i32.const {SCRATCH}))"

    emulator = start(
        data(0, b"out \n\n"),
        data(16, pack("<4I", 0, 4, 4, 2)),
        data(32, pack("<4I", 0, 3, 0, 0)),
        on_configure(
            write(1, 16),
            f"(i32.load (i32.const {SCRATCH}))",
            "i32.const 6",
            "i32.ne",
            "i32.or",
            write(2, 32),
            "i32.or",
            write(3, 32),
            "i32.const 8",
            "i32.ne",
            "i32.or",
            write(1, 131064),
            "i32.const 21",
            "i32.ne",
            "i32.or",
        ),
    )
    assert [(record.level, record.message) for record in emulator.log] == [
        (LogLevel.INFO, "out \n"),
        (LogLevel.ERROR, "out"),
    ]


def test_clocks_are_the_emulators() -> None:
    def read(clock: int) -> str:
        return f"(call $clock_time_get (i32.const {clock}) (i64.const 0) (i32.const {SCRATCH}))"

    clock = Clock(5)
    emulator = start(
        on_configure(
            read(0),
            log_at(SCRATCH, 8),
            read(1),
            "i32.or",
            log_at(SCRATCH, 8),
            read(2),
            "i32.const 58",
            "i32.ne",
            "i32.or",
        ),
        clock=clock,
    )
    times = [record.message.encode("utf-8", "surrogateescape") for record in emulator.log]
    assert times == [pack("<Q", 5_000_000_000), pack("<Q", clock.monotonic_nanoseconds)]


def test_random_bytes_are_random_and_at_most_64_kib() -> None:
    get = f"(call $random_get (i32.const {SCRATCH}) (i32.const 16))"
    too_many = f"(call $random_get (i32.const {SCRATCH}) (i32.const 65537))"
    code = (on_configure(get, log_at(SCRATCH, 16), too_many, "i32.const 28", "i32.ne", "i32.or"),)
    assert messages(start(*code)) != messages(start(*code))


def test_the_environment_is_the_configured_one() -> None:
    emulator = start(
        on_configure(
            f"(call $environ_sizes_get (i32.const {SCRATCH}) (i32.const {SCRATCH + 4}))",
            f"(call $environ_get (i32.const {SCRATCH + 8}) (i32.const {SCRATCH + 32}))",
            "i32.or",
            log_at(SCRATCH, 16),
            log_at(SCRATCH + 32, 10),
        ),
        environment={"A": "1", "LANG": ""},
    )
    table, text = (record.message.encode() for record in emulator.log)
    assert table == pack("<4I", 2, 10, SCRATCH + 32, SCRATCH + 36)
    assert text == b"A=1\0LANG=\0"


# Failing.


def test_a_trap_fails_the_vm_with_a_backtrace() -> None:
    inner = "(func $inner unreachable)"
    plugin = Emulator(
        wasm_guest(module(inner, callback("on_request_headers", 3, "call $inner", "i32.const 0")))
    ).start_plugin()
    exchange = plugin.exchange()
    assert (exchange.status, exchange.details) == (503, "wasm_fail_stream")
    message = exchange.logs[-1].message
    assert message.startswith("Function: proxy_on_request_headers failed: Uncaught RuntimeError: unreachable\n")
    assert "in-VM backtrace:\n  0:  0x" in message
    assert " - inner\n  1:  0x" in message
    assert plugin.exchange(Request(headers=HeaderMap({"x": "1"}))).status == 503


def test_the_stack_of_a_guest_can_be_limited() -> None:
    recursion = "(func $down (param i32) (result i32) (if (result i32) (local.get 0) (then (i32.add (i32.const 1)"
    recursion += " (call $down (i32.sub (local.get 0) (i32.const 1))))) (else (i32.const 0))))"
    wasm = module(recursion, callback("on_request_headers", 3, "(drop (call $down (i32.const 5000)))", "i32.const 0"))
    assert Emulator(wasm_guest(wasm)).start_plugin().exchange().status == 200
    exchange = Emulator(wasm_guest(wasm, max_wasm_stack=16384)).start_plugin().exchange()
    assert exchange.status == 503
    assert "Uncaught RangeError: Maximum call stack size exceeded" in exchange.logs[-1].message


def test_memory_is_bounded_and_its_size_known() -> None:
    grow = callback(
        "on_configure",
        2,
        "(i32.ne (memory.grow (i32.const 16000)) (i32.const -1))",
        "(memory.grow (i32.const 1000))",
        "i32.const -1",
        "i32.eq",
        "i32.and",
    )
    emulator = start(grow)
    assert emulator.memory_size() == 16002 * 65536


def test_what_a_foreign_function_raises_reaches_the_test() -> None:
    def function(_: bytes) -> bytes:
        msg = "a bug of the test"
        raise ZeroDivisionError(msg)

    call = "(call $proxy_call_foreign_function (i32.const 8) (i32.const 1) (i32.const 9) (i32.const 2)"
    with pytest.raises(ZeroDivisionError):
        start(data(8, b"f"), on_configure(f"{call} (i32.const 0) (i32.const 0))"), foreign_functions={"f": function})


# Machine code.


def test_machine_code_is_kept_for_other_processes(tmp_path: Path) -> None:
    wasm = module(data(0, b"kept"), on_configure(log_at(0, 4), "i32.const 0"))
    Emulator(wasm_guest(wasm))
    (entry,) = (tmp_path / "cache" / "machine-code").iterdir()
    assert entry.is_dir()


def test_damaged_machine_code_is_made_again(tmp_path: Path) -> None:
    wasm = module(data(0, b"damaged"), on_configure(log_at(0, 7), "i32.const 0"))
    Emulator(wasm_guest(wasm))
    (entry,) = (tmp_path / "cache" / "machine-code").iterdir()
    (file,) = entry.iterdir()
    file.write_bytes(b"nonsense")
    from proxy_wasm.emulator import wasm_module  # noqa: PLC0415

    wasm_module.forget()
    emulator = Emulator(wasm_guest(wasm))
    emulator.start_plugin()
    assert messages(emulator) == ["damaged"]


def test_a_vm_that_is_no_longer_used_goes_away() -> None:
    emulator = start()
    guest = weakref.ref(emulator._vm.guest)  # pyright: ignore[reportPrivateUsage]
    del emulator
    gc.collect()
    assert guest() is None
