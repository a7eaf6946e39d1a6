"""What stands in for WASI inside the module, written as WebAssembly text.

componentize-py's `--stub-wasi` leaves every WASI call a trap, and one trap ends the VM for all streams of a worker. Here the calls that
mean something in a proxy reach it (clocks, random numbers, output), and all others answer as a machine without files, sockets or
input would: with an error code that becomes an `OSError` in Python.

Every function of WASI 0.2 that returns a `result` takes a pointer to it as its last parameter: the discriminant is byte 0, and the
payload follows at the alignment of the larger of its two cases. Functions whose payload is more than a byte aligned are listed.

Source: WebAssembly/WASI, wasip2 (0.2.0): cli, clocks, filesystem, io, random, sockets.
"""

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.abi.signatures import CoreSignature
from proxy_wasm.build.errors import LinkError
from proxy_wasm.build.linker.adapters import signature_text

NO_ENTRY, UNSUPPORTED = 20, 27
"""`error-code` of wasi:filesystem/types."""
NOT_SUPPORTED = 2
"""`error-code` of wasi:sockets/network."""

_FILES = "wasi:filesystem/types"
_TCP, _UDP = "wasi:sockets/tcp", "wasi:sockets/udp"
_LOOKUP = "wasi:sockets/ip-name-lookup"

_ERROR_CODES = {
    _FILES: UNSUPPORTED,
    _TCP: NOT_SUPPORTED,
    _UDP: NOT_SUPPORTED,
    _LOOKUP: NOT_SUPPORTED,
    "wasi:sockets/tcp-create-socket": NOT_SUPPORTED,
    "wasi:sockets/udp-create-socket": NOT_SUPPORTED,
}
"""Interfaces all of whose other functions return `result<_, error-code>`, and the code they fail with."""

_NO_SUCH_FILE = {
    (_FILES, f"[method]descriptor.{name}")
    for name in (
        "open-at",
        "stat-at",
        "readlink-at",
        "unlink-file-at",
        "rename-at",
        "remove-directory-at",
        "metadata-hash-at",
    )
}

_PAYLOAD_OFFSETS = {
    **{
        (_FILES, f"[method]{name}"): 4
        for name in (
            "descriptor.read-via-stream",
            "descriptor.write-via-stream",
            "descriptor.append-via-stream",
            "descriptor.read",
            "descriptor.read-directory",
            "descriptor.open-at",
            "descriptor.readlink-at",
            "directory-entry-stream.read-directory-entry",
        )
    },
    **{
        (_FILES, f"[method]descriptor.{name}"): 8
        for name in ("write", "stat", "stat-at", "metadata-hash", "metadata-hash-at")
    },
    **{
        (_TCP, f"[method]tcp-socket.{name}"): 4
        for name in ("accept", "finish-connect", "local-address", "remote-address", "keep-alive-count")
    },
    **{
        (_TCP, f"[method]tcp-socket.{name}"): 8
        for name in ("keep-alive-idle-time", "keep-alive-interval", "receive-buffer-size", "send-buffer-size")
    },
    **{(_UDP, f"[method]udp-socket.{name}"): 4 for name in ("stream", "local-address", "remote-address")},
    **{(_UDP, f"[method]udp-socket.{name}"): 8 for name in ("receive-buffer-size", "send-buffer-size")},
    (_UDP, "[method]incoming-datagram-stream.receive"): 4,
    (_UDP, "[method]outgoing-datagram-stream.check-send"): 8,
    (_UDP, "[method]outgoing-datagram-stream.send"): 8,
    (_LOOKUP, "resolve-addresses"): 4,
    (_LOOKUP, "[method]resolve-address-stream.resolve-next-address"): 2,
    ("wasi:sockets/tcp-create-socket", "create-tcp-socket"): 4,
    ("wasi:sockets/udp-create-socket", "create-udp-socket"): 4,
}
"""Where the payload of a `result` lies, where it is not at offset 1."""

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_ENTIRE_OUTPUT = 65536
_RANDOM_CHUNK = 65536
"""The most that Envoy's `random_get` fills in one call, in bytes."""

_EMPTY_LIST = "(i64.store align=4 (local.get 0) (i64.const 0))"
_CLOSED_STREAM = "(i32.store8 (local.get {0}) (i32.const 1)) (i32.store8 offset=4 (local.get {0}) (i32.const 1))"
_OK = "(i32.store8 (local.get {0}) (i32.const 0))"

_BODIES: dict[tuple[str, str], str] = {
    ("wasi_snapshot_preview1", "reset_adapter_state"): "",
    ("wasi:cli/environment", "get-arguments"): _EMPTY_LIST,
    ("wasi:cli/environment", "get-environment"): _EMPTY_LIST,
    ("wasi:cli/exit", "exit"): "(call $log_exit) (unreachable)",
    ("wasi:cli/stdin", "get-stdin"): f"(i32.const {_STDIN})",
    ("wasi:cli/stdout", "get-stdout"): f"(i32.const {_STDOUT})",
    ("wasi:cli/stderr", "get-stderr"): f"(i32.const {_STDERR})",
    ("wasi:cli/terminal-stdin", "get-terminal-stdin"): _OK.format(0),
    ("wasi:cli/terminal-stdout", "get-terminal-stdout"): _OK.format(0),
    ("wasi:cli/terminal-stderr", "get-terminal-stderr"): _OK.format(0),
    ("wasi:clocks/wall-clock", "now"): "(call $wall_clock (local.get 0))",
    ("wasi:clocks/wall-clock", "resolution"): "(i64.store (local.get 0) (i64.const 0)) (i32.store offset=8 (local.get 0) (i32.const 1))",
    ("wasi:clocks/monotonic-clock", "now"): "(call $monotonic_clock)",
    ("wasi:clocks/monotonic-clock", "resolution"): "(i64.const 1)",
    ("wasi:clocks/monotonic-clock", "subscribe-duration"): "(i32.const 0)",
    ("wasi:clocks/monotonic-clock", "subscribe-instant"): "(i32.const 0)",
    ("wasi:filesystem/preopens", "get-directories"): _EMPTY_LIST,
    ("wasi:io/poll", "[method]pollable.block"): "",
    ("wasi:io/poll", "poll"): "(call $poll (local.get 1) (local.get 2))",
    ("wasi:io/streams", "[method]input-stream.read"): _CLOSED_STREAM.format(2),
    ("wasi:io/streams", "[method]input-stream.subscribe"): "(i32.const 0)",
    ("wasi:io/streams", "[method]output-stream.check-write"): (
        f"{_OK.format(1)} (i64.store offset=8 (local.get 1) (i64.const {_ENTIRE_OUTPUT}))"
    ),
    ("wasi:io/streams", "[method]output-stream.write"): (
        f"(call $write (local.get 0) (local.get 1) (local.get 2)) {_OK.format(3)}"
    ),
    ("wasi:io/streams", "[method]output-stream.blocking-flush"): _OK.format(1),
    ("wasi:io/streams", "[method]output-stream.subscribe"): "(i32.const 0)",
    ("wasi:random/random", "get-random-bytes"): (
        "(call $random (i32.wrap_i64 (local.get 0)) (local.get 1))"
    ),
    ("wasi:sockets/instance-network", "instance-network"): "(i32.const 0)",
    (_TCP, "[method]tcp-socket.is-listening"): "(i32.const 0)",
    (_TCP, "[method]tcp-socket.subscribe"): "(i32.const 0)",
    (_UDP, "[method]udp-socket.subscribe"): "(i32.const 0)",
    (_UDP, "[method]incoming-datagram-stream.subscribe"): "(i32.const 0)",
    (_UDP, "[method]outgoing-datagram-stream.subscribe"): "(i32.const 0)",
    (_LOOKUP, "[method]resolve-address-stream.subscribe"): "(i32.const 0)",
}  # fmt: skip
"""Functions with a meaning of their own; the parameters are `(local.get N)`."""

_EXIT_MESSAGE = "the module called exit(): the VM ends here"

HOSTCALLS = ("log", "get_current_time_nanoseconds")
WASI_FUNCTIONS = ("clock_time_get", "random_get")
"""What the functions below import."""

SUPPORT = f"""
(func $log_exit
  ;; A message on the shadow stack's lowest bytes: nothing runs after it.
{chr(10).join(f"  (i32.store8 offset={at} (i32.const 0) (i32.const {byte}))" for at, byte in enumerate(_EXIT_MESSAGE.encode()))}
  (drop (call $proxy_log (i32.const {LogLevel.CRITICAL}) (i32.const 0) (i32.const {len(_EXIT_MESSAGE)}))))

(func $wall_clock (param $result i32) (local $time i64)
  ;; seconds: u64 at +0, nanoseconds: u32 at +8; the host writes nanoseconds since 1970 to +0 first
  (i64.store (local.get $result) (i64.const 0))
  (drop (call $proxy_get_current_time_nanoseconds (local.get $result)))
  (local.set $time (i64.load (local.get $result)))
  (i64.store (local.get $result) (i64.div_u (local.get $time) (i64.const 1000000000)))
  (i32.store offset=8 (local.get $result)
    (i32.wrap_i64 (i64.rem_u (local.get $time) (i64.const 1000000000)))))

(func $monotonic_clock (result i64) (local $frame i32) (local $time i64)
  (local.set $frame (i32.sub (global.get $stack_pointer) (i32.const 16)))
  (i64.store (local.get $frame) (i64.const 0))
  (drop (call $clock_time_get (i32.const 1) (i64.const 1) (local.get $frame)))
  (i64.load (local.get $frame)))

(func $poll (param $count i32) (param $result i32) (local $ready i32) (local $index i32)
  ;; every pollable is ready: the indices 0, 1, ..., count - 1
  (local.set $ready (call $cabi_realloc (i32.const 0) (i32.const 0) (i32.const 4)
    (i32.mul (local.get $count) (i32.const 4))))
  (block $done
    (loop $next
      (br_if $done (i32.ge_u (local.get $index) (local.get $count)))
      (i32.store (i32.add (local.get $ready) (i32.mul (local.get $index) (i32.const 4))) (local.get $index))
      (local.set $index (i32.add (local.get $index) (i32.const 1)))
      (br $next)))
  (i32.store (local.get $result) (local.get $ready))
  (i32.store offset=4 (local.get $result) (local.get $count)))

(func $random (param $size i32) (param $result i32) (local $bytes i32) (local $left i32) (local $chunk i32)
  (local.set $bytes (call $cabi_realloc (i32.const 0) (i32.const 0) (i32.const 1) (local.get $size)))
  (i32.store (local.get $result) (local.get $bytes))
  (i32.store offset=4 (local.get $result) (local.get $size))
  (local.set $left (local.get $size))
  (block $done
    (loop $next
      (br_if $done (i32.eqz (local.get $left)))
      (local.set $chunk (select (local.get $left) (i32.const {_RANDOM_CHUNK})
        (i32.lt_u (local.get $left) (i32.const {_RANDOM_CHUNK}))))
      ;; predictable numbers where secret ones are asked for would be worse than the end of the VM
      (if (call $random_get (local.get $bytes) (local.get $chunk)) (then (unreachable)))
      (local.set $bytes (i32.add (local.get $bytes) (local.get $chunk)))
      (local.set $left (i32.sub (local.get $left) (local.get $chunk)))
      (br $next))))

(func $write (param $stream i32) (param $start i32) (param $size i32) (local $end i32) (local $line i32)
  ;; one message a line; empty lines are left out
  (local.set $end (i32.add (local.get $start) (local.get $size)))
  (block $done
    (loop $next
      (local.set $line (local.get $start))
      (block $found
        (loop $seek
          (br_if $found (i32.ge_u (local.get $start) (local.get $end)))
          (br_if $found (i32.eq (i32.load8_u (local.get $start)) (i32.const 10)))
          (local.set $start (i32.add (local.get $start) (i32.const 1)))
          (br $seek)))
      (if (i32.gt_u (local.get $start) (local.get $line)) (then
        (drop (call $proxy_log
          (select (i32.const {LogLevel.ERROR}) (i32.const {LogLevel.INFO}) (i32.eq (local.get $stream) (i32.const {_STDERR})))
          (local.get $line) (i32.sub (local.get $start) (local.get $line))))))
      (local.set $start (i32.add (local.get $start) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $start) (local.get $end))))))
"""


def function_text(interface: str, name: str, signature: CoreSignature) -> str:
    """The function that replaces `name` of `interface`, exported as `interface#name`.

    Raises `LinkError` for a function that is not known: guessing where its result lies would corrupt memory.
    """
    return f'(func (export "{interface}#{name}") {signature_text(signature)} {_body(interface, name, signature)})'


def _body(interface: str, name: str, signature: CoreSignature) -> str:
    if (interface, name) in _BODIES:
        return _BODIES[interface, name]
    if name.startswith("[resource-drop]"):
        return ""
    if interface in _ERROR_CODES and not signature.results:
        code = NO_ENTRY if (interface, name) in _NO_SUCH_FILE else _ERROR_CODES[interface]
        offset = _PAYLOAD_OFFSETS.get((interface, name), 1)
        result = f"(local.get {len(signature.parameters) - 1})"
        return f"(i32.store8 {result} (i32.const 1)) (i32.store8 offset={offset} {result} (i32.const {code}))"
    raise LinkError(f"the component imports {interface} {name} {signature}, which the linker knows no replacement for")
