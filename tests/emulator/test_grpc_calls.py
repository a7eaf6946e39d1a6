"""gRPC callouts: statuses, orders and messages are those that Envoy 1.40 gave to the same hostcalls."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.header_map import decode_pairs, encode_pairs
from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.emulator import HeaderMap, Plugin, UpstreamResponse
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
from proxy_wasm.protobuf import encode

if TYPE_CHECKING:
    from conftest import Start, StatusOf

FAILURE = "upstream connect error or disconnect/reset before headers. reset reason: "
REFUSED = (
    f"{FAILURE}remote connection failure"
    "{upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}}"
)
CLOSED = f"{FAILURE}connection termination{{upstream_reset_before_response_started{{connection_termination}}}}"
TIMED_OUT = "upstream request timeout{response_timeout}"


def service(cluster: str) -> bytes:
    """A `GrpcService` that names a cluster."""
    return encode((1, encode((1, cluster))))


def pairs(serialized: bytes) -> list[tuple[str, str]]:
    return [(name.decode(), value.decode()) for name, value in decode_pairs(serialized)] if serialized else []


Do = Callable[[Hostcalls], object]


class Listener:
    """A guest that does something in request headers, and notes all that it hears of callouts; `reactions` follow a callback."""

    def __init__(self, do: Do, **reactions: Callable[[Hostcalls, int], object]) -> None:
        self.heard: list[Any] = []
        self._do = do
        self._reactions = reactions

    def start(self, start: "Start", clusters: dict[str, Cluster]) -> Plugin:
        return start(
            emulator={"clusters": clusters},
            on_request_headers=lambda host, *_: self._note(self._do(host)),
            on_grpc_receive_initial_metadata=lambda host, *arguments: self._hear(
                "initial", host, arguments, pairs(host.get_header_map_pairs(4))
            ),
            on_grpc_receive=lambda host, *arguments: self._hear(
                "message", host, arguments, host.get_buffer_bytes(5, 0, 9999)
            ),
            on_grpc_receive_trailing_metadata=lambda host, *arguments: self._hear(
                "trailing", host, arguments, pairs(host.get_header_map_pairs(5))
            ),
            on_grpc_close=lambda host, *arguments: self._hear("close", host, arguments, host.get_status()[1].decode()),
        )

    def _note(self, result: object) -> None:
        self.heard.append(result)

    def _hear(self, what: str, host: Hostcalls, arguments: tuple[int, ...], content: object) -> None:
        _, call_id, number = arguments
        self.heard.append((what, call_id, number, content))
        if what in self._reactions:
            self._reactions[what](host, call_id)


def unary(cluster: bytes | str, message: bytes = b"hi", timeout: int = 1000, method: bytes = b"Do") -> Do:
    to = service(cluster) if isinstance(cluster, str) else cluster
    return lambda host: host.grpc_call(
        to, b"pkg.Service", method, encode_pairs([(b"x-who", b"me"), (b"x-key-bin", b"\0\1")]), message, timeout
    )


def stream(cluster: bytes | str, *messages: bytes) -> Do:
    def do(host: Hostcalls) -> int:
        to = service(cluster) if isinstance(cluster, str) else cluster
        stream_id = host.grpc_stream(to, b"pkg.Service", b"Talk", encode_pairs([]))
        for message in messages:
            host.grpc_send(stream_id, message, 0)
        return stream_id

    return do


def refuse(_: bytes) -> bytes:
    raise GrpcRefusal(7, "no ~ 100%", [("x-why", "because")])


def upper(message: bytes) -> bytes:
    return message.upper()


SERVER = grpc_unary({"/pkg.Service/Do": upper, "/pkg.Service/Refuse": refuse})


class Recorder(GrpcServer):
    """Notes what it hears; answers messages with themselves in capitals, and "bye" with an end of its own."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_call(self, call: GrpcCall) -> None:
        self.heard.append((call.method, call.metadata.raw))
        call.send_initial_metadata([("x-from", "server"), ("x-bin-bin", b"\0\1\2")])

    def on_message(self, call: GrpcCall, message: bytes) -> None:
        self.heard.append(message)
        if message == b"bye":
            call.close(10, "good bye", {"x-end": "1"})
        else:
            call.send(message.upper())

    def on_half_close(self, call: GrpcCall) -> None:
        self.heard.append("half-closed")
        call.close()

    def on_cancel(self, call: GrpcCall) -> None:
        self.heard.append("cancelled")
        call.send(b"never heard")


INITIAL = [(":status", "200"), ("content-type", "application/grpc"), ("x-from", "server"), ("x-bin-bin", "AAEC")]
END = [("grpc-status", "10"), ("grpc-message", "good bye"), ("x-end", "1")]
TIME = ("x-envoy-upstream-service-time", "0")


def test_a_call_that_succeeds_is_one_message(start: "Start") -> None:
    listener = Listener(unary("grpc"))
    listener.start(start, {"grpc": SERVER}).exchange()
    assert listener.heard == [5, ("message", 5, 2, b"HI")]


def test_a_call_that_fails_is_one_status(start: "Start") -> None:
    listener = Listener(unary("grpc", method=b"Refuse"))
    listener.start(start, {"grpc": SERVER}).exchange()
    assert listener.heard == [5, ("close", 5, 7, "no ~ 100%25{via_upstream}")]


def test_unknown_methods_are_unimplemented(start: "Start") -> None:
    listener = Listener(unary("grpc", method=b"Else"))
    listener.start(start, {"grpc": SERVER}).exchange()
    assert listener.heard == [5, ("close", 5, 12, "unknown method /pkg.Service/Else{via_upstream}")]


def test_the_server_gets_method_metadata_and_message(start: "Start") -> None:
    server = Recorder()
    Listener(unary("grpc")).start(start, {"grpc": server}).exchange()
    metadata = [(b"x-who", b"me"), (b"x-key-bin", b"\0\1")]
    assert server.heard == [("/pkg.Service/Do", metadata), b"hi", "half-closed"]


def test_a_call_without_an_answer_is_an_internal_error(start: "Start") -> None:
    class Mute(GrpcServer):
        def on_half_close(self, call: GrpcCall) -> None:
            call.close()

    listener = Listener(unary("grpc"))
    listener.start(start, {"grpc": Mute()}).exchange()
    assert listener.heard == [5, ("close", 5, 13, "")]


NO_GRPC = UpstreamResponse(200, HeaderMap(), b"hello")


@pytest.mark.parametrize(
    ("cluster", "status", "message"),
    [
        (Silent(), 14, TIMED_OUT),
        (Absent(), 14, REFUSED),
        (Closing(), 14, CLOSED),
        (NO_GRPC, 13, "via_upstream"),
        (UpstreamResponse(404), 12, "via_upstream"),
        (Answering(UpstreamResponse(503), delay=2), 14, TIMED_OUT),
        (UpstreamResponse(200, HeaderMap({"grpc-status": "5", "grpc-message": "none"})), 5, "none{via_upstream}"),
        (UpstreamResponse(), 2, "via_upstream"),
    ],
)
def test_calls_that_no_grpc_server_answers_fail(start: "Start", cluster: Cluster, status: int, message: str) -> None:
    listener = Listener(unary("grpc"))
    plugin = listener.start(start, {"grpc": cluster})
    plugin.exchange()
    plugin.vm.clock.advance(1)
    assert listener.heard == [5, ("close", 5, status, message)]


def test_a_server_hears_that_a_call_timed_out(start: "Start") -> None:
    class Slow(Recorder):
        def on_half_close(self, call: GrpcCall) -> None:
            pass

    server = Slow()
    listener = Listener(unary("grpc", timeout=300))
    plugin = listener.start(start, {"grpc": server})
    plugin.exchange()
    assert "cancelled" not in server.heard
    plugin.vm.clock.advance(0.3)
    assert server.heard[-1] == "cancelled"
    assert listener.heard == [5, ("close", 5, 14, TIMED_OUT)]


def test_without_a_timeout_a_call_is_never_given_up(start: "Start") -> None:
    listener = Listener(unary("grpc", timeout=0))
    plugin = listener.start(start, {"grpc": Silent()})
    plugin.exchange()
    plugin.vm.clock.advance(3600)
    assert listener.heard == [5]


def test_a_stream_tells_everything_in_order(start: "Start") -> None:
    server = Recorder()
    listener = Listener(stream("grpc", b"a", b"", b"bye", b"late"))
    listener.start(start, {"grpc": server}).exchange()
    assert listener.heard == [
        6,
        ("initial", 6, 4, INITIAL),
        ("message", 6, 1, b"A"),
        ("message", 6, 0, b""),
        ("trailing", 6, 3, END),
        ("close", 6, 10, "good bye{via_upstream}"),
    ]
    assert server.heard == [("/pkg.Service/Talk", []), b"a", b"", b"bye"]


@pytest.mark.parametrize("how", ["grpc_send", "grpc_close"])
def test_a_half_closed_stream_sends_no_more(start: "Start", status_of: "StatusOf", how: str) -> None:
    server = Recorder()

    def do(host: Hostcalls) -> object:
        stream_id = host.grpc_stream(service("grpc"), b"pkg.Service", b"Talk", b"")
        if how == "grpc_send":
            host.grpc_send(stream_id, b"last", 1)
        else:
            host.grpc_close(stream_id)
        return status_of(lambda: host.grpc_send(stream_id, b"dropped", 0))

    listener = Listener(do)
    listener.start(start, {"grpc": server}).exchange()
    assert server.heard[1:] == ([b"last", "half-closed"] if how == "grpc_send" else ["half-closed"])
    assert listener.heard[0] == Status.OK
    assert listener.heard[1] == ("initial", 6, 5, [*INITIAL, TIME])
    assert listener.heard[-2:] == [
        ("trailing", 6, 1, [("grpc-status", "0")]),
        ("close", 6, 0, "via_upstream"),
    ]


def test_an_end_without_beginning_is_trailers_only(start: "Start") -> None:
    class Refusing(GrpcServer):
        def on_call(self, call: GrpcCall) -> None:
            call.close(16, "who are you?")

    listener = Listener(stream("grpc"))
    listener.start(start, {"grpc": Refusing()}).exchange()
    trailers = [*INITIAL[:2], ("grpc-status", "16"), ("grpc-message", "who are you?")]
    assert listener.heard == [
        6,
        ("initial", 6, 0, []),
        ("trailing", 6, 4, trailers),
        ("close", 6, 16, "who are you?{via_upstream}"),
    ]


@pytest.mark.parametrize(("cluster", "message"), [(Absent(), REFUSED), (Closing(), CLOSED)])
def test_streams_that_reach_no_server_end_with_what_the_proxy_says(
    start: "Start", cluster: Cluster, message: str
) -> None:
    listener = Listener(stream("grpc"))
    listener.start(start, {"grpc": cluster}).exchange()
    said = [*INITIAL[:2], ("grpc-status", "14"), ("grpc-message", message.partition("{")[0])]
    assert listener.heard == [6, ("initial", 6, 0, []), ("trailing", 6, 4, said), ("close", 6, 14, message)]


def test_streams_to_what_speaks_no_grpc_end(start: "Start") -> None:
    listener = Listener(stream("http"))
    listener.start(start, {"http": NO_GRPC}).exchange()
    assert [event[0] for event in listener.heard[1:]] == ["initial", "trailing", "close"]
    assert listener.heard[-1] == ("close", 6, 13, "via_upstream")


# Names, ids and states.


@pytest.mark.parametrize("make", [unary, stream])
def test_an_unknown_cluster_given_bare_is_a_parse_failure(
    start: "Start", status_of: "StatusOf", make: Callable[[bytes], Do]
) -> None:
    listener = Listener(lambda host: status_of(lambda: make(b"nope")(host)))
    listener.start(start, {"grpc": SERVER}).exchange()
    assert listener.heard == [Status.PARSE_FAILURE]


def test_a_bare_name_that_is_no_message_names_its_cluster(start: "Start") -> None:
    listener = Listener(unary(b"grpc"))
    listener.start(start, {"grpc": SERVER}).exchange()
    assert listener.heard == [5, ("message", 5, 2, b"HI")]


@pytest.mark.parametrize("name", [b"users", b""])
def test_a_bare_name_that_reads_as_a_message_crashes(start: "Start", status_of: "StatusOf", name: bytes) -> None:
    listener = Listener(lambda host: status_of(lambda: unary(name)(host)))
    plugin = listener.start(start, {name.decode(): SERVER})
    assert plugin.exchange().status == 503
    assert "reads as a GrpcService that names nobody" in plugin.vm.failed
    assert "a real Envoy crashes here" in plugin.vm.failed


@pytest.mark.parametrize(("make", "call_id"), [(unary, 5), (stream, 6)])
def test_a_start_that_fails_is_told_with_an_id_that_was_never_given(
    start: "Start", status_of: "StatusOf", make: Callable[[str], Do], call_id: int
) -> None:
    listener = Listener(lambda host: status_of(lambda: make("nope")(host)))
    listener.start(start, {}).exchange()
    assert listener.heard == [Status.INTERNAL_FAILURE, ("close", call_id, 14, "Cluster not available")]


NO_HOSTS = "no healthy upstream{no_healthy_upstream}"


def test_a_call_to_a_cluster_without_hosts_fails_at_once(start: "Start", status_of: "StatusOf") -> None:
    listener = Listener(lambda host: status_of(lambda: unary("nobody")(host)))
    listener.start(start, {"nobody": NoHosts()}).exchange()
    assert listener.heard == [Status.INTERNAL_FAILURE, ("close", 5, 14, NO_HOSTS)]


def test_a_stream_to_a_cluster_without_hosts_calls_back_inside_of_the_hostcall(
    start: "Start", status_of: "StatusOf"
) -> None:
    def do(host: Hostcalls) -> object:
        status = status_of(lambda: stream("nobody")(host))
        return status, host.get_header_map_value(0, b":method")

    listener = Listener(do)
    plugin = listener.start(start, {"nobody": NoHosts()})
    assert plugin.exchange().status == 200
    said = [*INITIAL[:2], ("grpc-status", "14"), ("grpc-message", "no healthy upstream")]
    assert listener.heard == [
        ("initial", 6, 0, []),
        ("trailing", 6, 4, said),
        (Status.INTERNAL_FAILURE, b"GET"),
        ("close", 6, 14, NO_HOSTS),
    ]


def test_kinds_of_calls_count_apart(start: "Start") -> None:
    ids: list[int] = []

    def do(host: Hostcalls) -> None:
        ids.extend([int(str(make("grpc")(host))) for make in (unary, stream, unary, stream)])

    Listener(do).start(start, {"grpc": SERVER}).exchange()
    assert ids == [5, 6, 9, 10]


def test_ids_that_are_none_are_refused(start: "Start", status_of: "StatusOf") -> None:
    def do(host: Hostcalls) -> list[Status | int]:
        attempts: list[Callable[[], object]] = []
        for call_id in (4, 97, 98, 99):
            attempts += [
                lambda call_id=call_id: host.grpc_send(call_id, b"", 0),
                lambda call_id=call_id: host.grpc_close(call_id),
                lambda call_id=call_id: host.grpc_cancel(call_id),
            ]
        return [status_of(attempt) for attempt in attempts]

    listener = Listener(do)
    listener.start(start, {"grpc": SERVER}).exchange()
    bad, unknown = Status.BAD_ARGUMENT, Status.NOT_FOUND
    assert listener.heard == [[bad, bad, bad, bad, unknown, unknown, unknown, unknown, unknown, bad, bad, bad]]


@pytest.mark.parametrize("how", ["grpc_cancel", "grpc_close"])
def test_a_cancelled_call_is_heard_of_no_more(start: "Start", status_of: "StatusOf", how: str) -> None:
    def do(host: Hostcalls) -> object:
        call_id = unary("grpc")(host)
        return [status_of(lambda: getattr(host, how)(call_id)) for _ in range(2)]

    server = Recorder()
    listener = Listener(do)
    listener.start(start, {"grpc": server}).exchange()
    assert listener.heard == [[Status.OK, Status.NOT_FOUND]]
    assert server.heard == []


def test_a_stream_cancelled_while_it_is_told_of_is_heard_of_no_more(start: "Start") -> None:
    server = Recorder()
    listener = Listener(stream("grpc", b"a", b"b"), message=lambda host, call_id: host.grpc_cancel(call_id))
    listener.start(start, {"grpc": server}).exchange()
    assert [event[0] for event in listener.heard[1:]] == ["initial", "message"]
    assert server.heard[-1] == "cancelled"


def test_a_stream_is_forgotten_once_both_sides_closed_it(start: "Start", status_of: "StatusOf") -> None:
    statuses: list[Any] = []

    def finish(host: Hostcalls, call_id: int) -> None:
        statuses.extend(
            [
                status_of(lambda: host.grpc_send(call_id, b"late", 0)),
                status_of(lambda: host.grpc_close(call_id)),
                status_of(lambda: host.grpc_close(call_id)),
            ]
        )

    plugin = Listener(stream("grpc", b"bye"), close=finish).start(start, {"grpc": Recorder()})
    plugin.exchange()
    plugin.close()
    assert statuses == [Status.OK, Status.OK, Status.NOT_FOUND]
    assert [record.message for record in plugin.vm.log if record.from_host] == []


def test_using_a_stream_after_its_end_is_noted(start: "Start") -> None:
    plugin = Listener(stream("grpc", b"bye")).start(start, {"grpc": Recorder()})
    exchange = plugin.exchange()
    assert not any(record.from_host for record in exchange.logs)
    calls = plugin.grpc_calls
    calls.send(6, b"x", end_of_stream=False)
    plugin.close()
    assert [record.message.partition(";")[0] for record in plugin.vm.log if record.from_host] == [
        "grpc_send: stream 6 was closed by its server before",
        "grpc_stream 6: its server closed it and grpc_close was never called",
    ]


def test_calls_and_streams_end_with_the_plugin(start: "Start") -> None:
    class Patient(Recorder):
        def on_half_close(self, call: GrpcCall) -> None:
            pass

    server = Patient()
    listener = Listener(lambda host: (unary("grpc")(host), stream("grpc")(host)))
    plugin = listener.start(start, {"grpc": server})
    plugin.exchange()
    plugin.close()
    assert server.heard[-2:] == ["cancelled", "cancelled"]
    assert listener.heard[-1][0] == "initial"


def test_messages_and_metadata_are_there_during_their_callback_only(start: "Start", status_of: "StatusOf") -> None:
    seen: list[Any] = []

    def look(host: Hostcalls, _: int) -> None:
        seen.append(
            [
                host.get_buffer_bytes(5, 0, 99),
                status_of(lambda: host.set_buffer_bytes(5, 0, 0, b"x")),
                host.get_header_map_pairs(4) != b"",
                host.get_header_map_pairs(5) != b"",
                status_of(lambda: host.get_header_map_value(5, b"x-end")),
                status_of(lambda: host.get_header_map_size(5)),
            ]
        )

    Listener(stream("grpc", b"a", b"bye"), initial=look, message=look, trailing=look, close=look).start(
        start, {"grpc": Recorder()}
    ).exchange()
    bad = Status.BAD_ARGUMENT
    assert seen == [
        [b"", bad, True, False, bad, bad],
        [b"A", Status.OK, False, False, bad, bad],
        [b"", bad, False, True, Status.OK, bad],
        [b"", bad, False, False, bad, bad],
    ]
