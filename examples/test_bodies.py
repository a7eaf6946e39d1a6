"""Examples about bodies."""

import json
import zlib

import pytest

from proxy_wasm.testing import Proxy, StartProxy, respond


def test_http_body_keeps_secrets(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="http_body")
    assert proxy.get("/", upstream=respond(200, {}, "nothing special")).text == "nothing special"
    long = "x" * 100_000 + "secret"
    exchange = proxy.get("/", upstream=respond(200, {"content-length": str(len(long))}, long))
    assert exchange.text == "Original message body (100006 bytes) redacted.\n"
    assert exchange.headers.get("content-length") in (None, str(len(exchange.body)))


@pytest.mark.parametrize(
    ("operation", "edited"), [("append", "body[edited]"), ("prepend", "[edited]body"), ("replace", "[edited]")]
)
def test_http_body_edit_edits_either_body(start_proxy: StartProxy, operation: str, edited: str) -> None:
    proxy = start_proxy(root_id="http_body_edit")
    headers = {"buffer-operation": operation}
    exchange = proxy.post("/", headers=headers, body="body", upstream=respond(200, {}, "answer"))
    assert exchange.upstream is not None
    assert (exchange.upstream.text, exchange.text) == (edited, "answer")
    headers["buffer-replace-at"] = "response"
    exchange = proxy.post("/", headers=headers, body="request", upstream=respond(200, {}, "body"))
    assert exchange.upstream is not None
    assert (exchange.upstream.text, exchange.text) == ("request", edited)


def test_http_body_edit_asks_for_a_body(start_proxy: StartProxy) -> None:
    exchange = start_proxy(root_id="http_body_edit").get("/")
    assert (exchange.status, exchange.text) == (400, "a body must be provided\n")


@pytest.mark.parametrize("body", ["hello", "x" * 200_000])
def test_http_body_echo_answers_with_the_request(start_proxy: StartProxy, body: str) -> None:
    exchange = start_proxy(root_id="http_body_echo").post("/", body=body)
    assert (exchange.status, exchange.text, exchange.upstream) == (200, body, None)


def test_http_body_chunk_finds_a_pattern_wherever_it_is(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="http_body_chunk")
    for before in (0, 5, 16_380, 100_000):
        exchange = proxy.post("/", body="x" * before + "pattern" + "y" * 10)
        assert exchange.status == 403
        assert exchange.text.startswith("pattern found in chunk ")
        assert exchange.upstream is None
    harmless = "patter" * 20_000
    exchange = proxy.post("/", body=harmless)
    assert exchange.upstream is not None
    assert exchange.upstream.text == harmless


@pytest.fixture
def validating(start_proxy: StartProxy) -> Proxy:
    return start_proxy(configuration={"required_keys": ["id", "token"]}, root_id="json_validation")


JSON = {"content-type": "application/json"}


def test_json_validation_lets_valid_objects_pass(validating: Proxy) -> None:
    exchange = validating.post("/", headers=JSON, body='{"token": "t", "id": 1, "more": []}')
    assert exchange.status == 200
    assert exchange.upstream is not None
    assert json.loads(exchange.upstream.body) == {"token": "t", "id": 1, "more": []}


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ('{"id": 1}', "missing: token\n"),
        ("{}", "missing: id, token\n"),
        ('{"id": 1', "the body must be a JSON object\n"),
        ('["id", "token"]', "the body must be a JSON object\n"),
        (b"\xff", "the body must be a JSON object\n"),
    ],
)
def test_json_validation_refuses_what_lacks_something(validating: Proxy, body: str, answer: str) -> None:
    exchange = validating.post("/", headers=JSON, body=body)
    assert (exchange.status, exchange.text, exchange.upstream) == (400, answer, None)


def test_json_validation_refuses_requests_without_json(validating: Proxy) -> None:
    assert validating.get("/", headers=JSON).status == 415
    assert validating.post("/", body="{}").status == 415


def test_stream_transform_shouts_text_and_leaves_the_rest(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="stream_transform")
    for text in ("straße", "é" * 100_001, "x" + "é" * 100_001):  # a chunk's end is within a character of one of the two
        response = respond(200, {"content-type": "text/plain; charset=utf-8"}, text)
        assert proxy.get("/", upstream=response).text == text.upper()
    assert proxy.get("/", upstream=respond(200, {"content-type": "image/png"}, "abc")).text == "abc"


@pytest.fixture
def tenants(start_proxy: StartProxy) -> Proxy:
    return start_proxy(root_id="body_before_headers", allow_on_headers_stop_iteration=True)


def test_body_before_headers_tells_the_upstream_what_the_body_says(tenants: Proxy) -> None:
    body = json.dumps({"tenant": "acme", "order": "x" * 50_000})
    exchange = tenants.post("/orders", headers={"x-tenant": "forged"}, body=body)
    assert exchange.upstream is not None
    assert exchange.upstream.headers.get_list("x-tenant") == ["acme"]
    assert exchange.upstream.text == body


@pytest.mark.parametrize("body", ["", "{}", '{"tenant": 7}', "[]", "no JSON"])
def test_body_before_headers_refuses_bodies_without_tenant(tenants: Proxy, body: str) -> None:
    exchange = tenants.post("/orders", body=body)
    assert (exchange.status, exchange.upstream) == (400, None)


def test_body_before_headers_takes_no_endless_body(tenants: Proxy) -> None:
    assert tenants.post("/orders", body='{"tenant": "acme", "order": "%s"}' % ("x" * 65_536)).status == 413


@pytest.mark.parametrize("trailers", [{}, {"x-t": "1"}])
def test_compress_response_compresses_for_who_accepts_it(start_proxy: StartProxy, trailers: dict[str, str]) -> None:
    proxy = start_proxy(root_id="compress_response")
    text = "again and " * 10_000
    upstream = respond(200, {}, text, trailers)
    exchange = proxy.get("/", headers={"accept-encoding": "gzip, deflate"}, upstream=upstream)
    assert (exchange.headers["content-encoding"], exchange.headers["vary"]) == ("deflate", "accept-encoding")
    assert len(exchange.body) < 1000
    assert zlib.decompress(exchange.body).decode() == text
    assert exchange.trailers.multi_items() == list(trailers.items())
    plain = proxy.get("/", upstream=upstream)
    assert plain.text == text
    assert "content-encoding" not in plain.headers


def test_compress_response_leaves_what_is_compressed_or_empty(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="compress_response")
    accepting = {"accept-encoding": "deflate"}
    exchange = proxy.get("/", headers=accepting, upstream=respond(200, {"content-encoding": "br"}, "abc"))
    assert (exchange.headers["content-encoding"], exchange.text) == ("br", "abc")
    assert "content-encoding" not in proxy.get("/", headers=accepting, upstream=respond(204)).headers
