"""Examples that call other services."""

import json
from collections.abc import Callable, Iterator

import pytest

from proxy_wasm.testing import (
    Absent,
    Answering,
    LogLevel,
    Proxy,
    Silent,
    StartProxy,
    UpstreamRequest,
    UpstreamResponse,
    respond,
)


def said(proxy: Proxy) -> list[str]:
    return [record.message for record in proxy.logs if record.level in (LogLevel.INFO, LogLevel.WARN)]


def seen(proxy: Proxy, name: str, **headers: str) -> str | None:
    """What the upstream gets in a header."""
    exchange = proxy.get("/", headers={key.replace("_", "-"): value for key, value in headers.items()})
    assert exchange.upstream is not None, exchange
    return exchange.upstream.headers.get(name)


def wait_until(proxy: Proxy, happened: Callable[[], bool]) -> None:
    """Let time pass until something has happened."""
    for _ in range(100):
        if happened():
            return
        proxy.advance(0.1)
    pytest.fail(f"it does not happen; {proxy.logs}")


@pytest.mark.parametrize(("octet", "status"), [(b"\x02", 200), (b"\x03", 403)])
def test_http_auth_random_lets_the_service_decide(start_proxy: StartProxy, octet: bytes, status: int) -> None:
    def bytes_of_httpbin(request: UpstreamRequest) -> UpstreamResponse:
        assert (request.path, request.authority) == ("/bytes/1", "httpbin.org")
        return respond(200, {}, octet)

    proxy = start_proxy(root_id="http_auth_random", clusters={"httpbin": bytes_of_httpbin})
    exchange = proxy.get("/")
    assert (exchange.status, exchange.headers["powered-by"]) == (status, "proxy-wasm")
    assert (exchange.upstream is None) == (status == 403)
    assert said(proxy) == ["access granted" if status == 200 else "access forbidden"]


def test_http_auth_random_lets_nobody_pass_without_an_answer(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="http_auth_random", clusters={"httpbin": Absent()})
    exchange = proxy.get("/")
    assert (exchange.status, exchange.upstream) == (500, None)


def test_http_parallel_call_answers_with_both(start_proxy: StartProxy) -> None:
    def word(request: UpstreamRequest) -> UpstreamResponse:
        return respond(200, {}, request.path.strip("/").title())

    proxy = start_proxy(root_id="http_parallel_call", clusters={"httpbin": Answering(word, delay=0.05)})
    exchange = proxy.get("/")
    assert (exchange.status, exchange.text, exchange.upstream) == (200, "Hello, World!\n", None)


def test_multiple_dispatches_waits_for_all_ten(start_proxy: StartProxy) -> None:
    paths: list[str] = []

    def note(request: UpstreamRequest) -> UpstreamResponse:
        paths.append(request.path)
        return respond()

    proxy = start_proxy(root_id="multiple_dispatches", clusters={"httpbin": note})
    assert proxy.get("/").headers["total-dispatched"] == "10"
    assert sorted(paths) == [f"/{number}" for number in range(10)]


def tiers(request: UpstreamRequest) -> UpstreamResponse:
    user = request.headers.get("x-user", "")
    return respond(200, {}, "gold") if user == "alice" else respond(404)


def test_call_with_fallback_asks_the_service(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="call_with_fallback", clusters={"tiers": tiers})
    assert seen(proxy, "x-tier", x_user="alice") == "gold"
    assert seen(proxy, "x-tier", x_user="bob", x_tier="gold") == "standard"


@pytest.mark.parametrize("cluster", [Silent(), Absent()], ids=["silent", "absent"])
def test_call_with_fallback_does_without_the_service(start_proxy: StartProxy, cluster: Silent | Absent) -> None:
    proxy = start_proxy(root_id="call_with_fallback", clusters={"tiers": cluster})
    assert seen(proxy, "x-tier", x_user="alice") == "standard"
    assert said(proxy)[0].startswith("tier of alice: callout to cluster 'tiers': ")


def test_call_deadline_holds_for_both_calls_together(start_proxy: StartProxy) -> None:
    def user(request: UpstreamRequest) -> UpstreamResponse:
        return respond(200, {}, f"user of {request.headers['x-session']}")

    session = respond(200, {}, "s1")
    proxy = start_proxy(root_id="call_deadline", clusters={"sessions": session, "users": user})
    assert seen(proxy, "x-user") == "user of s1"


def test_call_deadline_gives_up_on_two_slow_calls(start_proxy: StartProxy) -> None:
    slow = Answering(respond(200, {}, "s1"), delay=0.3)
    proxy = start_proxy(root_id="call_deadline", clusters={"sessions": slow, "users": Answering(respond(), delay=1)})
    exchange = proxy.get("/")
    assert (exchange.status, exchange.upstream) == (504, None)


@pytest.mark.parametrize("failures", [0, 1, 2, 3])
def test_call_retry_tries_three_times(start_proxy: StartProxy, failures: int) -> None:
    answers: Iterator[UpstreamResponse] = iter([respond(503)] * failures + [respond(200, {}, "7")])
    proxy = start_proxy(root_id="call_retry", clusters={"flaky": lambda _: next(answers)})
    exchange = proxy.get("/")
    if failures == 3:
        assert (exchange.status, exchange.upstream) == (503, None)
    else:
        assert exchange.upstream is not None
        assert exchange.upstream.headers["x-quota"] == "7"


def test_call_by_callback_continues_the_request(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="call_by_callback", clusters={"users": respond(200, {}, "alice")})
    assert seen(proxy, "x-user") == "alice"


def test_call_by_callback_answers_failures_with_500(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="call_by_callback", clusters={"users": Absent()})
    exchange = proxy.get("/")
    assert (exchange.status, exchange.upstream) == (500, None)


def test_call_in_background_reports_what_is_over(start_proxy: StartProxy) -> None:
    entries: list[object] = []

    def take(request: UpstreamRequest) -> UpstreamResponse:
        entries.append(json.loads(request.body))
        return respond()

    proxy = start_proxy(root_id="call_in_background", clusters={"audit": take})
    assert proxy.get("/a").status == 200
    assert proxy.post("/b", upstream=respond(404)).status == 404
    wait_until(proxy, lambda: len(entries) == 2)
    assert {"method": "GET", "path": "/a", "status": 200} in entries
    assert {"method": "POST", "path": "/b", "status": 404} in entries


def test_call_in_background_keeps_no_request_waiting(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="call_in_background", clusters={"audit": Absent()})
    assert proxy.get("/a").status == 200
    wait_until(proxy, lambda: len(said(proxy)) > 0)
    assert said(proxy)[0].startswith("not reported: {'method': 'GET', 'path': '/a', 'status': 200}: ")


def test_client_leaves_cleans_up_after_clients_that_left(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="client_leaves", clusters={"slow": Silent()})
    proxy.abandon("GET", "/")
    wait_until(proxy, lambda: proxy.metrics()["client_leaves.waiting"] == 0)
    assert not [record for record in proxy.logs if record.level is LogLevel.ERROR]


def test_client_leaves_waits_for_the_service(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="client_leaves", clusters={"slow": Answering(respond(200, {}, "at last"), delay=0.2)})
    assert seen(proxy, "x-slow") == "at last"
    assert proxy.metrics()["client_leaves.waiting"] == 0
