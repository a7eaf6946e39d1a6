"""What counts as the guest's time, and to which stream."""

import time

from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.bench.crossing import crossing
from proxy_wasm.bench.stopwatch import Crossing, Life, Stopwatch, low, measured
from proxy_wasm.emulator import Emulator
from proxy_wasm.emulator.native_guest import callbacks_guest

PAUSE = 0.02


class Sleeping:
    """Takes its time in one callback, and has the host take it in another."""

    def __init__(self, hostcalls: Hostcalls) -> None:
        self.hostcalls = hostcalls

    def on_context_create(self, context_id: int, parent_id: int) -> None: ...

    def on_configure(self, context_id: int, size: int) -> int:
        self.hostcalls.set_tick_period_milliseconds(10)
        return 1

    def on_request_headers(self, *_arguments: int) -> int:
        time.sleep(PAUSE)
        return 0

    def on_response_headers(self, *_arguments: int) -> int:
        self.hostcalls.call_foreign_function(b"sleep", b"")
        return 0

    def on_tick(self, context_id: int) -> None: ...

    def on_done(self, context_id: int) -> int:
        return 1


def sleep(_: bytes) -> bytes:
    time.sleep(PAUSE)
    return b""


def life(streams: int) -> Life:
    stopwatch = Stopwatch()
    factory = measured(callbacks_guest(Sleeping), stopwatch)
    with Emulator(factory, foreign_functions={"sleep": sleep}) as emulator:
        plugin = emulator.start_plugin()
        for _ in range(streams):
            plugin.exchange()
            emulator.clock.advance(0.01)
    (only,) = stopwatch.lives
    return only


def test_the_time_in_which_the_host_answers_is_not_the_guests() -> None:
    calls = {call.name: call.nanoseconds * 1e-9 for call in life(1).streams[0].calls}
    assert calls["on_request_headers"] >= PAUSE
    assert calls["on_response_headers"] < calls["on_request_headers"]


def test_callbacks_belong_to_the_stream_that_began_last_and_the_plugins_own_to_none() -> None:
    found = life(2)
    assert [call.name for call in found.start.calls] == ["on_context_create", "on_configure"]
    stream = ["on_context_create", "on_request_headers", "on_response_headers", "on_done", "on_tick"]
    assert [[call.name for call in each.calls] for each in found.streams] == [stream, stream]
    assert [each.hostcalls for each in found.streams] == [1, 1]


def test_what_the_boundary_costs_is_subtracted_and_nothing_is_below_zero() -> None:
    stopwatch = Stopwatch()
    stopwatch.crossing = Crossing(1e12, 0, 0, 0, 0)
    with Emulator(measured(callbacks_guest(Sleeping), stopwatch), foreign_functions={"sleep": sleep}) as emulator:
        emulator.start_plugin().exchange()
    assert {call.nanoseconds for call in stopwatch.lives[0].streams[0].calls} == {0}


def test_the_cost_of_the_boundary_grows_with_calls_and_arguments() -> None:
    cost = Crossing(1.0, 0.1, 0.01, 100.0, 10.0)
    assert cost.of("on_delete", 1, 0, 0) == 1.1
    assert round(cost.of("on_done", 1, 0, 0), 6) == 1.11
    assert round(cost.of("on_delete", 1, 2, 5), 6) == 251.1


def test_crossing_the_boundary_of_a_compiled_guest_is_measured() -> None:
    cost = crossing("wasm")
    assert cost.callback > 0
    assert cost.hostcall > 0


def test_the_low_time_ignores_the_one_tenth_below_it() -> None:
    assert low([5, 1, 2, 3, 4, 6, 7, 8, 9, 10]) == 2
    assert low([3]) == 3
