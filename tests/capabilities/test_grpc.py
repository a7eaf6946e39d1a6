import json
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import pytest

from proxy_wasm import GrpcStatus, LogLevel
from proxy_wasm.emulator import UpstreamRequest, UpstreamResponse
from proxy_wasm.emulator.clusters import (
    Absent,
    Closing,
    Cluster,
    GrpcCall,
    GrpcRefusal,
    GrpcServer,
    NoHosts,
    grpc_unary,
)
from proxy_wasm.testing import Proxy, StartProxy, respond

SERVICE = "/test.Greeter/"


class Greeter(GrpcServer):
    """What the filter calls: a method for each shape of a call."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.metadata: list[tuple[bytes, bytes]] = []
        """Of the call that came last."""
        self._numbers: dict[int, list[int]] = {}

    def on_call(self, call: GrpcCall) -> None:
        self.metadata = list(call.metadata.raw)
        match name_of(call):
            case "Refuse":
                call.close(16, "who are you?", [("x-realm", "greetings")])
            case "Chat":
                asked = [pair for pair in call.metadata.raw if pair[0].startswith(b"x-asked")]
                call.send_initial_metadata([(b"x-initial", b"1"), *asked])
            case _:
                pass

    def on_message(self, call: GrpcCall, message: bytes) -> None:
        match name_of(call):
            case "Echo":
                call.send(b"re:" + message)
                call.close(0, "", [("x-trailing", "1")])
            case "Fail":
                asked = json.loads(message)
                for number in range(asked.get("messages", 0)):
                    call.send(str(number).encode())
                call.close(asked["status"], asked.get("message", ""), [("x-reason", "asked for")])
            case "Count":
                for number in range(int(message)):
                    call.send(str(number).encode())
                call.close()
            case "Flood":
                for _ in range(int(message)):
                    call.send(bytes(1_000_000))
            case "Total":
                self._numbers.setdefault(id(call), []).append(int(message))
            case "Chat" | "Endless":
                call.send(b"re:" + message)
            case _:
                pass

    def on_half_close(self, call: GrpcCall) -> None:
        match name_of(call):
            case "Total":
                call.send(str(sum(self._numbers.pop(id(call), []))).encode())
                call.close()
            case "Chat":
                call.close(0, "", [("x-trailing", "1"), ("x-trailing", "2"), ("x-any-bin", b"\0\xff")])
            case _:
                pass

    def on_cancel(self, call: GrpcCall) -> None:
        self.cancelled.append(name_of(call))


def name_of(call: GrpcCall) -> str:
    assert call.method.startswith(SERVICE)
    return call.method.removeprefix(SERVICE)


def act(proxy: Proxy, name: str, *arguments: object) -> Any:  # noqa: ANN401 - whatever the filter answers with
    exchange = proxy.get("/", headers={"act": json.dumps([name, *arguments])})
    assert exchange.status == 200, proxy.logs
    return exchange.json()


def wait_until(proxy: Proxy, condition: Callable[[], bool]) -> None:
    """Let time pass until what happens elsewhere has happened."""
    for _ in range(100):
        if condition():
            return
        proxy.advance(0.05)
    pytest.fail(f"did not happen; {proxy.logs}")


def errors_of(proxy: Proxy) -> list[str]:
    return [record.message for record in proxy.logs if record.level >= LogLevel.ERROR]


@pytest.fixture
def greeter() -> Greeter:
    return Greeter()


@pytest.fixture
def proxy(start_proxy: StartProxy, greeter: Greeter) -> Iterator[Proxy]:
    proxy = start_proxy("grpc_calls", clusters={"greeter": greeter})
    yield proxy
    assert errors_of(proxy) == []


# One message each way


def test_a_call_brings_the_message_of_the_answer(proxy: Proxy) -> None:
    assert act(proxy, "call", "greeter", "Echo", "hello") == "re:hello"


def test_messages_may_be_empty(proxy: Proxy) -> None:
    assert act(proxy, "call", "greeter", "Echo", "") == "re:"
    assert act(proxy, "count", 0) == []
    assert act(proxy, "chat", ["", "a"])["replies"] == ["re:", "re:a"]


def test_calls_made_at_once_bring_each_its_own_answer(proxy: Proxy) -> None:
    names = [f"caller {number}" for number in range(20)]
    assert act(proxy, "call_many", names) == [f"re:{name}" for name in names]


def test_a_call_may_call_back_instead_of_being_awaited(proxy: Proxy) -> None:
    assert act(proxy, "call_back") == ["re:called"]


def test_a_service_that_refuses_is_told_by_its_status_and_its_words(proxy: Proxy) -> None:
    words = 'n\u00e9 {"x": 1} 100% %20'
    error = act(proxy, "call", "greeter", "Fail", json.dumps({"status": 5, "message": words}))
    assert error == {
        "kinds": ["GrpcError"],
        "cluster": "greeter",
        "status": "NOT_FOUND",
        "message": words,
        "trailing": [],
        "text": f"callout to test.Greeter/Fail of cluster 'greeter': NOT_FOUND: {words}",
    }


@pytest.mark.parametrize("status", list(GrpcStatus)[1:])
def test_every_status_of_a_service_is_told(proxy: Proxy, status: GrpcStatus) -> None:
    error = act(proxy, "call", "greeter", "Fail", json.dumps({"status": int(status)}))
    assert error["status"] == status.name
    assert error["message"] == ""
    assert error["kinds"] == ["GrpcError", *(["CalloutTimeoutError"] if status == 4 else [])]


def test_a_service_that_does_not_answer_in_time_is_a_timeout(proxy: Proxy, greeter: Greeter) -> None:
    error = act(proxy, "call_with", "Silent", "hello", {"timeout": 0.3})
    assert error["kinds"] == ["GrpcError", "CalloutTimeoutError"]
    assert error["status"] == "DEADLINE_EXCEEDED"
    wait_until(proxy, lambda: greeter.cancelled == ["Silent"])


@pytest.mark.hosts("envoy")  # elsewhere a client and its test take turns
def test_a_call_without_timeout_waits(start_proxy: StartProxy) -> None:
    class Late(GrpcServer):
        def on_message(self, call: GrpcCall, message: bytes) -> None:
            asked.append(call)

    asked: list[GrpcCall] = []
    proxy = start_proxy("grpc_calls", clusters={"greeter": Late()})
    answers: list[Any] = []
    client = Thread(target=lambda: answers.append(act(proxy, "call_with", "Late", "", {"timeout": None})))
    client.start()
    wait_until(proxy, lambda: bool(asked))
    asked[0].send(b"at last")
    asked[0].close()
    client.join()
    assert answers == ["at last"]


def test_a_call_that_is_cancelled_is_told_to_the_service(proxy: Proxy, greeter: Greeter) -> None:
    assert act(proxy, "call_and_cancel") == [[True, False], True, "re:after"]
    wait_until(proxy, lambda: greeter.cancelled == ["Silent"])


def test_metadata_reaches_the_service(proxy: Proxy, greeter: Greeter) -> None:
    act(proxy, "call_with", "Echo", "", {"metadata": {"x-one": "1", "X-Two": "zwei"}})
    assert [pair for pair in greeter.metadata if pair[0].startswith(b"x-")] == [(b"x-one", b"1"), (b"x-two", b"zwei")]


def test_an_authority_takes_the_place_of_the_clusters_name(start_proxy: StartProxy) -> None:
    authorities: list[str] = []

    def not_grpc(request: UpstreamRequest) -> UpstreamResponse:
        authorities.append(request.authority)
        return respond(403)

    proxy = start_proxy("grpc_calls", clusters={"greeter": not_grpc})
    for options in ({}, {"authority": "greeter.example:50051"}):
        assert act(proxy, "call_with", "Echo", "", options)["status"] == "PERMISSION_DENIED"
    assert authorities[-2:] == ["greeter", "greeter.example:50051"]


# Callouts that cannot be made


@pytest.mark.parametrize("how", ["call", "read"])
@pytest.mark.parametrize(
    ("cluster", "kinds", "status"),
    [
        (Absent(), ["GrpcError", "ConnectionFailedError"], "UNAVAILABLE"),
        (NoHosts(), ["GrpcError", "ConnectionFailedError"], "UNAVAILABLE"),
        (Closing(), ["GrpcError", "CalloutResetError"], "UNAVAILABLE"),
        (respond(404), ["GrpcError"], "UNIMPLEMENTED"),
        (respond(200, body="no gRPC"), ["GrpcError"], "INTERNAL"),
        (respond(200, {"grpc-status": "7", "grpc-message": "no"}), ["GrpcError"], "PERMISSION_DENIED"),
    ],
    ids=["absent", "no hosts", "closing", "not found", "no gRPC", "status alone"],
)
def test_what_goes_wrong_on_the_way_is_told_apart(
    start_proxy: StartProxy, how: str, cluster: Cluster, kinds: list[str], status: str
) -> None:
    proxy = start_proxy("grpc_calls", clusters={"elsewhere": cluster})
    arguments = ("elsewhere", "Echo", "hello") if how == "call" else ("elsewhere",)
    error = act(proxy, how, *arguments)
    assert error["kinds"] == kinds, error
    assert error["status"] == status
    assert error["cluster"] == "elsewhere"
    assert errors_of(proxy) == []


@pytest.mark.parametrize("name", ["nobody", "users", "empty", "\n", "outbound|80||greeter.default.svc.cluster.local"])
@pytest.mark.parametrize("how", ["call", "read"])
def test_a_cluster_that_the_proxy_does_not_have_is_named(proxy: Proxy, how: str, name: str) -> None:
    error = act(proxy, how, name, "Echo", "") if how == "call" else act(proxy, how, name)
    assert error["kinds"] == ["UnknownClusterError"]
    assert f"{name!r}: the proxy has no such cluster" in error["text"]
    assert act(proxy, "call", "greeter", "Echo", "still") == "re:still"


def test_names_that_read_as_messages_are_names(start_proxy: StartProxy) -> None:
    clusters = {name: grpc_unary({f"{SERVICE}Echo": lambda message: message}) for name in ("users", "empty")}
    proxy = start_proxy("grpc_calls", clusters=clusters)
    assert [act(proxy, "call", name, "Echo", name) for name in clusters] == ["users", "empty"]


def test_a_refusal_of_a_plain_function_is_told(start_proxy: StartProxy) -> None:
    def refuse(message: bytes) -> bytes:
        raise GrpcRefusal(GrpcStatus.RESOURCE_EXHAUSTED, "too many")

    proxy = start_proxy("grpc_calls", clusters={"greeter": grpc_unary({f"{SERVICE}Echo": refuse})})
    error = act(proxy, "call", "greeter", "Echo", "")
    assert (error["status"], error["message"]) == ("RESOURCE_EXHAUSTED", "too many")
    assert act(proxy, "call", "greeter", "Other", "")["status"] == "UNIMPLEMENTED"


# Streams


def test_a_service_may_send_many(proxy: Proxy) -> None:
    assert act(proxy, "count", 300) == [str(number) for number in range(300)]


def test_a_service_may_get_many(proxy: Proxy) -> None:
    assert act(proxy, "total", list(range(100))) == [str(sum(range(100))), None]


def test_both_may_send_in_turns_with_metadata_at_both_ends(proxy: Proxy) -> None:
    assert act(proxy, "chat", ["a", "b", "c"]) == {
        "replies": ["re:a", "re:b", "re:c"],
        "end": None,
        "status": "OK",
        "initial": [["x-initial", "1"], ["x-asked", "1"], ["x-asked", "2"]],
        "trailing": [["x-trailing", "1"], ["x-trailing", "2"], ["x-any-bin", "\0\udcff"]],
    }


def test_binary_metadata_may_be_any_bytes(proxy: Proxy, greeter: Greeter) -> None:
    assert act(proxy, "send_binary", list(range(256))) == [list(range(256))]
    assert (b"x-asked-bin", bytes(range(256))) in greeter.metadata


def test_a_stream_that_fails_gives_what_came_before_and_then_the_error(proxy: Proxy) -> None:
    assert act(proxy, "end_by_server", {"status": 9, "message": "no more", "messages": 2}) == {
        "read": ["0", "1"],
        "same": True,
        "kinds": ["GrpcError"],
        "cluster": "greeter",
        "status": "FAILED_PRECONDITION",
        "message": "no more",
        "trailing": [["x-reason", "asked for"]],
        "text": "callout to test.Greeter/Fail of cluster 'greeter': FAILED_PRECONDITION: no more",
    }


def test_who_waits_for_the_metadata_of_a_stream_that_fails_is_told(proxy: Proxy) -> None:
    error = act(proxy, "metadata_of_failure")
    assert (error["status"], error["trailing"]) == ("UNAUTHENTICATED", [["x-realm", "greetings"]])


def test_a_stream_that_is_left_is_cancelled(proxy: Proxy, greeter: Greeter) -> None:
    assert act(proxy, "leave_early", "Chat") == ["re:5", None, "CANCELLED"]
    wait_until(proxy, lambda: greeter.cancelled == ["Chat"])


def test_a_stream_that_is_left_with_messages_on_their_way_harms_nobody(proxy: Proxy) -> None:
    for _ in range(20):
        assert act(proxy, "leave_early", "Flood") == [None, None, "CANCELLED"]
    assert act(proxy, "call", "greeter", "Echo", "still") == "re:still"


def test_who_reads_a_stream_that_is_cancelled_finds_it_at_its_end(proxy: Proxy, greeter: Greeter) -> None:
    assert act(proxy, "cancel_while_reading") == {"read": ["re:one"], "status": "CANCELLED", "again": False}
    wait_until(proxy, lambda: greeter.cancelled == ["Chat"])


def test_a_timeout_block_limits_a_stream(proxy: Proxy, greeter: Greeter) -> None:
    assert act(proxy, "limit") == "not done within 0.1 s"
    wait_until(proxy, lambda: greeter.cancelled == ["Silent"])


def test_sending_where_nothing_can_be_sent_says_why(proxy: Proxy) -> None:
    stream = "send to test.Greeter/Chat of cluster 'greeter'"
    assert act(proxy, "misuse", "send after close_send") == {"phase": f"{stream}: close_send was called"}
    assert act(proxy, "misuse", "send after cancel") == {"phase": f"{stream}: the stream is over: CANCELLED"}


def test_a_stream_that_nobody_reads_is_given_up_before_it_fills_the_memory(proxy: Proxy, greeter: Greeter) -> None:
    error = act(proxy, "neglect", 40)
    assert error["status"] == "RESOURCE_EXHAUSTED"
    assert 0 < error["read"] <= 17
    wait_until(proxy, lambda: greeter.cancelled == ["Flood"])


# Contexts that go away


@pytest.mark.parametrize("method", ["Endless", "Silent"])
def test_a_stream_ends_with_the_request_that_it_was_opened_for(proxy: Proxy, greeter: Greeter, method: str) -> None:
    proxy.abandon("GET", "/", headers={"act": json.dumps(["hold", method])}, after=0.2)
    wait_until(proxy, lambda: greeter.cancelled == [method])
    assert "cancelled" in [record.message for record in proxy.logs]


def test_a_call_ends_with_the_request_that_waits_for_it(proxy: Proxy, greeter: Greeter) -> None:
    proxy.abandon("GET", "/", headers={"act": json.dumps(["hold_call"])}, after=0.2)
    wait_until(proxy, lambda: greeter.cancelled == ["Silent"])


def test_a_stream_of_the_plugin_goes_on_between_requests(start_proxy: StartProxy, greeter: Greeter) -> None:
    proxy = start_proxy("grpc_calls", {"watch": "Count"}, clusters={"greeter": greeter})
    wait_until(proxy, lambda: "watched to the end" in [record.message for record in proxy.logs])
    watched = [record.message for record in proxy.logs if record.message.startswith("watched ")]
    assert watched[:3] == ["watched 0", "watched 1", "watched to the end"]


def test_a_stream_of_the_plugin_ends_with_the_plugin(start_proxy: StartProxy, greeter: Greeter) -> None:
    proxy = start_proxy("grpc_calls", {"watch": "Endless"}, clusters={"greeter": greeter})
    wait_until(proxy, lambda: "watched re:2" in [record.message for record in proxy.logs])
    proxy.stop()
    assert greeter.cancelled
    assert set(greeter.cancelled) == {"Endless"}


def test_a_stream_ends_with_the_request_whose_callback_failed(start_proxy: StartProxy, greeter: Greeter) -> None:
    proxy = start_proxy("grpc_calls", clusters={"greeter": greeter})
    exchange = proxy.get("/", headers={"act": json.dumps(["fail"])})
    assert exchange.status == 500
    wait_until(proxy, lambda: greeter.cancelled == ["Chat"])
    assert len(errors_of(proxy)) == 1
