"""Nonsense from guests neither raises what is not documented, nor hangs, nor grows the emulator: a short run, and what longer ones found."""

import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import wasmtime

from proxy_wasm import protobuf
from proxy_wasm.abi.enums import MapType, Status
from proxy_wasm.abi.header_map import encode_pairs
from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.emulator import (
    Emulator,
    ModuleRefused,
    NeverIdle,
    Request,
    VmFailed,
    foreign_functions,
    wasm_guest,
)
from proxy_wasm.emulator.clusters import NoHosts, grpc_unary

if TYPE_CHECKING:
    from conftest import Start, StatusOf

FUZZER = Path(__file__).parents[2] / "scripts" / "fuzz_emulator.py"
DIGITS = "9" * 5000
"""More than Python makes a number of."""
NOT_UTF8 = b"\xff\xfe"


def module(text: str, *, imports: str = "") -> bytes:
    start = '(func (export "proxy_abi_version_0_2_1")) (func (export "malloc") (param i32) (result i32) i32.const 1024)'
    return bytes(wasmtime.wat2wasm(f"(module {imports} {start} {text})"))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_short_run_of_the_fuzzer_finds_nothing(seed: int) -> None:
    command = [sys.executable, str(FUZZER), "--seed", str(seed), "--cases", "84"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["nothing found"]), done.stdout + done.stderr
    assert "84 cases" in done.stdout


# Modules.


@pytest.mark.parametrize(
    ("text", "imports"),
    [
        ("(memory 65536)", ""),
        ("(table 100000000 funcref)", ""),
        ('(memory 1) (data (i32.const 65536) "x")', ""),
        ("(func $s unreachable) (start $s)", ""),
        ("(func $s (call $s)) (start $s)", ""),
        ("", '(import "env" "m" (memory 65536))'),
        ("", '(import "env" "t" (table 4000000000 funcref))'),
        (
            "(func $s (drop (call $f (i32.const 0) (i32.const 0) (i32.const 0)))) (start $s)",
            '(import "env" "proxy_get_status" (func $f (param i32 i32 i32) (result i32)))',
        ),
    ],
)
def test_a_module_of_which_no_instance_can_be_made_is_refused(text: str, imports: str) -> None:
    with pytest.raises(ModuleRefused, match="Failed to create new Wasm instance"):
        Emulator(wasm_guest(module(text, imports=imports)))


def test_a_module_in_text_is_refused_as_in_a_proxy() -> None:
    with pytest.raises(ModuleRefused, match="Failed to load Wasm bytecode"):
        Emulator(wasm_guest(b'(module (func (export "proxy_abi_version_0_2_1")))'))


def test_vectors_that_overlap_make_no_message_larger_than_memory() -> None:
    text = """
      (memory (export "memory") 2)
      (func (export "_initialize") (local $at i32)
        (loop $next
          (i32.store offset=65540 (local.get $at) (i32.const 131072))
          (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 65528))))
        (i32.store8 (i32.const 0) (call $fd_write (i32.const 1) (i32.const 65536) (i32.const 8191) (i32.const 8)))
        (drop (call $log (i32.const 2) (i32.const 0) (i32.const 1))))"""
    emulator = Emulator(wasm_guest(module(text, imports=_WRITES)))
    assert [record.message for record in emulator.log] == [chr(28)]


def test_more_vectors_than_memory_can_hold_are_outside_of_it() -> None:
    text = """
      (memory (export "memory") 2)
      (func (export "_initialize")
        (i32.store8 (i32.const 0) (call $fd_write (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 8)))
        (drop (call $log (i32.const 2) (i32.const 0) (i32.const 1))))"""
    emulator = Emulator(wasm_guest(module(text, imports=_WRITES)))
    assert [record.message for record in emulator.log] == [chr(21)]


_WRITES = """
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))"""


def test_hostcalls_and_callbacks_that_call_each_other_exhaust_the_guests_stack() -> None:
    """Without hosts a stream's metadata come inside of the hostcall that starts it."""
    imports = '(import "env" "proxy_grpc_stream" (func $f (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))'
    zeros = "(i32.const 0) " * 6
    text = f"""
      (memory (export "memory") 1) (data (i32.const 0) "none")
      (func $again (export "proxy_on_grpc_receive_initial_metadata") (param i32 i32 i32)
        (drop (call $f (i32.const 0) (i32.const 4) {zeros} (i32.const 64))))
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (call $again (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 1))"""
    emulator = Emulator(wasm_guest(module(text, imports=imports)), clusters={"none": NoHosts()})
    with pytest.raises(VmFailed, match="Maximum call stack size exceeded"):
        emulator.start_plugin()


# What has no end.


def test_a_queue_that_is_filled_whenever_it_is_told_of_never_gets_idle(start: "Start") -> None:
    def on_configure(host: Hostcalls, *_: int) -> int:
        host.enqueue_shared_queue(host.register_shared_queue(b"queue"), b"item")
        return 1

    def on_queue_ready(host: Hostcalls, *arguments: int) -> None:
        host.enqueue_shared_queue(arguments[1], host.dequeue_shared_queue(arguments[1]))

    with pytest.raises(NeverIdle):
        start(on_configure=on_configure, on_queue_ready=on_queue_ready)


def test_a_grpc_stream_that_is_retried_where_its_cluster_is_missing_crashes_the_proxy(
    start: "Start", status_of: "StatusOf"
) -> None:
    service = protobuf.encode((1, protobuf.encode((1, "nowhere"))))

    def retry(host: Hostcalls, *_: int) -> int:
        status_of(lambda: host.grpc_stream(service, b"s", b"m", b""))
        return 1

    with pytest.raises(VmFailed, match="what follows from it calls it again, without end"):
        start(on_configure=retry, on_grpc_close=retry)


# Texts that are no text, and numbers that are no number.


def test_an_index_of_many_digits_is_no_index(start: "Start", status_of: "StatusOf") -> None:
    found: list[bytes | None] = []

    def on_request_headers(host: Hostcalls, *_: int) -> int:
        found.extend(host.get_property(path) for path in (b"list\0001", f"list\0{DIGITS}".encode(), "list\0٣".encode()))
        return 0

    start(emulator={"attributes": {"list": ["a", "b"]}}, on_request_headers=on_request_headers).exchange()
    assert found == [b"b", None, None]


def test_headers_that_should_be_numbers_may_have_any_length(start: "Start") -> None:
    found: list[bytes | None] = []

    def on_request_headers(host: Hostcalls, *_: int) -> int:
        host.replace_header_map_value(MapType.HTTP_REQUEST_HEADERS, b"content-length", DIGITS.encode())
        found.append(host.get_property(b"request\0size"))
        return 0

    def on_response_headers(host: Hostcalls, *_: int) -> int:
        host.replace_header_map_value(MapType.HTTP_RESPONSE_HEADERS, b"grpc-status", DIGITS.encode())
        found.append(host.get_property(b"response\0grpc_status"))
        host.replace_header_map_value(MapType.HTTP_RESPONSE_HEADERS, b":status", DIGITS.encode())
        return 0

    plugin = start(on_request_headers=on_request_headers, on_response_headers=on_response_headers)
    assert plugin.exchange().status == 502
    assert found == [bytes(8), (2).to_bytes(8, "little")]


def test_a_content_length_may_be_any_bytes(start: "Start") -> None:
    def on_request_headers(host: Hostcalls, *_: int) -> int:
        host.replace_header_map_value(MapType.HTTP_REQUEST_HEADERS, b"content-length", NOT_UTF8)
        return 0

    exchange = start(on_request_headers=on_request_headers).exchange(Request(method="POST", body=b"body"))
    assert ["the request's content-length is \udcff\udcfe" in record.message for record in exchange.logs] == [True]


def test_a_grpc_method_may_be_any_bytes(start: "Start") -> None:
    def on_request_headers(host: Hostcalls, *_: int) -> int:
        host.grpc_call(b"grpc", b"s", NOT_UTF8, b"", b"", 0)
        return 0

    told: list[tuple[int, bytes]] = []

    def on_grpc_close(host: Hostcalls, *_: int) -> None:
        told.append(host.get_status())

    clusters = {"grpc": grpc_unary({})}
    start(
        emulator={"clusters": clusters}, on_request_headers=on_request_headers, on_grpc_close=on_grpc_close
    ).exchange()
    assert told == [(12, b"unknown method /s/%FF%FE{via_upstream}")]


# Amplification.


def test_uncompress_gives_no_more_than_a_guest_could_take(
    start: "Start", status_of: "StatusOf", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign_functions, "MAX_MEMORY", 1000)
    found: list[Status | int] = []

    def on_configure(host: Hostcalls, *_: int) -> int:
        for size in (1000, 1001, 1 << 20):
            data = zlib.compress(bytes(size))
            found.append(status_of(lambda data=data: host.call_foreign_function(b"uncompress", data)))
        found.append(status_of(lambda: host.call_foreign_function(b"uncompress", zlib.compress(bytes(9))[:-1])))
        return 1

    start(on_configure=on_configure)
    too_large = Status.INVALID_MEMORY_ACCESS
    assert found == [Status.OK, too_large, too_large, Status.SERIALIZATION_FAILURE]


def test_a_name_that_is_joined_hundreds_of_times_keeps_its_place(start: "Start") -> None:
    """Each time took as long as the whole map: a quarter of a minute in all."""
    others = [(f":{number}".encode(), b"") for number in range(512)]
    pairs = [(b":method", b"GET"), (b":path", b"/"), *others, *[(b":path", b"")] * 510]
    found: list[bytes] = []

    def on_request_headers(host: Hostcalls, *_: int) -> int:
        host.set_header_map_pairs(MapType.HTTP_REQUEST_HEADERS, encode_pairs(pairs))
        found.append(host.get_header_map_pairs(MapType.HTTP_REQUEST_HEADERS))
        return 0

    start(on_request_headers=on_request_headers).exchange()
    assert found == [encode_pairs(pairs[:514])]
