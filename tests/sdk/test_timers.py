"""Several timers on the one tick of a plugin context."""

# A host without Envoy's manners has to be made by hand.
# pyright: reportPrivateUsage=false

import heapq
import random
from collections.abc import Callable
from typing import Any

import pytest

from proxy_wasm import PluginContext, sleep
from proxy_wasm.abi import LogLevel
from proxy_wasm.emulator import Emulator, native_guest
from proxy_wasm.timers import Timer

MILLISECOND = 1_000_000


def emulator_of(plugin: type[PluginContext]) -> Emulator:
    emulator = Emulator(native_guest({"": plugin}))
    emulator.start_plugin()
    return emulator


class Clocked(PluginContext):
    """Notes when its timers fire, in milliseconds since it was configured."""

    def on_configure(self) -> None:
        self.began = self._host.monotonic()
        self.fired: list[tuple[str, int]] = []
        Clocked.latest = self
        self.begin()

    latest: "Clocked"

    def begin(self) -> None: ...

    def note(self, name: str) -> None:
        self.fired.append((name, round((self._host.monotonic() - self.began) / MILLISECOND)))

    def noting(self, name: str) -> Callable[[], None]:
        return lambda: self.note(name)


def fired(begin: Callable[[Any], object], seconds: float) -> list[tuple[str, int]]:
    """What fires and when in a plugin that begins so."""
    plugin = type("Begun", (Clocked,), {"begin": begin})
    emulator = emulator_of(plugin)
    emulator.clock.advance(seconds)
    assert [record.message for record in emulator.log if record.level is LogLevel.ERROR] == []
    return Clocked.latest.fired


def test_timers_fire_in_order_each_at_its_time() -> None:
    def begin(plugin: Clocked) -> None:
        plugin.every(0.3, plugin.noting("c"))
        plugin.call_later(0.25, plugin.noting("a"))
        plugin.every(0.2, plugin.noting("b"))
        plugin.call_later(0, plugin.noting("now"))

    assert fired(begin, 0.65) == [
        ("now", 1),
        ("b", 200),
        ("a", 250),
        ("c", 300),
        ("b", 400),
        ("c", 600),
        ("b", 600),
    ]


def test_a_period_is_kept_by_schedule() -> None:
    def begin(plugin: Clocked) -> None:
        plugin.every(0.0105, plugin.noting("x"))

    times = [milliseconds for _, milliseconds in fired(begin, 10.6)]
    assert len(times) == 1009, "a tick takes whole milliseconds, and what that adds must not add up"
    assert times[-1] == pytest.approx(1009 * 10.5, abs=1)


def test_periods_that_were_missed_are_made_up_for_once() -> None:
    late = 0

    def begin(plugin: Clocked) -> None:
        clock = plugin._host.monotonic
        plugin._host.monotonic = lambda: clock() + late
        plugin.every(0.01, lambda: work(plugin))

    def work(plugin: Clocked) -> None:
        nonlocal late
        plugin.note("x")
        late = 85 * MILLISECOND  # the first call keeps the worker busy for so long

    assert fired(begin, 0.03) == [("x", 10), ("x", 96), ("x", 100), ("x", 110)]


@pytest.mark.parametrize("seed", range(20))
def test_any_timers_fire_when_they_are_due_and_no_tick_is_idle(seed: int) -> None:
    """Against the plainest scheduler there is."""
    draw = random.Random(seed)
    expected: list[tuple[str, int]] = []
    made = [(f"t{n}", draw.randrange(1, 40), draw.random() < 0.5) for n in range(draw.randrange(1, 12))]
    cancels = {name: draw.randrange(0, 100) for name, _, _ in made if draw.random() < 0.4}

    def begin(plugin: Clocked) -> None:
        for name, milliseconds, again in made:
            make = plugin.every if again else plugin.call_later
            timer = make(milliseconds / 1000, plugin.noting(name))
            if name in cancels:
                plugin.call_later(cancels[name] / 1000 + 0.0005, timer.cancel)

    due = [(ms, number, name, ms if again else 0) for number, (name, ms, again) in enumerate(made)]
    heapq.heapify(due)
    while due and due[0][0] <= 100:
        moment, number, name, period = heapq.heappop(due)
        if moment > cancels.get(name, 1000):
            continue
        expected.append((name, moment))
        if period:
            heapq.heappush(due, (moment + period, number, name, period))
    came = fired(begin, 0.1)
    assert sorted(came) == sorted(expected)
    assert [moment for _, moment in came] == [moment for _, moment in expected]


def test_the_host_is_asked_for_no_tick_that_nothing_needs() -> None:
    periods: list[int] = []

    def begin(plugin: Clocked) -> None:
        set_period = plugin.hostcalls.set_tick_period_milliseconds

        class Recording:
            def __getattr__(self, name: str) -> object:
                return getattr(hostcalls, name)

            def set_tick_period_milliseconds(self, milliseconds: int) -> None:
                periods.append(milliseconds)
                set_period(milliseconds)

        hostcalls = plugin._host.hostcalls
        plugin._host.hostcalls = Recording()  # pyright: ignore[reportAttributeAccessIssue]
        first = plugin.call_later(0.05, plugin.noting("a"))
        plugin.call_later(0.1, plugin.noting("b"))
        plugin.call_later(0.02, first.cancel)

    assert fired(begin, 1) == [("b", 100)]
    assert periods == [50, 20, 80, 0]


def test_a_cancelled_timer_costs_nothing_for_long() -> None:
    def begin(plugin: Clocked) -> None:
        for _ in range(10_000):
            plugin.call_later(60, plugin.noting("never")).cancel()
        plugin.call_later(0.01, plugin.noting("kept"))

    assert fired(begin, 0.05) == [("kept", 10)]
    assert len(Clocked.latest._own_timers._heap) < 200


def test_a_timer_tells_whether_it_will_fire() -> None:
    timers: dict[str, Timer] = {}

    def stop() -> None:
        timers["stopped"].cancel()

    def begin(plugin: Clocked) -> None:
        timers["once"] = plugin.call_later(0.01, plugin.noting("once"))
        timers["again"] = plugin.every(0.02, plugin.noting("again"))
        timers["stopped"] = plugin.every(0.02, stop)

    fired(begin, 0.05)
    assert {name: timer.active for name, timer in timers.items()} == {"once": False, "again": True, "stopped": False}
    assert [timers[name].period for name in ("once", "again")] == [0, 0.02]
    timers["once"].cancel()  # nothing happens


def test_a_function_still_at_work_is_not_called_again() -> None:
    def begin(plugin: Clocked) -> None:
        async def slow() -> None:
            plugin.note("begin")
            await sleep(0.025)
            plugin.note("end")

        plugin.every(0.01, slow)

    assert fired(begin, 0.08) == [("begin", 10), ("end", 35), ("begin", 40), ("end", 65), ("begin", 70)]


class Failing(PluginContext):
    def on_configure(self) -> None:
        self.every(0.1, self.fail)
        self.every(0.1, self.fail_later)
        self.tick_period = 0.1

    def fail(self) -> None:
        raise LookupError("plain")

    async def fail_later(self) -> None:
        await sleep(0.01)
        raise LookupError("async")

    async def on_tick(self) -> None:
        await sleep(0.02)
        raise LookupError("tick")


def test_what_fails_is_logged_at_once_and_called_again() -> None:
    emulator = emulator_of(Failing)
    for _ in range(3):
        before = len(emulator.log)
        emulator.clock.advance(0.13)
        said = [record.message.rpartition("\n")[2] for record in emulator.log[before:]]
        assert said == ["LookupError: plain", "LookupError: async", "LookupError: tick"]
        emulator.clock.advance(0.1 - 0.13 + 0.0001)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 3e9])
@pytest.mark.parametrize("how", ["every", "call_later"])
def test_no_timer_is_made_for_what_is_no_time(how: str, seconds: float) -> None:
    raised: list[str] = []

    def begin(plugin: Clocked) -> None:
        try:
            getattr(plugin, how)(seconds, plugin.noting("never"))
        except ValueError as error:
            raised.append(str(error))

    assert fired(begin, 1) == []
    assert raised == [f"{seconds} seconds: a timer takes 0 to 2147483"]


def test_a_tick_period_can_be_changed_and_ended() -> None:
    def tick(plugin: Clocked) -> None:
        plugin.note("tick")

    def begin(plugin: Clocked) -> None:
        assert plugin.tick_period == 0
        plugin.tick_period = 0.1
        assert plugin.tick_period == 0.1
        plugin.call_later(0.25, lambda: setattr(plugin, "tick_period", 0.02))
        plugin.call_later(0.3, lambda: setattr(plugin, "tick_period", 0))

    plugin = type("Begun", (Clocked,), {"begin": begin, "on_tick": tick})
    emulator = emulator_of(plugin)
    emulator.clock.advance(1)
    assert Clocked.latest.fired == [("tick", 100), ("tick", 200), ("tick", 270), ("tick", 290)]
    assert Clocked.latest.tick_period == 0


def test_timers_of_a_plugin_end_with_it_and_leave_the_other_ones() -> None:
    counts = {"one": 0, "other": 0}

    class Counting(PluginContext):
        def on_configure(self) -> None:
            self.every(0.1, self.count)

        def count(self) -> None:
            counts[self.root_id] += 1

    emulator = Emulator(native_guest({"": Counting}))
    one = emulator.start_plugin(root_id="one")
    emulator.start_plugin(root_id="other")
    emulator.clock.advance(0.25)
    one.close()
    emulator.clock.advance(0.25)
    assert counts == {"one": 2, "other": 5}


def test_the_monotonic_clock_is_the_hosts() -> None:
    class Timing(PluginContext):
        def on_configure(self) -> None:
            began = self.monotonic()
            self.call_later(1.5, lambda: elapsed.append(self.monotonic() - began))

    elapsed: list[float] = []
    emulator_of(Timing).clock.advance(2)
    assert elapsed == [1.5]
