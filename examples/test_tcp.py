"""Examples that filter TCP connections."""

import re

import pytest

from proxy_wasm.testing import Absent, LogLevel, Proxy, StartProxy, UpstreamRequest, UpstreamResponse, respond


def said(proxy: Proxy) -> list[str]:
    return [record.message for record in proxy.logs if record.level is LogLevel.INFO]


def test_network_logs_what_passes(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="network", network=True)
    connection = proxy.connect(lambda data: data.upper())
    connection.send(b"hello")
    assert connection.receive(5) == b"HELLO"
    connection.close()
    first, *messages = said(proxy)
    assert first.startswith("new connection from 127.0.0.1:")
    assert ">>> b'hello'" in messages
    assert any(re.match(r"<<< b'HELLO', from ", message) for message in messages)
    assert messages[-2:] == ["the client's connection is closed", "connection complete"]
    assert proxy.metric("network.connections") == 1


def test_tcp_rewrite_renames_both_ways(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="tcp_rewrite", network=True)
    connection = proxy.connect(lambda data: b"250 " + data)
    connection.send(b"EHLO mail.exam")
    connection.send(b"ple.com\n")
    assert connection.wait_for_upstream(28) == b"EHLO mail.svc.cluster.local\n"
    assert connection.receive(26) == b"250 EHLO mail.example.com\n"
    connection.send(b"unfinished", end_of_stream=True)
    assert connection.wait_for_upstream(38).endswith(b"\nunfinished")


def allow_list(request: UpstreamRequest) -> UpstreamResponse:
    return respond(200 if request.headers["x-address"].startswith("127.0.0.1:") else 403)


def test_tcp_allow_list_lets_allowed_clients_in(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="tcp_allow_list", network=True, clusters={"allow_list": allow_list})
    connection = proxy.connect(lambda data: data.upper())
    connection.send(b"hello")
    assert connection.receive(5) == b"HELLO"
    connection.close()


@pytest.mark.parametrize("cluster", [respond(403), Absent()], ids=["refuses", "absent"])
def test_tcp_allow_list_keeps_others_out(start_proxy: StartProxy, cluster: UpstreamResponse | Absent) -> None:
    proxy = start_proxy(root_id="tcp_allow_list", network=True, clusters={"allow_list": cluster})
    connection = proxy.connect()
    connection.send(b"hello")
    assert connection.receive_all() == b""
    assert connection.closed
    assert connection.upstream_received == b""


def test_envoy_tcp_routing_chooses_by_the_clients_address(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="envoy_tcp_routing", network=True, clusters={"egress_odd": respond(200, {}, "odd")})
    connection = proxy.connect()
    connection.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    if proxy.host == "envoy":  # the emulator has one upstream
        assert connection.receive(12) == b"HTTP/1.1 200"
        assert connection.upstream_received == b""
    assert "127.0.0.1 goes to egress_odd" in said(proxy)
