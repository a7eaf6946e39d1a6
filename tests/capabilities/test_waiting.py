"""Callbacks that await: the same on each host."""

import pytest

from proxy_wasm.emulator.clusters import Absent, Closing, Silent
from proxy_wasm.testing import Exchange, LogLevel, Proxy, StartProxy, UpstreamRequest, UpstreamResponse, respond

PHASES = [
    "request headers",
    "request body",
    "request trailers",
    "response headers",
    "response body",
    "response trailers",
]


def answer(request: UpstreamRequest) -> UpstreamResponse:
    return respond(203, {"x-from": request.headers.get("x-a", "")}, f"{request.method} {request.path} <{request.text}>")


CLUSTERS = {"answers": answer, "silent": Silent(), "closing": Closing(), "absent": Absent()}


@pytest.fixture
def proxy(start_proxy: StartProxy) -> Proxy:
    return start_proxy("waiting", clusters=CLUSTERS)


def do(proxy: Proxy, what: str, **options: object) -> Exchange:
    """A request whose every part is there."""
    sent = {"body": "in", "trailers": {"x-t": "1"}, "upstream": respond(200, {}, "out", {"x-u": "1"}), **options}
    return proxy.post("/", headers={"do": what}, **sent)


def said(exchange: Exchange) -> list[str]:
    return [record.message for record in exchange.logs if record.level is LogLevel.INFO]


def assert_passed(exchange: Exchange) -> None:
    assert (exchange.status, exchange.text) == (200, "out")
    assert exchange.trailers["x-u"] == "1"
    assert exchange.upstream is not None
    assert (exchange.upstream.text, exchange.upstream.trailers["x-t"]) == ("in", "1")


@pytest.mark.parametrize("phase", PHASES)
def test_a_callback_awaits_a_callout_and_the_stream_goes_on(proxy: Proxy, phase: str) -> None:
    exchange = do(proxy, f"call in {phase}")
    assert_passed(exchange)
    assert said(exchange) == ["said 203 b POST /v1/me?x=1 <who?>"]


@pytest.mark.parametrize("phase", PHASES)
def test_a_callback_sleeps_and_the_stream_goes_on(proxy: Proxy, phase: str) -> None:
    exchange = do(proxy, f"sleep briefly in {phase}")
    assert_passed(exchange)
    assert said(exchange) == ["said slept"]


@pytest.mark.parametrize("direction", ["request", "response"])
@pytest.mark.parametrize("callbacks", ["all", "headers and body"])
@pytest.mark.parametrize("what", ["sleep briefly", "call"])
def test_several_callbacks_of_a_direction_await_and_all_of_it_goes_on(
    proxy: Proxy, what: str, callbacks: str, direction: str
) -> None:
    exchange = do(proxy, f"{what} in {callbacks} of {direction}")
    assert_passed(exchange)
    assert len(said(exchange)) == (3 if callbacks == "all" else 2)


def test_headers_can_be_changed_by_what_was_awaited(proxy: Proxy) -> None:
    exchange = do(proxy, "call and edit in request headers")
    assert_passed(exchange)
    assert exchange.upstream is not None
    assert exchange.upstream.headers["x-answer"] == "GET / <>"


def test_a_plain_callback_does_without_await(proxy: Proxy) -> None:
    exchange = do(proxy, "by callback in request headers")
    assert_passed(exchange)
    assert exchange.upstream is not None
    assert exchange.upstream.headers["x-answer"] == "GET / <>"


@pytest.mark.parametrize("phase", ["request headers", "request body", "request trailers", "response headers"])
def test_a_callback_answers_by_what_was_awaited(proxy: Proxy, phase: str) -> None:
    exchange = do(proxy, f"call and deny in {phase}")
    assert (exchange.status, exchange.text) == (403, "denied: GET / <>")
    if phase == "request headers":
        assert exchange.upstream is None


def test_callouts_run_at_once(proxy: Proxy) -> None:
    assert said(do(proxy, "call twice at once in request headers")) == ["said GET /1 <> GET /2 <>"]


def test_coroutines_run_at_once(proxy: Proxy) -> None:
    assert said(do(proxy, "coroutines at once in request headers")) == ["said abc"]


def test_what_fails_first_fails_all_unless_exceptions_are_asked_for(proxy: Proxy) -> None:
    assert said(do(proxy, "fail at once in request headers")) == [
        "said caught one of them",
        "said results (LookupError('one of them'), None)",
    ]


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("silent", "CalloutTimeoutError silent: callout to cluster 'silent': no answer within 0.1 s"),
        ("closing", "CalloutResetError closing: callout to cluster 'closing': "),
        ("absent", "ConnectionFailedError absent: callout to cluster 'absent': "),
        ("unknown", "UnknownClusterError unknown: callout to cluster 'unknown': the proxy has no such cluster"),
    ],
)
def test_a_callout_without_an_answer_raises_what_happened(proxy: Proxy, what: str, expected: str) -> None:
    exchange = do(proxy, f"call {what} in request headers")
    assert_passed(exchange)
    (message,) = said(exchange)
    assert message.startswith(f"said {expected}")


def test_a_wrong_argument_is_named(proxy: Proxy) -> None:
    exchange = do(proxy, "call wrongly in request headers")
    assert_passed(exchange)
    begins = [
        "method: method 'G T': ",
        "path: path 'me': ",
        "path space: path '/a b': ",
        "authority: authority '': ",
        "headers: headers: ':path': give it as the argument path=",
        "host: headers: 'Host': give it as the argument authority=",
        "length: headers: 'content-length': the proxy sets it",
        "name: headers: 'a b': not a header's name",
        "value: headers: value of header 'a': ",
        "body: body: bytes or str are needed, not int",
        "timeout: timeout 0: ",
        "timeout kind: timeout '1': ",
        "cluster: cluster '': ",
    ]
    for message, begin in zip(said(exchange), begins, strict=True):
        assert message.startswith(begin)


def test_a_block_with_a_timeout_gives_up(proxy: Proxy) -> None:
    exchange = do(proxy, "give up in request headers")
    assert_passed(exchange)
    assert said(exchange) == ["said gave up: not done within 0.05 s", "said in time"]


@pytest.mark.parametrize("phase", ["request headers", "request body", "request trailers", "response headers"])
@pytest.mark.parametrize("when", ["now", "later"])
def test_an_exception_after_waiting_ends_the_stream_alone(proxy: Proxy, phase: str, when: str) -> None:
    exchange = do(proxy, f"fail {when} in {phase}")
    assert (exchange.status, exchange.details) == (500, "python_exception")
    (error,) = [record.message for record in exchange.logs if record.level is LogLevel.ERROR]
    assert error.startswith(f"exception in WaitingStream.on_{phase.replace(' ', '_')}\n")
    assert error.endswith(f"LookupError: {when}")
    assert_passed(do(proxy, ""))


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("when", ["now", "later"])
def test_a_plugin_that_fails_open_lets_the_stream_pass_after_waiting(
    start_proxy: StartProxy, phase: str, when: str
) -> None:
    proxy = start_proxy("waiting", "fail open", clusters=CLUSTERS)
    assert_passed(do(proxy, f"fail {when} in {phase}"))


def test_an_exception_in_a_plain_callback_ends_the_stream(proxy: Proxy) -> None:
    exchange = do(proxy, "fail by callback in request headers")
    assert (exchange.status, exchange.details) == (500, "python_exception")


def test_awaiting_what_only_asyncio_knows_is_explained(proxy: Proxy) -> None:
    exchange = do(proxy, "await something else in request headers")
    assert exchange.status == 500
    (error,) = [record.message for record in exchange.logs if record.level is LogLevel.ERROR]
    assert "awaited 'odd'; only what proxy_wasm offers can be awaited" in error


def test_a_coroutine_goes_on_after_it_has_answered(proxy: Proxy) -> None:
    exchange = do(proxy, "answer and go on in request headers")
    assert (exchange.status, exchange.text) == (418, "short and stout")
    assert exchange.upstream is None


def test_a_task_runs_beside_the_stream(proxy: Proxy) -> None:
    assert said(do(proxy, "in the background in request headers")) == ["said worked"]
    assert_passed(do(proxy, "background beyond in request headers"))


def test_streams_wait_for_one_task_of_the_plugin(proxy: Proxy) -> None:
    assert said(do(proxy, "one for all in request headers")) == ["said GET /shared <>"]
    assert said(do(proxy, "one for all in request headers")) == ["said GET /shared <>"]


def test_a_task_of_the_plugin_outlives_streams_that_stop_waiting_for_it(proxy: Proxy) -> None:
    proxy.abandon("GET", "/", headers={"do": "one for all but impatiently in request headers"}, after=0.1)
    assert said(do(proxy, "one for all but impatiently in request headers")) == [
        "said gave up",
        "said failed",
        "said shared",
    ]


def test_a_task_starts_with_the_configuration(start_proxy: StartProxy) -> None:
    proxy = start_proxy("waiting", "keys", clusters=CLUSTERS)
    proxy.advance(0.5)
    assert said(do(proxy, "tell keys in request headers")) == ["said GET /keys <>"]


@pytest.mark.parametrize("pieces", [1, 3])
def test_each_chunk_is_seen_once_by_an_async_callback(proxy: Proxy, pieces: int) -> None:
    exchange = proxy.post("/", headers={"do": "mark chunks"}, body="x" * 10 * pieces)
    assert exchange.upstream is not None
    marked = exchange.upstream.text
    assert marked.replace("[", "").replace("]", "") == "x" * 10 * pieces + f"!{10 * pieces}"
    assert "[[" not in marked
    assert "]]" not in marked


def test_each_chunk_of_a_response_is_seen_once_by_an_async_callback(proxy: Proxy) -> None:
    exchange = proxy.get("/", headers={"do": "mark response chunks"}, upstream=respond(200, {}, "y" * 50_000))
    assert exchange.text.replace("[", "").replace("]", "") == "y" * 50_000 + "!50000"
    assert "[[" not in exchange.text


def test_a_whole_body_is_read_and_replaced_in_the_body_callback(proxy: Proxy) -> None:
    exchange = proxy.post("/", headers={"do": "whole request body"}, body="abcdef")
    assert exchange.upstream is not None
    assert exchange.upstream.text == "fedcba"


def test_a_body_beyond_the_limit_is_answered_with_413(proxy: Proxy) -> None:
    exchange = proxy.post("/", headers={"do": "whole request body"}, body="x" * 101)
    assert (exchange.status, exchange.details) == (413, "request_body_too_large")
    assert not [record for record in exchange.logs if record.level is LogLevel.ERROR]


@pytest.mark.parametrize("body", ["", "abcdef"])
def test_headers_wait_for_their_body(start_proxy: StartProxy, body: str) -> None:
    proxy = start_proxy("waiting", allow_on_headers_stop_iteration=True)
    exchange = proxy.post("/", headers={"do": "read whole in request headers"}, body=body)
    assert exchange.upstream is not None
    assert exchange.upstream.headers["x-length"] == str(len(body))
    assert exchange.upstream.text == (body[::-1] + "!" if body else "")


def test_response_headers_wait_for_their_body(start_proxy: StartProxy) -> None:
    proxy = start_proxy("waiting", allow_on_headers_stop_iteration=True)
    exchange = proxy.get(
        "/", headers={"do": "read whole response in response headers"}, upstream=respond(200, {}, "abc")
    )
    assert (exchange.headers["x-length"], exchange.text) == ("3", "cba!")


def test_headers_that_wait_for_a_body_beyond_the_limit_are_answered_with_413(start_proxy: StartProxy) -> None:
    proxy = start_proxy("waiting", allow_on_headers_stop_iteration=True)
    exchange = proxy.post("/", headers={"do": "read whole in request headers"}, body="x" * 101)
    assert (exchange.status, exchange.upstream) == (413, None)


@pytest.mark.parametrize("phase", ["request headers", "response headers"])
def test_where_headers_cannot_wait_for_their_body_an_error_says_so(proxy: Proxy, phase: str) -> None:
    what = "read whole" if phase.startswith("request") else "read whole response"
    for _ in range(2):
        exchange = do(proxy, f"{what} in {phase}", trailers=())
        assert exchange.status == 500
        (error,) = [record.message for record in exchange.logs if record.level is LogLevel.ERROR]
        assert "allow_on_headers_stop_iteration: true" in error


def test_a_client_that_leaves_ends_what_waits(proxy: Proxy) -> None:
    proxy.abandon("GET", "/", headers={"do": "sleep long in request headers"})
    proxy.advance(0.2)
    assert [record.message for record in proxy.logs] == ["finally", "cancelled sleep long"]
    assert proxy.metrics()["waiting.unfinished"] == 0


def test_an_answer_for_a_client_that_left_is_dropped(proxy: Proxy) -> None:
    proxy.abandon("GET", "/", headers={"do": "wait for ever in request headers"})
    proxy.advance(0.2)
    assert [record.message for record in proxy.logs] == ["cancelled wait for ever"]
    assert_passed(do(proxy, ""))


def test_a_stream_that_is_gone_refuses_to_be_used(proxy: Proxy) -> None:
    assert_passed(do(proxy, "use the stream later"))
    proxy.advance(0.3)
    messages = [record.message for record in proxy.logs if record.level is LogLevel.INFO]
    assert [message.split(": ")[:2] for message in messages] == [
        [name, "GoneError"] for name in ("http_call", "get_property", "request_headers", "set_property")
    ]
