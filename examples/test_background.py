"""Examples that work without requests: timers, tasks of the plugin, the plugin's end."""

import json
import re
import zlib
from collections.abc import Callable

import pytest

from proxy_wasm.testing import (
    Absent,
    Answering,
    LogLevel,
    Proxy,
    StartProxy,
    UpstreamRequest,
    UpstreamResponse,
    respond,
)


def said(proxy: Proxy) -> list[str]:
    return [record.message for record in proxy.logs if record.level in (LogLevel.INFO, LogLevel.WARN)]


def wait_until(proxy: Proxy, happened: Callable[[], bool]) -> None:
    """Let time pass until something has happened."""
    for _ in range(100):
        if happened():
            return
        proxy.advance(0.1)
    pytest.fail(f"it does not happen; {proxy.logs}")


def test_dispatch_call_on_tick_calls_every_second(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="dispatch_call_on_tick", clusters={"web_service": respond(200, {"x-a": "b"})})
    proxy.advance(2.5)
    wait_until(proxy, lambda: any(call.startswith("call 2: 200 {") for call in said(proxy)))
    calls = said(proxy)
    assert all("'x-a': 'b'" in call for call in calls)
    assert len(calls) == 2 or (proxy.host == "envoy" and len(calls) > 2)  # its main thread has a plugin of its own


def test_dispatch_call_on_tick_goes_on_after_failures(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="dispatch_call_on_tick", clusters={"web_service": Absent()})
    wait_until(proxy, lambda: any(call.startswith("call 2: callout to cluster") for call in said(proxy)))


def test_foreign_call_on_tick_calls_every_second(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="foreign_call_on_tick")
    proxy.advance(2.5)
    wait_until(proxy, lambda: len(said(proxy)) >= 2)
    results = [message.removeprefix("compress: ") for message in said(proxy)]
    assert len(results) == 2 or (proxy.host == "envoy" and len(results) > 2)
    assert {zlib.decompress(bytes.fromhex(result)) for result in results} == {b"hello world!"}


def test_postpone_requests_holds_them_until_the_next_tick(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="postpone_requests")
    proxy.abandon("GET", "/left")
    exchange = proxy.get("/")
    assert exchange.status == 200
    left, *_, postponed, resumed = said(proxy)
    assert left.startswith("postpone #")
    assert resumed == postponed.replace("postpone", "resume")
    assert len(said(proxy)) == 3 or proxy.host == "envoy"  # where a tick may be sooner than the client leaves


def test_key_refresh_knows_who_may_pass(start_proxy: StartProxy) -> None:
    keys = {"k1": "shop"}

    def passes(key: str) -> bool:
        return proxy.get("/", headers={"x-api-key": key}).status == 200

    def fetch(_: UpstreamRequest) -> UpstreamResponse:
        return respond(200, {}, json.dumps(keys) if keys else "broken")

    proxy = start_proxy(configuration="0.3", root_id="key_refresh", clusters={"keys": fetch})
    wait_until(proxy, lambda: passes("k1"))
    exchange = proxy.get("/", headers={"x-api-key": "k1"})
    assert exchange.upstream is not None
    assert exchange.upstream.headers["x-client"] == "shop"
    assert not passes("k2")
    assert proxy.get("/").status == 401
    keys["k2"] = "front"
    wait_until(proxy, lambda: passes("k2"))
    keys.clear()
    wait_until(proxy, lambda: any(line.startswith("the keys stay as they were: ") for line in said(proxy)))
    assert passes("k2")


class Tokens:
    """Counts the requests for tokens, and answers late."""

    def __init__(self) -> None:
        self.asked = 0
        self.cluster = Answering(self.answer, delay=0.2)

    def answer(self, request: UpstreamRequest) -> UpstreamResponse:
        assert (request.method, request.path) == ("POST", "/token")
        self.asked += 1
        return respond(200, {}, f"token {self.asked}")


def authorization(proxy: Proxy) -> str:
    exchange = proxy.get("/")
    assert exchange.upstream is not None
    return exchange.upstream.headers["authorization"]


def test_shared_task_fetches_once_for_all(start_proxy: StartProxy) -> None:
    tokens = Tokens()
    proxy = start_proxy(root_id="shared_task", clusters={"tokens": tokens.cluster})
    assert [authorization(proxy) for _ in range(3)] == ["Bearer token 1"] * 3
    assert tokens.asked == 1


def test_shared_task_survives_the_client_that_started_it(start_proxy: StartProxy) -> None:
    tokens = Tokens()
    proxy = start_proxy(root_id="shared_task", clusters={"tokens": tokens.cluster})
    proxy.abandon("GET", "/", after=0.05)
    assert authorization(proxy) == "Bearer token 1"
    assert tokens.asked == 1


def test_shared_task_tries_again_after_a_failure(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="shared_task", clusters={"tokens": Absent()})
    assert [proxy.get("/").status for _ in range(2)] == [500, 500]
    errors = [record.message for record in proxy.logs if record.level is LogLevel.ERROR]
    assert len(errors) == 2
    assert all(re.search("ConnectionFailedError: callout to cluster 'tokens'", error) for error in errors)


class Reports:
    """What has been reported."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.clusters = {"reports": self.take}

    def take(self, request: UpstreamRequest) -> UpstreamResponse:
        assert (request.method, request.path) == ("POST", "/requests")
        self.received.append(request.text)
        return respond()


def test_flush_on_done_reports_before_the_end(start_proxy: StartProxy) -> None:
    reports = Reports()
    other = start_proxy(root_id="fail_open", vm_id="examples-done", clusters=reports.clusters)
    proxy = start_proxy(root_id="flush_on_done", vm_id="examples-done", clusters=reports.clusters)
    for _ in range(3):
        proxy.get("/")
    proxy.stop()
    wait_until(other, lambda: "3" in reports.received)


@pytest.mark.hosts("envoy")  # the emulator keeps a VM until its last plugin is done
def test_flush_on_done_cannot_report_where_the_vm_ends_with_the_plugin(start_proxy: StartProxy) -> None:
    reports = Reports()
    other = start_proxy(root_id="fail_open", clusters=reports.clusters)
    proxy = start_proxy(root_id="flush_on_done", clusters=reports.clusters)
    proxy.get("/")
    proxy.stop()
    other.advance(0.5)
    assert "1" not in reports.received
