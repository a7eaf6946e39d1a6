import json
from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm.envoy import WasmFilter
from proxy_wasm.testing import Proxy, StartProxy

if TYPE_CHECKING:
    from conftest import Build, RunningEnvoy, StartEnvoy

LABELS = ("decision", "rule", "service", "destination_service", "odd")
ANCHORED = r"^wasmcustom\.(?:.*;\.;)?({label}=\.=(.*?);\.;)"
"""The expression that docs/metrics.md recommends."""
ISTIOS = r"({label}=\.=(.*?);\.;)"
"""What Istio makes of `extraStatTags`."""

Record = tuple[str, str, dict[str, str], int]


def record(proxy: Proxy, *records: Record) -> None:
    assert proxy.get("/", headers={"records": json.dumps(records)}).status == 200


def test_counters_and_gauges_are_read_back_by_name_and_labels(start_proxy: StartProxy) -> None:
    proxy = start_proxy("metrics")
    record(proxy, ("counter", "capability_requests", {"decision": "denied"}, 2))
    record(proxy, ("counter", "capability_requests", {"decision": "denied"}, 1))
    record(proxy, ("gauge", "capability_open", {"decision": "denied", "rule": "a"}, 7))
    assert proxy.metric("capability_requests", decision="denied") == 3
    assert proxy.metric("capability_open", rule="a", decision="denied") == 7
    assert proxy.metric("capability_requests", decision="allowed") == 0


def tags(regex: str) -> dict[str, Any]:
    return {"stats_tags": [{"tag_name": label, "regex": regex.format(label=label)} for label in LABELS]}


@pytest.fixture(scope="module", params=[ANCHORED, ISTIOS], ids=["anchored", "istio"])
def envoy(start_envoy: "StartEnvoy", built: "Build", request: pytest.FixtureRequest) -> "RunningEnvoy":
    """An Envoy that extracts the labels; its metrics stay, so each test has names of its own."""

    def extract(config: dict[str, Any]) -> None:
        config["stats_config"] = tags(request.param)

    return start_envoy({"metrics": WasmFilter(built("metrics"))}, adapt=extract)


def shown(envoy: "RunningEnvoy", name: str, *records: Record) -> list[str]:
    """What Envoy tells Prometheus of the metrics `name` after these were recorded."""
    envoy.ask("metrics", {"records": json.dumps(records)})
    return [line for line in envoy.prometheus() if line.removeprefix("# TYPE ").startswith(name)]


def test_prometheus_gets_counters_with_their_labels(envoy: "RunningEnvoy") -> None:
    lines = shown(
        envoy,
        "counted",
        ("counter", "counted", {"rule": "a", "decision": "denied"}, 2),
        ("counter", "counted", {"decision": "allowed", "rule": "b.c"}, 1),
    )
    assert sorted(lines) == [
        "# TYPE counted counter",
        'counted{decision="allowed",rule="b.c"} 1',
        'counted{decision="denied",rule="a"} 2',
    ]


def test_prometheus_gets_metrics_without_labels(envoy: "RunningEnvoy") -> None:
    assert shown(envoy, "plain", ("counter", "plain", {}, 3)) == ["# TYPE plain counter", "plain{} 3"]


def test_prometheus_gets_gauges_with_labels_of_which_one_ends_like_the_other(envoy: "RunningEnvoy") -> None:
    lines = shown(envoy, "open", ("gauge", "open", {"destination_service": "y", "service": "x"}, 5))
    assert lines == ["# TYPE open gauge", 'open{service="x",destination_service="y"} 5']


def test_prometheus_gets_histograms_with_their_labels(envoy: "RunningEnvoy") -> None:
    lines = shown(envoy, "milliseconds", ("histogram", "milliseconds", {"decision": "denied"}, 7))
    assert "# TYPE milliseconds histogram" in lines
    count = 'milliseconds_count{decision="denied"} 1'
    envoy.process.wait_for(lambda: count in envoy.prometheus(), "merge its histograms", 20)
    lines = envoy.prometheus()
    assert 'milliseconds_bucket{decision="denied",le="5"} 0' in lines
    assert 'milliseconds_bucket{decision="denied",le="10"} 1' in lines


def test_any_text_can_be_a_label_without_breaking_its_metric(envoy: "RunningEnvoy") -> None:
    odd = {
        "a;.;b": "a;_;b",
        "=.=b;.": "=_=b;_",
        "service=.=x": "service=_=x",
        "line\nbreak\0": "line_break_",
        "\udcff": "_",
        "k=v;": "k=v;",
        "an end.": "an end_",
        "": "",
        "/é [1]: 50%": "/é [1]: 50%",
    }
    for number, (value, label) in enumerate(odd.items()):
        name = f"odd_{number}"
        lines = shown(envoy, name, ("counter", name, {"decision": "denied", "odd": value}, 1))
        assert f'{name}{{decision="denied",odd="{label}"}} 1' in lines, repr(value)


def test_without_configured_tags_the_labels_are_parts_of_the_name(start_envoy: "StartEnvoy", built: "Build") -> None:
    envoy = start_envoy({"metrics": WasmFilter(built("metrics"))})
    lines = shown(envoy, "decision", ("counter", "untagged", {"decision": "denied"}, 1))
    assert lines == ["# TYPE decision___denied___untagged counter", "decision___denied___untagged{} 1"]
