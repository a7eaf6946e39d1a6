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


def test_labels_are_written_before_the_name_as_istio_does(plugin: PluginContext) -> None:
    assert plugin.counter("requests", decision="denied").name == "decision=.=denied;.;requests"


def test_the_order_of_labels_makes_no_difference(plugin: PluginContext) -> None:
    one = plugin.counter("requests", rule="a", decision="denied")
    other = plugin.counter("requests", decision="denied", rule="a")
    assert one.name == other.name == "rule=.=a;.;decision=.=denied;.;requests"


def test_a_label_comes_before_those_whose_end_it_is(plugin: PluginContext) -> None:
    name = plugin.counter("requests", destination_service="y", service="x").name
    assert name == "service=.=x;.;destination_service=.=y;.;requests"


def test_a_label_may_be_called_name(plugin: PluginContext) -> None:
    assert plugin.counter("requests", name="x").name == "name=.=x;.;requests"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a;.;b", "a;_;b"),
        ("=.=.=", "=_=_="),
        (".=x;.", "_=x;_"),
        ("a.b", "a.b"),
        ("a.", "a_"),
        (";;==", ";;=="),
        ("\x00\n\x7f\udcff", "____"),
        ("", ""),
        ("é", "é"),
    ],
)
def test_what_looks_like_a_separator_in_a_value_is_replaced(plugin: PluginContext, value: str, written: str) -> None:
    assert plugin.counter("requests", odd=value).name == f"odd=.={written};.;requests"


def test_a_metric_is_defined_once(plugin: PluginContext) -> None:
    assert plugin.counter("requests", decision="denied") is plugin.counter("requests", decision="denied")
    assert plugin.gauge("requests", decision="denied") is not plugin.counter("requests", decision="denied")
    assert len(host_of(plugin).metrics) == 2


@pytest.mark.parametrize("name", ["", "1st", "a b", "a;.;b", "a=b", ".a", "a.", "a..b", "é", "a:b", "a\n"])
def test_a_name_that_prometheus_would_not_show_is_refused(plugin: PluginContext, name: str) -> None:
    with pytest.raises(
        ValueError, match=r"a name has letters, digits, '_', '-' and single dots, and begins with a letter or '_'"
    ):
        plugin.counter(name)


@pytest.mark.parametrize("name", ["requests_total", "greeter.requests", "basic-auth.denied", "_x1"])
def test_names_that_proxies_show_are_taken(plugin: PluginContext, name: str) -> None:
    assert plugin.counter(name).name == name


@pytest.mark.parametrize("label", ["", "1st", "a b", "a.b", "a-b", "__name__", "le", "é"])
def test_a_label_that_prometheus_would_not_take_is_refused(plugin: PluginContext, label: str) -> None:
    with pytest.raises(ValueError, match=r"metric requests, label .*: a label has letters, digits and '_'"):
        plugin.counter("requests", **{label: "x"})


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
