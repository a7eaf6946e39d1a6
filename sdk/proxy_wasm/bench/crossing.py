"""What it costs to cross the boundary between host and guest, measured with guests that do nothing else."""

import wasmtime

from proxy_wasm.abi.enums import MapType
from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.bench.stopwatch import Crossing, Stopwatch, low, measured
from proxy_wasm.emulator import Emulator, wasm_guest
from proxy_wasm.emulator.guest import GuestFactory
from proxy_wasm.emulator.native_guest import callbacks_guest

_STREAMS = 200
_HOSTCALLS = 20
_NAME = b"absent"
_FIVE = 5

_AGAIN = """
    (local $count i32)
    (local.set $count (i32.const {times}))
    (loop $again
      (drop {call})
      (br_if $again (local.tee $count (i32.sub (local.get $count) (i32.const 1)))))
    (i32.const 0)"""
_ONE_CALL = _AGAIN.format(times=_HOSTCALLS, call="(call $one (i32.const 0))")
_FIVE_CALL = _AGAIN.format(
    times=_HOSTCALLS,
    call=f"(call $five (i32.const {int(MapType.HTTP_RESPONSE_HEADERS)}) (i32.const 64) (i32.const {len(_NAME)}) (i32.const 8) (i32.const 12))",
)
# `on_response_body` sets the tick period (one number) and `on_response_headers` asks for an absent header (five numbers), again and again; the
# others do nothing.
_MODULE = f"""
(module
  (import "env" "proxy_set_tick_period_milliseconds" (func $one (param i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $five (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "{_NAME.decode()}")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) {_FIVE_CALL})
  (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) {_ONE_CALL})
  (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
  (func (export "proxy_on_delete") (param i32)))
"""


class _Idle:
    """The same as Python objects."""

    def __init__(self, hostcalls: Hostcalls) -> None:
        self._hostcalls = hostcalls

    def on_request_headers(self, *_arguments: int) -> int:
        return 0

    def on_response_body(self, *_arguments: int) -> int:
        one = self._hostcalls.set_tick_period_milliseconds
        for _ in range(_HOSTCALLS):
            one(0)
        return 0

    def on_response_headers(self, *_arguments: int) -> int:
        five = self._hostcalls.get_header_map_value
        for _ in range(_HOSTCALLS):
            five(MapType.HTTP_RESPONSE_HEADERS, _NAME)
        return 0

    def on_done(self, _: int) -> int:
        return 1

    def on_delete(self, _: int) -> None: ...


def crossing(host: str) -> Crossing:
    """What callbacks and hostcalls cost on `"wasm"` or `"native"`, in this process, now."""
    factory = wasm_guest(bytes(wasmtime.wat2wasm(_MODULE))) if host == "wasm" else callbacks_guest(_Idle)
    return _measure(factory)


def _measure(factory: GuestFactory) -> Crossing:
    stopwatch = Stopwatch()
    with Emulator(measured(factory, stopwatch)) as emulator:
        plugin = emulator.start_plugin()
        for _ in range(_STREAMS):
            plugin.exchange()
    times: dict[str, list[float]] = {}
    for stream in stopwatch.lives[0].streams[_STREAMS // 4 :]:
        for call in stream.calls:
            times.setdefault(call.name, []).append(call.nanoseconds)
    request, five, one, done, deleted = (
        low(times[name])
        for name in ("on_request_headers", "on_response_headers", "on_response_body", "on_done", "on_delete")
    )
    argument = max(0.0, (request - done) / 2)
    of_one, of_five = (one - request) / _HOSTCALLS, (five - request) / _HOSTCALLS
    number = max(0.0, (of_five - of_one) / (_FIVE - 1))
    return Crossing(deleted - argument, argument, max(0.0, done - deleted), max(0.0, of_one - number), number)
