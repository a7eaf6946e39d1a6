"""Bodies come in the pieces that a test chooses, and clients and upstreams leave where it says, on every host alike."""

import pytest

from proxy_wasm.emulator.exchange import Break
from proxy_wasm.testing import (
    Closing,
    Exchange,
    Proxy,
    Silent,
    StartProxy,
    StreamPaused,
    UpstreamRequest,
    UpstreamResponse,
    respond,
)
from proxy_wasm.testing.proxy import Body

BEFORE = "upstream connect error or disconnect/reset before headers. reset reason: connection termination"


@pytest.fixture
def proxy(start_proxy: StartProxy) -> Proxy:
    return start_proxy("recorder")


def heard(exchange: Exchange) -> list[str]:
    """What the filter was told of, in order."""
    return [record.message for record in exchange.logs if not record.from_host]


def test_the_filter_gets_each_piece_of_a_request_by_itself(proxy: Proxy) -> None:
    exchange = proxy.post("/", body=[b"one", "two", b"", b"three"], upstream=respond(204))
    assert heard(exchange) == [
        "request",
        "request body b'one'",
        "request body b'two'",
        "request body b'three'",
        "request body b'' ends",
        "response 204 ends",
        "log",
    ]
    assert exchange.upstream is not None
    assert exchange.upstream.body == b"onetwothree"
    assert exchange.upstream.headers["content-length"] == "11"


def test_the_filter_gets_each_piece_of_a_response_by_itself(proxy: Proxy) -> None:
    exchange = proxy.get("/", upstream=respond(200, body=[b"one", b"two"]))
    assert heard(exchange) == [
        "request ends",
        "response 200",
        "response body b'one'",
        "response body b'two'",
        "response body b'' ends",
        "log",
    ]
    assert (exchange.body, exchange.headers["content-length"]) == (b"onetwo", "6")


def test_trailers_follow_the_last_piece(proxy: Proxy) -> None:
    def answer(request: UpstreamRequest) -> UpstreamResponse:
        return respond(200, body=[request.body, b"!"], trailers={"x-b": "2"})

    exchange = proxy.post("/", body=[b"a", b"b"], trailers={"x-a": "1"}, upstream=answer)
    assert heard(exchange) == [
        "request",
        "request body b'a'",
        "request body b'b'",
        "request trailers [('x-a', '1')]",
        "response 200",
        "response body b'ab'",
        "response body b'!'",
        "response trailers [('x-b', '2')]",
        "log",
    ]
    assert exchange.upstream is not None
    assert exchange.upstream.trailers.multi_items() == [("x-a", "1")]
    assert (exchange.body, exchange.trailers.multi_items()) == (b"ab!", [("x-b", "2")])


@pytest.mark.parametrize(("body", "whole"), [(b"whole", b"whole"), ([b"whole"], b"whole"), ([], b"")])
def test_one_piece_or_none_is_as_good_as_a_body(proxy: Proxy, body: Body, whole: bytes) -> None:
    exchange = proxy.post("/", body=body)
    assert exchange.upstream is not None
    assert exchange.upstream.body == whole


def test_a_filter_may_answer_before_the_body_is_there(proxy: Proxy) -> None:
    exchange = proxy.post("/", headers={"x-do": "refuse"}, body=[b"one", b"two"])
    assert (exchange.status, exchange.text, exchange.upstream) == (403, "no", None)
    assert heard(exchange) == ["request", "response 403", "response body b'no' ends", "log"]


# Clients that leave.


def test_a_client_may_leave_in_the_middle_of_its_request(proxy: Proxy) -> None:
    exchange = proxy.abandon("POST", "/", body=[b"one", b"two", b"three"], after_sending=2)
    assert (exchange.status, exchange.reset, exchange.upstream) == (0, True, None)
    assert exchange.details == "downstream_remote_disconnect"
    assert heard(exchange) == ["request", "request body b'one'", "request body b'two'", "log"]


def test_a_client_may_leave_before_the_body(proxy: Proxy) -> None:
    exchange = proxy.abandon("POST", "/", body=[b"one"], after_sending=0)
    assert heard(exchange) == ["request", "log"]


def test_a_client_that_was_answered_before_it_left_has_its_answer(proxy: Proxy) -> None:
    exchange = proxy.abandon("POST", "/", headers={"x-do": "refuse"}, body=[b"one", b"two"], after_sending=1)
    assert (exchange.status, exchange.text, exchange.reset) == (403, "no", False)


def test_a_client_may_leave_before_the_response(proxy: Proxy) -> None:
    exchange = proxy.abandon("GET", "/", upstream=Silent())
    assert (exchange.status, exchange.reset, exchange.details) == (0, True, "downstream_remote_disconnect")
    assert heard(exchange) == ["request ends", "log"]


@pytest.mark.parametrize(
    ("received", "body"), [(0, b""), (1, b"one"), (3, b"one"), (4, b"onetwo")], ids=["headers", "1", "3", "4"]
)
def test_a_client_may_leave_in_the_middle_of_the_response(proxy: Proxy, received: int, body: bytes) -> None:
    answer = respond(200, {"x-a": "1"}, [b"one", b"two", b"three"])
    exchange = proxy.abandon("GET", "/", upstream=answer, after_receiving=received)
    assert (exchange.status, exchange.headers["x-a"], exchange.body, exchange.reset) == (200, "1", body, True)
    assert exchange.upstream is not None
    told = {b"": [], b"one": ["b'one'"], b"onetwo": ["b'one'", "b'two'"]}[body]
    assert heard(exchange) == ["request ends", "response 200", *(f"response body {piece}" for piece in told), "log"]


def test_a_client_that_wants_more_than_there_is_gets_it_all(proxy: Proxy) -> None:
    exchange = proxy.abandon("GET", "/", upstream=respond(200, body=[b"a", b"b"]), after_receiving=9)
    assert (exchange.body, exchange.reset) == (b"ab", False)


def test_a_response_that_does_not_come_is_not_waited_for_for_ever(proxy: Proxy) -> None:
    with pytest.raises(StreamPaused, match=r"less than 1 bytes of a response's body within 0\.2 seconds"):
        proxy.abandon("GET", "/", upstream=Silent(), after_receiving=1, timeout=0.2)


@pytest.mark.hosts("native")
def test_a_client_leaves_at_one_moment_that_there_is(start_proxy: StartProxy) -> None:
    proxy = start_proxy("recorder")
    with pytest.raises(ValueError, match="at one moment"):
        proxy.abandon("GET", "/", after=1, after_receiving=1)
    with pytest.raises(ValueError, match="the body has 2 pieces, of which at least one must remain"):
        proxy.abandon("POST", "/", body=[b"a", b"b"], after_sending=2)
    with pytest.raises(ValueError, match="the body has 0 pieces"):
        proxy.abandon("POST", "/", body=b"ab", after_sending=0)


# Upstreams that leave.


@pytest.mark.parametrize("headers", [{}, {"content-length": "9"}], ids=["chunked", "length"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_an_upstream_may_leave_in_the_middle_of_its_response(proxy: Proxy, how: Break, headers: dict[str, str]) -> None:
    exchange = proxy.get("/", upstream=respond(200, headers, [b"one", b"two"], breaks=how))
    assert (exchange.status, exchange.body, exchange.reset) == (200, b"onetwo", True)
    assert exchange.details == "upstream_reset_after_response_started{protocol_error}"
    assert heard(exchange) == ["request ends", "response 200", "response body b'one'", "response body b'two'", "log"]


def test_an_upstream_may_leave_after_the_headers(proxy: Proxy) -> None:
    exchange = proxy.get("/", upstream=respond(200, {"content-length": "5"}, breaks="close"))
    assert (exchange.status, exchange.body, exchange.reset) == (200, b"", True)
    assert heard(exchange) == ["request ends", "response 200", "log"]


def test_an_upstream_may_leave_before_it_answers(proxy: Proxy) -> None:
    exchange = proxy.post("/", body="what", upstream=Closing())
    assert (exchange.status, exchange.text) == (503, BEFORE)
    assert exchange.details == "upstream_reset_before_response_started{connection_termination}"
    assert exchange.upstream is not None
    assert heard(exchange)[-3:] == ["response 503", f"response body {BEFORE.encode()!r} ends", "log"]


def test_an_upstream_that_never_answers_is_not_waited_for_for_ever(proxy: Proxy) -> None:
    with pytest.raises(StreamPaused):
        proxy.get("/", upstream=Silent(), timeout=0.2)
