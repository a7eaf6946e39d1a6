"""What a proxy makes of modules of any language: the same modules, written in text, in the emulator and in Envoy."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import wasmtime

from proxy_wasm.emulator import ConfigurationRejected, FailurePolicy, ModuleRefused, StreamPaused, VmFailed
from proxy_wasm.emulator.abi_versions import BY_EXPORT, V0_1_0, V0_2_1, AbiVersion
from proxy_wasm.emulator.wasi import WASI
from proxy_wasm.testing import Proxy, StartProxy, UpstreamRequest, UpstreamResponse, respond

pytestmark = pytest.mark.hosts("wasm", "envoy")

Assemble = Callable[[str], Path]

MEMORY = '(memory (export "memory") 2)'
MALLOC = '(func $malloc (export "malloc") (param i32) (result i32) i32.const 4096)'
OUTSIDE = "(i32.const -16)"
"""A pointer out of memory."""


@pytest.fixture
def assemble(tmp_path: Path) -> Assemble:
    """Writes a module."""

    numbers = itertools.count()

    def write(text: str) -> Path:
        path = tmp_path / f"module-{next(numbers)}.wasm"
        path.write_bytes(wasmtime.wat2wasm(text))
        return path

    return write


def wat(*parts: str, version: AbiVersion | str = V0_2_1, malloc: str = MALLOC, memory: str = MEMORY) -> str:
    """A module that imports all there is, with `$tell`, which logs a number, and `$say`, which logs what is in memory."""
    export = version if isinstance(version, str) else version.export
    found = BY_EXPORT.get(export, V0_2_1)
    imports = [
        f'(import "env" "{call.import_name}" (func ${call.name} (param {" ".join(call.core.parameters)}) (result i32)))'
        for call in found.hostcalls.values()
    ]
    imports += [
        f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {" ".join(core.parameters)})'
        f"{' (result i32)' if core.results else ''}))"
        for name, core in WASI.items()
    ]
    helpers = """
    (func $say (param i32 i32) (drop (call $log (i32.const 2) (local.get 0) (local.get 1))))
    (func $tell (param i32)
      (i32.store8 (i32.const 64) (i32.add (i32.const 48) (i32.div_u (local.get 0) (i32.const 10))))
      (i32.store8 (i32.const 65) (i32.add (i32.const 48) (i32.rem_u (local.get 0) (i32.const 10))))
      (call $say (i32.const 64) (i32.const 2)))
    """
    declared = " ".join(imports).replace("(param )", "")
    return f'(module {declared} {memory} (func (export "{export}")) {malloc} {helpers} {" ".join(parts)})'


def minimal(*parts: str, imports: str = "", version: str = V0_2_1.export, memory: str = MEMORY) -> str:
    """A module that imports nothing but `imports`."""
    return f'(module {imports} {memory} (func (export "{version}")) {MALLOC} {" ".join(parts)})'


def request_headers(*code: str) -> str:
    return f'(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {" ".join(code)} (i32.const 0))'


def messages(proxy: Proxy) -> list[str]:
    return [record.message for record in proxy.logs if not record.from_host]


def failures(proxy: Proxy) -> list[str]:
    """What the host said, but for backtraces."""
    return [record.message.partition("\n")[0] for record in proxy.logs if record.from_host]


# What is loaded.


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (minimal(imports='(import "env" "getenv" (func))'), "due to a missing import: env.getenv"),
        (minimal(imports='(import "env" "g" (global i32))'), "due to a missing import: env.g"),
        (
            minimal(imports='(import "wasi_unstable" "proc_raise" (func (param i32) (result i32)))'),
            "due to a missing import: wasi_unstable.proc_raise",
        ),
        (
            minimal(imports='(import "env" "proxy_done" (func (param i64) (result i32)))'),
            "import type mismatch: env.proxy_done, want: i64 -> i32, but host exports: void -> i32",
        ),
        (
            minimal(imports='(import "env" "proxy_done" (func (param f32 f64)))'),
            "import type mismatch: env.proxy_done, want: f32 f64 -> void, but host exports: void -> i32",
        ),
        (
            minimal(
                imports='(import "wasi_snapshot_preview1" "path_symlink" (func (param i32 i32 i32 i32 i32) (result i32)))'
            ),
            "path_symlink, want: i32 i32 i32 i32 i32 -> i32, but host exports: i32 i32 i32 i32 -> i32",
        ),
        (
            minimal(
                imports='(import "env" "proxy_get_log_level" (func (param i32) (result i32)))',
                version="proxy_abi_version_0_2_0",
            ),
            "due to a missing import: env.proxy_get_log_level",
        ),
        (
            minimal(
                imports='(import "env" "proxy_continue_stream" (func (param i32) (result i32)))', version=V0_1_0.export
            ),
            "due to a missing import: env.proxy_continue_stream",
        ),
        (
            minimal(imports='(import "env" "proxy_get_configuration" (func (param i32 i32) (result i32)))'),
            "due to a missing import: env.proxy_get_configuration",
        ),
        (minimal(version="proxy_abi_version_0_3_0"), "Missing or unknown Proxy-Wasm ABI version"),
        (f'(module {MEMORY} (func (export "{V0_2_1.export}")))', "Wasm module is missing malloc function"),
        (
            minimal('(func (export "proxy_on_done") (param i64) (result i32) i32.const 0)'),
            "Bad function signature for: proxy_on_done, want: i32 -> i32, but the module exports: i64 -> i32",
        ),
        (
            minimal('(func (export "_initialize") (param i32))'),
            "Bad function signature for: _initialize, want: void -> void, but the module exports: i32 -> void",
        ),
        (
            minimal(request_headers(), version=V0_1_0.export),
            "proxy_on_request_headers, want: i32 i32 -> i32, but the module exports: i32 i32 i32 -> i32",
        ),
    ],
    ids=lambda value: value[:40] if not value.startswith("(") else "",
)
def test_a_module_that_envoy_refuses_is_refused_in_its_words(
    start_proxy: StartProxy, assemble: Assemble, text: str, complaint: str
) -> None:
    with pytest.raises(ModuleRefused) as refused:
        start_proxy(assemble(text))
    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        minimal('(global (export "proxy_on_log") i32 (i32.const 0))'),
        minimal(memory='(memory (export "other") 2)'),
        minimal(imports='(import "env" "memory" (memory 2))', memory=""),
        minimal(imports='(import "any" "thing" (memory 2 4))', memory=""),
        minimal(imports='(import "any" "table" (table 5 funcref))'),
        minimal('(func (export "main") (param f64))'),
        minimal('(func (export "_initialize"))', '(func (export "_start") (param f64))'),
        minimal('(func (export "proxy_abi_version_0_1_0"))', request_headers()),
        minimal(imports='(import "env" "pthread_equal" (func (param i32 i32) (result i32)))'),
        minimal(imports='(import "env" "emscripten_notify_memory_growth" (func (param i32)))'),
        minimal(imports='(import "wasi_unstable" "fd_write" (func (param i32 i32 i32 i32) (result i32)))'),
    ],
    ids=[
        "global in place of a callback",
        "memory of another name",
        "memory imported",
        "memory imported from anywhere",
        "table imported",
        "main alone",
        "_start beside _initialize",
        "two ABI versions",
        "pthread_equal",
        "emscripten_notify_memory_growth",
        "wasi_unstable",
    ],
)
def test_a_module_that_is_odd_but_loads_lets_requests_pass(
    start_proxy: StartProxy, assemble: Assemble, text: str
) -> None:
    assert start_proxy(assemble(text)).get("/").status == 200


# ABI 0.1.0.


def test_abi_0_1_0_reads_the_plugins_configuration_while_it_is_created_and_configured_and_else_the_vms(
    start_proxy: StartProxy, assemble: Assemble
) -> None:
    def show(callback: str, parameters: str, result: str) -> str:
        code = (
            "(call $tell (call $get_configuration (i32.const 0) (i32.const 4)))"
            "(call $say (i32.load (i32.const 0)) (i32.load (i32.const 4)))"
            # Whether it is in the plugin's buffer, too.
            "(call $tell (call $get_buffer_bytes (i32.const 7) (i32.const 0) (i32.const 9) (i32.const 0) (i32.const 4)))"
        )
        return f'(func (export "proxy_{callback}") (param {parameters}) {code if not result else f"(result i32) {code} {result}"})'

    proxy = start_proxy(
        assemble(
            wat(
                show("on_context_create", "i32 i32", ""),
                show("on_vm_start", "i32 i32", "(i32.const 1)"),
                show("on_configure", "i32 i32", "(i32.const 1)"),
                show("on_request_headers", "i32 i32", "(call $tell (call $clear_route_cache)) (i32.const 0)"),
                version=V0_1_0,
            )
        ),
        "plugin",
        vm_configuration="vm",
    )
    assert proxy.get("/").status == 200
    created, started, configured = ["00", "plugin", "00"], ["00", "vm", "01"], ["00", "plugin", "00"]
    stream_created, headers = ["00", "vm", "01"], ["00", "vm", "01", "00"]
    assert messages(proxy) == [*created, *started, *configured, *stream_created, *headers]


def test_abi_0_1_0_continues_responses_of_its_own_accord(start_proxy: StartProxy, assemble: Assemble) -> None:
    text = wat(
        "(global $stream (mut i32) (i32.const 0))",
        """(func (export "proxy_on_response_headers") (param i32 i32) (result i32)
             (global.set $stream (local.get 0))
             (drop (call $set_tick_period_milliseconds (i32.const 10)))
             (i32.const 1))""",
        """(func (export "proxy_on_tick") (param i32)
             (call $tell (call $set_effective_context (global.get $stream)))
             (call $tell (call $continue_response))
             (drop (call $set_tick_period_milliseconds (i32.const 0))))""",
        version=V0_1_0,
    )
    proxy = start_proxy(assemble(text))
    assert proxy.get("/").status == 200
    assert messages(proxy) == ["00", "00"]


# Memory.


def test_a_pointer_outside_of_memory_is_no_memory_even_for_no_bytes(
    start_proxy: StartProxy, assemble: Assemble
) -> None:
    proxy = start_proxy(
        assemble(
            wat(
                request_headers(
                    f"(call $tell (call $log (i32.const 2) {OUTSIDE} (i32.const 0)))",
                    "(call $tell (call $log (i32.const 2) (i32.const 131072) (i32.const 0)))",
                    "(call $tell (call $log (i32.const 2) (i32.const 131073) (i32.const 0)))",
                    f"(call $tell (call $log (i32.const 9) {OUTSIDE} (i32.const 1)))",
                    f"(call $tell (call $remove_header_map_value (i32.const 99) {OUTSIDE} (i32.const 1)))",
                    f"(call $tell (call $remove_header_map_value (i32.const 0) {OUTSIDE} (i32.const 1)))",
                    f"(call $tell (call $set_buffer_bytes (i32.const 99) (i32.const 0) (i32.const 0) {OUTSIDE} (i32.const 1)))",
                )
            )
        )
    )
    assert proxy.get("/").status == 200
    assert messages(proxy) == ["06", "", "00", "06", "02", "02", "06", "02"]


def get_vm_configuration() -> str:
    return "(call $get_buffer_bytes (i32.const 6) (i32.const 0) (i32.const 9) (i32.const 0) (i32.const 4))"


@pytest.mark.parametrize("allocation", ["(i32.const 0)", "(i32.const -8)"], ids=["nothing", "outside of memory"])
def test_what_the_module_gives_no_memory_for_is_no_memory(
    start_proxy: StartProxy, assemble: Assemble, allocation: str
) -> None:
    malloc = f'(func (export "malloc") (param i32) (result i32) {allocation})'
    text = wat(request_headers(f"(call $tell {get_vm_configuration()})"), malloc=malloc)
    proxy = start_proxy(assemble(text), vm_configuration="vm")
    assert proxy.get("/").status == 200
    assert messages(proxy) == ["06"]


def test_the_specifications_allocator_serves_where_there_is_no_malloc(
    start_proxy: StartProxy, assemble: Assemble
) -> None:
    malloc = '(func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 512)'
    text = wat(
        request_headers(f"(call $tell {get_vm_configuration()}) (call $say (i32.const 512) (i32.const 2))"),
        malloc=malloc,
    )
    proxy = start_proxy(assemble(text), vm_configuration="vm")
    assert proxy.get("/").status == 200
    assert messages(proxy) == ["00", "vm"]


def test_a_call_whose_id_has_no_place_is_not_made_and_one_that_fails_has_none(
    start_proxy: StartProxy, assemble: Assemble
) -> None:
    call = "(call $tell (call $http_call (i32.const 0) (i32.const 0) {0} {0} {0} {0} {0} {0} (i32.const 0) {1}))"
    nothing = "(i32.const 0)"
    text = wat(
        request_headers(
            "(i32.store (i32.const 8) (i32.const 9))",
            call.format(nothing, "(i32.const 8)"),
            "(call $tell (i32.load (i32.const 8)))",
            call.format(nothing, OUTSIDE),
        )
    )
    proxy = start_proxy(assemble(text))
    assert proxy.get("/").status == 200
    assert messages(proxy) == ["02", "00", "06"]


def test_a_foreign_function_that_fails_leaves_no_result_but_one_that_is_not_there_touches_nothing(
    start_proxy: StartProxy, assemble: Assemble
) -> None:
    call = "(call $call_foreign_function (i32.const 512) (i32.const {0}) (i32.const 512) (i32.const 9) (i32.const 8) (i32.const 12))"
    text = wat(
        '(data (i32.const 512) "uncompress")',
        request_headers(
            "(i32.store (i32.const 8) (i32.const 9))",
            "(i32.store (i32.const 12) (i32.const 9))",
            f"(call $tell {call.format(9)})",
            "(call $tell (i32.load (i32.const 8)))",
            f"(call $tell {call.format(10)})",
            "(call $tell (i32.load (i32.const 8)))",
            "(call $tell (i32.load (i32.const 12)))",
        ),
    )
    proxy = start_proxy(assemble(text))
    assert proxy.get("/").status == 200
    assert messages(proxy) == ["01", "09", "03", "00", "00"]


# What is restricted, and when.


FORBIDDEN_WHILE_INITIALIZING = ("fd_read", "fd_seek", "fd_close", "path_open", "sched_yield", "proc_exit")


def wasi_call(name: str, first: int = 0, *others: int) -> str:
    """Calls a function of WASI with numbers that do no harm."""
    core = WASI[name].parameters
    numbers = [first, *others, *([256] * (len(core) - len(others) - 1))][: len(core)]
    call = f"(call ${name} {' '.join(f'({kind}.const {number})' for kind, number in zip(core, numbers, strict=True))})"
    return f"(call $tell {call})" if WASI[name].results else call


@pytest.mark.parametrize("name", [*FORBIDDEN_WHILE_INITIALIZING, "proxy_done"])
def test_what_may_not_be_called_while_a_module_initializes_fails_the_vm(
    start_proxy: StartProxy, assemble: Assemble, name: str
) -> None:
    call = "(call $tell (call $done))" if name == "proxy_done" else wasi_call(name)
    with pytest.raises(VmFailed, match="Function: _initialize failed: Uncaught Error: restricted_callback"):
        start_proxy(assemble(wat(f'(func (export "_initialize") {call})')))


def test_all_the_rest_of_wasi_may_be_called_while_a_module_initializes(
    start_proxy: StartProxy, assemble: Assemble
) -> None:
    calls = [wasi_call(name) for name in WASI if name not in FORBIDDEN_WHILE_INITIALIZING]
    proxy = start_proxy(assemble(wat(f'(func (export "_initialize") {" ".join(calls)})')))
    assert proxy.get("/").status == 200


def allocating(*code: str) -> str:
    return f'(func (export "malloc") (param i32) (result i32) {" ".join(code)} i32.const 4096)'


def test_a_module_may_log_tell_the_time_and_poll_while_it_allocates(
    start_proxy: StartProxy, assemble: Assemble
) -> None:
    code = (
        "(call $say (i32.const 64) (i32.const 0))",
        "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)))",
    )
    code += ("(drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 8)))",)
    code += ("(drop (call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 8)))",)
    text = wat(request_headers(f"(call $tell {get_vm_configuration()})"), malloc=allocating(*code))
    proxy = start_proxy(assemble(text), vm_configuration="vm")
    assert proxy.get("/").status == 200
    # What is logged meanwhile is the VM's, not the plugin's; Envoy does not say which VM's.
    assert [message for message in messages(proxy) if message] == ["00"]


@pytest.mark.parametrize("call", ["(call $random_get (i32.const 0) (i32.const 8))", "(call $done)"])
def test_a_trap_while_memory_is_allocated_fails_the_vm_but_not_the_callback(
    start_proxy: StartProxy, assemble: Assemble, call: str
) -> None:
    text = wat(request_headers(f"(call $tell {get_vm_configuration()})"), malloc=allocating(f"(drop {call})"))
    proxy = start_proxy(assemble(text), vm_configuration="vm")
    exchange = proxy.get("/")
    assert (exchange.status, exchange.details) == (503, "wasm_fail_stream")
    assert messages(proxy) == ["06"]
    (failure,) = failures(proxy)
    assert failure.startswith("Function: malloc failed: Uncaught Error: restricted_callback")


# Traps.


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("unreachable", "RuntimeError: unreachable"),
        ("(drop (i32.load (i32.const -8)))", "RuntimeError: memory access out of bounds"),
        ("(memory.fill (i32.const 0) (i32.const 1) (i32.const -8))", "RuntimeError: memory access out of bounds"),
        ("(drop (i32.div_u (i32.const 1) (local.get 2)))", "RuntimeError: divide by zero"),
        (
            "(drop (i32.div_s (i32.const 0x80000000) (i32.sub (local.get 2) (i32.const 1))))",
            "RuntimeError: divide result unrepresentable",
        ),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", "RuntimeError: float unrepresentable in integer range"),
        ("(call_indirect (type $nothing) (i32.const 0))", "RuntimeError: function signature mismatch"),
        ("(call_indirect (type $nothing) (i32.const 1))", "RuntimeError: function signature mismatch"),
        ("(call_indirect (type $nothing) (i32.const 99))", "RuntimeError: table index is out of bounds"),
        ("(call $forever)", "RangeError: Maximum call stack size exceeded"),
    ],
)
def test_a_trap_is_told_in_envoys_words(start_proxy: StartProxy, assemble: Assemble, code: str, cause: str) -> None:
    proxy = start_proxy(
        assemble(
            minimal(
                "(type $nothing (func))",
                "(table 3 funcref) (elem (i32.const 1) $other) (func $other (param i64))",
                "(func $forever (call $forever))",
                # A request with a body: its headers do not end it, so the third parameter is 0.
                request_headers(code),
            )
        )
    )
    exchange = proxy.post("/", body="body")
    assert (exchange.status, exchange.details) == (503, "wasm_fail_stream")
    assert failures(proxy) == [f"Function: proxy_on_request_headers failed: Uncaught {cause}"]


def test_a_backtrace_names_functions(start_proxy: StartProxy, assemble: Assemble) -> None:
    text = minimal("(func $inner unreachable)", "(func $outer (call $inner))", request_headers("(call $outer)"))
    proxy = start_proxy(assemble(text))
    assert proxy.get("/").status == 503
    (failure,) = [record.message for record in proxy.logs if record.from_host]
    lines = failure.splitlines()
    assert lines[1] == "Proxy-Wasm plugin in-VM backtrace:"
    assert [line.partition(" - ")[2] for line in lines[2:4]] == ["inner", "outer"]
    assert lines[4].partition(" - ")[2].startswith("unknown(function index:")


# WASI.


RESULTS = {
    "args_get": 0, "args_sizes_get": 0, "clock_res_get": 0, "clock_time_get": 0, "environ_get": 0, "environ_sizes_get": 0,
    "fd_advise": 0, "fd_allocate": 8, "fd_close": 0, "fd_datasync": 8, "fd_fdstat_get": 8, "fd_fdstat_set_flags": 52,
    "fd_fdstat_set_rights": 8, "fd_filestat_get": 8, "fd_filestat_set_size": 8, "fd_filestat_set_times": 8, "fd_pread": 52,
    "fd_prestat_dir_name": 52, "fd_prestat_get": 8, "fd_pwrite": 8, "fd_read": 52, "fd_readdir": 20, "fd_renumber": 8, "fd_seek": 0,
    "fd_sync": 8, "fd_tell": 8, "fd_write": 8, "path_create_directory": 58, "path_filestat_get": 58,
    "path_filestat_set_times": 58, "path_link": 58, "path_open": 44, "path_readlink": 58, "path_remove_directory": 58,
    "path_rename": 58, "path_symlink": 58, "path_unlink_file": 58, "poll_oneoff": 0, "random_get": 0, "sched_yield": 0,
    "sock_accept": 58, "sock_recv": 58, "sock_send": 58, "sock_shutdown": 58,
}  # fmt: skip
"""What each function returns for file 0."""
RESULTS_ON_STDOUT = {
    **RESULTS, "fd_allocate": 0, "fd_datasync": 0, "fd_fdstat_get": 0, "fd_fdstat_set_rights": 0, "fd_filestat_set_size": 0,
    "fd_filestat_set_times": 0, "fd_pwrite": 0, "fd_sync": 0, "fd_tell": 0, "fd_write": 0,
}  # fmt: skip
"""What each function returns for file 1."""


@pytest.mark.parametrize(("file", "results"), [(0, RESULTS), (1, RESULTS_ON_STDOUT)])
def test_each_function_of_wasi_returns_what_it_does_in_envoy(
    start_proxy: StartProxy, assemble: Assemble, file: int, results: dict[str, int]
) -> None:
    names = sorted(WASI)
    # Of the vectors that are written none has bytes.
    calls = [wasi_call(name, file, 256, *(0 for _ in range(name.endswith("write")))) for name in names]
    proxy = start_proxy(assemble(wat(request_headers(*calls))))
    assert proxy.get("/").status == 200
    told = [name for name in names if WASI[name].results]
    assert dict(zip(told, messages(proxy), strict=True)) == {name: f"{number:02}" for name, number in results.items()}


def test_pointers_outside_of_memory_are_faults_to_wasi(start_proxy: StartProxy, assemble: Assemble) -> None:
    faulting = {
        "args_sizes_get": f"{OUTSIDE} (i32.const 0)",
        "clock_res_get": f"(i32.const 0) {OUTSIDE}",
        "clock_time_get": f"(i32.const 0) (i64.const 0) {OUTSIDE}",
        "environ_get": f"{OUTSIDE} (i32.const 0)",
        "environ_sizes_get": f"(i32.const 0) {OUTSIDE}",
        "fd_readdir": f"(i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0) {OUTSIDE}",
        "fd_tell": f"(i32.const 1) {OUTSIDE}",
        "fd_write": f"(i32.const 1) {OUTSIDE} (i32.const 1) (i32.const 0)",
        "path_readlink": f"(i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) {OUTSIDE}",
        "poll_oneoff": f"(i32.const 0) (i32.const 0) (i32.const 0) {OUTSIDE}",
        "random_get": f"{OUTSIDE} (i32.const 1)",
        "sock_accept": "(i32.const 0) (i32.const 0) (i32.const 131066)",
        "sock_recv": f"(i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) {OUTSIDE}",
        "sock_send": f"(i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) {OUTSIDE}",
    }
    harmless = {
        "fd_fdstat_get": f"(i32.const 1) {OUTSIDE}",
        "fd_prestat_get": f"(i32.const 0) {OUTSIDE}",
        "random_get": f"{OUTSIDE} (i32.const 0)",
    }
    calls = [
        f"(call $tell (call ${name} {arguments}))"
        for cases in (faulting, harmless)
        for name, arguments in cases.items()
    ]
    proxy = start_proxy(assemble(wat(request_headers(*calls))), environment={"A": "1"})
    assert proxy.get("/").status == 200
    assert messages(proxy) == ["21"] * len(faulting) + ["00", "08", "00"]


def test_standard_streams_are_logged_whatever_their_offset_and_can_only_be_written(
    start_proxy: StartProxy, assemble: Assemble
) -> None:
    text = wat(
        r'(data (i32.const 512) "one\n\n") (data (i32.const 520) "\00\02\00\00\05\00\00\00\ff\ff\ff\ff\00\00\00\00")',
        request_headers(
            "(call $tell (call $fd_write (i32.const 1) (i32.const 520) (i32.const 2) (i32.const 600)))",
            "(call $tell (i32.load (i32.const 600)))",
            "(call $tell (call $fd_pwrite (i32.const 2) (i32.const 520) (i32.const 1) (i64.const 99) (i32.const 600)))",
            "(call $tell (call $fd_fdstat_get (i32.const 2) (i32.const 600)))",
            "(call $tell (i32.load (i32.const 608)))",
            "(call $tell (call $fd_renumber (i32.const 1) (i32.const 2)))",
            "(call $tell (call $clock_time_get (i32.const 2) (i64.const 0) (i32.const 600)))",
            "(call $tell (call $clock_res_get (i32.const 1) (i32.const 600)))",
            "(call $tell (i32.load (i32.const 600)))",
        ),
    )
    proxy = start_proxy(assemble(text))
    assert proxy.get("/").status == 200
    assert messages(proxy) == ["one\n", "00", "05", "one\n", "00", "00", "64", "58", "58", "00", "01"]


def test_proc_exit_returns_to_the_guest(start_proxy: StartProxy, assemble: Assemble) -> None:
    text = wat(request_headers("(call $proc_exit (i32.const 3))", "(call $tell (i32.const 7))"))
    proxy = start_proxy(assemble(text))
    assert proxy.get("/").status == 200
    assert messages(proxy) == ["07"]


# Capabilities.


ALLOWED = ("proxy_log", "proxy_on_request_headers", "fd_write")


def restricted() -> str:
    return wat(
        '(func (export "proxy_on_configure") (param i32 i32) (result i32) (call $tell (i32.const 1)) (i32.const 1))',
        '(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) unreachable)',
        '(func (export "proxy_on_log") (param i32) unreachable)',
        '(func (export "_initialize") (drop (call $random_get (i32.const 0) (i32.const 8))))',
        request_headers(
            f"(call $tell (call $remove_header_map_value (i32.const 0) {OUTSIDE} (i32.const 1)))",
            "(call $tell (call $get_log_level (i32.const 0)))",
            "(call $tell (call $fd_write (i32.const 9) (i32.const 0) (i32.const 0) (i32.const 0)))",
            "(call $tell (call $random_get (i32.const 0) (i32.const 8)))",
            "(call $proc_exit (i32.const 0))",
        ),
    )


def test_a_plugin_gets_no_more_than_it_is_allowed(start_proxy: StartProxy, assemble: Assemble) -> None:
    proxy = start_proxy(assemble(restricted()), capabilities=ALLOWED)
    assert proxy.get("/").status == 200
    assert messages(proxy) == ["10", "10", "08", "76"]
    attempted = [message for message in failures(proxy) if message.startswith("Attempted call")]
    assert attempted[-4:] == [
        "Attempted call to restricted proxy-wasm capability: proxy_remove_header_map_value",
        "Attempted call to restricted proxy-wasm capability: proxy_get_log_level",
        "Attempted call to restricted WASI capability: random_get",
        "Attempted call to restricted WASI capability: proc_exit",
    ]


def test_a_plugin_that_may_not_log_can_still_write_to_its_streams(start_proxy: StartProxy, assemble: Assemble) -> None:
    text = wat(
        r'(data (i32.const 512) "said") (data (i32.const 520) "\00\02\00\00\04\00\00\00")',
        request_headers(
            "(call $tell (i32.const 1))",
            "(drop (call $fd_write (i32.const 1) (i32.const 520) (i32.const 1) (i32.const 600)))",
        ),
    )
    proxy = start_proxy(assemble(text), capabilities=("proxy_on_request_headers", "fd_write"))
    assert proxy.get("/").status == 200
    assert messages(proxy) == ["said"]


# What becomes of streams.


def trapping_in_ticks() -> str:
    """Traps in a tick after requests for `/doom`, which it lets pass, and `/stop`, which it pauses. Marks responses."""
    return wat(
        '(data (i32.const 512) ":path") (data (i32.const 520) "x-marked") (data (i32.const 530) "yes")',
        request_headers(
            "(drop (call $get_header_map_value (i32.const 0) (i32.const 512) (i32.const 5) (i32.const 0) (i32.const 4)))",
            "(if (i32.eq (i32.load (i32.const 4)) (i32.const 5)) (then",
            "  (drop (call $set_tick_period_milliseconds (i32.const 20)))",
            "  (if (i32.eq (i32.load8_u (i32.add (i32.load (i32.const 0)) (i32.const 1))) (i32.const 115))",
            "    (then (return (i32.const 1))))))",
        ),
        """(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
             (drop (call $add_header_map_value (i32.const 2) (i32.const 520) (i32.const 8) (i32.const 530) (i32.const 3)))
             (i32.const 0))""",
        '(func (export "proxy_on_tick") (param i32) unreachable)',
        malloc='(func (export "malloc") (param i32) (result i32) i32.const 4096)',
    )


def slow(proxy: Proxy) -> Callable[[UpstreamRequest], UpstreamResponse]:
    """An upstream that takes long enough for a tick."""

    def answer(_: UpstreamRequest) -> UpstreamResponse:
        if proxy.host == "envoy":
            time.sleep(0.3)
        else:
            proxy.advance(0.3)
        return respond(200)

    return answer


def test_where_the_vm_fails_meanwhile_a_response_is_answered_in_its_place(
    start_proxy: StartProxy, assemble: Assemble
) -> None:
    proxy = start_proxy(assemble(trapping_in_ticks()))
    assert proxy.get("/").headers["x-marked"] == "yes"
    exchange = proxy.get("/doom", upstream=slow(proxy))
    assert (exchange.status, exchange.details) == (503, "wasm_fail_stream")
    assert proxy.get("/").status == 503


@pytest.mark.parametrize(
    ("policy", "status", "details"),
    [(FailurePolicy.OPEN, 503, "wasm_fail_stream"), (FailurePolicy.ALWAYS_OPEN, 200, "via_upstream")],
)
def test_a_plugin_that_fails_open_lets_new_streams_pass_but_those_it_has_only_with_envoys_older_option(
    start_proxy: StartProxy, assemble: Assemble, policy: FailurePolicy, status: int, details: str
) -> None:
    proxy = start_proxy(assemble(trapping_in_ticks()), failure_policy=policy)
    exchange = proxy.get("/doom", upstream=slow(proxy))
    assert (exchange.status, exchange.details) == (status, details)
    assert "x-marked" not in exchange.headers
    passed = proxy.get("/")
    assert (passed.status, "x-marked" in passed.headers) == (200, False)


@pytest.mark.parametrize(
    ("policy", "statuses"),
    [
        (FailurePolicy.CLOSED, (503, 503)),
        (FailurePolicy.OPEN, (503, 200)),
        (FailurePolicy.RELOAD, (503, 503)),
        (FailurePolicy.ALWAYS_OPEN, (200, 200)),
    ],
)
def test_the_stream_that_the_vm_fails_for_is_no_exception(
    start_proxy: StartProxy, assemble: Assemble, policy: FailurePolicy, statuses: tuple[int, int]
) -> None:
    proxy = start_proxy(assemble(minimal(request_headers("unreachable"))), failure_policy=policy)
    assert (proxy.get("/").status, proxy.get("/").status) == statuses


@pytest.mark.parametrize(
    ("policy", "echoed"),
    [
        (FailurePolicy.CLOSED, (b"", b"")),
        (FailurePolicy.OPEN, (b"", b"hello")),
        (FailurePolicy.RELOAD, (b"", b"")),
        (FailurePolicy.ALWAYS_OPEN, (b"hello", b"hello")),
    ],
)
def test_connections_end_or_pass_by_the_same_policies(
    start_proxy: StartProxy, assemble: Assemble, policy: FailurePolicy, echoed: tuple[bytes, bytes]
) -> None:
    text = minimal('(func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32) unreachable)')
    proxy = start_proxy(assemble(text), network=True, failure_policy=policy)
    for expected in echoed:
        connection = proxy.connect()
        if expected:
            connection.send(b"hello")
            assert connection.receive(5) == expected
            connection.close()
        else:
            if not connection.closed:
                connection.send(b"hello")
            assert connection.receive_all() == b""
            assert connection.closed


@pytest.mark.parametrize("policy", FailurePolicy)
def test_a_stream_that_is_paused_when_the_vm_fails_waits_for_ever(
    start_proxy: StartProxy, assemble: Assemble, policy: FailurePolicy
) -> None:
    proxy = start_proxy(assemble(trapping_in_ticks()), failure_policy=policy)
    with pytest.raises(StreamPaused):
        proxy.get("/stop", timeout=0.5)
    assert failures(proxy)[0].startswith("Function: proxy_on_tick failed: ")


def test_a_plugin_whose_policy_is_to_reload_gets_another_vm_but_not_at_once(
    start_proxy: StartProxy, assemble: Assemble
) -> None:
    proxy = start_proxy(assemble(trapping_in_ticks()), failure_policy=FailurePolicy.RELOAD)
    exchange = proxy.get("/doom", upstream=slow(proxy))
    assert (exchange.status, exchange.details) == (503, "wasm_fail_stream")
    assert proxy.get("/").status == 503
    proxy.advance(1.6)
    assert proxy.get("/").headers["x-marked"] == "yes"
    assert proxy.get("/").status == 200


def test_a_plugin_that_ran_long_enough_is_reloaded_at_once(start_proxy: StartProxy, assemble: Assemble) -> None:
    proxy = start_proxy(assemble(trapping_in_ticks()), failure_policy=FailurePolicy.RELOAD)
    proxy.advance(1.6)
    assert proxy.get("/doom", upstream=slow(proxy)).status == 503
    assert proxy.get("/").headers["x-marked"] == "yes"


def test_a_plugin_that_traps_in_its_configuration_harms_no_other_in_the_vm(
    start_proxy: StartProxy, assemble: Assemble
) -> None:
    text = wat('(func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 0))')
    with pytest.raises(ConfigurationRejected):
        start_proxy(assemble(text))
    text = wat('(func (export "proxy_on_configure") (param i32 i32) (result i32) unreachable)')
    with pytest.raises(VmFailed, match="Function: proxy_on_configure failed: Uncaught RuntimeError: unreachable"):
        start_proxy(assemble(text))
    assert start_proxy(assemble(minimal())).get("/").status == 200
