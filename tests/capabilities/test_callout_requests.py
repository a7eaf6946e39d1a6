"""What a callout sends, the first time and when its parts are known already, and all that can be read of its answer: the same on each host."""

import json
from typing import Any

import pytest

from proxy_wasm.testing import Proxy, StartProxy, UpstreamRequest, UpstreamResponse, respond

MANY = 1020


def echo(request: UpstreamRequest) -> UpstreamResponse:
    if request.path[1:].isdigit():
        body = "" if request.path == "/204" else f"status {request.path}"
        return respond(int(request.path[1:]), [("x-answer", "a b"), ("x-twice", "1"), ("x-twice", "2")], body)
    own = [
        [name.decode(), value.decode("latin-1")]
        for name, value in request.headers.raw
        if name.startswith(b"x-") and not name.startswith((b"x-envoy-", b"x-forwarded-", b"x-request-id"))
    ]
    return respond(200, {}, json.dumps([request.method, request.authority, request.path, own, request.text]))


@pytest.fixture
def proxy(start_proxy: StartProxy) -> Proxy:
    return start_proxy("callout_requests", clusters={"echo": echo})


def sent(*own: tuple[str, str], method: str = "GET", host: str = "echo", path: str = "/", body: str = "") -> list[Any]:
    return [method, host, path, [[name, value] for name, value in own], body]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("nothing", sent()),
        ("one", sent(("x-token", "Basic YWxpY2U="))),
        ("several", sent(("x-a", "1"), ("x-b", ""), ("x-c", "two words"), path="/v1/me?x=%20&y=*")),
        ("no headers", sent()),
        ("upper case", sent(("x-upper", "Value"))),
        ("not ASCII", sent(("x-latin", "caf\xc3\xa9"), ("x-plain", "1"))),
        ("tab", sent(("x-tab", "a\tb"))),
        ("bytes", sent(("x-bytes", "\xe2\x82\xac"), ("x-plain", "1"))),
        ("names of bytes", sent(("x-bytes", "1"))),
        ("pairs", sent(("x-a", "1"), ("x-b", "2"), ("x-a", "3"))),
        ("words", sent(("x-word", "said"), path="/word", method="PUT")),
        ("long", sent(("x-long", "v" * 20_000), ("x-" + "n" * 300, "1"), path="/" + "p" * 3_000)),
        ("another host", sent(host="users.example.com:8080", method="DELETE", path="/v1/me")),
        ("a long host", sent(host="u" * 400)),
        ("body", sent(method="POST", body="caf\xe9")),
        ("too many", "headers: 1025 headers of 16332 bytes: a proxy takes at most 1024 of 1 MiB together"),
        (
            "line feed",
            "headers: value of header 'x-b': holds NUL, CR or LF, with which a client could split the message",
        ),
        ("empty name", "headers: name of a header: empty"),
        ("no name", "headers: name of a header 1: str or bytes, not int"),
        ("a list for a name", "headers: name of a header ['x-a']: str or bytes, not list"),
        ("a number", "headers: value of header 'x-a': str or bytes, not int"),
        ("host", "headers: 'Host': give it as the argument authority="),
        ("length", "headers: 'content-length': the proxy sets it by the body"),
        ("space in name", "headers: 'x a': not a header's name"),
        ("space in path", "path '/a b': has a space or control character; percent-encode it"),
        ("no path", "path '': begins with \"/\""),
        ("relative path", "path 'a': begins with \"/\""),
        ("bytes for a path", "path b'/': begins with \"/\""),
        ("no cluster", "cluster '': the name of a cluster of the proxy"),
        ("a list for a cluster", "cluster ['echo']: the name of a cluster of the proxy"),
        ("method", "method 'G ET': a word such as GET"),
        ("timeout", "timeout 0: seconds, more than 0 and at most 2147483, or None"),
        ("text for a timeout", "timeout '5': seconds, more than 0 and at most 2147483, or None"),
        ("a list for a timeout", "timeout [5]: seconds, more than 0 and at most 2147483, or None"),
    ],
)
def test_a_callout_sends_what_it_is_told_or_says_why_not(proxy: Proxy, call: str, expected: object) -> None:
    exchange = proxy.get("/" + call.replace(" ", "-"))
    assert exchange.status == 200
    assert exchange.json() == [expected, expected]


@pytest.mark.hosts("native", "wasm")
def test_as_many_headers_as_a_proxy_takes_are_sent(proxy: Proxy) -> None:
    """Envoy's upstreams take no more than 100 unless they are told to."""
    expected = sent(*((f"x-{number}", str(number)) for number in range(MANY)))
    assert proxy.get("/many").json() == [expected, expected]


def test_an_answer_can_be_read_long_after_it_came(proxy: Proxy) -> None:
    assert proxy.get("/answers").json() == [
        [status, "" if status == 204 else f"status /{status}", "a b", False, ["1", "2"], [], True]
        for status in (200, 204, 404, 599)
    ]


@pytest.mark.hosts("wasm", "envoy")
def test_usual_callouts_are_made_and_answers_taken_without_the_interpreter(proxy: Proxy) -> None:
    request = [[":method", "GET"], [":scheme", "http"], [":authority", "u"], [":path", "/"]]
    assert proxy.get("/without-the-interpreter").json() == [
        *([*request, ["x-a", "1"]], request, request, None, None, None, None),
        *(204, 204, -1, -1, -1, -1, -1, -1),
    ]
