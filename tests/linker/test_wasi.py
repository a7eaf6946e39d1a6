"""What stands in for WASI, assembled and run."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.abi.signatures import CoreSignature, CoreType
from proxy_wasm.build.errors import LinkError
from proxy_wasm.build.linker import adapters, wasi

if TYPE_CHECKING:
    from conftest import Assemble, Handler, Run, Vm

import wasmtime

RESULT = 2048
"""Where callers let results be written; all bytes around it are 0xFF."""
HEAP = 65536

# Every WASI function that components of componentize-py import, with the core type that it is lowered to: parameters, and results
# behind an arrow; a and i stand for i32, l for i64.
TYPES: dict[str, dict[str, str]] = {
    "wasi:cli/environment": {"get-arguments": "i", "get-environment": "i"},
    "wasi:cli/exit": {"exit": "i"},
    "wasi:cli/stdin": {"get-stdin": ">i"},
    "wasi:cli/stdout": {"get-stdout": ">i"},
    "wasi:cli/stderr": {"get-stderr": ">i"},
    "wasi:cli/terminal-input": {"[resource-drop]terminal-input": "i"},
    "wasi:cli/terminal-output": {"[resource-drop]terminal-output": "i"},
    "wasi:cli/terminal-stdin": {"get-terminal-stdin": "i"},
    "wasi:cli/terminal-stdout": {"get-terminal-stdout": "i"},
    "wasi:cli/terminal-stderr": {"get-terminal-stderr": "i"},
    "wasi:clocks/monotonic-clock": {
        "now": ">l",
        "resolution": ">l",
        "subscribe-duration": "l>i",
        "subscribe-instant": "l>i",
    },
    "wasi:clocks/wall-clock": {"now": "i", "resolution": "i"},
    "wasi:filesystem/preopens": {"get-directories": "i"},
    "wasi:filesystem/types": {
        "[method]descriptor.advise": "illii",
        "[method]descriptor.append-via-stream": "ii",
        "[method]descriptor.create-directory-at": "iiii",
        "[method]descriptor.get-flags": "ii",
        "[method]descriptor.get-type": "ii",
        "[method]descriptor.link-at": "iiiiiiii",
        "[method]descriptor.metadata-hash": "ii",
        "[method]descriptor.metadata-hash-at": "iiiii",
        "[method]descriptor.open-at": "iiiiiii",
        "[method]descriptor.read": "illi",
        "[method]descriptor.read-directory": "ii",
        "[method]descriptor.read-via-stream": "ili",
        "[method]descriptor.readlink-at": "iiii",
        "[method]descriptor.remove-directory-at": "iiii",
        "[method]descriptor.rename-at": "iiiiiii",
        "[method]descriptor.set-size": "ili",
        "[method]descriptor.set-times": "iiliilii",
        "[method]descriptor.set-times-at": "iiiiiliilii",
        "[method]descriptor.stat": "ii",
        "[method]descriptor.stat-at": "iiiii",
        "[method]descriptor.symlink-at": "iiiiii",
        "[method]descriptor.sync": "ii",
        "[method]descriptor.sync-data": "ii",
        "[method]descriptor.unlink-file-at": "iiii",
        "[method]descriptor.write": "iiili",
        "[method]descriptor.write-via-stream": "ili",
        "[method]directory-entry-stream.read-directory-entry": "ii",
        "[resource-drop]descriptor": "i",
        "[resource-drop]directory-entry-stream": "i",
    },
    "wasi:io/error": {"[resource-drop]error": "i"},
    "wasi:io/poll": {"[method]pollable.block": "i", "[resource-drop]pollable": "i", "poll": "iii"},
    "wasi:io/streams": {
        "[method]input-stream.read": "ili",
        "[method]input-stream.subscribe": "i>i",
        "[method]output-stream.blocking-flush": "ii",
        "[method]output-stream.check-write": "ii",
        "[method]output-stream.subscribe": "i>i",
        "[method]output-stream.write": "iiii",
        "[resource-drop]input-stream": "i",
        "[resource-drop]output-stream": "i",
    },
    "wasi:random/random": {"get-random-bytes": "li"},
    "wasi:sockets/instance-network": {"instance-network": ">i"},
    "wasi:sockets/ip-name-lookup": {
        "[method]resolve-address-stream.resolve-next-address": "ii",
        "[method]resolve-address-stream.subscribe": "i>i",
        "[resource-drop]resolve-address-stream": "i",
        "resolve-addresses": "iiii",
    },
    "wasi:sockets/tcp": {
        "[method]tcp-socket.accept": "ii",
        "[method]tcp-socket.finish-bind": "ii",
        "[method]tcp-socket.finish-connect": "ii",
        "[method]tcp-socket.finish-listen": "ii",
        "[method]tcp-socket.hop-limit": "ii",
        "[method]tcp-socket.is-listening": "i>i",
        "[method]tcp-socket.keep-alive-count": "ii",
        "[method]tcp-socket.keep-alive-enabled": "ii",
        "[method]tcp-socket.keep-alive-idle-time": "ii",
        "[method]tcp-socket.keep-alive-interval": "ii",
        "[method]tcp-socket.local-address": "ii",
        "[method]tcp-socket.receive-buffer-size": "ii",
        "[method]tcp-socket.remote-address": "ii",
        "[method]tcp-socket.send-buffer-size": "ii",
        "[method]tcp-socket.set-hop-limit": "iii",
        "[method]tcp-socket.set-keep-alive-count": "iii",
        "[method]tcp-socket.set-keep-alive-enabled": "iii",
        "[method]tcp-socket.set-keep-alive-idle-time": "ili",
        "[method]tcp-socket.set-keep-alive-interval": "ili",
        "[method]tcp-socket.set-listen-backlog-size": "ili",
        "[method]tcp-socket.set-receive-buffer-size": "ili",
        "[method]tcp-socket.set-send-buffer-size": "ili",
        "[method]tcp-socket.shutdown": "iii",
        "[method]tcp-socket.start-bind": "iiiiiiiiiiiiiii",
        "[method]tcp-socket.start-connect": "iiiiiiiiiiiiiii",
        "[method]tcp-socket.start-listen": "ii",
        "[method]tcp-socket.subscribe": "i>i",
        "[resource-drop]tcp-socket": "i",
    },
    "wasi:sockets/tcp-create-socket": {"create-tcp-socket": "ii"},
    "wasi:sockets/udp": {
        "[method]incoming-datagram-stream.receive": "ili",
        "[method]incoming-datagram-stream.subscribe": "i>i",
        "[method]outgoing-datagram-stream.check-send": "ii",
        "[method]outgoing-datagram-stream.send": "iiii",
        "[method]outgoing-datagram-stream.subscribe": "i>i",
        "[method]udp-socket.finish-bind": "ii",
        "[method]udp-socket.local-address": "ii",
        "[method]udp-socket.receive-buffer-size": "ii",
        "[method]udp-socket.remote-address": "ii",
        "[method]udp-socket.send-buffer-size": "ii",
        "[method]udp-socket.set-receive-buffer-size": "ili",
        "[method]udp-socket.set-send-buffer-size": "ili",
        "[method]udp-socket.set-unicast-hop-limit": "iii",
        "[method]udp-socket.start-bind": "iiiiiiiiiiiiiii",
        "[method]udp-socket.stream": "iiiiiiiiiiiiiii",
        "[method]udp-socket.subscribe": "i>i",
        "[method]udp-socket.unicast-hop-limit": "ii",
        "[resource-drop]incoming-datagram-stream": "i",
        "[resource-drop]outgoing-datagram-stream": "i",
        "[resource-drop]udp-socket": "i",
    },
    "wasi:sockets/udp-create-socket": {"create-udp-socket": "ii"},
    "wasi_snapshot_preview1": {"reset_adapter_state": ""},
}
FUNCTIONS = [(interface, name) for interface, names in TYPES.items() for name in names]

# The success payloads of the functions that return `result<..., error-code>`, as WIT says them (WASI 0.2.0); `_` where not listed.
PAYLOADS = {
    "[method]descriptor.append-via-stream": "own",
    "[method]descriptor.get-flags": "u8",
    "[method]descriptor.get-type": "u8",
    "[method]descriptor.metadata-hash": "u64, u64",
    "[method]descriptor.metadata-hash-at": "u64, u64",
    "[method]descriptor.open-at": "own",
    "[method]descriptor.read": "list, bool",
    "[method]descriptor.read-directory": "own",
    "[method]descriptor.read-via-stream": "own",
    "[method]descriptor.readlink-at": "string",
    "[method]descriptor.stat": "u8, u64, u64, option, option, option",
    "[method]descriptor.stat-at": "u8, u64, u64, option, option, option",
    "[method]descriptor.write": "u64",
    "[method]descriptor.write-via-stream": "own",
    "[method]directory-entry-stream.read-directory-entry": "u8, string",
    "[method]resolve-address-stream.resolve-next-address": "u8, u16",
    "resolve-addresses": "own",
    "[method]tcp-socket.accept": "own, own, own",
    "[method]tcp-socket.finish-connect": "own, own",
    "[method]tcp-socket.hop-limit": "u8",
    "[method]tcp-socket.keep-alive-count": "u32",
    "[method]tcp-socket.keep-alive-enabled": "bool",
    "[method]tcp-socket.keep-alive-idle-time": "u64",
    "[method]tcp-socket.keep-alive-interval": "u64",
    "[method]tcp-socket.local-address": "u16, u32",
    "[method]tcp-socket.receive-buffer-size": "u64",
    "[method]tcp-socket.remote-address": "u16, u32",
    "[method]tcp-socket.send-buffer-size": "u64",
    "create-tcp-socket": "own",
    "[method]incoming-datagram-stream.receive": "list",
    "[method]outgoing-datagram-stream.check-send": "u64",
    "[method]outgoing-datagram-stream.send": "u64",
    "[method]udp-socket.local-address": "u16, u32",
    "[method]udp-socket.receive-buffer-size": "u64",
    "[method]udp-socket.remote-address": "u16, u32",
    "[method]udp-socket.send-buffer-size": "u64",
    "[method]udp-socket.stream": "own, own",
    "[method]udp-socket.unicast-hop-limit": "u8",
    "create-udp-socket": "own",
}
ALIGNMENTS = {"u8": 1, "bool": 1, "u16": 2, "u32": 4, "own": 4, "list": 4, "string": 4, "u64": 8, "option": 8}
FAILING = [
    (interface, name)
    for interface, name in FUNCTIONS
    if interface.startswith(("wasi:filesystem/types", "wasi:sockets/"))
    and not name.startswith("[resource-drop]")
    and ">" not in TYPES[interface][name]
]
WITH_PATH = ("open-at", "stat-at", "readlink-at", "unlink-file-at", "rename-at", "remove-directory-at", "hash-at")
NO_ENTRY, UNSUPPORTED, NOT_SUPPORTED = 20, 27, 2

Start = Callable[..., "Vm"]


def signature(interface: str, name: str) -> CoreSignature:
    parameters, _, results = TYPES[interface][name].partition(">")
    kinds: dict[str, CoreType] = {"i": "i32", "l": "i64"}
    return CoreSignature(tuple(kinds[letter] for letter in parameters), tuple(kinds[letter] for letter in results))


def export(interface: str, name: str) -> str:
    return f"{interface}#{name}"


@pytest.fixture
def start(assemble: "Assemble", run: "Run") -> Start:
    """Runs all stand-ins on hosts' functions, with an allocator that counts upwards from `HEAP`."""
    fields = [
        *(adapters.hostcall_import(name) for name in wasi.HOSTCALLS),
        *(adapters.wasi_import(name) for name in wasi.WASI_FUNCTIONS),
        '(memory (export "memory") 8)',
        "(global $heap (mut i32) (i32.const 65536))",
        "(global $stack_pointer (mut i32) (i32.const 4096))",
        """(func $cabi_realloc (param i32 i32 i32 i32) (result i32)
             global.get $heap
             (global.set $heap (i32.add (global.get $heap) (local.get 3))))""",
        wasi.SUPPORT,
        *(wasi.function_text(*function, signature(*function)) for function in FUNCTIONS),
    ]

    def started(**handlers: "Handler") -> "Vm":
        vm = run(assemble("\n".join(["(module", *fields, ")"])), **handlers)
        vm.write(RESULT - 16, b"\xff" * 64)
        return vm

    return started


def zeros(interface: str, name: str) -> list[int]:
    """Arguments: zeros, and where the last is a pointer to the result, that."""
    parsed = signature(interface, name)
    given = [0] * len(parsed.parameters)
    if given and not parsed.results:
        given[-1] = RESULT
    return given


@pytest.mark.parametrize(("interface", "name"), FAILING)
def test_files_and_sockets_fail_with_an_error_code_where_the_result_has_it(
    start: Start, interface: str, name: str
) -> None:
    vm = start()
    vm.call(export(interface, name), *zeros(interface, name))
    offset = max([1, *(ALIGNMENTS[part] for part in PAYLOADS.get(name, "u8").split(", "))])
    code = NOT_SUPPORTED
    if interface == "wasi:filesystem/types":
        code = NO_ENTRY if name.endswith(WITH_PATH) else UNSUPPORTED
    expected = bytearray(b"\xff" * 64)
    expected[16], expected[16 + offset] = 1, code
    assert vm.read(RESULT - 16, 64) == bytes(expected)
    assert vm.calls == []


@pytest.mark.parametrize(
    ("interface", "name"),
    [item for item in FUNCTIONS if item[1].startswith("[resource-drop]") or ">" in TYPES[item[0]][item[1]]],
)
def test_dropping_and_subscribing_end_well(start: Start, interface: str, name: str) -> None:
    vm = start()
    result = vm.call(export(interface, name), *zeros(interface, name))
    assert result in ((None,) if not signature(interface, name).results else (0, 1, 2))
    assert vm.read(RESULT - 16, 64) == b"\xff" * 64


def test_there_are_no_arguments_variables_or_directories(start: Start) -> None:
    for function in (
        ("wasi:cli/environment", "get-arguments"),
        ("wasi:cli/environment", "get-environment"),
        ("wasi:filesystem/preopens", "get-directories"),
    ):
        vm = start()
        vm.call(export(*function), RESULT)
        assert vm.read(RESULT - 4, 16) == b"\xff" * 4 + bytes(8) + b"\xff" * 4


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_no_stream_is_a_terminal(start: Start, stream: str) -> None:
    vm = start()
    vm.call(export(f"wasi:cli/terminal-{stream}", f"get-terminal-{stream}"), RESULT)
    assert vm.read(RESULT, 2) == b"\x00\xff"


@pytest.mark.parametrize(
    ("nanoseconds", "seconds", "rest"),
    [(0, 0, 0), (1_753_000_000_123_456_789, 1_753_000_000, 123_456_789), (999_999_999, 0, 999_999_999)],
)
def test_the_wall_clock_is_the_proxys_split_into_seconds_and_nanoseconds(
    start: Start, nanoseconds: int, seconds: int, rest: int
) -> None:
    def now(vm: "Vm", address: int) -> int:
        vm.write(address, nanoseconds.to_bytes(8, "little"))
        return 0

    vm = start(proxy_get_current_time_nanoseconds=now)
    vm.call("wasi:clocks/wall-clock#now", RESULT)
    expected = seconds.to_bytes(8, "little") + rest.to_bytes(4, "little")
    assert vm.read(RESULT, 16) == expected + b"\xff" * 4


def test_without_a_time_from_the_host_it_is_1970(start: Start) -> None:
    vm = start(proxy_get_current_time_nanoseconds=12, clock_time_get=58)
    vm.call("wasi:clocks/wall-clock#now", RESULT)
    assert vm.read(RESULT, 12) == bytes(12)
    assert vm.call("wasi:clocks/monotonic-clock#now") == 0


def test_the_monotonic_clock_is_the_hosts(start: Start) -> None:
    def now(vm: "Vm", clock: int, precision: int, address: int) -> int:
        assert (clock, precision) == (1, 1)
        vm.write(address, (123_456_789_012_345).to_bytes(8, "little"))
        return 0

    vm = start(clock_time_get=now)
    assert vm.call("wasi:clocks/monotonic-clock#now") == 123_456_789_012_345
    assert vm.call("wasi:clocks/monotonic-clock#resolution") == 1
    vm.call("wasi:clocks/wall-clock#resolution", RESULT)
    assert vm.read(RESULT, 16) == bytes(8) + b"\x01\0\0\0" + b"\xff" * 4


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 200_000])
def test_random_bytes_come_from_the_host_in_pieces_that_envoy_allows(start: Start, size: int) -> None:
    def fill(vm: "Vm", address: int, count: int) -> int:
        vm.write(address, bytes([count % 251 + 1]) * count)
        return 0

    vm = start(random_get=fill)
    vm.call("wasi:random/random#get-random-bytes", size, RESULT)
    assert (vm.word(RESULT), vm.word(RESULT + 4)) == (HEAP, size)
    asked = [call[1] for _, call in vm.calls]
    assert sum(asked) == size
    assert all(0 < count <= 65536 for count in asked)
    assert vm.read(HEAP, size + 1) == b"".join(bytes([count % 251 + 1]) * count for count in asked) + b"\0"


def test_predictable_numbers_are_worse_than_the_end_of_the_vm(start: Start) -> None:
    vm = start(random_get=1)
    with pytest.raises(wasmtime.Trap):
        vm.call("wasi:random/random#get-random-bytes", 16, RESULT)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"", []),
        (b"one line", [b"one line"]),
        (b"one line\n", [b"one line"]),
        (b"one\ntwo\n\nthree", [b"one", b"two", b"three"]),
        (b"\n", []),
        (b"\n\nlate", [b"late"]),
        ("grün\n\0".encode(), ["grün".encode(), b"\0"]),
    ],
)
@pytest.mark.parametrize(("stream", "level"), [("stdout", LogLevel.INFO), ("stderr", LogLevel.ERROR)])
def test_output_is_logged_line_by_line(
    start: Start, stream: str, level: LogLevel, text: bytes, lines: list[bytes]
) -> None:
    vm = start()
    vm.write(HEAP, text + b"\nbeyond")
    handle = vm.call(f"wasi:cli/{stream}#get-{stream}")
    vm.call("wasi:io/streams#[method]output-stream.check-write", handle, RESULT)
    assert vm.read(RESULT, 1) == b"\0"
    assert int.from_bytes(vm.read(RESULT + 8, 8), "little") >= 4096
    vm.call("wasi:io/streams#[method]output-stream.write", handle, HEAP, len(text), RESULT + 16)
    vm.call("wasi:io/streams#[method]output-stream.blocking-flush", handle, RESULT + 24)
    assert vm.read(RESULT + 16, 1) == vm.read(RESULT + 24, 1) == b"\0"
    assert [(found, vm.read(address, size)) for found, address, size in vm.logged()] == [
        (level, line) for line in lines
    ]


def test_input_is_at_its_end(start: Start) -> None:
    vm = start()
    vm.call("wasi:io/streams#[method]input-stream.read", vm.call("wasi:cli/stdin#get-stdin"), 100, RESULT)
    assert vm.read(RESULT, 8) == b"\x01\xff\xff\xff\x01\xff\xff\xff"  # an error, and it is "closed"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_whatever_is_polled_is_ready(start: Start, count: int) -> None:
    vm = start()
    vm.call("wasi:io/poll#[method]pollable.block", 0)
    vm.call("wasi:io/poll#poll", 1024, count, RESULT)
    address = vm.word(RESULT)
    assert vm.word(RESULT + 4) == count
    assert [vm.word(address + 4 * index) for index in range(count)] == list(range(count))
    assert vm.word(address + 4 * count) == 0


def test_exit_ends_the_vm_with_a_message(start: Start) -> None:
    messages: list[tuple[int, bytes]] = []

    def log(vm: "Vm", level: int, address: int, size: int) -> int:
        messages.append((level, vm.read(address, size)))
        return 0

    vm = start(proxy_log=log)
    with pytest.raises(wasmtime.Trap, match="unreachable"):
        vm.call("wasi:cli/exit#exit", 1)
    assert messages == [(LogLevel.CRITICAL, b"the module called exit(): the VM ends here")]


def test_resetting_the_adapter_does_nothing(start: Start) -> None:
    assert start().call("wasi_snapshot_preview1#reset_adapter_state") is None


@pytest.mark.parametrize(
    ("interface", "name", "core"),
    [
        ("wasi:http/types", "new-fields", CoreSignature((), ("i32",))),
        ("wasi:io/streams", "[method]output-stream.splice", CoreSignature(("i32", "i32", "i64", "i32"), ())),
        ("wasi:sockets/tcp", "[method]tcp-socket.new-in-0.3", CoreSignature(("i32",), ("i32",))),
    ],
)
def test_a_function_that_is_not_known_is_refused_by_name(interface: str, name: str, core: CoreSignature) -> None:
    with pytest.raises(
        LinkError, match=re.escape(f"the component imports {interface} {name} {core}, which the linker")
    ):
        wasi.function_text(interface, name, core)
