"""Keys that are fetched: while they are on their way, when they change, and when whoever has them is of no help."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm.testing import (
    Absent,
    Answering,
    Closing,
    Exchange,
    NoHosts,
    Silent,
    StartProxy,
    UpstreamRequest,
    UpstreamResponse,
    respond,
)

if TYPE_CHECKING:
    from conftest import Issuer

REMOTE = {"cluster": "accounts", "uri": "https://accounts.example.com/jwks.json?v=1", "timeout_ms": 1000}


def configuration(**remote: object) -> dict[str, Any]:
    return {
        "providers": {
            "accounts": {
                "issuer": "https://accounts.example.com",
                "remote_jwks": {**REMOTE, **remote},
                "claim_to_headers": [{"claim": "sub", "header": "x-jwt-sub"}],
            }
        },
        "rules": [{"prefix": "/public", "requires": "none"}, {"prefix": "/", "requires": "accounts"}],
    }


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


class KeyServer:
    """Answers with what `answer` is at the time."""

    def __init__(self, answer: UpstreamResponse) -> None:
        self.answer = answer
        self.requests: list[UpstreamRequest] = []

    def __call__(self, request: UpstreamRequest) -> UpstreamResponse:
        self.requests.append(request)
        return self.answer


def keys(document: object) -> UpstreamResponse:
    return respond(200, {"content-type": "application/json"}, json.dumps(document))


def subject(exchange: Exchange) -> str | None:
    assert exchange.status == 200, exchange.details
    assert exchange.upstream is not None
    return exchange.upstream.headers.get("x-jwt-sub")


def assert_unavailable(exchange: Exchange) -> None:
    assert exchange.status == 503
    assert exchange.details == "Request_denied_by_JWT_check._The_keys_are_not_there."
    assert exchange.upstream is None


def test_the_first_request_waits_for_the_keys(start_proxy: StartProxy, issuer: "Issuer") -> None:
    server = KeyServer(keys(issuer.jwks()))
    proxy = start_proxy(configuration=configuration(), clusters={"accounts": Answering(server, delay=0.5)})
    assert subject(proxy.get("/", headers=bearer(issuer.token()))) == "alice"
    asked = server.requests[0]
    assert (asked.method, asked.path, asked.authority) == ("GET", "/jwks.json?v=1", "accounts.example.com")


def test_a_body_waits_with_its_headers_for_the_keys(start_proxy: StartProxy, issuer: "Issuer") -> None:
    server = KeyServer(keys(issuer.jwks()))
    proxy = start_proxy(
        configuration=configuration(),
        clusters={"accounts": Answering(server, delay=0.5)},
        allow_on_headers_stop_iteration=True,
    )
    exchange = proxy.post("/", headers=bearer(issuer.token()), body=[b"one", b"two"], trailers={"x-end": "1"})
    assert subject(exchange) == "alice"
    assert exchange.upstream is not None
    assert exchange.upstream.body == b"onetwo"
    assert proxy.post("/", headers=bearer("x"), body=[b"one", b"two"]).status == 401


def test_who_needs_no_key_does_not_wait(start_proxy: StartProxy, issuer: "Issuer") -> None:
    proxy = start_proxy(configuration=configuration(timeout_ms=5000), clusters={"accounts": Silent()})
    assert proxy.get("/public", timeout=2).status == 200
    assert proxy.get("/", timeout=2).status == 401
    assert proxy.get("/", headers=bearer(issuer.token(algorithm="none")), timeout=2).status == 401


@pytest.mark.parametrize("cluster", [Silent(), Closing(), Absent(), NoHosts(), None], ids=str)
def test_without_keys_nobody_is_let_through(start_proxy: StartProxy, issuer: "Issuer", cluster: Any) -> None:
    clusters = {} if cluster is None else {"accounts": cluster}
    proxy = start_proxy(configuration=configuration(timeout_ms=300), clusters=clusters)
    for _ in range(2):
        assert_unavailable(proxy.get("/", headers=bearer(issuer.token())))
    assert proxy.get("/public").status == 200
    assert proxy.metric("jwt_headers_requests", decision="unavailable") == 2
    assert any("keys of provider accounts: callout to cluster 'accounts'" in record.message for record in proxy.logs)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (respond(500, {}, "{}"), "the server answered with status 500"),
        (respond(204), "the server answered with status 204"),
        (respond(200, {}, "<html>"), "the server's answer is no JSON object"),
        (respond(200, {}, b"\xff\xfe"), "the server's answer is no JSON object"),
        (respond(200, {}, "[" * 100_000), "the server's answer is no JSON object: nested too deeply"),
        (respond(200, {}, '{"keys": [], "keys": []}'), "the server's answer is no JSON object: a name occurs twice"),
        (respond(200, {}, '{"keys": 5}'), "the server's answer is no key set: answer.keys: must be an array"),
        (respond(200, {}, '{"keys": []}'), "the server's answer has no key that can be used"),
        (respond(200, {}, '{"keys": [{"kty": "RSA"}]}'), "the server's answer has no key that can be used"),
        (respond(200, {}, b" " * 300_000), "the server's answer has 300000 bytes, a key set has at most 262144"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_answer_that_is_no_key_set_is_none(
    start_proxy: StartProxy, issuer: "Issuer", answer: UpstreamResponse, reason: str
) -> None:
    server = KeyServer(answer)
    proxy = start_proxy(configuration=configuration(), clusters={"accounts": server})
    assert_unavailable(proxy.get("/", headers=bearer(issuer.token())))
    assert any(reason in record.message for record in proxy.logs)
    server.answer = keys(issuer.jwks())
    proxy.advance(1.2)
    assert subject(proxy.get("/", headers=bearer(issuer.token()))) == "alice"
