"""HTTP callouts: statuses, responses and orders are those that Envoy 1.40 gave to the same hostcalls."""

from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm.abi.enums import Status, StreamType
from proxy_wasm.abi.header_map import decode_pairs, encode_pairs
from proxy_wasm.abi.hostcalls import Hostcalls, HostError
from proxy_wasm.emulator import (
    ConfigurationRejected,
    HeaderMap,
    Plugin,
    Request,
    StreamPaused,
    UpstreamRequest,
    UpstreamResponse,
)
from proxy_wasm.emulator.clusters import Absent, Answering, Closing, Cluster, GrpcServer, NoHosts, Silent

if TYPE_CHECKING:
    from conftest import Start, StatusOf

GET = [(b":method", b"GET"), (b":path", b"/users"), (b":authority", b"users.example")]
PAUSE = 1


def call(
    host: Hostcalls,
    cluster: str,
    headers: list[tuple[bytes, bytes]] = GET,
    body: bytes = b"",
    trailers: list[tuple[bytes, bytes]] | None = None,
    timeout: int = 1000,
) -> int:
    return host.http_call(cluster.encode(), encode_pairs(headers), body, encode_pairs(trailers or []), timeout)


class Caller:
    """The handlers of a plugin that makes one callout in each request's headers, pauses, and answers with what came."""

    def __init__(self, cluster: str, **options: Any) -> None:  # noqa: ANN401 - those of `call`
        self.heard: list[Any] = []
        self._cluster = cluster
        self._options = options

    def on_request_headers(self, host: Hostcalls, *arguments: int) -> int:
        self.stream = arguments[0]
        self.call_id = call(host, self._cluster, **self._options)
        self.heard.append("sent")
        return PAUSE

    def on_http_call_response(self, host: Hostcalls, *arguments: int) -> None:
        pairs = host.get_header_map_pairs(6)
        trailers = host.get_header_map_pairs(7)
        headers = HeaderMap(decode_pairs(pairs) if pairs else [])
        try:
            body: object = host.get_buffer_bytes(4, 0, 9999)
        except HostError as error:
            body = error.status
        self.heard.append((arguments, host.get_status()))
        self.headers, self.body, self.trailers = headers, body, decode_pairs(trailers) if trailers else []
        host.set_effective_context(self.stream)
        host.continue_stream(StreamType.HTTP_REQUEST)

    def start(self, start: "Start", clusters: dict[str, Cluster]) -> Plugin:
        return start(
            emulator={"clusters": clusters},
            on_request_headers=self.on_request_headers,
            on_http_call_response=self.on_http_call_response,
        )


def test_the_answer_comes_to_the_plugin_context_and_can_continue_the_stream(start: "Start") -> None:
    reached: list[UpstreamRequest] = []

    def users(request: UpstreamRequest) -> UpstreamResponse:
        reached.append(request)
        return UpstreamResponse(201, HeaderMap([("x-a", "1"), ("x-a", "2")]), b"body", HeaderMap({"x-end": "yes"}))

    caller = Caller("users", headers=[*GET, (b"X-Who", b"me")])
    plugin = caller.start(start, {"users": users})
    exchange = plugin.exchange()
    assert exchange.status == 200
    assert caller.heard == ["sent", ((plugin.context_id, 4, 5, 4, 1), (0, b""))]
    assert caller.headers.multi_items() == [
        (":status", "201"),
        ("x-a", "1"),
        ("x-a", "2"),
        ("transfer-encoding", "chunked"),
        ("x-envoy-upstream-service-time", "0"),
    ]
    assert (caller.body, caller.trailers) == (b"body", [(b"x-end", b"yes")])
    (request,) = reached
    assert (request.method, request.path, request.authority) == ("GET", "/users", "users.example")
    assert request.headers == [("x-who", "me")]


def test_calls_have_ids_of_their_own(start: "Start") -> None:
    ids: list[int] = []
    plugin = start(
        emulator={"clusters": {"a": UpstreamResponse()}},
        on_request_headers=lambda host, *_: ids.extend([call(host, "a"), call(host, "a")]),
    )
    plugin.exchange()
    plugin.exchange()
    assert ids == [4, 8, 12, 16]


@pytest.mark.parametrize(
    ("cluster", "headers", "timeout", "status"),
    [
        ("unknown", GET, 1000, Status.BAD_ARGUMENT),
        ("users", GET[1:], 1000, Status.BAD_ARGUMENT),
        ("users", [GET[0], GET[2]], 1000, Status.BAD_ARGUMENT),
        ("users", GET[:2], 1000, Status.BAD_ARGUMENT),
        ("users", [*GET[:2], (b"host", b"h")], 1000, Status.OK),
        ("users", GET, 1 << 31, Status.BAD_ARGUMENT),
        ("users", GET, (1 << 31) - 1, Status.OK),
        ("users", GET, 0, Status.OK),
        ("nobody", GET, 1000, Status.INTERNAL_FAILURE),
    ],
)
def test_what_can_not_be_sent_is_refused_and_never_answered(
    start: "Start",
    status_of: "StatusOf",
    cluster: str,
    headers: list[tuple[bytes, bytes]],
    timeout: int,
    status: Status,
) -> None:
    statuses: list[Any] = []
    answers: list[int] = []
    plugin = start(
        emulator={"clusters": {"users": UpstreamResponse(), "nobody": NoHosts()}},
        on_request_headers=lambda host, *_: statuses.append(
            status_of(lambda: call(host, cluster, headers, timeout=timeout))
        ),
        on_http_call_response=lambda _host, *arguments: answers.append(arguments[1]),
    )
    plugin.exchange()
    assert statuses == [status]
    assert len(answers) == (status is Status.OK)


FAILURE = "upstream connect error or disconnect/reset before headers. reset reason: "


@pytest.mark.parametrize(
    ("cluster", "status", "body", "seconds"),
    [
        (Silent(), "504", "upstream request timeout", 1.0),
        (Answering(UpstreamResponse(), delay=2), "504", "upstream request timeout", 1.0),
        (Closing(), "503", FAILURE + "connection termination", 0),
        (Absent(), "503", FAILURE + "remote connection failure", 0),
    ],
)
def test_where_no_response_begins_the_proxy_makes_one(
    start: "Start", cluster: Cluster, status: str, body: str, seconds: float
) -> None:
    caller = Caller("users")
    plugin = caller.start(start, {"users": cluster})
    begin = plugin.vm.clock.monotonic_nanoseconds
    assert plugin.exchange().status == 200
    assert caller.headers == [
        (":status", status),
        ("content-length", str(len(body))),
        ("content-type", "text/plain"),
    ]
    assert caller.body == body.encode()
    assert caller.heard[1][1] == (0, b"")
    assert plugin.vm.clock.monotonic_nanoseconds - begin == seconds * 1_000_000_000


def test_an_answer_that_takes_its_time_moves_the_clock_alone(start: "Start") -> None:
    caller = Caller("users")
    plugin = caller.start(start, {"users": Answering(lambda _: UpstreamResponse(204), delay=0.25)})
    begin = plugin.vm.clock.time_nanoseconds
    plugin.exchange()
    assert caller.headers == [(":status", "204"), ("x-envoy-upstream-service-time", "250")]
    assert plugin.vm.clock.time_nanoseconds - begin == 250_000_000
    plugin.vm.clock.advance(10)
    assert len(caller.heard) == 2


def test_without_a_timeout_a_silent_cluster_is_never_given_up(start: "Start") -> None:
    caller = Caller("users", timeout=0)
    plugin = caller.start(start, {"users": Silent()})
    with pytest.raises(StreamPaused, match="in on_request_headers and nothing is left to continue it"):
        plugin.exchange()
    assert caller.heard == ["sent"]


def test_a_client_waits_no_longer_than_it_is_told(start: "Start") -> None:
    plugin = Caller("users", timeout=20_000).start(start, {"users": Silent()})
    begin = plugin.vm.clock.monotonic_nanoseconds
    with pytest.raises(StreamPaused, match="did not continue it for 3 seconds"):
        plugin.exchange(timeout=3)
    assert plugin.vm.clock.monotonic_nanoseconds - begin == 3_000_000_000


def test_no_answer_interrupts_the_guest_and_answers_keep_the_order_of_the_calls(start: "Start") -> None:
    events: list[Any] = []

    def on_request_headers(host: Hostcalls, *_: int) -> None:
        events.extend(call(host, name) for name in ("now", "late", "now"))
        events.append("sent")

    plugin = start(
        emulator={"clusters": {"now": UpstreamResponse(), "late": Answering(UpstreamResponse(), delay=1)}},
        on_request_headers=on_request_headers,
        on_http_call_response=lambda _host, *arguments: events.append(arguments[1]),
        on_response_headers=lambda _host, *_: events.append("response"),
    )
    plugin.exchange()
    assert events == [4, 8, 12, "sent", 4, 12, "response"]
    plugin.vm.clock.advance(1)
    assert events[-1] == 8


@pytest.mark.parametrize(
    ("method", "headers", "body", "trailers", "arriving"),
    [
        (b"GET", [], b"", [], []),
        (b"POST", [], b"", [], [("content-length", "0")]),
        (b"POST", [(b"content-length", b"77")], b"abc", [], [("content-length", "3")]),
        (b"POST", [(b"connection", b"close")], b"abc", [(b"x-end", b"1")], [("content-length", "3")]),
        (b"POST", [], b"", [(b"x-end", b"1")], [("content-length", "0")]),
    ],
)
def test_messages_arrive_as_http1_frames_them_and_without_trailers(
    start: "Start",
    method: bytes,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    trailers: list[tuple[bytes, bytes]],
    arriving: list[tuple[str, str]],
) -> None:
    reached: list[UpstreamRequest] = []

    def users(request: UpstreamRequest) -> UpstreamResponse:
        reached.append(request)
        return UpstreamResponse()

    pairs = [(b":method", method), (b":path", b"/"), (b":authority", b"a"), (b"host", b"b"), *headers]
    Caller("users", headers=pairs, body=body, trailers=trailers).start(start, {"users": users}).exchange()
    (request,) = reached
    assert (request.headers, request.body, request.trailers) == (arriving, body, [])
    assert request.authority == "a,b"


def test_a_head_request_is_answered_without_body(start: "Start") -> None:
    caller = Caller("users", headers=[(b":method", b"HEAD"), *GET[1:]])
    caller.start(start, {"users": UpstreamResponse(200, HeaderMap({"content-length": "4"}), b"body")}).exchange()
    assert (caller.headers["content-length"], caller.body) == ("4", b"")


def test_a_grpc_server_refuses_plain_http(start: "Start") -> None:
    caller = Caller("grpc")
    caller.start(start, {"grpc": GrpcServer()}).exchange()
    assert caller.headers[":status"] == "415"


def test_responses_can_only_be_read_and_only_during_their_callback(start: "Start", status_of: "StatusOf") -> None:
    statuses: list[Any] = []

    def look(host: Hostcalls, *_: int) -> None:
        statuses.append(
            [
                host.get_header_map_pairs(6) != b"",
                status_of(lambda: host.get_header_map_value(6, b":status")),
                status_of(lambda: host.get_buffer_bytes(4, 0, 1)),
                status_of(lambda: host.get_header_map_size(6)),
                status_of(lambda: host.add_header_map_value(6, b"a", b"b")),
                status_of(lambda: host.set_buffer_bytes(4, 0, 0, b"x")),
            ]
        )

    def on_http_call_response(host: Hostcalls, *_: int) -> None:
        look(host)
        host.set_effective_context(stream.context_id)
        look(host)
        host.continue_stream(StreamType.HTTP_REQUEST)

    def on_request_headers(host: Hostcalls, *_: int) -> int:
        call(host, "users")
        return PAUSE

    plugin = start(
        emulator={"clusters": {"users": UpstreamResponse()}},
        on_request_headers=on_request_headers,
        on_http_call_response=on_http_call_response,
        on_request_body=look,
        on_log=look,
    )
    stream = plugin.http_stream()
    stream.request_headers([(":method", "POST"), (":path", "/")])
    stream.request_body(b"x", end_of_stream=True)
    stream.close()
    bad = Status.BAD_ARGUMENT
    during = [True, Status.OK, Status.OK, bad, bad, bad]
    after = [False, bad, Status.NOT_FOUND, bad, bad, Status.NOT_FOUND]
    logging = [False, Status.OK, Status.NOT_FOUND, bad, bad, Status.NOT_FOUND]
    assert statuses == [during, during, after, logging]


def test_an_answer_for_a_stream_that_is_gone_finds_no_such_context(start: "Start", status_of: "StatusOf") -> None:
    statuses: list[Any] = []
    caller = Caller("users")
    plugin = start(
        emulator={"clusters": {"users": Answering(UpstreamResponse(), delay=1)}},
        on_request_headers=caller.on_request_headers,
        on_http_call_response=lambda host, *_: statuses.append(
            status_of(lambda: host.set_effective_context(caller.stream))
        ),
    )
    exchange = plugin.abandon(Request(), after=0.05)
    assert (exchange.status, exchange.reset, exchange.details) == (0, True, "downstream_remote_disconnect")
    plugin.vm.clock.advance(1)
    assert statuses == [Status.BAD_ARGUMENT]


def test_a_client_that_would_have_left_later_gets_its_response(start: "Start") -> None:
    plugin = Caller("users").start(start, {"users": Answering(UpstreamResponse(), delay=1)})
    exchange = plugin.abandon(Request(), after=2)
    assert (exchange.status, exchange.reset) == (200, False)


def test_calls_under_way_end_with_the_plugin(start: "Start") -> None:
    answers: list[int] = []
    plugin = start(
        emulator={"clusters": {"users": Answering(UpstreamResponse(), delay=1)}},
        on_configure=lambda host, *_: call(host, "users"),
        on_http_call_response=lambda _host, *arguments: answers.append(arguments[1]),
    )
    plugin.close()
    plugin.vm.clock.advance(5)
    assert answers == []


def test_a_plugin_that_asks_for_more_time_still_gets_its_answers(start: "Start") -> None:
    def on_done(host: Hostcalls, *_: int) -> int:
        call(host, "users")
        return 0

    plugin = start(
        emulator={"clusters": {"users": Answering(UpstreamResponse(), delay=1)}},
        on_done=on_done,
        on_http_call_response=lambda host, *_: host.done(),
    )
    plugin.close()
    assert not plugin.closed
    plugin.vm.clock.advance(1)
    assert plugin.closed


def test_a_failed_vm_hears_of_no_answer(start: "Start") -> None:
    answers: list[int] = []

    def on_request_headers(host: Hostcalls, *_: int) -> int:
        call(host, "users")
        raise RuntimeError

    plugin = start(
        emulator={"clusters": {"users": UpstreamResponse()}},
        on_request_headers=on_request_headers,
        on_http_call_response=lambda _host, *arguments: answers.append(arguments[1]),
    )
    assert plugin.exchange().status == 503
    assert answers == []


def test_what_a_clusters_function_raises_fails_the_test(start: "Start") -> None:
    def fail(_: UpstreamRequest) -> UpstreamResponse:
        raise LookupError

    with pytest.raises(LookupError):
        Caller("users").start(start, {"users": fail}).exchange()


def test_a_body_that_came_while_the_headers_waited_is_changed_by_the_answer(start: "Start") -> None:
    """As in Envoy: the filter buffers the body, and reaches it from another context's callback."""
    events: list[Any] = []
    request_body = 0

    def on_request_body(host: Hostcalls, *arguments: int) -> int:
        events.append((host.get_buffer_bytes(request_body, 0, 99), arguments[2]))
        return PAUSE

    def on_http_call_response(host: Hostcalls, *_: int) -> None:
        host.set_effective_context(stream.context_id)
        events.append(host.get_buffer_bytes(request_body, 0, 99))
        host.set_buffer_bytes(request_body, 0, 99, b"changed")
        host.remove_header_map_value(0, b"content-length")
        events.append(host.get_header_map_value(0, b":path"))
        host.continue_stream(StreamType.HTTP_REQUEST)

    plugin = start(
        plugin={"allow_on_headers_stop_iteration": True},
        emulator={"clusters": {"users": Answering(UpstreamResponse(), delay=1)}},
        on_request_headers=lambda host, *_: call(host, "users", timeout=0) and PAUSE,
        on_request_body=on_request_body,
        on_http_call_response=on_http_call_response,
    )
    stream = plugin.http_stream()
    stream.request_headers([(":method", "POST"), (":path", "/p"), ("content-length", "10")])
    stream.request_body(b"01234")
    stream.request_body(b"56789")
    stream.request_body(b"", end_of_stream=True)
    assert stream.request.sent.headers is None
    plugin.vm.clock.advance(1)
    assert events == [(b"01234", 0), (b"0123456789", 0), (b"0123456789", 1), b"0123456789", b"/p"]
    assert (stream.request.sent.body, stream.request.sent.ended) == (b"changed", True)
    assert stream.request.sent.headers == [(":method", "POST"), (":path", "/p")]


def test_a_plugin_that_refuses_its_configuration_is_not_answered(start: "Start") -> None:
    reached: list[UpstreamRequest] = []

    def users(request: UpstreamRequest) -> UpstreamResponse:
        reached.append(request)
        return UpstreamResponse()

    with pytest.raises(ConfigurationRejected):
        start(emulator={"clusters": {"users": users}}, on_configure=lambda host, *_: call(host, "users") and 0)
    assert reached == []
