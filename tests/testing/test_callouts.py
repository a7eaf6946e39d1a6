"""Clusters, connections and clients that leave are the same to a test, whichever host runs the plugin."""

from pathlib import Path

import pytest

from proxy_wasm.envoy import Message, Upstream, encode_response
from proxy_wasm.testing import (
    Absent,
    Answering,
    Closing,
    Cluster,
    GrpcCall,
    GrpcRefusal,
    GrpcServer,
    NoHosts,
    ServerAt,
    Silent,
    StartProxy,
    StreamPaused,
    UpstreamRequest,
    UpstreamResponse,
    grpc_unary,
    respond,
)

pytestmark = pytest.mark.hosts("wasm", "envoy")

BEFORE = "upstream connect error or disconnect/reset before headers. reset reason: "


def refuse(_: bytes) -> bytes:
    raise GrpcRefusal(7, "not you ~ 100%")


def fail(_: object) -> UpstreamResponse:
    msg = "no such page"
    raise LookupError(msg)


@pytest.mark.parametrize(
    ("protocol", "cluster", "status", "body"),
    [
        ("x-call", respond(201, body="made"), 201, "made"),
        ("x-call", Answering(lambda request: respond(200, body=request.path), delay=0.1), 200, "/called"),
        ("x-call", Answering(respond(), delay=2), 504, "upstream request timeout"),
        ("x-call", Silent(), 504, "upstream request timeout"),
        ("x-call", Closing(), 503, BEFORE + "connection termination"),
        ("x-call", respond(200, body=["be", "gun"], breaks="close"), 599, ""),
        ("x-call", Absent(), 503, BEFORE + "remote connection failure"),
        ("x-call", NoHosts(), 410, ""),
        ("x-grpc", grpc_unary({"/echo.Echo/Say": bytes.upper}), 200, "HI"),
        ("x-grpc", grpc_unary({"/echo.Echo/Say": refuse}), 500, "not you ~ 100%25{via_upstream}"),
        ("x-grpc", grpc_unary({}), 500, "unknown method /echo.Echo/Say{via_upstream}"),
        ("x-grpc", Silent(), 500, "upstream request timeout{response_timeout}"),
        (
            "x-grpc",
            Closing(),
            500,
            BEFORE + "connection termination{upstream_reset_before_response_started{connection_termination}}",
        ),
        (
            "x-grpc",
            Absent(),
            500,
            BEFORE + "remote connection failure"
            "{upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}}",
        ),
    ],
)
def test_each_kind_of_cluster_gives_the_same_answer(
    start_proxy: StartProxy, calls: Path, protocol: str, cluster: Cluster, status: int, body: str
) -> None:
    exchange = start_proxy(calls, clusters={"callee": cluster}).get("/", headers={protocol: "callee"})
    assert (exchange.status, exchange.text) == (status, body)


def test_a_grpc_service_that_does_not_answer_is_given_up(start_proxy: StartProxy, calls: Path) -> None:
    """By the proxy, or by the service, which is told the deadline and may be the first to see it pass."""
    exchange = start_proxy(calls, clusters={"callee": GrpcServer()}).get("/", headers={"x-grpc": "callee"})
    assert exchange.status == 500
    assert exchange.text in ("upstream request timeout{response_timeout}", "Deadline Exceeded{via_upstream}")


def test_a_cluster_that_is_not_given_does_not_exist(start_proxy: StartProxy, calls: Path) -> None:
    assert start_proxy(calls).get("/", headers={"x-call": "nowhere"}).status == 402


def test_a_clusters_function_sees_the_request_without_what_the_proxy_adds(start_proxy: StartProxy, calls: Path) -> None:
    seen: list[UpstreamRequest] = []

    def answer(request: UpstreamRequest) -> UpstreamResponse:
        seen.append(request)
        return respond()

    start_proxy(calls, clusters={"callee": answer}).get("/", headers={"x-call": "callee"})
    assert seen == [UpstreamRequest("GET", "/called", "callee")]


def test_a_server_that_runs_already_is_called_where_it_listens(start_proxy: StartProxy, calls: Path) -> None:
    def answer(request: Message) -> bytes:
        return encode_response(200, [], request.start[1] + b" of " + (request.header(b"host") or b""))

    with Upstream(answer) as server:
        proxy = start_proxy(calls, clusters={"callee": ServerAt(*server.address)})
        exchange = proxy.get("/", headers={"x-call": "callee"})
        assert (exchange.status, exchange.text) == (200, "/called of callee")


class Recording(GrpcServer):
    def __init__(self) -> None:
        self.events: list[object] = []

    def on_call(self, call: GrpcCall) -> None:
        self.events.append((call.method, call.metadata.multi_items()))

    def on_message(self, call: GrpcCall, message: bytes) -> None:
        self.events.append(message)

    def on_half_close(self, call: GrpcCall) -> None:
        self.events.append("half-closed")
        call.send_initial_metadata({"x-a": "1"})
        call.send(b"said")
        call.close(0, "", {"x-b": "2"})


def test_a_grpc_server_hears_each_event_of_a_call(start_proxy: StartProxy, calls: Path) -> None:
    server = Recording()
    assert start_proxy(calls, clusters={"callee": server}).get("/", headers={"x-grpc": "callee"}).text == "said"
    assert server.events == [("/echo.Echo/Say", []), b"hi", "half-closed"]


def test_what_a_clusters_function_raises_fails_the_test(start_proxy: StartProxy, calls: Path) -> None:
    proxy = start_proxy(calls, clusters={"callee": fail})
    with pytest.raises(LookupError, match="no such page"):
        proxy.get("/", headers={"x-call": "callee"})


def test_plugins_of_one_test_reach_clusters_that_they_define_alike(start_proxy: StartProxy, calls: Path) -> None:
    answer = respond(200, body="shared")
    for proxy in [start_proxy(calls, clusters={"callee": answer}) for _ in range(2)]:
        assert proxy.get("/", headers={"x-call": "callee"}).text == "shared"


def test_a_cluster_that_another_plugin_defines_otherwise_is_refused(start_proxy: StartProxy, calls: Path) -> None:
    start_proxy(calls, clusters={"callee": respond(200)})
    with pytest.raises(Exception, match=r"cluster 'callee': .*isolated=True"):
        start_proxy(calls, clusters={"callee": respond(201)})
    isolated = start_proxy(calls, clusters={"callee": respond(201)}, isolated=True)
    assert isolated.get("/", headers={"x-call": "callee"}).status == 201


def test_clusters_go_with_their_plugin(start_proxy: StartProxy, calls: Path) -> None:
    other = start_proxy(calls)
    start_proxy(calls, clusters={"callee": respond(200)}).stop()
    assert other.get("/", headers={"x-call": "callee"}).status == 402


# Clients.


def test_a_client_that_leaves_while_its_request_waits_gets_nothing(start_proxy: StartProxy, calls: Path) -> None:
    proxy = start_proxy(calls, clusters={"callee": Answering(respond(), delay=0.3)})
    exchange = proxy.abandon("POST", "/", headers={"x-call": "callee"}, body="waits")
    assert (exchange.status, exchange.reset, exchange.upstream) == (0, True, None)
    assert exchange.details == "downstream_remote_disconnect"
    proxy.advance(0.4)
    assert proxy.get("/").status == 200


def test_a_client_that_waits_less_than_the_callout_takes_is_told(start_proxy: StartProxy, calls: Path) -> None:
    proxy = start_proxy(calls, clusters={"callee": Answering(respond(), delay=0.8)})
    with pytest.raises(StreamPaused):
        proxy.get("/", headers={"x-call": "callee"}, timeout=0.3)


def test_time_passes_for_the_plugin(start_proxy: StartProxy, calls: Path) -> None:
    ticks: list[UpstreamRequest] = []

    def count(request: UpstreamRequest) -> UpstreamResponse:
        ticks.append(request)
        return respond()

    proxy = start_proxy(calls, "ticks", clusters={"ticks": count})
    proxy.advance(0.5)
    assert len(ticks) > 3


# Connections.


def test_a_filter_changes_what_passes_both_ways(start_proxy: StartProxy, connections: Path) -> None:
    connection = start_proxy(connections, network=True).connect(bytes.upper)
    connection.send(b"hello")
    assert connection.receive(7) == b"><HELLO"
    connection.send(b"bye")
    assert connection.receive(2) == b"><"
    assert connection.receive(3) == b"BYE"
    assert (connection.received, connection.upstream_received) == (b"><HELLO><BYE", b"<hello<bye")
    assert not connection.closed
    connection.close()
    assert connection.closed
    assert [record.message for record in connection.logs()] == ["connected", "upstream gone", "client gone", "done"]


def test_unless_told_the_upstream_sends_back_what_it_gets(start_proxy: StartProxy, connections: Path) -> None:
    connection = start_proxy(connections, network=True).connect()
    connection.send(b"last", end_of_stream=True)
    assert connection.receive_all() == b"><last"


def test_an_upstream_may_say_nothing_and_close(start_proxy: StartProxy, connections: Path) -> None:
    connection = start_proxy(connections, network=True).connect(lambda _: None)
    connection.send(b"one")
    assert connection.wait_for_upstream(4) == b"<one"
    connection.close_upstream()
    assert connection.receive_all() == b""
    connection.send(b"", end_of_stream=True)
    assert connection.closed
    assert [record.message for record in connection.logs()] == ["connected", "upstream gone", "client gone", "done"]


def test_a_client_whose_connection_breaks_ends_the_connection(start_proxy: StartProxy, connections: Path) -> None:
    connection = start_proxy(connections, network=True).connect(lambda _: None)
    connection.send(b"one")
    connection.wait_for_upstream(4)
    connection.reset()
    assert connection.closed
    assert [record.message for record in connection.logs()] == ["connected", "client gone", "done"]


def test_a_filter_may_close_a_connection(start_proxy: StartProxy, connections: Path) -> None:
    connection = start_proxy(connections, network=True).connect()
    connection.send(b"x")
    assert connection.receive_all() == b""
    assert connection.closed


def test_bytes_that_do_not_come_are_not_waited_for_for_ever(start_proxy: StartProxy, connections: Path) -> None:
    connection = start_proxy(connections, network=True).connect(lambda _: None)
    connection.send(b"one")
    with pytest.raises(StreamPaused):
        connection.receive(1, timeout=0.2)
    with pytest.raises(StreamPaused):
        connection.wait_for_upstream(5, timeout=0.2)
    connection.close()
    with pytest.raises(StreamPaused):
        connection.receive(1)
