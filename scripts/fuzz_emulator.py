"""Feed the emulator with nonsense: modules, programs of hostcalls, memory contents; see that nothing but what is documented comes of it.

python scripts/fuzz_emulator.py --seconds 600 --seed 1
python scripts/fuzz_emulator.py --seed 1 --only hostcalls --index 4711    # one case again

Each case follows from the seed, its kind and its number. A case fails where anything but an `EmulatorError` is raised, where a hostcall returns
what is no status, where it takes longer than `--patience`, and where this process grows by more than `--megabytes`. The kinds:

* `modules`: random bytes as module, and modules that were cut, mutated or spliced. What still loads is run, unless it has loops.
* `hostcalls`: the interpreter below runs a program of hostcalls whose arguments are meant to hurt: pointers at and beyond the ends of memory,
  overlapping results, lengths near 2**32, malformed maps and messages; its `malloc` fails in all ways.
* `wasi`: the same with the functions of WASI.
* `memory`: the interpreter runs whatever random bytes happen to say.

The interpreter is a module that gets its program as the configuration of the VM, and goes on in it whenever it is called.
"""

import argparse
import faulthandler
import gc
import os
import resource
import sys
import threading
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from random import Random
from struct import pack
from unittest.mock import patch

import wasmtime

from proxy_wasm import protobuf
from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.header_map import encode_pairs
from proxy_wasm.abi.signatures import CoreSignature, Wire
from proxy_wasm.emulator import Clock, Emulator, EmulatorError, HeaderMap, Plugin, Request, UpstreamResponse, wasm_guest
from proxy_wasm.emulator.abi_versions import BY_EXPORT, AbiVersion
from proxy_wasm.emulator.clusters import Absent, Answering, Closing, Clusters, GrpcServer, NoHosts, Silent, grpc_unary
from proxy_wasm.emulator.guest import GuestFactory
from proxy_wasm.emulator.observer import Arguments, Results
from proxy_wasm.emulator.wasi import WASI

# The interpreter.

PAGE = 1 << 16
PAGES = 4
PROGRAM = PAGE
"""Where the program lies; what `malloc` gives out later comes after it."""
PROGRAM_SIZE = 2 * PAGE
ARGUMENTS = 12
RECORD = 8 + 8 * ARGUMENTS
"""A call: which function (`u32`, four bytes of nothing), and its arguments (`u64` each)."""
FRAME = 8
"""What one callback does: how many calls follow and what it returns (`u32` each)."""
MOST_CALLS = 8
HEADER = 8
"""How `malloc` behaves (`u32`) and a number for it (`u32`)."""
WELL, NOTHING, GARBAGE, TRAP, RESTRICTED, GROWING = range(6)


def functions(version: AbiVersion) -> dict[str, CoreSignature]:
    """What programs call, in the order of the numbers by which they do, by import name."""
    return {**{hostcall.import_name: hostcall.core for hostcall in version.hostcalls.values()}, **WASI}


def interpreter_text(version: AbiVersion) -> str:
    """The interpreter as a module in text."""
    provided = functions(version)
    imports = "\n".join(
        f'(import "{"wasi_snapshot_preview1" if name in WASI else "env"}" "{name}" (func ${name} {_type(core)}))'
        for name, core in provided.items()
    )
    callbacks = "\n".join(
        f'(func (export "{callback.export_name}") {_type(callback.core)} (call $frame){"" if callback.returns else " drop"})'
        for callback in version.callbacks.values()
        if callback.name != "on_vm_start"
    )
    return f"""
(module
  {imports}
  (memory (export "memory") {PAGES} {4 * PAGES})
  (global $loaded (mut i32) (i32.const 0))
  (global $cursor (mut i32) (i32.const {PROGRAM + HEADER}))
  (global $free (mut i32) (i32.const {PROGRAM + PROGRAM_SIZE}))
  (func (export "{version.export}"))
  {_malloc()}
  {_call(provided)}
  {_FRAME}
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
    {_load(version)}
    (global.set $loaded (i32.const 1))
    (call $frame))
  {callbacks})
"""


def _type(core: CoreSignature) -> str:
    parameters = f"(param {' '.join(core.parameters)})" if core.parameters else ""
    return f"{parameters} {'(result i32)' if core.results else ''}"


def _load(version: AbiVersion) -> str:
    if "get_configuration" in version.hostcalls:
        return "(drop (call $proxy_get_configuration (i32.const 0) (i32.const 4)))"
    return (
        f"(drop (call $proxy_get_buffer_bytes (i32.const 6) (i32.const 0) (i32.const {PROGRAM_SIZE})"
        " (i32.const 0) (i32.const 4)))"
    )


def _malloc() -> str:
    return f"""
  (func (export "malloc") (param $size i32) (result i32)
    (local $address i32)
    (if (i32.eqz (global.get $loaded)) (then (return (i32.const {PROGRAM}))))
    (block $well (block $growing (block $restricted (block $trap (block $garbage (block $nothing
      (br_table $well $nothing $garbage $trap $restricted $growing $well (i32.load (i32.const {PROGRAM}))))
      (return (i32.const 0)))
      (return (i32.load offset=4 (i32.const {PROGRAM}))))
      unreachable)
      (drop (call $proxy_done)))
      (drop (memory.grow (i32.const 1))))
    (local.set $address (global.get $free))
    (global.set $free (i32.add (local.get $address) (local.get $size)))
    (local.get $address))"""


def _call(provided: dict[str, CoreSignature]) -> str:
    """Calls the function of a record."""
    labels = "".join(f"(block $f{number} " for number in reversed(range(len(provided))))
    table = " ".join(f"$f{number}" for number in range(len(provided)))
    cases = "\n".join(
        f") {_loads(core)} call ${name} {'drop' if core.results else ''} return ;; {number}"
        for number, (name, core) in enumerate(provided.items())
    )
    return f"""
  (func $call (param $record i32)
    {labels} (br_table {table} $f0 (i32.rem_u (i32.load (local.get $record)) (i32.const {len(provided)})))
    {cases}
  )"""


def _loads(core: CoreSignature) -> str:
    return " ".join(
        f"({kind}.load offset={8 + 8 * index} (local.get $record))" for index, kind in enumerate(core.parameters)
    )


_FRAME = f"""
  (func $frame (result i32)
    (local $left i32) (local $result i32) (local $record i32)
    (if (i32.gt_u (global.get $cursor) (i32.const {PROGRAM + PROGRAM_SIZE - FRAME - (MOST_CALLS + 1) * RECORD}))
      (then (return (i32.const 1))))
    (local.set $left (i32.and (i32.load (global.get $cursor)) (i32.const {MOST_CALLS - 1})))
    (local.set $result (i32.load offset=4 (global.get $cursor)))
    (global.set $cursor (i32.add (global.get $cursor) (i32.const {FRAME})))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $left)))
        (br_if $done (i32.gt_u (global.get $cursor) (i32.const {PROGRAM + PROGRAM_SIZE - 2 * RECORD})))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (local.set $record (global.get $cursor))
        (global.set $cursor (i32.add (global.get $cursor) (i32.const {RECORD})))
        (call $call (local.get $record))
        (br $next)))
    (local.get $result))
"""


@cache
def interpreter(export: str) -> GuestFactory:
    """The interpreter for the version that has the export, compiled."""
    return wasm_guest(bytes(wasmtime.wat2wasm(interpreter_text(BY_EXPORT[export]))))


# What programs are made of.

_END = PAGES * PAGE
_EDGES = (
    0,
    1,
    4,
    PROGRAM,
    _END - 8,
    _END - 4,
    _END - 1,
    _END,
    _END + 1,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFF8,
    0xFFFFFFFF,
)
_SIZES = (0, 1, 2, 4, 8, 16, 100, 4096, PAGE, PAGE + 1, _END, 1 << 30, (1 << 30) + 1, 1 << 31, 0xFFFFFFF0, 0xFFFFFFFF)
_NUMBERS = (
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    200,
    503,
    1000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)

CLUSTERS: Clusters = {
    "http": UpstreamResponse(200, HeaderMap({"a": "b"}), b"body"),
    "late": Answering(UpstreamResponse(204), delay=0.5),
    "silent": Silent(),
    "closing": Closing(),
    "absent": Absent(),
    "none": NoHosts(),
    "grpc": grpc_unary({"/s/m": lambda message: message}),
    "mute": GrpcServer(),
}
_HEADERS = b":path :method :authority :scheme :status host content-length content-type cookie grpc-status te x-a accept".split()
_FUNCTIONS = (
    b"compress uncompress clear_route_cache set_envoy_filter_state declare_property verify_signature sign".split()
)
_PATHS = (
    *b"request.headers request\0headers\0:path request\0size response\0code response\0grpc_status list\0\xd9\xa3".split(),
    b"list\0" + b"9" * 5000,
    b"request",
    b"response\0headers",
    b"response\0code_details",
    b"request\0url_path",
    b"map",
    b"xds\0node",
    b"filter_state\0wasm.a",
    b"",
    b"\0",
)
_NAMES = (*_HEADERS, *_FUNCTIONS, *_PATHS, *(name.encode() for name in CLUSTERS))
_VALUES = (
    b"",
    b"/",
    b"GET",
    b"200",
    b"9" * 5000,
    b"-1",
    b"\xff\xfe",
    b"a\0b",
    b"+5",
    b" 7 ",
    "٣".encode(),
    b"x" * 70000,
    b"\r\n",
)


def blob(random: Random) -> bytes:
    """Bytes for a hostcall to work on."""
    kind = random.randrange(9)
    if kind == 0:
        return random.choice(_NAMES)
    if kind == 1:
        return random.choice(_VALUES)
    if kind == 2:  # noqa: PLR2004 - one kind after the other
        return random.randbytes(random.choice((0, 1, 3, 4, 12, 100, 2000)))
    if kind in (3, 4, 5):
        return serialized_map(random)
    if kind == 6:  # noqa: PLR2004
        return zlib.compress(bytes(random.choice((0, 10, 1 << 16, 1 << 24))))
    return message(random)


def serialized_map(random: Random) -> bytes:
    """A header map, often malformed."""
    names = (*_HEADERS, b"")
    pairs = [(random.choice(names), random.choice(_VALUES[:-2])) for _ in range(random.choice((0, 1, 3, 8)))]
    if random.random() < 0.5:  # noqa: PLR2004
        pairs += [(b":method", b"GET"), (b":path", b"/"), (b":authority", b"a")]
    data = bytearray(encode_pairs(pairs))
    for _ in range(random.choice((0, 0, 1, 2))):
        at = random.choice((0, 4, 8, max(0, len(data) - 1)))
        data[at : at + 4] = pack("<I", random.choice(_SIZES))
    return bytes(data[: random.choice((len(data), len(data), len(data) - 1, len(data) // 2))])


def message(random: Random) -> bytes:
    """A protobuf message such as foreign functions and gRPC callouts take, often malformed."""
    texts = (b"envoy.string", b"sha256", b"-----BEGIN ", b"\xff", *_NAMES[:12], *_VALUES[:6])
    inner = protobuf.encode((1, random.choice(_NAMES)))
    fields = [(number, random.choice((None, True, inner, *texts))) for number in range(1, 6)]
    data = bytearray(protobuf.encode(*random.sample(fields, random.randrange(6))))
    for _ in range(random.choice((0, 0, 0, 2))):
        if data:
            data[random.randrange(len(data))] = random.randrange(256)
    return bytes(data)


class Program:
    """Frames of calls, and the blobs that they point to."""

    def __init__(self, random: Random, version: AbiVersion, chosen: list[str]) -> None:
        self._random = random
        self._functions = functions(version)
        self._numbers = {name: number for number, name in enumerate(self._functions)}
        self._hostcalls = {hostcall.import_name: hostcall for hostcall in version.hostcalls.values()}
        self._chosen = chosen
        self._data = bytearray()
        self._hurts = random.choice((0.02, 0.1, 0.4))
        """How likely an argument is meant to hurt."""

    def made(self) -> bytes:
        """The program's bytes."""
        random = self._random
        malloc = random.choices(range(6), (20, 1, 1, 1, 1, 1))[0]
        code = bytearray(pack("<II", malloc, random.choice(_EDGES)))
        for frame in range(random.randrange(5, 60)):
            calls = random.randrange(MOST_CALLS) if frame >= _STARTING else 0
            returned = random.choices((0, 1, 2, 3, 0xFFFFFFFF), (6, 3, 1, 1, 1))[0] if frame >= _STARTING else 1
            code += pack("<II", calls, returned)
            for _ in range(calls):
                code += self._record()
        whole = code[:DATA].ljust(DATA, b"\0") + self._data
        return bytes(whole[:PROGRAM_SIZE])

    def _record(self) -> bytes:
        random = self._random
        name = random.choice(self._chosen)
        if name in _ENDING and random.random() < 0.8:  # noqa: PLR2004 - little can happen after these
            name = random.choice(self._chosen)
        hostcall = self._hostcalls.get(name)
        arguments: list[int] = []
        if hostcall is not None:
            for parameter, wire in hostcall.parameters:
                if wire is Wire.BYTES:
                    arguments += self._bytes(parameter)
                else:
                    arguments.append(self._number(parameter))
        while len(arguments) < len(self._functions[name].parameters):
            arguments.append(self._number("" if hostcall is None else "pointer"))
        padded = [*arguments, *[0] * ARGUMENTS][:ARGUMENTS]
        return pack(f"<II{ARGUMENTS}Q", self._numbers[name], 0, *padded)

    def _bytes(self, parameter: str) -> tuple[int, int]:
        random = self._random
        if random.random() < self._hurts:
            return random.choice((*_EDGES, PROGRAM + DATA)), random.choice(_SIZES)
        make = _MAKERS.get(parameter, blob)
        content = make(random)
        if len(self._data) + len(content) > PROGRAM_SIZE - DATA:
            return PROGRAM + DATA, min(len(content), 100)
        self._data += content
        return PROGRAM + DATA + len(self._data) - len(content), len(content)

    def _number(self, parameter: str) -> int:
        random = self._random
        if parameter == "pointer" and random.random() >= self._hurts:
            return random.randrange(64) * 4
        if parameter == "":  # of a function of WASI
            return random.choice(
                (random.randrange(4), random.choice(_EDGES), random.choice(_SIZES), random.randrange(_END))
            )
        if random.random() < self._hurts:
            return random.choice(_NUMBERS)
        return random.choice(_SENSIBLE.get(parameter, range(9)))


_ENDING = frozenset({"proxy_close_stream", "proxy_send_local_response", "proxy_continue_stream", "proxy_done"})
_STARTING = 3
"""The frames of the callbacks in which a plugin starts; the first comes before the program is loaded."""
DATA = PAGE
"""Where in the program its blobs begin."""


def _some(*choices: bytes) -> Callable[[Random], bytes]:
    return lambda random: random.choice((*choices, *choices, random.choice(_VALUES), random.choice(_NAMES)))


_CALLABLE = [name.encode() for name in CLUSTERS]
_MAKERS: dict[str, Callable[[Random], bytes]] = {
    "upstream": lambda random: random.choice(
        (*_CALLABLE, protobuf.encode((1, protobuf.encode((1, random.choice(_CALLABLE))))), message(random))
    ),
    "service": _some(b"s"),
    "method": _some(b"m"),
    "headers": serialized_map,
    "pairs": serialized_map,
    "trailers": serialized_map,
    "initial_metadata": serialized_map,
    "path": _some(*_PATHS),
    "key": _some(*_HEADERS),
    "value": _some(*_VALUES),
    "name": _some(*_FUNCTIONS),
    "vm_id": _some(b""),
}
_SENSIBLE: dict[str, tuple[int, ...] | range] = {
    "buffer_type": range(9),
    "stream_type": range(4),
    "level": range(6),
    "status_code": (200, 204, 302, 404, 500, 0, 1000),
    "grpc_status": (0, 5, 16, 17, 0xFFFFFFFF),
    "period": (0, 100, 1000),
    "metric_id": range(3, 15),
    "metric_type": range(3),
    "queue_id": (1, 1, 2),
    "map_type": (0, 0, 0, 1, 2, 2, 2, 3, 4, 5, 6, 7),
    "call_id": range(1, 9),
    "stream_id": range(1, 9),
    "cas": (0, 0, 1, 2),
    "context_id": range(5),
    "start": (0, 0, 1, 5, 100),
    "timeout_milliseconds": (0, 1, 100, 1000),
}
"""What numbers are when they are not meant to hurt, where that is not a small one."""


# What is done with a guest.


class Statuses:
    """Counts what hostcalls return: an observer."""

    def entered(self, callback: str, arguments: tuple[int, ...]) -> None: ...
    def left(self, callback: str, returned: int | None) -> None: ...
    def called(self, hostcall: str, arguments: Arguments) -> None: ...

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def answered(self, hostcall: str, status: int, results: Results) -> None:
        del results
        self.counts[hostcall, Status(status).name] += 1


def drive(random: Random, factory: GuestFactory, program: bytes, statuses: Statuses) -> None:
    """Run a guest through a plugin's whole life."""
    emulator = Emulator(
        factory,
        vm_configuration=program,
        clock=Clock(1.7e9),
        environment={"A": "b", "C": "d" * 100},
        clusters=CLUSTERS,
        attributes={"list": ["a", "b"], "map": {"a": 1, "b": True}, "float": 1.5},
        observers=[statuses],
    )
    with suppress(EmulatorError):
        plugin = emulator.start_plugin(random.randbytes(random.randrange(20)))
        for _ in range(3):
            with suppress(EmulatorError):
                random.choice((_exchange, _exchange, _exchange, _connection, _tick))(random, plugin)
        emulator.close()
        emulator.clock.advance(1)


def _exchange(random: Random, plugin: Plugin) -> None:
    pieces = tuple(random.randbytes(random.choice((1, 10, 5000))) for _ in range(random.randrange(4)))
    trailers = HeaderMap({"t": "v"} if random.random() < 0.3 else {})  # noqa: PLR2004
    request = Request(
        method=random.choice(("GET", "POST", "HEAD")),
        headers=HeaderMap({"x-a": "b", "cookie": "c"}),
        body=b"".join(pieces),
        trailers=trailers,
    )
    answer = UpstreamResponse(random.choice((200, 204, 304, 500)), HeaderMap({"x-b": "c"}), b"answer" * 9, trailers)
    plugin.exchange(request, lambda _: answer, chunk_size=random.choice((0, 777)), timeout=1)


def _connection(random: Random, plugin: Plugin) -> None:
    stream = plugin.tcp_stream()
    stream.new_connection()
    for _ in range(random.randrange(5)):
        send = random.choice((stream.downstream_data, stream.upstream_data))
        send(random.randbytes(random.randrange(100)), end_of_stream=random.random() < 0.2)  # noqa: PLR2004
    stream.close()


def _tick(random: Random, plugin: Plugin) -> None:
    plugin.vm.clock.advance(random.choice((0.01, 0.2)))
    plugin.call_function(random.choice(_NUMBERS) & 0xFFFFFFFF, blob(random))
    plugin.queue_ready(1)
    plugin.vm.shared.run_posted()


# The kinds of cases: each makes its input, and what is to be done with it.

Case = tuple[bytes, Callable[[Statuses], None]]


def modules(random: Random) -> Case:
    """Bytes that are a module, or are no longer."""
    module = damaged(random)

    def run(statuses: Statuses) -> None:
        factory = wasm_guest(module)
        if b"\x03" in code_of(module):  # an opcode or a number: what may be a loop is only loaded
            factory = wasm_guest(_unstarted(module))
        with suppress(EmulatorError):
            drive(random, factory, random.randbytes(PAGE), statuses)

    return module, run


def _unstarted(module: bytes) -> bytes:
    """The module, loaded; and another that cannot be, to be run."""
    from proxy_wasm.emulator.wasm_module import compiled  # noqa: PLC0415

    with suppress(EmulatorError):
        compiled(module)
    return b""


def hostcalls(random: Random) -> Case:
    """A program of hostcalls."""
    version = random.choices(list(BY_EXPORT.values()), (1, 1, 6))[0]
    return _program(random, version, [name for name in functions(version) if name not in WASI])


def wasi(random: Random) -> Case:
    """A program of functions of WASI."""
    return _program(random, BY_EXPORT["proxy_abi_version_0_2_1"], list(WASI))


def _program(random: Random, version: AbiVersion, chosen: list[str]) -> Case:
    program = Program(random, version, chosen).made()
    return program, lambda statuses: drive(random, interpreter(version.export), program, statuses)


def memory(random: Random) -> Case:
    """Whatever is in memory."""
    program = random.randbytes(random.choice((1000, PAGE, PROGRAM_SIZE)))
    version = random.choice(list(BY_EXPORT.values()))
    return program, lambda statuses: drive(random, interpreter(version.export), program, statuses)


KINDS: dict[str, tuple[int, Callable[[Random], Case]]] = {
    "modules": (4, modules),
    "hostcalls": (6, hostcalls),
    "wasi": (2, wasi),
    "memory": (2, memory),
}
"""How many cases of each kind come in a row, and what makes them."""


# Modules to damage.


@cache
def corpus() -> tuple[bytes, ...]:
    """Modules that load, and that use many parts of the format between them."""
    small = """
      (module
        (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
        (memory (export "memory") 1 2) (table 2 funcref) (elem (i32.const 0) $malloc)
        (global $g (mut i32) (i32.const 5))
        (data (i32.const 16) "hello")
        (func (export "proxy_abi_version_0_2_1"))
        (func $malloc (export "malloc") (param i32) (result i32) i32.const 1024)
        (func $start) (start $start)
        (func (export "_initialize") (drop (call $log (i32.const 2) (i32.const 16) (i32.const 5))))
        (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (drop (call_indirect (param i32) (result i32) (i32.const 1) (global.get $g)))
          (i32.const 0)))"""
    imported = """
      (module
        (import "env" "memory" (memory 1)) (import "env" "table" (table 1 funcref))
        (func (export "proxy_abi_version_0_1_0"))
        (func (export "proxy_on_memory_allocate") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "proxy_on_log") (param i32) unreachable))"""
    texts = (small, imported, *map(_odd, _ODDITIES), interpreter_text(BY_EXPORT["proxy_abi_version_0_2_1"]))
    return tuple(bytes(wasmtime.wat2wasm(text)) for text in texts)


def _odd(part: str) -> str:
    start = f'(func (export "{BY_EXPORT["proxy_abi_version_0_2_1"].export}"))'
    malloc = '(func (export "malloc") (param i32) (result i32) i32.const 1024)'
    imports, _, others = part.rpartition(";;")
    return f"(module {imports} {start} {malloc} {others})"


_ODDITIES = (
    "(memory 65536)",
    '(memory (export "memory") 16385)',
    '(memory (export "memory") 1) (data (i32.const 65536) "x")',
    "(table 1 funcref) (elem (i32.const 1) $s) (func $s)",
    "(table 4000000000 funcref)",
    "(table 100000000 funcref)",
    "(func $s unreachable) (start $s)",
    "(func $s (call $s)) (start $s)",
    '(memory i64 1) (export "memory" (memory 0))',
    '(memory 1 1 shared) (export "memory" (memory 0))',
    '(import "env" "m" (memory 65536)) ;;',
    '(import "env" "m" (memory i64 1)) ;;',
    '(import "env" "m" (memory 1 1 shared)) ;;',
    '(import "env" "t" (table 1 externref)) ;;',
    '(import "env" "t" (table 4000000000 funcref)) ;;',
    (
        '(import "env" "proxy_get_status" (func $f (param i32 i32 i32) (result i32))) ;;'
        " (func $s (drop (call $f (i32.const 0) (i32.const 0) (i32.const 0)))) (start $s)"
    ),
    (
        '(import "env" "proxy_log" (func $f (param i32 i32 i32) (result i32))) ;;'
        ' (memory (export "memory") 1) (func $s (drop (call $f (i32.const 0) (i32.const 0) (i32.const 1)))) (start $s)'
    ),
    (
        '(import "env" "proxy_grpc_stream" (func $f (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32))) ;;'
        ' (memory (export "memory") 1) (data (i32.const 0) "none")'
        ' (func $s (export "proxy_on_grpc_receive_initial_metadata") (param i32 i32 i32)'
        "  (drop (call $f (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)"
        "   (i32.const 0) (i32.const 64))))"
        ' (func (export "proxy_on_configure") (param i32 i32) (result i32)'
        "  (call $s (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 1))"
    ),
    (
        '(import "wasi_snapshot_preview1" "fd_write" (func $f (param i32 i32 i32 i32) (result i32))) ;;'
        ' (memory (export "memory") 512) (func (export "_start")'
        "  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))"
        "  (drop (call $f (i32.const 1) (i32.const 65536) (i32.const -1) (i32.const 0))))"
    ),
    '(memory (export "memory") 1) (func (export "_initialize") (call_indirect (i32.const 9))) (table 1 funcref)',
    '(memory (export "memory") 1) (func (export "proxy_on_tick") (param i32)) (tag $e) (func (export "main") (param i32 i32) (result i32) (throw $e))',
)
"""What else modules may be, after the functions that all need."""


def damaged(random: Random) -> bytes:
    """A module with mistakes."""
    how = random.randrange(12)
    if how == 0:
        return random.randbytes(random.choice((0, 1, 7, 8, 100, 10000)))
    if how == 1:
        return (
            b"\0asm" + random.choice((b"\1\0\0\0", b"\2\0\0\0", b"\r\0\1\0")) + random.randbytes(random.randrange(200))
        )
    if how == 2:  # noqa: PLR2004
        return b"(" + random.randbytes(random.randrange(20))
    small, imported, *odd = corpus()
    module = bytearray(random.choices((small, imported, random.choice(odd)), (6, 3, 6))[0])
    if how == 3:  # noqa: PLR2004
        return bytes(module[: random.randrange(len(module))])
    if how == 4:  # noqa: PLR2004
        other = random.choice(corpus())
        return bytes(module[: random.randrange(len(module))] + other[random.randrange(len(other)) :])
    for _ in range(random.choice((0, 1, 1, 1, 1, 2, 3))):
        at = random.randrange(8, max(9, len(module)))
        module[at : at + random.choice((0, 1, 1, 1, 2))] = _patch(random, bytes(module[at : at + 9]))
    return bytes(module)


def _patch(random: Random, present: bytes) -> bytes:
    """What comes in the place of a byte or so."""
    return random.choice(
        (
            bytes([random.choice((0, 1, 0x0B, 0x7F, 0x80, 0xFF))]),
            bytes([(present or b"a")[0] ^ 1 << random.randrange(8)]),
            random.randbytes(random.randrange(3)),
            present[: random.randrange(10)],
        )
    )


_CODE = 10


def code_of(module: bytes) -> bytes:
    """The bytes of a module's functions; all that follow, where there is no telling."""
    with suppress(ValueError):
        for number, start, end in _sections(module):
            if number == _CODE:
                return module[start:end]
    return b""


def _sections(module: bytes) -> Iterator[tuple[int, int, int]]:
    position = 8
    while position < len(module):
        number, position, size, shift = module[position], position + 1, 0, 0
        while position < len(module):
            octet = module[position]
            position, size, shift = position + 1, size | (octet & 0x7F) << shift, shift + 7
            if octet < 0x80:  # noqa: PLR2004
                break
        yield number, position, position + size
        position += size


# The hunt.


class Watch:
    """Ends the process where a case takes too long, and says which."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self.current = ""
        self.deadline = time.monotonic() + patience
        threading.Thread(target=self._run, daemon=True).start()

    def start(self, current: str) -> None:
        """A case begins."""
        self.current = current
        self.deadline = time.monotonic() + self._patience

    def _run(self) -> None:
        while True:
            time.sleep(1)
            if time.monotonic() > self.deadline:
                print(f"HANGS: {self.current}", flush=True)
                faulthandler.dump_traceback(sys.stdout, all_threads=True)
                os._exit(2)


def megabytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


_WARM = 20
"""After so many cases the process has what it keeps."""


class Hunt:
    """Runs cases, and keeps count."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.seed: int = options.seed
        self.bound: int = options.megabytes
        self.watch = Watch(options.patience)
        self.statuses = Statuses()
        self.cases: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.base = megabytes()

    def run(self, kind: str, index: int) -> None:
        """Run one case; print it where it fails."""
        name = f"--seed {self.seed} --only {kind} --index {index}"
        random = Random(f"{self.seed} {kind} {index}")  # noqa: S311 - no secret
        content, run = KINDS[kind][1](random)
        self.watch.start(f"{name}\n{content.hex()}")
        before = megabytes()
        try:
            with patch.object(os, "urandom", random.randbytes):  # what guests get by `random_get`
                run(self.statuses)
        except Exception as error:  # noqa: BLE001 - what is looked for
            where = traceback.extract_tb(error.__traceback__)[-1]
            self._failed(f"{type(error).__name__} at {where.filename}:{where.lineno}", name, content, error)
        if sum(self.cases.values()) > _WARM and max(before, self.base) + self.bound < megabytes():
            self._failed(f"grew from {before} to {megabytes()} MiB", name, content, None)
            self.base = megabytes()
        self.cases[kind] += 1
        if not sum(self.cases.values()) % 200:
            gc.collect()

    def _failed(self, what: str, name: str, content: bytes, error: Exception | None) -> None:
        self.failures[what] += 1
        if self.failures[what] == 1:
            print(f"FAILS: {what}: {name}\n{content.hex()}")
            if error is not None:
                traceback.print_exception(error, file=sys.stdout)
            sys.stdout.flush()

    def report(self, seconds: float) -> None:
        """What was done, and what was found."""
        print(f"{sum(self.cases.values())} cases in {seconds:.0f} s: {dict(self.cases)}")
        print(f"{self.statuses.counts.total()} hostcalls, memory at most {megabytes()} MiB")
        hostcalls = sorted({hostcall for hostcall, _ in self.statuses.counts})
        for name in hostcalls:
            found = sorted((status, count) for (call, status), count in self.statuses.counts.items() if call == name)
            print(f"  {name}: {', '.join(f'{status} {count}' for status, count in found)}")
        for what, count in self.failures.most_common():
            print(f"{count} cases: {what}")
        print("FAILED" if self.failures else "nothing found")


def turns() -> Iterator[tuple[str, int]]:
    """All cases there are, kinds in turn."""
    indexes: Counter[str] = Counter()
    while True:
        for kind, (count, _) in KINDS.items():
            for _ in range(count):
                yield kind, indexes[kind]
                indexes[kind] += 1


def main() -> int:
    """Run cases until the time is over, or as many as were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600, help="how long")
    parser.add_argument("--seed", type=int, default=0, help="where cases start from")
    parser.add_argument("--cases", type=int, default=1 << 62, help="at most how many cases")
    parser.add_argument("--only", choices=KINDS, help="the kind of a single case")
    parser.add_argument("--index", type=int, default=0, help="its number")
    parser.add_argument("--patience", type=float, default=60, help="seconds that a case may take")
    parser.add_argument("--megabytes", type=int, default=512, help="by how much the process may grow")
    options = parser.parse_args()
    os.environ["PROXY_WASM_CACHE"] = os.devnull  # thousands of modules are not worth keeping
    hunt = Hunt(options)
    started = time.monotonic()
    for count, (kind, index) in enumerate([(options.only, options.index)] if options.only else turns()):
        if count >= options.cases or time.monotonic() - started > options.seconds:
            break
        hunt.run(kind, index)
    hunt.report(time.monotonic() - started)
    return 1 if hunt.failures else 0


if __name__ == "__main__":
    sys.exit(main())
