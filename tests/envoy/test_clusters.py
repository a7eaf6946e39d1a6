"""Clusters of each kind behind filters in a real Envoy."""

import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from proxy_wasm.emulator.clusters import (
    Absent,
    Answering,
    Closing,
    Cluster,
    GrpcCall,
    GrpcRefusal,
    GrpcServer,
    NoHosts,
    Silent,
    grpc_unary,
)
from proxy_wasm.emulator.exchange import UpstreamRequest, UpstreamResponse
from proxy_wasm.envoy import (
    ClusterTaken,
    EnvoyError,
    FilteringEnvoy,
    RunningFilter,
    WasmFilter,
    encode_request,
    encode_response,
)

Ask = Callable[..., tuple[int, bytes]]


@pytest.fixture
def ask(envoy: FilteringEnvoy, calls: WasmFilter) -> Iterator[Ask]:
    """Status and body with which a filter answers after it called a cluster of the kind that is given."""
    running: list[RunningFilter] = []

    def ask(cluster: Cluster, protocol: str = "x-call") -> tuple[int, bytes]:
        running.append(envoy.add(calls, clusters={f"cluster-{len(running)}": cluster}))
        return answer(running[-1], f"cluster-{len(running) - 1}", protocol)

    yield ask
    for added in running:
        added.remove()


def answer(running: RunningFilter, cluster: str, protocol: str = "x-call") -> tuple[int, bytes]:
    request = encode_request("GET", "/", [(b"host", b"h"), (protocol.encode(), cluster.encode())])
    outcome = running.exchange(request, lambda _: encode_response(200, []))
    assert outcome.response is not None
    return int(outcome.response.start[1]), outcome.response.body


def test_a_response_is_answered_at_once(ask: Ask) -> None:
    assert ask(UpstreamResponse(201, body=b"made")) == (201, b"made")


def test_a_function_sees_the_request_without_what_envoy_adds(ask: Ask) -> None:
    seen: list[UpstreamRequest] = []

    def respond(request: UpstreamRequest) -> UpstreamResponse:
        seen.append(request)
        return UpstreamResponse(body=b"seen")

    assert ask(respond) == (200, b"seen")
    assert seen == [UpstreamRequest("GET", "/called", "callee")]


def test_an_answer_may_come_late(ask: Ask) -> None:
    assert ask(Answering(UpstreamResponse(body=b"late"), delay=0.1)) == (200, b"late")
    assert ask(Answering(UpstreamResponse(), delay=2)) == (504, b"upstream request timeout")


def test_what_never_answers_times_out(ask: Ask) -> None:
    assert ask(Silent()) == (504, b"upstream request timeout")


def test_a_closed_connection_and_a_refused_one_are_told_apart(ask: Ask) -> None:
    before = b"upstream connect error or disconnect/reset before headers. reset reason: "
    assert ask(Closing()) == (503, before + b"connection termination")
    status, body = ask(Absent())
    assert status == 503
    assert body.startswith(before + b"remote connection failure")


def test_a_cluster_without_hosts_and_one_that_is_not_there_are_refused(ask: Ask, running_calls: RunningFilter) -> None:
    assert ask(NoHosts()) == (410, b"")
    assert answer(running_calls, "nowhere") == (402, b"")


def test_a_grpc_server_answers_messages(ask: Ask) -> None:
    assert ask(grpc_unary({"/echo.Echo/Say": bytes.upper}), "x-grpc") == (200, b"HI")


def test_a_grpc_server_may_refuse_a_call(ask: Ask) -> None:
    def refuse(_: bytes) -> bytes:
        raise GrpcRefusal(7, "not you")

    assert ask(grpc_unary({"/echo.Echo/Say": refuse}), "x-grpc") == (500, b"not you{via_upstream}")
    status, body = ask(grpc_unary({}), "x-grpc")
    assert (status, body) == (500, b"unknown method /echo.Echo/Say{via_upstream}")


class Recording(GrpcServer):
    def __init__(self) -> None:
        self.events: list[object] = []
        self.cancelled = threading.Event()

    def on_call(self, call: GrpcCall) -> None:
        self.events.append(call.method)
        call.send_initial_metadata({"x-early": "1"})

    def on_message(self, call: GrpcCall, message: bytes) -> None:
        self.events.append(message)

    def on_half_close(self, call: GrpcCall) -> None:
        self.events.append("half-close")

    def on_cancel(self, call: GrpcCall) -> None:
        self.events.append("cancel")
        self.cancelled.set()


def test_a_grpc_server_hears_each_event_of_a_call(ask: Ask) -> None:
    server = Recording()
    assert ask(server, "x-grpc")[0] == 500
    assert server.cancelled.wait(10)
    assert server.events == ["/echo.Echo/Say", b"hi", "half-close", "cancel"]


def test_silence_and_absence_are_no_grpc_answers_either(ask: Ask) -> None:
    assert ask(Silent(), "x-grpc")[0] == 500
    assert b"connection termination" in ask(Closing(), "x-grpc")[1]
    assert b"remote connection failure" in ask(Absent(), "x-grpc")[1]


def test_what_a_function_behind_a_cluster_raises_reaches_the_test(ask: Ask) -> None:
    def fail(_: object) -> UpstreamResponse:
        msg = "no such page"
        raise LookupError(msg)

    with pytest.raises(LookupError, match="no such page"):
        ask(fail)
    with pytest.raises(LookupError, match="no such page"):
        ask(grpc_unary({"/echo.Echo/Say": fail}), "x-grpc")  # pyright: ignore[reportArgumentType]


def test_bodies_of_any_bytes_and_a_million_of_them_pass(ask: Ask) -> None:
    body = bytes(range(256)) * 4000
    assert ask(UpstreamResponse(body=body)) == (200, body)


def test_filters_share_a_cluster_that_they_define_alike(envoy: FilteringEnvoy, calls: WasmFilter) -> None:
    def respond(_: object) -> UpstreamResponse:
        return UpstreamResponse(body=b"shared")

    first, second = (envoy.add(calls, clusters={"users": respond, "none": Absent()}) for _ in range(2))
    first.remove()
    assert answer(second, "users") == (200, b"shared")
    second.remove()
    assert [name for name in clusters_of(envoy) if name in ("users", "none")] == []


def test_a_cluster_that_is_defined_otherwise_is_refused_with_the_way_out(
    envoy: FilteringEnvoy, calls: WasmFilter
) -> None:
    first = envoy.add(calls, clusters={"users": UpstreamResponse(body=b"one")})
    with pytest.raises(ClusterTaken, match=r"^cluster 'users': .* isolated=True$"):
        envoy.add(calls, clusters={"others": Absent(), "users": UpstreamResponse(body=b"two")})
    assert "others" not in clusters_of(envoy)
    assert answer(first, "users") == (200, b"one")
    first.remove()
    second = envoy.add(calls, clusters={"users": UpstreamResponse(body=b"two")})
    assert answer(second, "users") == (200, b"two")
    second.remove()


@pytest.mark.parametrize("name", ["upstream", "tcp-upstream"])
def test_the_names_of_what_stands_behind_the_proxy_are_taken(
    envoy: FilteringEnvoy, calls: WasmFilter, name: str
) -> None:
    with pytest.raises(ClusterTaken, match=f"^cluster '{name}': "):
        envoy.add(calls, clusters={name: Absent()})


def test_a_refused_filter_leaves_no_cluster(envoy: FilteringEnvoy, module_refusing: WasmFilter) -> None:
    with pytest.raises(EnvoyError):
        envoy.add(module_refusing, clusters={"users": Absent()})
    assert "users" not in clusters_of(envoy)


def test_calls_of_a_filter_that_was_removed_reach_nobody(envoy: FilteringEnvoy, calls: WasmFilter) -> None:
    def counting() -> tuple[list[object], Callable[[UpstreamRequest], UpstreamResponse]]:
        seen: list[object] = []

        def respond(request: UpstreamRequest) -> UpstreamResponse:
            seen.append(request)
            return UpstreamResponse()

        return seen, respond

    heard, first = counting()
    ticking = envoy.add(WasmFilter(calls.module, configuration=b"ticks"), clusters={"ticks": first})
    deadline = time.monotonic() + 30
    while len(heard) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(heard) >= 3
    ticking.remove()
    unheard, second = counting()
    other = envoy.add(calls, clusters={"ticks": second})
    until_now = len(heard)
    time.sleep(0.2)
    assert (len(heard) - until_now, unheard) == (0, [])
    assert not [line for line in other.log if line.wasm is None]
    other.remove()


def test_a_plugin_ticks_in_the_main_thread_too_which_is_kept_apart(envoy: FilteringEnvoy, calls: WasmFilter) -> None:
    ticking = envoy.add(WasmFilter(calls.module, configuration=b"ticks"), clusters={"ticks": UpstreamResponse()})
    deadline = time.monotonic() + 30
    while not (ticking.log and ticking.main_log) and time.monotonic() < deadline:
        ticking.refresh_log()
    for log in (ticking.log, ticking.main_log):
        assert {line.wasm.message for line in log if line.wasm} == {"tick"}
    assert {line.thread for line in ticking.log}.isdisjoint({line.thread for line in ticking.main_log})
    ticking.remove()


def test_without_grpcio_the_way_out_is_named(
    envoy: FilteringEnvoy, calls: WasmFilter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    monkeypatch.delitem(sys.modules, "proxy_wasm.envoy.grpc_server", raising=False)
    with pytest.raises(EnvoyError, match="pip install grpcio"):
        envoy.add(calls, clusters={"users": grpc_unary({})})
    assert "users" not in clusters_of(envoy)


def clusters_of(envoy: FilteringEnvoy) -> list[str]:
    statuses = envoy.process.admin.get_json("/clusters?format=json")["cluster_statuses"]
    return [status["name"] for status in statuses]
