"""Typed properties on all hosts; what only a configured Envoy shows is in test_properties_in_envoy.py."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from proxy_wasm.abi import Status
from proxy_wasm.emulator import Emulator, HeaderMap, LogRecord, Request, native_guest, wasm_guest
from proxy_wasm.emulator.properties import Properties
from proxy_wasm.testing import Proxy, StartProxy, respond
from proxy_wasm.testing.extension import Extension
from proxy_wasm.testing.hosts import HostName

PROJECT = Path(__file__).parent / "property_report"
STATE = ["wasm.decision", "example.tier", "address#port"]


def reports(records: Iterable[LogRecord]) -> dict[str, dict[str, list[Any]]]:
    """For each callback what the filter found, type and value, by name."""
    found: dict[str, dict[str, list[Any]]] = {}
    for record in records:
        if record.message.startswith("report: "):
            report = json.loads(record.message.removeprefix("report: "))
            found[report["callback"]] = report["values"]
    return found


def start(start_proxy: StartProxy, **configuration: object) -> Proxy:
    return start_proxy(PROJECT, {"filter_state": STATE, **configuration}, root_id="reporter")


def test_a_stream_knows_its_request_and_response(start_proxy: StartProxy) -> None:
    proxy = start(start_proxy)
    answer = respond(404, {"x-from": "upstream"}, "nothing")
    headers = [("x-a", "1"), ("x-a", "2"), ("referer", "r"), ("user-agent", "u"), ("x-request-id", "7")]
    exchange = proxy.post("/cart?id=1", headers=headers, body="0123456789", authority="example.com:81", upstream=answer)
    found = reports(exchange.logs)
    early, late = found["on_request_headers"], found["on_log"]
    for values in (early, late):
        assert values["request.path"] == ["str", "/cart?id=1"]
        assert values["request.url_path"] == ["str", "/cart"]
        assert values["request.query"] == ["str", "id=1"]
        assert values["request.method"] == ["str", "POST"]
        assert values["request.host"] == ["str", "example.com:81"]
        assert values["request.scheme"] == ["str", "http"]
        assert values["request.protocol"] == ["str", "HTTP/1.1"]
        assert values["request.referer"] == ["str", "r"]
        assert values["request.useragent"] == ["str", "u"]
        assert values["request.id"] == ["str", "7"]
        assert values["request.headers"][1]["x-a"] == "1,2"
        assert values["request.size"] == ["int", 10]
        assert values["source.port"][1] == int(values["source.address"][1].rpartition(":")[2])
        assert values["connection.mtls"] == ["bool", False]
        assert values["connection.requested_server_name"] == ["str", ""]
        assert values["connection.tls_version"] == ["NoneType", None]
    assert early["request.duration"] == ["NoneType", None]
    assert early["response.code"] == ["NoneType", None]
    assert late["request.duration"][0] == "timedelta"
    assert late["request.total_size"] == ["int", late["request.headers_bytes"][1] + 10]
    assert late["response.code"] == ["int", 404]
    assert late["response.code_details"] == ["str", "via_upstream"]
    assert late["response.headers"][1]["x-from"] == "upstream"
    assert late["response.size"] == ["int", 7]
    assert late["response.total_size"] == ["int", late["response.headers_bytes"][1] + 7]


def test_headers_are_known_only_while_the_proxy_offers_them(start_proxy: StartProxy) -> None:
    found = reports(start(start_proxy).post("/cart", body="x").logs)
    gone = found["on_response_headers"]
    assert gone["request.path"] == ["NoneType", None]
    assert gone["request.headers"] == ["dict", {}]
    assert gone["request.headers_bytes"] == ["int", 0]
    assert gone["response.headers"][1][":status"] == "200"


def test_names_that_older_proxies_had_are_gone(start_proxy: StartProxy) -> None:
    found = reports(start(start_proxy).get("/").logs)
    for callback in ("on_request_headers", "on_log"):
        names = ["node", "listener_direction", "listener_metadata", "cluster_name", "cluster_metadata"]
        for name in [*names, "route_name", "route_metadata", "upstream_host_metadata"]:
            assert found[callback][f"raw {name}"] == ["NoneType", None]
        kind, octets = found[callback]["raw connection_id"]
        assert kind == "bytes"
        assert found[callback]["connection.id"] == ["int", int.from_bytes(bytes.fromhex(octets), "little")]


def test_an_endpoint_without_metadata_has_a_null_that_cannot_be_read(start_proxy: StartProxy) -> None:
    found = reports(start(start_proxy).get("/").logs)
    for name in ("xds.upstream_host_metadata", "xds.upstream_host_locality_metadata"):
        assert found["on_request_headers"][f"raw {name}"] == ["NoneType", None]
        assert found["on_log"][f"raw {name}"] == ["HostError", Status.SERIALIZATION_FAILURE]
        assert found["on_log"][name] == ["Metadata", {}]


def test_the_time_of_a_request_is_now(start_proxy: StartProxy) -> None:
    started = datetime.now(UTC)
    found = reports(start(start_proxy).get("/").logs)
    kind, time = found["on_request_headers"]["request.time"]
    assert kind == "datetime"
    assert started - timedelta(minutes=5) < datetime.fromisoformat(time) < started + timedelta(minutes=5)


def test_a_plugin_context_knows_the_proxy_but_no_stream(start_proxy: StartProxy) -> None:
    proxy = start(start_proxy)
    values = reports(proxy.logs)["on_configure"]
    assert values["plugin.root_id"] == ["str", "reporter"]
    assert values["node.id"] == ["str", "proxy-wasm"]
    assert values["node.cluster"] == ["str", "proxy-wasm"]
    assert values["node.metadata"] == ["Fields", {}]
    for name in ("request.path", "request.time", "connection.id", "response.flags"):
        assert values[name] == ["NoneType", None]
    assert values["metadata"] == ["Metadata", {}]


def test_what_a_stream_sets_it_finds_until_its_end(start_proxy: StartProxy) -> None:
    found = reports(start(start_proxy, decision="allowed").get("/").logs)
    for callback in ("on_request_headers", "on_response_headers", "on_log"):
        assert found[callback]["get(decision)"] == ["bytes", b"allowed".hex()]
        assert found[callback]["filter_state[wasm.decision]"] == ["bytes", b"allowed".hex()]


def test_what_another_stream_sets_it_does_not_find(start_proxy: StartProxy) -> None:
    assert reports(start(start_proxy).get("/").logs)["on_log"]["get(decision)"] == ["NoneType", None]


def test_a_plugin_context_has_nothing_to_set_properties_on(start_proxy: StartProxy) -> None:
    refusals = [record.message for record in start(start_proxy).logs if record.message.startswith("refused: ")]
    assert refusals[-1:] == [
        "refused: property 'decision': it needs a stream to belong to; set it in a callback of one"
    ]


METADATA: dict[str, Any] = {
    "filter_metadata": {"com.example": {"tier": "gold", "limit": 5, "flag": True, "list": [1, "a"], "tree": {"a": {}}}}
}
READ_METADATA: dict[str, Any] = {
    "com.example": {"tier": "gold", "limit": 5.0, "flag": True, "list": [1.0, "a"], "tree": {"a": {}}}
}
LOCALITY = {"region": "europe", "zone": "a", "sub_zone": "r"}
GIVEN: list[tuple[str | tuple[str, ...], Any, str, list[Any]]] = [
    # path, what the test gives, the property, what the filter reads
    (
        "connection.uri_san_peer_certificate",
        "spiffe://a/b",
        "connection.uri_san_peer_certificate",
        ["str", "spiffe://a/b"],
    ),
    ("connection.mtls", True, "connection.mtls", ["bool", True]),
    ("connection.peer_certificate", "%2B%0A", "connection.peer_certificate", ["str", "+\n"]),
    (
        "request.time",
        datetime(2026, 7, 1, 12, 30, 0, 123456, tzinfo=UTC),
        "request.time",
        ["datetime", "2026-07-01 12:30:00.123456+00:00"],
    ),
    ("request.duration", timedelta(seconds=2, microseconds=5), "request.duration", ["timedelta", "0:00:02.000005"]),
    ("request.headers", HeaderMap([("a", "1"), ("a", "2")]), "request.headers", ["dict", {"a": "1,2"}]),
    (
        "response.backend_latency",
        timedelta(milliseconds=-1),
        "response.backend_latency",
        ["timedelta", "-1 day, 23:59:59.999000"],
    ),
    ("upstream.num_endpoints", 2, "upstream.num_endpoints", ["int", 2]),
    ("upstream.locality", LOCALITY, "upstream.locality", ["Locality", ["europe", "a", "r"]]),
    ("xds.route_name", "r", "xds.route_name", ["str", "r"]),
    ("xds.listener_direction", 1, "xds.listener_direction", ["TrafficDirection", 1]),
    ("metadata", METADATA, "metadata", ["Metadata", READ_METADATA]),
    *(
        (f"xds.{of}_metadata", METADATA, f"xds.{of}_metadata", ["Metadata", READ_METADATA])
        for of in ("cluster", "listener", "route", "virtual_host", "upstream_host", "upstream_host_locality")
    ),
    ("xds.node.id", "me", "node.id", ["str", "me"]),
    ("xds.node.locality", LOCALITY, "node.locality", ["Locality", ["europe", "a", "r"]]),
    (
        "xds.node.user_agent_build_version",
        {"version": {"major_number": 1, "minor_number": 40}},
        "node.envoy_version",
        ["tuple", [1, 40, 0]],
    ),
    (
        "xds.node.metadata",
        {"NAMESPACE": "shop", "LABELS": {"app": "cart"}, "number": 3},
        "node.metadata",
        ["Fields", {"NAMESPACE": "shop", "LABELS": {"app": "cart"}, "number": 3.0}],
    ),
    (
        ("filter_state", "downstream_peer"),
        {"workload": "web", "labels": {"a": "b"}},
        "downstream_peer.workload",
        ["str", "web"],
    ),
    (("filter_state", "example.tier"), b"gold", "filter_state[example.tier]", ["bytes", b"gold".hex()]),
    (("filter_state", "address"), {"port": 80}, "filter_state[address#port]", ["bytes", "5000000000000000"]),
]


@pytest.mark.hosts("native", "wasm")
def test_what_a_test_gives_reads_as_in_envoy(start_proxy: StartProxy, proxy_host: HostName) -> None:
    extension = Extension(PROJECT)
    guest = native_guest(extension.plugins()) if proxy_host == "native" else wasm_guest(extension.module().read_bytes())
    attributes: Properties = {path: value for path, value, _, _ in GIVEN}
    with Emulator(guest, attributes=attributes) as emulator:
        plugin = emulator.start_plugin(json.dumps({"filter_state": STATE}).encode(), root_id="reporter")
        values = reports(plugin.exchange(Request()).logs)["on_response_headers"]
    assert {name: values[name] for _, _, name, _ in GIVEN} == {name: read for _, _, name, read in GIVEN}
    assert values["workload.namespace"] == ["str", "shop"]
    assert values["workload.labels"] == ["dict", {"app": "cart"}]
    assert values["downstream_peer.labels"] == ["dict", {"a": "b"}]
