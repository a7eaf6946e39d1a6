"""Local responses: when they are sent, what passes the filter, what the client gets."""

from typing import TYPE_CHECKING

import pytest

from proxy_wasm.abi.enums import NO_GRPC_STATUS, Action, BufferType, MapType, StreamType
from proxy_wasm.abi.header_map import encode_pairs
from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.emulator import HeaderMap, Request, UpstreamResponse

if TYPE_CHECKING:
    from conftest import Start

GET = [(":method", "GET"), (":path", "/")]


def answer(
    host: Hostcalls,
    status: int = 403,
    body: bytes = b"",
    details: bytes = b"",
    headers: list[tuple[bytes, bytes]] | None = None,
    grpc_status: int = NO_GRPC_STATUS,
) -> int:
    host.send_local_response(status, details, body, encode_pairs(headers or []), grpc_status)
    return Action.CONTINUE


def test_a_local_response_takes_the_place_of_the_upstreams(start: "Start") -> None:
    plugin = start(on_request_headers=lambda host, *_: answer(host, 403, b"no\n", b"too  bad", [(b"X-Why", b"policy")]))
    exchange = plugin.exchange(upstream=lambda _: pytest.fail("the request must not get here"))
    assert (exchange.status, exchange.body, exchange.details) == (403, b"no\n", "too__bad")
    assert exchange.headers == [("x-why", "policy"), ("content-length", "3"), ("content-type", "text/plain")]
    assert exchange.upstream is None


def test_a_local_response_keeps_its_own_content_type_and_loses_it_without_body(start: "Start") -> None:
    own = [(b"content-type", b"text/html")]
    assert start(on_request_headers=lambda host, *_: answer(host, body=b"x", headers=own)).exchange().headers[
        "content-type"
    ] == ("text/html")
    exchange = start(
        on_request_headers=lambda host, *_: answer(host, headers=[*own, (b"content-length", b"7")])
    ).exchange()
    assert exchange.headers == [("content-length", "0")]


def test_the_filters_own_response_callbacks_run_on_it_and_still_see_the_request(start: "Start") -> None:
    bodies: list[bytes] = []

    def on_response_headers(host: Hostcalls, *_: int) -> None:
        path = host.get_header_map_value(MapType.HTTP_REQUEST_HEADERS, b":path") or b""
        host.add_header_map_value(MapType.HTTP_RESPONSE_HEADERS, b"x-path", path)

    def on_response_body(host: Hostcalls, *arguments: int) -> None:
        assert arguments[2] == 1
        bodies.append(host.get_buffer_bytes(BufferType.HTTP_RESPONSE_BODY, 0, arguments[1]))

    plugin = start(
        on_request_headers=lambda host, *_: answer(host, body=b"no"),
        on_response_headers=on_response_headers,
        on_response_body=on_response_body,
    )
    assert plugin.exchange(Request(path="/p")).headers["x-path"] == "/p"
    assert bodies == [b"no"]


def test_of_two_local_responses_the_first_is_sent_under_the_seconds_details(start: "Start") -> None:
    def on_request_headers(host: Hostcalls, *_: int) -> None:
        answer(host, 401, b"first", b"one")
        answer(host, 500, b"second", b"two")

    exchange = start(on_request_headers=on_request_headers).exchange()
    assert (exchange.status, exchange.body, exchange.details) == (401, b"first", "two")


def test_it_is_sent_when_the_callback_has_returned(start: "Start") -> None:
    seen: list[object] = []
    plugin = start(
        on_request_headers=lambda host, *_: answer(host) or seen.append("request done"),
        on_response_headers=lambda _, *__: seen.append("response"),
    )
    plugin.exchange()
    assert seen == ["request done", "response"]


def test_a_local_response_in_the_body_drops_the_request(start: "Start") -> None:
    plugin = start(
        on_request_body=lambda host, *_: answer(host, 413), on_request_trailers=lambda _, *__: pytest.fail("no")
    )
    exchange = plugin.exchange(Request("POST", body=b"body", trailers=HeaderMap({"x": "1"})))
    assert (exchange.status, exchange.upstream) == (413, None)


def test_in_response_headers_it_goes_to_the_client_past_the_filter(start: "Start") -> None:
    calls: list[str] = []

    def on_response_headers(host: Hostcalls, *_: int) -> int:
        calls.append("headers")
        return answer(host, 502, b"bad upstream")

    plugin = start(on_response_headers=on_response_headers, on_response_body=lambda _, *__: calls.append("body"))
    exchange = plugin.exchange()
    assert (exchange.status, exchange.body, calls) == (502, b"bad upstream", ["headers"])
    assert exchange.upstream is not None


def test_after_response_headers_went_on_it_resets_the_stream(start: "Start") -> None:
    plugin = start(on_response_body=lambda host, *_: answer(host, 502))
    exchange = plugin.exchange()
    assert exchange.reset
    assert (exchange.status, exchange.body) == (200, b"")
    assert "reset" in exchange.logs[-1].message


def test_a_paused_stream_can_be_answered_later(start: "Start") -> None:
    def on_tick(host: Hostcalls, *_: int) -> None:
        host.set_effective_context(2)
        answer(host, 504)

    plugin = start(
        on_configure=lambda host, *_: host.set_tick_period_milliseconds(5) or 1,
        on_request_headers=lambda _, *__: Action.PAUSE,
        on_tick=on_tick,
    )
    stream = plugin.http_stream()
    stream.request_headers(GET, end_of_stream=True)
    plugin.vm.clock.advance(0.005)
    assert stream.closed
    assert stream.response.sent.headers == [(":status", "504")]


def test_without_a_stream_nobody_is_answered_and_the_host_says_ok(start: "Start") -> None:
    plugin = start(on_configure=lambda host, *_: answer(host) or 1)
    assert plugin.exchange().status == 200


def test_a_head_request_gets_the_length_but_no_body(start: "Start") -> None:
    exchange = start(on_request_headers=lambda host, *_: answer(host, body=b"1234")).exchange(Request("HEAD"))
    assert (exchange.headers["content-length"], exchange.body) == ("4", b"")


@pytest.mark.parametrize(("asked", "told"), [(NO_GRPC_STATUS, "7"), (16, "16"), (17, "7")])
def test_a_grpc_client_is_told_by_grpc_status(start: "Start", asked: int, told: str) -> None:
    plugin = start(on_request_headers=lambda host, *_: answer(host, 403, "nö %".encode(), grpc_status=asked))
    exchange = plugin.exchange(Request("POST", headers=HeaderMap({"content-type": "application/grpc+proto"})))
    assert exchange.status == 200
    assert exchange.headers["content-type"] == "application/grpc"
    assert exchange.headers["grpc-status"] == told
    assert exchange.headers["grpc-message"] == "n%C3%B6 %25"
    assert exchange.body == b""


def test_its_status_is_not_to_be_changed_by_its_headers(start: "Start") -> None:
    plugin = start(on_request_headers=lambda host, *_: answer(host, 403, headers=[(b":Status", b"200")]))
    assert plugin.exchange().status == 403


def test_malformed_extra_headers_are_none(start: "Start") -> None:
    plugin = start(on_request_headers=lambda host, *_: host.send_local_response(403, b"", b"", b"\1\0\0\0!", -1))
    assert plugin.exchange().headers == [("content-length", "0")]


@pytest.mark.parametrize("stream_type", [StreamType.HTTP_REQUEST, StreamType.HTTP_RESPONSE])
def test_closing_a_stream_breaks_it_off(start: "Start", stream_type: StreamType) -> None:
    exchange = start(on_request_headers=lambda host, *_: host.close_stream(stream_type)).exchange()
    assert (exchange.status, exchange.reset, exchange.details) == (0, True, "wasm_close_stream")


def test_later_events_of_an_answered_stream_are_ignored(start: "Start") -> None:
    stream = start(on_request_headers=lambda host, *_: answer(host)).http_stream()
    stream.request_headers([(":method", "POST"), (":path", "/")])
    assert stream.closed
    stream.request_body(b"late")
    stream.request_trailers([("x", "1")])
    stream.response_headers([(":status", "200")])
    stream.response_body(b"late")
    stream.response_trailers([("x", "1")])
    stream.close()
    assert stream.response.sent.headers == [(":status", "403")]


def test_a_held_local_response_is_not_mixed_with_the_upstreams(start: "Start") -> None:
    def on_tick(host: Hostcalls, *_: int) -> None:
        host.set_effective_context(2)
        host.continue_stream(StreamType.HTTP_RESPONSE)

    plugin = start(
        on_configure=lambda host, *_: host.set_tick_period_milliseconds(5) or 1,
        on_request_body=lambda host, *_: answer(host, 403, b"no"),
        on_response_headers=lambda _, *__: Action.PAUSE,
        on_tick=on_tick,
    )
    stream = plugin.http_stream()
    stream.request_headers([(":method", "POST"), (":path", "/")])
    stream.request_body(b"x")
    stream.response_headers([(":status", "200")])
    stream.response_body(b"upstream", end_of_stream=True)
    assert stream.paused
    plugin.vm.clock.advance(0.005)
    assert (stream.closed, stream.response.sent.body) == (True, b"no")


def test_of_the_upstreams_response_nothing_is_left_in_a_local_one(start: "Start") -> None:
    plugin = start(on_response_headers=lambda host, *_: answer(host, 429, headers=[(b"retry-after", b"1")]))
    exchange = plugin.exchange(upstream=lambda _: UpstreamResponse(200, HeaderMap({"x-a": "1"}), b"body"))
    assert (exchange.status, exchange.headers) == (429, [("retry-after", "1"), ("content-length", "0")])
