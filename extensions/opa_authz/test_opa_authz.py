"""What opa_authz does with the decisions of an Open Policy Agent; the same on all three hosts."""

import pytest
from opa_process import OpaServer

from proxy_wasm.testing import Proxy, ServerAt, StartProxy, respond

pytestmark = pytest.mark.strict


def configuration(path: str, **fields: object) -> dict[str, object]:
    return {"opa_cluster": "opa", "decision_path": path, "timeout_ms": 20_000, **fields}


@pytest.fixture
def start(start_proxy: StartProxy, opa: OpaServer):
    def start(path: str, **fields: object) -> Proxy:
        return start_proxy(configuration=configuration(path, **fields), clusters={"opa": ServerAt(opa.host, opa.port)})

    return start


def test_a_boolean_decides(start) -> None:
    proxy = start("allow_list/allow")
    assert proxy.get("/public/x").status == 200
    denied = proxy.get("/private")
    assert (denied.status, denied.body, denied.upstream) == (403, b"", None)
    assert denied.details == "opa_authz:_denied_by_the_policy"
    assert proxy.get("/public/x").status == 200


def test_an_object_decides_and_changes_the_request_and_the_response(start) -> None:
    proxy = start("decisions/decision")
    exchange = proxy.get(
        "/x?a=%20b&debug=1&tenant=other&d%65bug",
        headers=[("authorization", "Bearer alice"), ("x-user", "root"), ("x-user", "admin"), ("x-debug", "1")],
        upstream=respond(200, {"x-decided-by": "upstream"}),
    )
    assert exchange.status == 200, exchange
    up = exchange.upstream
    assert up.headers.get_list("x-user") == ["alice"]
    assert up.headers.get_list("x-roles") == ["reader", "editor"]
    assert "authorization" not in up.headers and "x-debug" not in up.headers
    assert up.path == "/x?a=%20b&tenant=t1"
    assert exchange.headers.get_list("x-decided-by") == ["upstream", "opa"]
    e = proxy.get("/x", headers={"authorization": "Bearer mallory"})
    assert (e.status, e.text, e.headers["x-reason"]) == (403, "mallory is blocked\n", "blocked")
    e = proxy.get("/x")
    assert (e.status, e.text, e.headers.get_list("content-type"), e.headers.get_list("www-authenticate")) == (
        401,
        '{"error": "no user"}',
        ["application/json"],
        ["Bearer"],
    )
