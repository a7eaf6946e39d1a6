"""Timers of plugins, on the clock of each host. In Envoy time is real, and a busy machine lets single calls come late."""

# What Envoy does without a plugin's knowledge, its log tells.
# pyright: reportPrivateUsage=false

import statistics
from itertools import pairwise
from typing import Any

import pytest

from proxy_wasm.testing import LogLevel, Proxy, StartProxy
from proxy_wasm.testing.envoy_host import EnvoyPlugin

PATIENCE = 50
"""How often to look whether something has happened."""


def fired(proxy: Proxy, **headers: str) -> dict[str, list[float]]:
    """The moments at which timers fired so far, in seconds, by name."""
    return proxy.get("/", headers={name.replace("_", "-"): value for name, value in headers.items()}).json()


def fired_often(proxy: Proxy, name: str, count: int) -> list[float]:
    """The moments at which a timer fired, once it has fired so often; waits longer where the machine is busy."""
    for _ in range(PATIENCE):
        moments = fired(proxy).get(name, [])
        if len(moments) >= count:
            return moments
        proxy.advance(0.1)
    raise AssertionError(fired(proxy))


def median_period(moments: list[float]) -> float:
    """The median is the proxy's work; single calls are late where the machine is busy."""
    return statistics.median(later - earlier for earlier, later in pairwise(moments))


def test_a_timer_keeps_its_period(start_proxy: StartProxy) -> None:
    proxy = start_proxy("timers", {"timers": [{"name": "x", "every": 0.1}]})
    proxy.advance(2)
    moments = fired_often(proxy, "x", 21)
    assert median_period(moments) == pytest.approx(0.1, rel=0.1)
    off_schedule = [abs(moment - round(moment / 0.1) * 0.1) for moment in moments]
    assert statistics.median(off_schedule) < 0.01, "each call is due by schedule, so that lateness does not add up"


def test_timers_of_different_periods_share_the_tick(start_proxy: StartProxy) -> None:
    timers = [
        {"name": "slow", "every": 0.25},
        {"name": "once", "later": 0.05},
        {"name": "fast", "every": 0.1},
        {"name": "at once", "later": 0},
    ]
    proxy = start_proxy("timers", {"timers": timers})
    proxy.advance(1)
    slow, fast = fired_often(proxy, "slow", 4), fired_often(proxy, "fast", 9)
    assert median_period(slow) == pytest.approx(0.25, rel=0.1)
    assert median_period(fast) == pytest.approx(0.1, rel=0.1)
    moments = fired(proxy)
    assert [len(moments[name]) for name in ("once", "at once")] == [1, 1]
    assert moments["at once"] < moments["once"] < fast < slow


def test_a_timer_that_is_cancelled_fires_no_more(start_proxy: StartProxy) -> None:
    timers = [
        {"name": "x", "every": 0.02},
        {"name": "never", "later": 1},
        {"name": "end x", "later": 0.09, "cancels": "x"},
        {"name": "end never", "later": 0.1, "cancels": "never"},
    ]
    proxy = start_proxy("timers", {"timers": timers})
    (cancelled_at,) = fired_often(proxy, "end x", 1)
    proxy.advance(1.2)
    moments = fired(proxy)
    assert max(moments["x"]) <= cancelled_at
    assert "never" not in moments


def test_a_call_is_left_out_while_the_one_before_is_at_work(start_proxy: StartProxy) -> None:
    proxy = start_proxy("timers", {"timers": [{"name": "x", "every": 0.02, "waits": 0.05}]})
    proxy.advance(0.3)
    began, ended = fired_often(proxy, "x", 4), fired_often(proxy, "x ended", 3)
    for end, next_begin in zip(ended, began[1:], strict=False):
        assert end <= next_begin


def test_what_fails_is_logged_and_called_again(start_proxy: StartProxy) -> None:
    timers = [
        {"name": "plain", "every": 0.05, "fails": True},
        {"name": "async", "every": 0.05, "waits": 0.01, "fails": True},
    ]
    proxy = start_proxy("timers", {"timers": timers})
    fired_often(proxy, "plain", 3)
    fired_often(proxy, "async", 3)
    errors = [record.message for record in proxy.logs if record.level is LogLevel.ERROR]
    for name in ("plain", "async"):
        own = [error for error in errors if error.endswith(f"LookupError: {name}")]
        assert len(own) >= 2
        assert all(error.startswith("exception in Timed") and "timed.py" in error for error in own)


def test_the_raw_tick_begins_changes_and_ends(start_proxy: StartProxy) -> None:
    proxy = start_proxy("timers", {"tick_period": 0.1})
    proxy.advance(0.5)
    first = fired_often(proxy, "tick", 4)
    assert median_period(first) == pytest.approx(0.1, rel=0.1)
    before = len(fired(proxy, x_tick_period="0.02")["tick"])
    second = fired_often(proxy, "tick", before + 10)[before:]
    assert median_period(second) == pytest.approx(0.02, rel=0.2)
    ended = len(fired(proxy, x_tick_period="0")["tick"])
    proxy.advance(0.3)
    assert len(fired(proxy)["tick"]) == ended


@pytest.mark.hosts("envoy")
def test_nothing_ticks_once_there_is_no_timer_left(start_proxy: StartProxy) -> None:
    proxy = start_proxy("timers", {"timers": [{"name": "once", "later": 0.05}]}, isolated=True)
    fired_often(proxy, "once", 1)
    plugin: Any = proxy._plugin
    assert isinstance(plugin, EnvoyPlugin)
    log = plugin._running._envoy.process.log_path

    def ticks() -> int:
        proxy.advance(0.2)
        return log.read_text().count("proxy_on_tick")

    before = ticks()
    assert before > 0
    assert ticks() == before


def test_plugins_of_one_vm_have_timers_of_their_own(start_proxy: StartProxy) -> None:
    one = start_proxy("timers", {"timers": [{"name": "x", "every": 0.05}]}, root_id="one", vm_id="timed")
    other = start_proxy("timers", {"timers": [{"name": "y", "every": 0.1}]}, root_id="other", vm_id="timed")
    fired_often(one, "x", 3)
    fired_often(other, "y", 3)
    assert (list(fired(one)), list(fired(other))) == (["x"], ["y"])
    one.stop()
    before = len(fired(other)["y"])
    fired_often(other, "y", before + 3)
