"""A real Envoy as a host of the tests of filters: what they ask of every host."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy_wasm.emulator import Request, StreamPaused, UpstreamRequest, UpstreamResponse
from proxy_wasm.emulator.clusters import Answering, grpc_unary
from proxy_wasm.emulator.exchange import Disconnect
from proxy_wasm.emulator.header_map import HeaderMap
from proxy_wasm.envoy import WasmFilter
from proxy_wasm.testing import Extension, PluginSettings
from proxy_wasm.testing.envoy_host import EnvoyConnection, EnvoyHost, EnvoyPlugin


@pytest.fixture(scope="module")
def host() -> Iterator[EnvoyHost]:
    opened = EnvoyHost()
    yield opened
    opened.close()


def request(**headers: str) -> Request:
    return Request(headers=HeaderMap({name.replace("_", "-"): value for name, value in headers.items()}))


def hello(_: UpstreamRequest) -> UpstreamResponse:
    return UpstreamResponse(200, body=b"hello")


def test_a_plugin_calls_the_clusters_of_its_settings(host: EnvoyHost, calls: WasmFilter) -> None:
    clusters = {
        "users": hello,
        "slow": Answering(hello, delay=0.1),
        "echo": grpc_unary({"/echo.Echo/Say": bytes.upper}),
    }
    plugin = host.start(Extension(calls.module), PluginSettings(clusters=clusters))
    for headers, body in [({"x_call": "users"}, b"hello"), ({"x_call": "slow"}, b"hello"), ({"x_grpc": "echo"}, b"HI")]:
        exchange = plugin.exchange(request(**headers), hello, 10)
        assert (exchange.status, exchange.body, exchange.upstream) == (200, body, None)
    plugin.stop()


def test_time_passes_for_real_and_errors_of_clusters_come_out(host: EnvoyHost, calls: WasmFilter) -> None:
    def fail(_: UpstreamRequest) -> UpstreamResponse:
        msg = "no such page"
        raise LookupError(msg)

    plugin = host.start(Extension(calls.module), PluginSettings(configuration=b"ticks", clusters={"ticks": fail}))
    started = time.monotonic()
    with pytest.raises(LookupError, match="no such page"):
        plugin.advance(0.2)
    assert time.monotonic() - started >= 0.2
    plugin.stop()


def test_what_is_logged_in_worker_and_main_thread_alike_is_told_once(host: EnvoyHost, calls: WasmFilter) -> None:
    plugin = host.start(Extension(calls.module), PluginSettings(configuration=b"nowhere"))
    plugin.advance(0.3)
    ticks = [record.message for record in plugin.logs()]
    assert 3 <= len(ticks) <= 300 / 20 + 3
    assert set(ticks) == {"tick"}
    plugin.stop()


def test_a_client_that_disconnects_gets_no_response(host: EnvoyHost, module: Path) -> None:
    plugin = host.start(Extension(module), PluginSettings())
    exchange = plugin.abandon(request(x_pause="1"), hello, Disconnect(0.05), 5)
    assert (exchange.status, exchange.reset, exchange.upstream) == (0, True, None)
    assert [record.message for record in exchange.logs] == ["on_log", "on_done"]
    assert plugin.abandon(request(), hello, Disconnect(0.3), 5).body == b"hello"
    plugin.stop()


def test_plugins_with_a_vm_id_are_known_by_it(host: EnvoyHost, module: Path) -> None:
    settings = [PluginSettings(configuration=name, vm_id="team") for name in (b"first", b"second")]
    plugins = [host.start(Extension(module), each) for each in settings]
    for name, plugin in zip(("first", "second"), plugins, strict=True):
        assert [record.message for record in plugin.logs()] == [name]
        assert plugin.exchange(request(), hello, 10).status == 200
    for plugin in plugins:
        plugin.stop()


def test_stopping_an_isolated_plugin_ends_its_envoy(host: EnvoyHost, module: Path) -> None:
    plugin = host.start(Extension(module), PluginSettings(isolated=True, clusters={"users": hello}))
    shared = host.start(Extension(module), PluginSettings(clusters={"users": UpstreamResponse()}))
    assert plugin.pid != shared.pid
    plugin.stop()
    assert shared.exchange(request(), hello, 10).status == 200
    shared.stop()


class TestConnections:
    @pytest.fixture
    def plugin(self, host: EnvoyHost, connections: WasmFilter) -> Iterator[EnvoyPlugin]:
        started = host.start(Extension(connections.module), PluginSettings(network=True))
        yield started
        started.stop()

    @pytest.fixture
    def connection(self, plugin: EnvoyPlugin) -> EnvoyConnection:
        return plugin.connect(lambda piece: piece.upper())

    def test_what_is_sent_is_answered_through_the_filter(self, connection: EnvoyConnection) -> None:
        connection.send(b"abc")
        assert connection.receive(2) == b"><"
        assert connection.receive(3) == b"ABC"
        assert connection.wait_for_upstream(4) == connection.upstream_received == b"<abc"
        assert connection.received == b"><ABC"
        assert not connection.closed
        connection.close()
        assert connection.closed
        assert [record.message for record in connection.logs()] == ["connected", "upstream gone", "client gone", "done"]

    def test_the_rest_comes_after_the_clients_end(self, connection: EnvoyConnection) -> None:
        connection.send(b"abc", end_of_stream=True)
        assert connection.receive(1) == b">"
        assert connection.receive_all() == b"<ABC"
        assert connection.receive_all() == b""

    def test_waiting_has_an_end(self, connection: EnvoyConnection) -> None:
        connection.send(b"abc")
        connection.wait_for_upstream(4)
        with pytest.raises(StreamPaused, match=r"5 of 6 bytes came within 0\.1 seconds"):
            connection.receive(6, timeout=0.1)
        with pytest.raises(StreamPaused, match=r"4 of 9 bytes reached the upstream within 0\.1 seconds"):
            connection.wait_for_upstream(9, timeout=0.1)
        with pytest.raises(StreamPaused, match=r"did not end within 0\.1 seconds"):
            connection.receive_all(timeout=0.1)
        connection.close()
        with pytest.raises(StreamPaused, match=r"5 of 6 bytes came before the connection's end"):
            connection.receive(6)

    def test_a_connection_may_break(self, connection: EnvoyConnection) -> None:
        connection.send(b"abc")
        connection.receive(5)
        connection.reset()
        assert connection.closed
        assert [record.message for record in connection.logs()] == ["connected", "client gone", "done"]

    def test_the_upstream_may_close_its_side(self, connection: EnvoyConnection) -> None:
        connection.close_upstream()
        assert connection.receive_all() == b""
        assert not connection.closed
        connection.close()

    def test_an_error_of_the_upstream_comes_out_where_the_test_waits(self, plugin: EnvoyPlugin) -> None:
        def fail(_: bytes) -> bytes:
            msg = "no such command"
            raise LookupError(msg)

        connection = plugin.connect(fail)
        connection.send(b"?")
        with pytest.raises(LookupError, match="no such command"):
            connection.receive(1, timeout=5)
        connection.reset()
