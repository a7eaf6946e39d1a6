"""The filter decides what Open Policy Agent says for the same input, put to it directly with opa-python-client: 200 requests, three policies."""

import base64
import hashlib
import hmac
import json
from random import Random
from typing import Any

import pytest
from opa_process import POLICIES, OpaServer

from proxy_wasm.emulator.clusters import ServerAt
from proxy_wasm.testing import Exchange, Proxy, StartProxy, UpstreamRequest, UpstreamResponse
from proxy_wasm.testing.forwarding import Forwarding

pytestmark = pytest.mark.strict

COUNT = 200
YEAR_2100, YEAR_2000 = 4102444800, 946684800
DATA: dict[str, Any] = json.loads((POLICIES / "data.json").read_text())


class Recording:
    """Passes questions on to OPA and keeps them."""

    def __init__(self, opa: OpaServer) -> None:
        self.inputs: list[dict[str, Any]] = []
        self._forward = Forwarding(ServerAt(opa.host, opa.port))

    def __call__(self, request: UpstreamRequest) -> UpstreamResponse:
        self.inputs.append(json.loads(request.body)["input"])
        return self._forward(request)


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(claims: dict[str, object], key: str, algorithm: str = "HS256") -> str:
    signed = f"{_part(json.dumps({'alg': algorithm}).encode())}.{_part(json.dumps(claims).encode())}"
    return f"{signed}.{_part(hmac.digest(key.encode(), signed.encode(), hashlib.sha256))}"


def random_token(random: Random) -> str:
    claims: dict[str, object] = {
        "sub": random.choice(["alice", "bob"]),
        "roles": random.choice([["editor"], ["reader"], ["reader", "editor"], []]),
        "team": random.choice(["red", "blue"]),
        "exp": random.choice([YEAR_2100, YEAR_2100, YEAR_2100, YEAR_2000]),
    }
    key = random.choice([DATA["jwt_claims_data"]["key"]] * 6 + ["another"])
    return token(claims, key, random.choice(["HS256"] * 7 + ["none"]))


def random_request(random: Random) -> dict[str, Any]:
    segments = random.choices(
        ["public", "orders", "new", "teams", "red", "blue", "publicly", "", "..", "%70ublic"], k=3
    )
    path = random.choice(["/", "//"]) + "/".join(segments[: random.randint(1, 3)])
    path = random.choice([path] * 3 + ["/public", "/orders/new", "/teams/red/logo"])
    query = random.choice(["", "?a=1", "?debug=1&a=2", "?tenant=other&tenant=x", "?a=%20b&debug", "?"])
    users = ["Bearer alice", "Bearer bob", "Bearer mallory", "Bearer nobody", "bearer alice", ""]
    headers: list[tuple[str, str]] = [("x-user", "root")] * random.randint(0, 2)
    authorization = random.choice([random.choice(users), *[f"Bearer {random_token(random)}"] * 2])
    if random.random() < 0.9:
        headers.append(("authorization", authorization))
    if random.random() < 0.3:
        headers.append(("x-debug", "1"))
    method = random.choice(["GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
    body = random.choice([b"", b"{}", b"x=1"]) if method in ("POST", "PUT") else b""
    return {"method": method, "path": path + query, "headers": headers, "body": body}


REQUESTS = [random_request(Random(seed)) for seed in range(COUNT)]


def decisions_of(opa: OpaServer, inputs: list[dict[str, Any]], package: str, rule: str) -> list[Any]:
    with opa.client() as client:
        return [client.query_rule(each, package, rule)["result"] for each in inputs]


def send_all(start_proxy: StartProxy, opa: OpaServer, path: str) -> tuple[list[Exchange], list[dict[str, Any]]]:
    recording = Recording(opa)
    proxy: Proxy = start_proxy(
        configuration={"opa_cluster": "opa", "decision_path": path, "timeout_ms": 20_000}, clusters={"opa": recording}
    )
    exchanges: list[Exchange] = []
    for number, request in enumerate(REQUESTS):
        exchanges.append(proxy.request(**request))
        assert len(recording.inputs) == number + 1
    return exchanges, recording.inputs


@pytest.mark.parametrize(("package", "rule"), [("allow_list", "allow"), ("jwt_claims", "allow")])
def test_a_boolean_is_carried_out(start_proxy: StartProxy, opa: OpaServer, package: str, rule: str) -> None:
    exchanges, inputs = send_all(start_proxy, opa, f"{package}/{rule}")
    decisions = decisions_of(opa, inputs, package, rule)
    assert [exchange.status for exchange in exchanges] == [200 if decision else 403 for decision in decisions]
    assert [exchange.upstream is not None for exchange in exchanges] == decisions
    assert decisions.count(True) > COUNT / 10
    assert decisions.count(False) > COUNT / 10


def test_an_object_is_carried_out(start_proxy: StartProxy, opa: OpaServer) -> None:
    exchanges, inputs = send_all(start_proxy, opa, "decisions/decision")
    decisions = decisions_of(opa, inputs, "decisions", "decision")
    for request, exchange, decision in zip(REQUESTS, exchanges, decisions, strict=True):
        if decision["allowed"]:
            check_allowed(request, exchange, decision)
        else:
            check_denied(request, exchange, decision)
    statuses = {exchange.status for exchange in exchanges}
    assert statuses == {200, 401, 403}


def check_allowed(request: dict[str, Any], exchange: Exchange, decision: dict[str, Any]) -> None:
    assert exchange.status == 200
    assert exchange.upstream is not None
    headers = exchange.upstream.headers
    for name, values in decision["headers"].items():
        assert headers.get_list(name) == ([values] if isinstance(values, str) else values)
    assert not any(name in headers for name in decision["request_headers_to_remove"])
    assert exchange.upstream.path == changed(request["path"])
    assert exchange.upstream.body == request["body"]
    for name, value in decision["response_headers_to_add"].items():
        assert exchange.headers[name] == value


def changed(path: str) -> str:
    """The path with the query that the policy makes of it."""
    before, _, query = path.partition("?")
    kept = [each for each in query.split("&") if each and each.partition("=")[0] not in ("tenant", "debug")]
    return before + "?" + "&".join([*kept, "tenant=t1"])


def check_denied(request: dict[str, Any], exchange: Exchange, decision: dict[str, Any]) -> None:
    assert exchange.status == decision.get("http_status", 403)
    assert exchange.upstream is None
    assert exchange.text == ("" if request["method"] == "HEAD" else decision.get("body", ""))
    headers: dict[str, str] | list[dict[str, str]] = decision.get("headers", {})
    for each in [headers] if isinstance(headers, dict) else headers:
        for name, value in each.items():
            assert exchange.headers[name] == value
