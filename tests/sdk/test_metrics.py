from typing import TYPE_CHECKING, cast

import pytest

from proxy_wasm import PluginContext
from proxy_wasm.abi import MetricType

if TYPE_CHECKING:
    from conftest import MemoryHost, StartProxy


@pytest.fixture
def plugin(start: "StartProxy") -> PluginContext:
    return start(PluginContext).plugin_context()


def host_of(plugin: PluginContext) -> "MemoryHost":
    return cast("MemoryHost", plugin.hostcalls)


def test_a_counter_grows(plugin: PluginContext) -> None:
    counter = plugin.counter("requests")
    counter.increment()
    counter.increment(2)
    counter.increment(0)
    assert counter.value == 3
    assert repr(counter) == "<Counter requests>"


def test_a_gauge_is_set_and_moves_both_ways(plugin: PluginContext) -> None:
    gauge = plugin.gauge("open")
    gauge.record(5)
    gauge.increment()
    gauge.increment(-3)
    assert gauge.value == 3


def test_a_histogram_records(plugin: PluginContext) -> None:
    histogram = plugin.histogram("size")
    histogram.record(0)
    histogram.record(7)
    assert host_of(plugin).metrics == [(MetricType.HISTOGRAM, "size", [0, 7])]


def test_labels_become_parts_of_the_name(plugin: PluginContext) -> None:
    assert plugin.counter("requests", decision="denied", rule="a").name == "requests.decision.denied.rule.a"


def test_a_metric_is_defined_once(plugin: PluginContext) -> None:
    assert plugin.counter("requests", decision="denied") is plugin.counter("requests.decision.denied")
    assert plugin.gauge("requests.decision.denied") is not plugin.counter("requests.decision.denied")
    assert len(host_of(plugin).metrics) == 2


@pytest.mark.parametrize(("name", "labels"), [("", {}), ("a", {"b": ""})])
def test_an_empty_name_or_label_is_refused(plugin: PluginContext, name: str, labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="a name, label or value is empty"):
        plugin.counter(name, **labels)


def test_numbers_that_a_proxy_cannot_hold_are_refused(plugin: PluginContext) -> None:
    for use, value in (
        (plugin.counter("c").increment, -1),
        (plugin.counter("c").increment, 1 << 63),
        (plugin.gauge("g").record, -1),
        (plugin.gauge("g").increment, -(1 << 63) - 1),
        (plugin.histogram("h").record, -1),
    ):
        with pytest.raises(ValueError, match=rf"metric \w: {value} is out of range"):
            use(value)
