"""Keys that are fetched: while they are on their way, when they change, and when whoever has them is of no help."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm.testing import (
    Absent,
    Answering,
    Closing,
    Exchange,
    NoHosts,
    Proxy,
    Silent,
    StartProxy,
    UpstreamRequest,
    UpstreamResponse,
    respond,
)

if TYPE_CHECKING:
    from conftest import Issuer

pytestmark = pytest.mark.strict

REMOTE = {"cluster": "accounts", "uri": "https://accounts.example.com/jwks.json?v=1", "timeout_ms": 20_000}


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


def wait_until(proxy: Proxy, holds: Callable[[], bool]) -> None:
    for _ in range(60):
        if holds():
            return
        proxy.advance(0.4)
    pytest.fail("it did not come about")


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
    proxy = start_proxy(configuration=configuration(timeout_ms=60_000), clusters={"accounts": Silent()})
    assert proxy.get("/public").status == 200
    assert proxy.get("/").status == 401
    assert proxy.get("/", headers=bearer(issuer.token(algorithm="none"))).status == 401


@pytest.mark.parametrize("cluster", [Silent(), Closing(), Absent(), NoHosts(), None], ids=str)
@pytest.mark.strict(allow=["http_call"])  # the proxy refuses to call a cluster that is not there or has no hosts
def test_without_keys_nobody_is_let_through(
    start_proxy: StartProxy, issuer: "Issuer", cluster: Silent | Closing | Absent | NoHosts | None
) -> None:
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
    wait_until(proxy, lambda: proxy.get("/", headers=bearer(issuer.token())).status == 200)


def test_ten_megabytes_are_no_key_set(start_proxy: StartProxy, issuer: "Issuer") -> None:
    server = KeyServer(respond(200, {}, b" " * 10_000_000))
    proxy = start_proxy(configuration=configuration(), clusters={"accounts": server})
    assert_unavailable(proxy.get("/", headers=bearer(issuer.token())))
    server.answer = keys(issuer.jwks())
    wait_until(proxy, lambda: proxy.get("/", headers=bearer(issuer.token())).status == 200)


def test_keys_come_late_but_in_time(start_proxy: StartProxy, issuer: "Issuer") -> None:
    slow = Answering(keys(issuer.jwks()), delay=0.8)
    proxy = start_proxy(configuration=configuration(), clusters={"accounts": slow})
    assert subject(proxy.get("/", headers=bearer(issuer.token()))) == "alice"


def test_a_key_that_comes_too_late_is_not_waited_for(start_proxy: StartProxy, issuer: "Issuer") -> None:
    late = Answering(keys(issuer.jwks()), delay=25)
    proxy = start_proxy(configuration=configuration(timeout_ms=200), clusters={"accounts": late})
    assert_unavailable(proxy.get("/", headers=bearer(issuer.token()), timeout=20))


def test_a_new_key_is_fetched_when_a_token_names_it(start_proxy: StartProxy, issuer: "Issuer") -> None:
    server = KeyServer(keys(issuer.jwks("ec")))
    proxy = start_proxy(configuration=configuration(cooldown_seconds=1), clusters={"accounts": server})
    assert subject(proxy.get("/", headers=bearer(issuer.token("ec", "ES256")))) == "alice"
    server.answer = keys(issuer.jwks("ec", "rsa"))
    wait_until(proxy, lambda: proxy.get("/", headers=bearer(issuer.token())).status == 200)
    assert subject(proxy.get("/", headers=bearer(issuer.token("ec", "ES256")))) == "alice"


def test_a_key_that_is_gone_takes_its_tokens_with_it(start_proxy: StartProxy, issuer: "Issuer") -> None:
    server = KeyServer(keys(issuer.jwks("ec", "rsa")))
    proxy = start_proxy(configuration=configuration(cache_seconds=1), clusters={"accounts": server})
    rsa, ec = bearer(issuer.token()), bearer(issuer.token("ec", "ES256"))
    for _ in range(2):
        assert subject(proxy.get("/", headers=rsa)) == subject(proxy.get("/", headers=ec)) == "alice"
    server.answer = keys(issuer.jwks("ec"))
    wait_until(proxy, lambda: proxy.get("/", headers=rsa).status == 401)
    hits = proxy.metric("jwt_headers_cache", result="hit")
    refused = proxy.get("/", headers=rsa)
    assert (refused.status, refused.details) == (401, "Request_denied_by_JWT_check._Its_key_is_not_known.")
    assert subject(proxy.get("/", headers=ec)) == "alice"
    assert proxy.metric("jwt_headers_cache", result="hit") == hits + 1


def test_a_key_of_another_kind_under_the_same_kid_ends_the_tokens_of_the_first(
    start_proxy: StartProxy, issuer: "Issuer"
) -> None:
    server = KeyServer(keys({"keys": [issuer.public_jwk(issuer.keys["rsa"], kid="1")]}))
    proxy = start_proxy(configuration=configuration(cache_seconds=1), clusters={"accounts": server})
    rsa = bearer(issuer.token("1", key="rsa"))
    assert subject(proxy.get("/", headers=rsa)) == "alice"
    server.answer = keys({"keys": [issuer.public_jwk(issuer.keys["ec"], kid="1")]})
    wait_until(proxy, lambda: proxy.get("/", headers=rsa).status == 401)
    assert subject(proxy.get("/", headers=bearer(issuer.token("1", "ES256", key="ec")))) == "alice"


def test_keys_stay_when_the_server_is_of_no_help_any_more(start_proxy: StartProxy, issuer: "Issuer") -> None:
    server = KeyServer(keys(issuer.jwks()))
    proxy = start_proxy(configuration=configuration(cache_seconds=1), clusters={"accounts": server})
    assert subject(proxy.get("/", headers=bearer(issuer.token()))) == "alice"
    server.answer = respond(503)
    wait_until(proxy, lambda: any("status 503; those of before stay" in record.message for record in proxy.logs))
    assert subject(proxy.get("/", headers=bearer(issuer.token(sub="bob")))) == "bob"
    wait_until(proxy, lambda: proxy.metric("jwt_headers_key_fetches", result="failed") >= 2)
    assert subject(proxy.get("/", headers=bearer(issuer.token(sub="eve")))) == "eve"
    succeeded = proxy.metric("jwt_headers_key_fetches", result="succeeded")
    server.answer = keys(issuer.jwks("rsa"))
    wait_until(proxy, lambda: proxy.metric("jwt_headers_key_fetches", result="succeeded") > succeeded)


def flood(proxy: Proxy, issuer: "Issuer") -> None:
    for number in range(50):
        assert proxy.get("/", headers=bearer(issuer.token(f"unknown-{number}", key="rsa"))).status == 401


def test_a_flood_of_unknown_keys_is_no_flood_for_the_server(start_proxy: StartProxy, issuer: "Issuer") -> None:
    server = KeyServer(keys(issuer.jwks("ec")))
    proxy = start_proxy(configuration=configuration(cooldown_seconds=600), clusters={"accounts": server})
    assert subject(proxy.get("/", headers=bearer(issuer.token("ec", "ES256")))) == "alice"
    flood(proxy, issuer)
    assert len(server.requests) <= (2 if proxy.host == "envoy" else 1)  # Envoy's main thread has keys of its own


@pytest.mark.hosts("native", "wasm")  # where time stands still meanwhile
def test_a_flood_of_unknown_keys_asks_the_server_once_in_a_while(start_proxy: StartProxy, issuer: "Issuer") -> None:
    server = KeyServer(keys(issuer.jwks("ec")))
    proxy = start_proxy(configuration=configuration(cooldown_seconds=7), clusters={"accounts": server})
    for asked in range(1, 4):
        flood(proxy, issuer)
        assert len(server.requests) == asked
        proxy.advance(6)
        flood(proxy, issuer)
        assert len(server.requests) == asked
        proxy.advance(1.5)


def test_several_keys_under_one_kid_serve_those_that_suit_only_one(start_proxy: StartProxy, issuer: "Issuer") -> None:
    shared = [issuer.public_jwk(issuer.keys[kind], kid="1") for kind in ("rsa", "ec", "rsa")]
    proxy = start_proxy(configuration=configuration(), clusters={"accounts": keys({"keys": shared})})
    assert subject(proxy.get("/", headers=bearer(issuer.token("1", "ES256", key="ec")))) == "alice"
    refused = proxy.get("/", headers=bearer(issuer.token("1", key="rsa")))
    assert (refused.status, refused.details) == (401, "Request_denied_by_JWT_check._Several_keys_may_have_signed_it.")


def test_keys_that_cannot_be_used_do_not_take_the_others_with_them(start_proxy: StartProxy, issuer: "Issuer") -> None:
    document = {"keys": [{"kty": "RSA", "kid": "broken"}, {"kty": "new"}, 5, *issuer.jwks("rsa")["keys"]]}
    proxy = start_proxy(configuration=configuration(), clusters={"accounts": keys(document)})
    assert subject(proxy.get("/", headers=bearer(issuer.token()))) == "alice"
