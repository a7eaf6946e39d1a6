"""Header maps as tests read them, and the framing of HTTP/1.1 exchanges."""

from typing import TYPE_CHECKING

import pytest

from proxy_wasm.abi.enums import MapType
from proxy_wasm.emulator import HeaderMap, Request, UpstreamRequest, UpstreamResponse

if TYPE_CHECKING:
    from conftest import Start


def test_a_header_map_is_a_case_insensitive_multi_mapping() -> None:
    headers = HeaderMap([("Set-Cookie", "a"), ("X-A", b"\xff"), ("set-cookie", "b")])
    assert headers["SET-COOKIE"] == "a, b"
    assert headers.get_list("Set-Cookie") == ["a", "b"]
    assert headers.raw == [(b"set-cookie", b"a"), (b"x-a", b"\xff"), (b"set-cookie", b"b")]
    assert headers["x-a"] == "\udcff"
    assert list(headers) == ["set-cookie", "x-a"]
    assert len(headers) == 2
    assert "X-a" in headers
    assert "x-b" not in headers
    assert 1 not in headers
    assert headers.get("x-b") is None
    assert headers == headers.copy()
    assert headers != HeaderMap()
    assert headers != 1
    assert repr(HeaderMap({"A": "1"})) == "HeaderMap([('a', '1')])"


def test_a_header_map_can_be_changed() -> None:
    headers = HeaderMap(HeaderMap([("a", "1"), ("b", "2"), ("a", "3")]))
    headers["A"] = "4"
    assert headers.multi_items() == [("b", "2"), ("a", "4")]
    del headers["B"]
    assert headers == [("a", "4")]
    with pytest.raises(KeyError):
        del headers["b"]
    with pytest.raises(KeyError):
        _ = headers["b"]


def test_pseudo_headers_stay_in_front() -> None:
    headers = HeaderMap([("a", "1"), (":status", "200")])
    headers.add(":x", "2")
    headers.set(":status", "201")
    assert headers.multi_items() == [(":x", "2"), (":status", "201"), ("a", "1")]


def test_hop_by_hop_headers_end_at_the_proxy(start: "Start") -> None:
    hop = [
        ("connection", "keep-alive"),
        ("keep-alive", "1"),
        ("proxy-connection", "x"),
        ("transfer-encoding", "chunked"),
    ]
    hop += [("upgrade", "h2c"), ("te", "gzip")]
    seen: list[bytes | None] = []
    plugin = start(
        on_response_headers=lambda host, *_: seen.append(
            host.get_header_map_value(MapType.HTTP_RESPONSE_HEADERS, b"transfer-encoding")
        )
    )
    exchange = plugin.exchange(
        Request("POST", headers=HeaderMap([*hop, ("x", "1")]), body=b"b"),
        lambda _: UpstreamResponse(headers=HeaderMap([*hop[:4], ("y", "2")]), body=b"c"),
    )
    assert exchange.upstream is not None
    assert exchange.upstream.headers == [("x", "1")]
    assert exchange.headers == [("y", "2")]
    assert seen == [b"chunked"]


@pytest.mark.parametrize(
    ("request_", "headers"),
    [
        (Request("GET"), []),
        (Request("POST"), [("content-length", "0")]),
        (Request("POST", body=b"abc"), [("content-length", "3")]),
        (Request("POST", body=b"abc", trailers=HeaderMap({"t": "1"})), []),
        (Request("POST", headers=HeaderMap({"transfer-encoding": "chunked"})), []),
    ],
    ids=["bodiless method", "no body", "body", "trailers", "chunked and empty"],
)
def test_requests_are_framed_as_http1_asks(start: "Start", request_: Request, headers: list[tuple[str, str]]) -> None:
    upstream = start().exchange(request_).upstream
    assert upstream is not None
    if request_.headers:
        # A chunked body that is empty still is a body.
        assert upstream.headers.multi_items() == headers
    else:
        assert (upstream.headers.multi_items(), upstream.body) == (headers, request_.body)


@pytest.mark.parametrize(
    ("response", "headers"),
    [
        (UpstreamResponse(), [("content-length", "0")]),
        (UpstreamResponse(204), []),
        (UpstreamResponse(304, HeaderMap({"content-length": "9"})), [("content-length", "9")]),
        (UpstreamResponse(body=b"ab"), [("content-length", "2")]),
        (UpstreamResponse(body=b"ab", trailers=HeaderMap({"t": "1"})), []),
    ],
    ids=["no body", "204", "304", "body", "trailers"],
)
def test_responses_are_framed_as_http1_asks(
    start: "Start", response: UpstreamResponse, headers: list[tuple[str, str]]
) -> None:
    exchange = start().exchange(upstream=lambda _: response)
    assert (exchange.status, exchange.headers.multi_items(), exchange.body) == (response.status, headers, response.body)
    assert exchange.trailers == response.trailers
    assert exchange.logs == ()


def test_a_head_request_gets_no_body(start: "Start") -> None:
    response = UpstreamResponse(headers=HeaderMap({"content-length": "3"}), body=b"abc")
    exchange = start().exchange(Request("HEAD"), lambda _: response)
    assert (exchange.headers, exchange.body, exchange.logs) == ([("content-length", "3")], b"", ())


def test_a_path_with_a_fragment_is_refused_before_the_filter_hears_of_it(start: "Start") -> None:
    calls: list[str] = []
    plugin = start(
        on_request_headers=lambda _, *__: calls.append("request"),
        on_response_headers=lambda _, *__: calls.append("response"),
        on_log=lambda _, *__: calls.append("log"),
    )
    exchange = plugin.exchange(Request(path="/a#b"))
    assert (exchange.status, exchange.details, calls) == (400, "path_normalization_failed", ["log"])


def test_the_upstream_sees_the_request(start: "Start") -> None:
    seen: list[UpstreamRequest] = []

    def upstream(request: UpstreamRequest) -> UpstreamResponse:
        seen.append(request)
        return UpstreamResponse(201, body=b'{"a": [1]}')

    exchange = start().exchange(Request("PUT", "/x", body=b"t\xc3\xa9xt", authority="h", scheme="https"), upstream)
    assert exchange.upstream is seen[0]
    assert (seen[0].method, seen[0].path, seen[0].authority, seen[0].scheme) == ("PUT", "/x", "h", "https")
    assert seen[0].text == "téxt"
    assert (exchange.status, exchange.text, exchange.json()) == (201, '{"a": [1]}', {"a": [1]})
    assert exchange.details == "via_upstream"


def test_a_changed_response_status_reaches_the_client(start: "Start") -> None:
    plugin = start(
        on_response_headers=lambda host, *_: host.replace_header_map_value(
            MapType.HTTP_RESPONSE_HEADERS, b":status", b"418"
        )
    )
    assert plugin.exchange().status == 418


def test_the_emulator_needs_no_wasmtime_for_native_guests() -> None:
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    code = "import sys, proxy_wasm.emulator; sys.exit('wasmtime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
