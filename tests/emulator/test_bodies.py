"""Bodies: pieces, buffering, changing them, and pausing in headers, body and trailers."""

from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm.abi.enums import Action, BufferType, MapType, Status
from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.emulator import Exchange, HeaderMap, Request, StreamPaused, UpstreamRequest, UpstreamResponse

if TYPE_CHECKING:
    from conftest import Start, StatusOf

REQUEST_BODY, RESPONSE_BODY = BufferType.HTTP_REQUEST_BODY, BufferType.HTTP_RESPONSE_BODY
POST = [(":method", "POST"), (":path", "/")]
WHOLE = 1 << 30


def reached(exchange: Exchange) -> UpstreamRequest:
    assert exchange.upstream is not None
    return exchange.upstream


def test_the_end_of_an_http1_body_comes_apart_and_empty(start: "Start") -> None:
    calls: list[tuple[int, ...]] = []
    plugin = start(
        on_request_body=lambda _, *arguments: calls.append(arguments[1:]),
        on_response_body=lambda _, *arguments: calls.append(arguments[1:]),
    )
    plugin.exchange(Request("POST", body=b"12345"), chunk_size=3)
    assert calls == [(3, 0), (2, 0), (0, 1), (3, 0), (3, 0), (3, 0), (0, 1)]


def test_a_body_that_ends_in_trailers_never_says_end_of_stream(start: "Start") -> None:
    calls: list[tuple[str, tuple[int, ...]]] = []
    plugin = start(
        on_request_headers=lambda _, *arguments: calls.append(("headers", arguments[2:])),
        on_request_body=lambda _, *arguments: calls.append(("body", arguments[1:])),
        on_request_trailers=lambda _, *arguments: calls.append(("trailers", arguments[1:])),
    )
    plugin.exchange(Request("POST", body=b"12", trailers=HeaderMap({"x-t": "1"})))
    assert calls == [("headers", (0,)), ("body", (2, 0)), ("trailers", (1,))]


def test_a_message_without_body_ends_with_its_headers(start: "Start") -> None:
    ends: list[int] = []
    plugin = start(
        on_request_headers=lambda _, *arguments: ends.append(arguments[2]),
        on_response_headers=lambda _, *arguments: ends.append(arguments[2]),
        on_request_body=lambda _, *__: pytest.fail("there is no body"),
        on_response_body=lambda _, *__: pytest.fail("there is no body"),
    )
    exchange = plugin.exchange(upstream=lambda _: UpstreamResponse(204))
    assert ends == [1, 1]
    assert exchange.status == 204


def test_a_buffering_filter_sees_all_that_came_so_far(start: "Start") -> None:
    sizes: list[int] = []
    bodies: list[bytes] = []

    def on_request_body(host: Hostcalls, *arguments: int) -> int:
        _, size, end_of_stream = arguments
        sizes.append(size)
        if not end_of_stream:
            return Action.PAUSE
        bodies.append(host.get_buffer_bytes(REQUEST_BODY, 0, size))
        return Action.CONTINUE

    exchange = start(on_request_body=on_request_body).exchange(Request("POST", body=b"abcdef"), chunk_size=2)
    assert sizes == [2, 4, 6, 6]
    assert bodies == [b"abcdef"]
    assert reached(exchange).body == b"abcdef"


def test_a_buffered_body_can_be_replaced_in_the_trailers(start: "Start") -> None:
    def on_request_trailers(host: Hostcalls, *_: int) -> None:
        host.set_buffer_bytes(REQUEST_BODY, 0, WHOLE, b"new")

    plugin = start(
        on_request_headers=lambda host, *_: host.remove_header_map_value(
            MapType.HTTP_REQUEST_HEADERS, b"content-length"
        ),
        on_request_body=lambda _, *__: Action.PAUSE,
        on_request_trailers=on_request_trailers,
    )
    exchange = plugin.exchange(Request("POST", body=b"old body", trailers=HeaderMap({"x-t": "1"})))
    assert (reached(exchange).body, reached(exchange).trailers) == (b"new", [("x-t", "1")])


def test_without_buffering_each_piece_is_seen_alone(start: "Start") -> None:
    pieces: list[bytes] = []
    plugin = start(
        on_request_body=lambda host, *arguments: pieces.append(host.get_buffer_bytes(REQUEST_BODY, 0, arguments[1]))
    )
    exchange = plugin.exchange(Request("POST", body=b"abcde"), chunk_size=2)
    assert pieces == [b"ab", b"cd", b"e", b""]
    assert reached(exchange).body == b"abcde"


@pytest.mark.parametrize(
    ("start_at", "size", "data", "body"),
    [
        (0, 0, b"+", b"+abc"),
        (0, 3, b"+", b"+"),
        (0, WHOLE, b"+", b"+"),
        (0, 1, b"+", b"+bc"),
        (3, 0, b"+", b"abc+"),
        (WHOLE, 5, b"+", b"abc+"),
        (0, 3, b"", b""),
    ],
    ids=["prepend", "replace", "replace all", "replace the head", "append", "append beyond", "drop"],
)
def test_a_body_is_changed_at_its_ends(start: "Start", start_at: int, size: int, data: bytes, body: bytes) -> None:
    def on_response_body(host: Hostcalls, *arguments: int) -> None:
        if arguments[1]:
            host.set_buffer_bytes(RESPONSE_BODY, start_at, size, data)

    plugin = start(
        on_response_headers=lambda host, *_: host.remove_header_map_value(
            MapType.HTTP_RESPONSE_HEADERS, b"content-length"
        ),
        on_response_body=on_response_body,
    )
    assert plugin.exchange(upstream=lambda _: UpstreamResponse(body=b"abc")).body == body


def test_a_body_cannot_be_changed_in_its_middle(start: "Start", status_of: "StatusOf") -> None:
    statuses: list[Any] = []

    def on_response_body(host: Hostcalls, *arguments: int) -> None:
        if arguments[1]:
            statuses.append(status_of(lambda: host.set_buffer_bytes(RESPONSE_BODY, 1, 1, b"+")))

    exchange = start(on_response_body=on_response_body).exchange(upstream=lambda _: UpstreamResponse(body=b"abc"))
    assert (statuses, exchange.body) == ([Status.BAD_ARGUMENT], b"abc")


def test_reading_beyond_the_end_gives_what_there_is(start: "Start") -> None:
    reads: list[bytes] = []

    def on_request_body(host: Hostcalls, *arguments: int) -> None:
        if arguments[1]:
            reads.extend(host.get_buffer_bytes(REQUEST_BODY, at, size) for at, size in ((0, 9), (2, 9), (3, 1), (9, 9)))
            assert host.get_buffer_status(REQUEST_BODY) == (3, 0)

    start(on_request_body=on_request_body).exchange(Request("POST", body=b"abc"))
    assert reads == [b"abc", b"c", b"", b""]


def test_a_body_that_is_not_there_is_empty_and_cannot_be_written(start: "Start", status_of: "StatusOf") -> None:
    results: list[Any] = []

    def on_request_headers(host: Hostcalls, *_: int) -> None:
        results.append(host.get_buffer_bytes(REQUEST_BODY, 0, 10))
        results.append(status_of(lambda: host.set_buffer_bytes(REQUEST_BODY, 0, 0, b"x")))
        results.append(status_of(lambda: host.get_buffer_bytes(9, 0, 10)))
        results.append(status_of(lambda: host.get_buffer_bytes(BufferType.HTTP_CALL_RESPONSE_BODY, 0, 10)))

    start(on_request_headers=on_request_headers).exchange()
    assert results == [b"", Status.BAD_ARGUMENT, Status.BAD_ARGUMENT, Status.NOT_FOUND]


def test_an_empty_last_piece_can_be_filled(start: "Start") -> None:
    def on_response_body(host: Hostcalls, *arguments: int) -> None:
        if arguments[2]:
            host.set_buffer_bytes(RESPONSE_BODY, 0, 0, b"!")

    plugin = start(
        on_response_headers=lambda host, *_: host.remove_header_map_value(
            MapType.HTTP_RESPONSE_HEADERS, b"content-length"
        ),
        on_response_body=on_response_body,
    )
    assert plugin.exchange(upstream=lambda _: UpstreamResponse(body=b"abc")).body == b"abc!"


def test_pausing_in_headers_holds_the_body_until_the_stream_is_continued(start: "Start") -> None:
    calls: list[str] = []

    def on_tick(host: Hostcalls, *_: int) -> None:
        host.set_effective_context(2)
        host.continue_stream(0)

    plugin = start(
        on_configure=lambda host, *_: host.set_tick_period_milliseconds(1000) or 1,
        on_request_headers=lambda _, *__: calls.append("headers") or Action.PAUSE,
        on_request_body=lambda _, *arguments: calls.append(f"body {arguments[1:]}"),
        on_request_trailers=lambda _, *__: calls.append("trailers"),
        on_tick=on_tick,
    )
    stream = plugin.http_stream()
    stream.request_headers(POST)
    stream.request_body(b"ab")
    stream.request_body(b"c")
    stream.request_trailers([("x-t", "1")])
    assert calls == ["headers"]
    assert stream.request.sent.headers is None
    plugin.vm.clock.advance(1)
    assert calls == ["headers", "body (3, 0)", "trailers"]
    assert (stream.request.sent.body, stream.request.sent.ended) == (b"abc", True)


def test_envoys_option_lets_the_body_pass_a_filter_that_paused_in_headers(start: "Start") -> None:
    bodies: list[bytes] = []

    def on_request_body(host: Hostcalls, *arguments: int) -> int:
        if not arguments[2]:
            return Action.PAUSE
        bodies.append(host.get_buffer_bytes(REQUEST_BODY, 0, arguments[1]))
        host.add_header_map_value(MapType.HTTP_REQUEST_HEADERS, b"x-size", b"%d" % arguments[1])
        return Action.CONTINUE

    plugin = start(
        plugin={"allow_on_headers_stop_iteration": True},
        on_request_headers=lambda _, *__: Action.PAUSE,
        on_request_body=on_request_body,
    )
    exchange = plugin.exchange(Request("POST", body=b"abc"))
    assert bodies == [b"abc"]
    assert reached(exchange).headers["x-size"] == "3"
    assert reached(exchange).body == b"abc"


def test_data_that_is_stopped_without_buffering_is_lost(start: "Start") -> None:
    stop_no_buffer = 3
    plugin = start(on_request_body=lambda _, *arguments: 0 if arguments[2] else stop_no_buffer)
    stream = plugin.http_stream()
    stream.request_headers(POST)
    stream.request_body(b"lost")
    stream.request_body(b"kept", end_of_stream=True)
    assert (stream.request.sent.body, stream.request.sent.ended) == (b"kept", True)


def test_data_that_is_stopped_with_a_watermark_is_held_but_not_shown_again(start: "Start") -> None:
    stop_and_watermark = 2
    sizes: list[int] = []
    plugin = start(
        on_request_body=lambda _, *arguments: sizes.append(arguments[1]) or (0 if arguments[2] else stop_and_watermark)
    )
    exchange = plugin.exchange(Request("POST", body=b"abcd"), chunk_size=2)
    assert sizes == [2, 2, 0]
    assert reached(exchange).body == b"abcd"


@pytest.mark.parametrize("action", [4, 99])
def test_body_actions_that_envoy_does_not_know_drop_data(start: "Start", action: int) -> None:
    stream = start(on_request_body=lambda _, *__: action).http_stream()
    stream.request_headers(POST)
    stream.request_body(b"lost", end_of_stream=True)
    assert stream.paused
    assert stream.request.sent.body == b""


def test_headers_actions_that_envoy_does_not_know_pause_and_ending_the_stream_continues(start: "Start") -> None:
    plugin = start(on_request_headers=lambda _, *__: 99)
    stream = plugin.http_stream()
    stream.request_headers(POST)
    assert stream.paused
    stream = start(on_request_headers=lambda _, *__: 2).http_stream()
    stream.request_headers(POST)
    assert not stream.paused


def test_an_exchange_that_nothing_continues_says_where_it_is_paused(start: "Start") -> None:
    post = Request("POST", body=b"b", trailers=HeaderMap({"x": "1"}))
    with pytest.raises(StreamPaused, match="paused the request in on_request_headers"):
        start(on_request_headers=lambda _, *__: Action.PAUSE).exchange()
    with pytest.raises(StreamPaused, match="paused the request in on_request_body"):
        start(on_request_body=lambda _, *__: Action.PAUSE).exchange(Request("POST", body=b"b"))
    with pytest.raises(StreamPaused, match="paused the request in on_request_trailers"):
        start(on_request_trailers=lambda _, *__: Action.PAUSE).exchange(post)
    with pytest.raises(StreamPaused, match="paused the response in on_response_headers"):
        start(on_response_headers=lambda _, *__: Action.PAUSE).exchange()
    with pytest.raises(StreamPaused, match="paused the response in on_response_body"):
        start(on_response_body=lambda _, *__: Action.PAUSE).exchange()


def test_a_content_length_that_no_longer_fits_is_complained_about(start: "Start") -> None:
    def on_response_body(host: Hostcalls, *arguments: int) -> None:
        if arguments[1]:
            host.set_buffer_bytes(RESPONSE_BODY, 0, 0, b"more ")

    exchange = start(on_response_body=on_response_body).exchange(upstream=lambda _: UpstreamResponse(body=b"abc"))
    complaint = exchange.logs[-1]
    assert complaint.from_host
    assert "the response's content-length is 3, its body has 8 bytes" in complaint.message
    assert "on_response_headers" in complaint.message


def test_continuing_a_stream_that_is_not_paused_is_complained_about(start: "Start") -> None:
    exchange = start(on_request_headers=lambda host, *_: host.continue_stream(0)).exchange()
    assert exchange.status == 200
    assert "the request is not paused" in exchange.logs[0].message


def test_continuing_before_pausing_lets_headers_go_and_holds_the_body(start: "Start") -> None:
    def on_request_headers(host: Hostcalls, *_: int) -> int:
        host.continue_stream(0)
        return Action.PAUSE

    plugin = start(on_request_headers=on_request_headers)
    assert plugin.exchange().status == 200
    with pytest.raises(StreamPaused):
        plugin.exchange(Request("POST", body=b"held"))


def test_a_response_can_be_held_and_continued(start: "Start") -> None:
    def on_tick(host: Hostcalls, *_: int) -> None:
        host.set_effective_context(2)
        host.continue_stream(1)

    plugin = start(
        on_configure=lambda host, *_: host.set_tick_period_milliseconds(5) or 1,
        on_response_headers=lambda _, *__: Action.PAUSE,
        on_tick=on_tick,
    )
    stream = plugin.http_stream()
    stream.request_headers([(":method", "GET"), (":path", "/")], end_of_stream=True)
    stream.response_headers([(":status", "200")])
    stream.response_body(b"held")
    stream.response_trailers([("x-t", "1")])
    assert stream.response.sent.headers is None
    plugin.vm.clock.advance(0.005)
    assert stream.closed
    assert stream.response.sent.body == b"held"
    assert stream.response.sent.trailers == [("x-t", "1")]
