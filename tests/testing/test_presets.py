"""Presets tell a filter what a proxy would know of a stream in usual surroundings."""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from proxy_wasm.emulator.properties import Properties
from proxy_wasm.testing import NotOnThisHost, Proxy, StartProxy, presets

REPORTER = Path(__file__).parents[1] / "capabilities" / "property_report"
CERTIFICATE = f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(b'not really').decode()}\n-----END CERTIFICATE-----\n"
in_the_emulator = pytest.mark.hosts("native", "wasm")
WEB = {"name": "web-0", "namespace": "shop", "workload": "web"}


def start(start_proxy: StartProxy, properties: Properties) -> Proxy:
    return start_proxy(REPORTER, {"filter_state": []}, root_id="reporter", properties=properties)


def found(proxy: Proxy, callback: str = "on_request_headers", properties: Properties | None = None) -> dict[str, Any]:
    """What the filter finds of those properties that have a value, by name."""
    reports = [
        json.loads(record.message.removeprefix("report: "))
        for record in (proxy.logs if callback == "on_configure" else proxy.get("/", properties=properties).logs)
        if record.message.startswith("report: ")
    ]
    (values,) = (report["values"] for report in reports if report["callback"] == callback)
    return {name: value for name, (kind, value) in values.items() if kind != "NoneType"}


def matching(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


@in_the_emulator
def test_plain_http_knows_of_no_tls(start_proxy: StartProxy) -> None:
    values = found(start(start_proxy, presets.plain_http(client="10.0.0.7:4000", proxy="10.0.0.1:80")))
    assert matching(values, "source.") == {"address": "10.0.0.7:4000", "port": 4000}
    assert matching(values, "destination.") == {"address": "10.0.0.1:80", "port": 80}
    assert set(matching(values, "connection.")) == {"id", "mtls", "requested_server_name"}
    assert (values["connection.mtls"], values["request.scheme"]) == (False, "http")


@in_the_emulator
def test_tls_knows_the_server_name_and_the_proxys_certificate(start_proxy: StartProxy) -> None:
    proxy = start(start_proxy, presets.tls(sni="example.com", dns_san="*.example.com", version="TLSv1.2"))
    values = found(proxy)
    connection = matching(values, "connection.")
    del connection["id"]
    assert connection == {
        "mtls": False,
        "requested_server_name": "example.com",
        "tls_version": "TLSv1.2",
        "subject_local_certificate": "CN=proxy",
        "subject_peer_certificate": "",
        "dns_san_local_certificate": "*.example.com",
    }
    assert values["request.scheme"] == "https"
    exchange = proxy.get("/")
    assert exchange.upstream is not None
    assert exchange.upstream.scheme == "https"


@in_the_emulator
def test_mtls_knows_the_clients_certificate(start_proxy: StartProxy) -> None:
    client = "spiffe://example.com/ns/shop/sa/web"
    values = found(start(start_proxy, presets.mtls(uri_san=client, subject="CN=web", certificate=CERTIFICATE)))
    assert values["connection.mtls"] is True
    assert values["connection.uri_san_peer_certificate"] == client
    assert values["connection.subject_peer_certificate"] == "CN=web"
    assert values["connection.sha256_peer_certificate_digest"] == hashlib.sha256(b"not really").hexdigest()
    assert values["connection.peer_certificate"] == CERTIFICATE
    assert "connection.dns_san_peer_certificate" not in values
    assert "connection.uri_san_local_certificate" not in values


@in_the_emulator
def test_a_sidecar_knows_its_workload_everywhere(start_proxy: StartProxy) -> None:
    preset = presets.istio_sidecar(workload="cart", namespace="shop", labels={"app": "cart", "version": "v2"})
    proxy = start(start_proxy, preset)
    for values in (found(proxy, "on_configure"), found(proxy), found(proxy, "on_log")):
        workload = matching(values, "workload.")
        assert workload["name"].startswith("cart-")
        assert (workload["workload_name"], workload["namespace"]) == ("cart", "shop")
        assert workload["owner"] == "kubernetes://apis/apps/v1/namespaces/shop/deployments/cart"
        assert workload["labels"] == {"app": "cart", "version": "v2"}
        assert values["node.id"] == f"sidecar~10.0.0.5~{workload['name']}.shop~shop.svc.cluster.local"
        assert values["node.cluster"] == "cart.shop"
        assert values["node.metadata"]["WORKLOAD_NAME"] == "cart"


@in_the_emulator
def test_an_inbound_sidecar_knows_who_calls(start_proxy: StartProxy) -> None:
    preset = presets.istio_sidecar(workload="cart", namespace="shop", port=80, peer=WEB, peer_service_account="web")
    values = found(start(start_proxy, preset))
    assert values["connection.uri_san_peer_certificate"] == "spiffe://cluster.local/ns/shop/sa/web"
    assert values["connection.uri_san_local_certificate"] == "spiffe://cluster.local/ns/shop/sa/default"
    assert values["connection.mtls"] is True
    assert (values["xds.listener_direction"], values["xds.cluster_name"]) == (presets.INBOUND, "inbound|80||")
    assert matching(values, "downstream_peer.") == {**WEB, "labels": {}}
    assert matching(values, "upstream_peer.") == {"labels": {}}


@in_the_emulator
def test_an_outbound_sidecar_knows_whom_it_calls(start_proxy: StartProxy) -> None:
    preset = presets.istio_sidecar(workload="web", namespace="shop", direction=presets.OUTBOUND, peer=WEB)
    values = found(start(start_proxy, preset))
    assert (values["connection.mtls"], values["xds.listener_direction"]) == (False, presets.OUTBOUND)
    assert "connection.tls_version" not in values
    assert matching(values, "upstream_peer.") == {**WEB, "labels": {}}


@in_the_emulator
def test_a_gateway_knows_the_host_that_it_serves(start_proxy: StartProxy) -> None:
    preset = presets.istio_gateway(host="shop.example.com", destination="cart.shop.svc.cluster.local")
    values = found(start(start_proxy, preset))
    assert values["node.id"].startswith("router~10.0.0.2~istio-ingressgateway-")
    assert values["workload.labels"] == {"app": "istio-ingressgateway", "istio": "ingressgateway"}
    assert values["connection.requested_server_name"] == "shop.example.com"
    assert values["xds.cluster_name"] == "outbound|80||cart.shop.svc.cluster.local"
    assert (values["connection.mtls"], values["request.scheme"]) == (False, "https")


@in_the_emulator
def test_presets_are_joined_and_single_properties_overridden(start_proxy: StartProxy) -> None:
    sidecar = presets.istio_sidecar(workload="cart", namespace="shop", labels={"app": "cart"})
    mine = {"source.address": "10.9.9.9:1", "xds.node.metadata.LABELS.tier": "gold", "request.useragent": "me"}
    proxy = start(start_proxy, sidecar | presets.tls(sni="cart") | mine)
    values = found(proxy)
    assert (values["source.address"], values["request.useragent"]) == ("10.9.9.9:1", "me")
    assert values["connection.requested_server_name"] == "cart"
    assert values["workload.labels"] == {"app": "cart", "tier": "gold"}


@in_the_emulator
def test_one_request_may_know_more_than_the_others(start_proxy: StartProxy) -> None:
    proxy = start(start_proxy, presets.tls(sni="all"))
    values = found(proxy, properties={"connection.requested_server_name": "one", "xds.route_name": "main"})
    assert (values["connection.requested_server_name"], values["xds.route_name"]) == ("one", "main")
    assert values["connection.tls_version"] == "TLSv1.3"
    values = found(proxy)
    assert (values["connection.requested_server_name"], "xds.route_name" in values) == ("all", False)


@in_the_emulator
def test_what_a_test_gives_is_not_changed(start_proxy: StartProxy) -> None:
    labels = {"app": "cart"}
    given: Properties = {"xds.node.metadata.LABELS": labels, "xds.node.metadata.LABELS.tier": "gold"}
    assert found(start(start_proxy, given))["workload.labels"] == {"app": "cart", "tier": "gold"}
    assert labels == {"app": "cart"}


@pytest.mark.hosts("envoy")
def test_envoy_says_that_it_cannot_pretend(start_proxy: StartProxy) -> None:
    with pytest.raises(NotOnThisHost, match=r"@pytest\.mark\.hosts\('native', 'wasm'\)"):
        start(start_proxy, presets.plain_http())
    with pytest.raises(NotOnThisHost, match="real connection"):
        start(start_proxy, {}).get("/", properties=presets.tls())
