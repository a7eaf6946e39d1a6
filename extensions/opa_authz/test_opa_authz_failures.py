"""What becomes of requests when Open Policy Agent gives no decision; the same on all three hosts."""

import json
from dataclasses import dataclass

import pytest

from proxy_wasm.testing import (
    Absent,
    Answering,
    Closing,
    Cluster,
    NoHosts,
    Proxy,
    Silent,
    StartProxy,
    UpstreamRequest,
    UpstreamResponse,
    respond,
)

YES = respond(200, body='{"result": true}')
HTML = respond(200, {"content-type": "text/html"}, "<html><body>true</body></html>")
LARGE = respond(200, body=json.dumps({"result": True, "padding": "x" * 10_000_000}))


@dataclass(frozen=True)
class Failure:
    """An OPA that fails, and what is told of it."""

    name: str
    cluster: Cluster | None
    kind: str
    reason: str
    timeout: int = 20_000

    def __str__(self) -> str:
        return self.name


FAILURES = [
    Failure("down", Absent(), "connection", "it could not be reached"),
    Failure("without hosts", NoHosts(), "connection", "it could not be reached"),
    Failure("of another name", None, "cluster", "the proxy has no such cluster"),
    Failure("slow", Answering(YES, delay=3), "timeout", "it did not answer in time", 100),
    Failure("silent", Silent(), "timeout", "it did not answer in time", 100),
    Failure("closing", Closing(), "reset", "its answer broke off"),
    Failure(
        "closing mid-answer",
        respond(200, body=['{"result"', ": true}"], breaks="close"),
        "reset",
        "its answer broke off",
    ),
    Failure(
        "resetting mid-answer",
        respond(200, body=['{"result"', ": true}"], breaks="reset"),
        "reset",
        "its answer broke off",
    ),
    Failure("500", respond(500, body='{"result": true}'), "status", "it answered with status 500"),
    Failure("404", respond(404, body='{"result": true}'), "status", "it answered with status 404"),
    Failure("301", respond(301, {"location": "/"}, '{"result": true}'), "status", "it answered with status 301"),
    Failure("204", respond(204), "status", "it answered with status 204"),
    Failure("HTML", HTML, "answer", "its answer is no JSON"),
    Failure("empty", respond(200), "answer", "its answer is no JSON"),
    Failure("half of JSON", respond(200, body='{"result": tr'), "answer", "its answer is no JSON"),
    Failure("not UTF-8", respond(200, body=b'{"result": "\xff"}'), "answer", "its answer is no JSON"),
    Failure("nested", respond(200, body='{"result": ' + "[" * 200_000), "answer", "its answer is no JSON"),
    Failure("an array", respond(200, body="[true]"), "answer", "its answer is no object"),
    Failure("true", respond(200, body="true"), "answer", "its answer is no object"),
    Failure("{}", respond(200, body="{}"), "undefined", "the decision is undefined"),
    Failure("other types", respond(200, body='{"result": {"allowed": 1}}'), "decision", "allowed must be a boolean"),
    Failure("10 MB", LARGE, "answer", "its answer is larger than 1048576 bytes"),
]


def start(start_proxy: StartProxy, failure: Failure, **fields: object) -> Proxy:
    return start_proxy(
        configuration={"opa_cluster": "opa", "timeout_ms": failure.timeout, **fields},
        clusters={} if failure.cluster is None else {"opa": failure.cluster},
        allowed_faults=["http_call.*(BAD_ARGUMENT|INTERNAL_FAILURE)"],
        strict=True,
    )


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_a_request_without_a_decision_is_denied(start_proxy: StartProxy, failure: Failure) -> None:
    proxy = start(start_proxy, failure, status_on_error=503)
    exchange = proxy.post("/x", body=b"body", headers={"authorization": "hunter2"})
    assert (exchange.status, exchange.body, exchange.upstream) == (503, b"", None)
    assert exchange.details.replace("_", " ") == f"opa authz: no decision: {failure.reason}"
    assert {name for name, _ in exchange.headers.multi_items()} <= {"content-length"}
    assert proxy.metric("opa_authz_errors", kind=failure.kind) == 1
    assert proxy.metric("opa_authz_requests", decision="failed_closed") == 1
    warnings = [record.message for record in proxy.logs if record.message.startswith("no decision")]
    assert warnings == [f"no decision from cluster opa: {failure.reason}"]


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_a_request_without_a_decision_passes_where_the_operator_says_so(
    start_proxy: StartProxy, failure: Failure
) -> None:
    proxy = start(start_proxy, failure, failure_mode_allow=True)
    exchange = proxy.post("/x", body=b"body", headers={"x-user": "client"})
    assert exchange.status == 200
    assert exchange.upstream is not None
    assert exchange.upstream.body == b"body"
    assert exchange.upstream.headers["x-user"] == "client"
    assert proxy.metric("opa_authz_requests", decision="failed_open") == 1
    assert proxy.metric("opa_authz_errors", kind=failure.kind) == 1


def test_a_malformed_request_is_denied_whatever_the_failure_mode(start_proxy: StartProxy) -> None:
    proxy = start_proxy(configuration={"opa_cluster": "opa", "failure_mode_allow": True}, clusters={"opa": YES})
    exchange = proxy.get("/%zz")
    assert (exchange.status, exchange.body, exchange.upstream) == (400, b"", None)
    assert proxy.metric("opa_authz_requests", decision="refused") == 1


def test_no_failure_is_kept(start_proxy: StartProxy) -> None:
    answers = [YES, respond(500), YES]

    def opa(_: UpstreamRequest) -> UpstreamResponse:
        return answers.pop()

    cache = {"ttl_seconds": 600, "key": ["path"]}
    proxy = start_proxy(
        configuration={"opa_cluster": "opa", "timeout_ms": 20_000, "cache": cache}, clusters={"opa": opa}
    )
    assert [proxy.get(path).status for path in ("/a", "/b", "/b", "/a")] == [200, 403, 200, 200]


def test_what_fails_all_the_time_is_told_once_in_a_while(start_proxy: StartProxy) -> None:
    proxy = start_proxy(configuration={"opa_cluster": "opa", "timeout_ms": 20_000}, clusters={"opa": respond(500)})
    for _ in range(5):
        assert proxy.get("/").status == 403
    assert len([record for record in proxy.logs if record.message.startswith("no decision")]) == 1
    assert proxy.metric("opa_authz_errors", kind="status") == 5


def test_a_client_that_leaves_while_opa_is_asked_harms_nobody(start_proxy: StartProxy) -> None:
    proxy = start_proxy(
        configuration={"opa_cluster": "opa", "timeout_ms": 20_000},
        clusters={"opa": Answering(YES, delay=0.4)},
        strict=True,
    )
    gone = proxy.abandon("GET", "/", after=0.1)
    assert gone.upstream is None
    proxy.advance(1)
    assert proxy.get("/").status == 200
