"""What opa_authz does with decisions; the same on all three hosts."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from opa_process import OpaServer

from proxy_wasm.testing import (
    Answering,
    Exchange,
    Proxy,
    ServerAt,
    StartProxy,
    UpstreamRequest,
    UpstreamResponse,
    respond,
)

pytestmark = pytest.mark.strict

Start = Callable[..., Proxy]


@pytest.fixture
def start(start_proxy: StartProxy, opa: OpaServer) -> Start:
    """Starts the filter in front of the OPA of the tests, which has the example policies."""

    def start(path: str, **fields: object) -> Proxy:
        configuration = {"opa_cluster": "opa", "decision_path": path, "timeout_ms": 20_000, **fields}
        return start_proxy(
            configuration=configuration,
            clusters={"opa": ServerAt(opa.host, opa.port)},
            allow_on_headers_stop_iteration=True,
            observed_properties=["opa_authz.user"],
        )

    return start


def assert_denied(exchange: Exchange, status: int, body: str, details: str = "opa_authz: denied by the policy") -> None:
    assert (exchange.status, exchange.text, exchange.upstream) == (status, body, None)
    assert exchange.details.replace("_", " ") == details.replace("_", " ")


def test_a_boolean_decides(start: Start) -> None:
    proxy = start("allow_list/allow")
    assert proxy.get("/public/x").status == 200
    assert_denied(proxy.get("/private"), 403, "")
    assert_denied(proxy.post("/public/x", body=b"1"), 403, "")
    assert proxy.post("/orders/new", body=b"1").status == 200
    assert proxy.metric("opa_authz_requests", decision="allowed") == 2
    assert proxy.metric("opa_authz_requests", decision="denied") == 2


@pytest.mark.parametrize("path", ["//public/x", "/%70ublic", "/public?a=b", "/%2Fpublic%2Fx"])
def test_a_path_is_judged_as_opas_own_plugin_reads_it(start: Start, path: str) -> None:
    assert start("allow_list/allow").get(path).status == 200


@pytest.mark.parametrize("path", ["/teams/red/..", "/x/../public", "/publicly", "/?/public", "/x%2Fpublic", "/pub%lic"])
def test_no_way_of_writing_a_path_is_taken_for_another_path(start: Start, path: str) -> None:
    exchange = start("allow_list/allow").post(path)
    assert (exchange.status, exchange.upstream) == (400 if path == "/pub%lic" else 403, None)


def test_an_allowed_request_is_changed_as_the_decision_says(start: Start) -> None:
    exchange = start("decisions/decision").get(
        "/x?a=%20b&debug=1&tenant=other&d%65bug&c",
        headers=[("authorization", "Bearer alice"), ("x-user", "root"), ("x-user", "admin"), ("X-Debug", "1")],
        upstream=respond(200, {"x-decided-by": "upstream"}),
    )
    assert exchange.status == 200
    assert exchange.upstream is not None
    headers = exchange.upstream.headers
    assert headers.get_list("x-user") == ["alice"]
    assert headers.get_list("x-roles") == ["reader", "editor"]
    assert "authorization" not in headers
    assert "x-debug" not in headers
    assert exchange.upstream.path == "/x?a=%20b&c&tenant=t1"
    assert exchange.headers.get_list("x-decided-by") == ["upstream", "opa"]
    assert exchange.properties["opa_authz.user"] == b"alice"


def test_a_denied_client_gets_what_the_decision_says(start: Start) -> None:
    proxy = start("decisions/decision")
    blocked = proxy.get("/x", headers={"authorization": "Bearer mallory"})
    assert_denied(blocked, 403, "mallory is blocked\n")
    assert blocked.headers["x-reason"] == "blocked"
    assert "x-decided-by" not in blocked.headers
    assert blocked.properties["opa_authz.user"] == b"mallory"
    unknown = proxy.get("/x")
    assert_denied(unknown, 401, '{"error": "no user"}')
    assert unknown.headers.get_list("content-type") == ["application/json"]
    assert unknown.headers.get_list("www-authenticate") == ["Bearer"]


def test_a_decision_can_be_made_by_the_body(start_proxy: StartProxy, opa: OpaServer) -> None:
    with opa.client() as client:
        policy = "package by_body\n\nallow := input.parsed_body.amount < 100\n"
        client.update_policy_from_string(policy, "by_body", rego_compat=False)
    proxy = start_proxy(
        configuration={
            "opa_cluster": "opa",
            "decision_path": "by_body/allow",
            "timeout_ms": 20_000,
            "with_request_body": {"max_request_bytes": 100},
        },
        clusters={"opa": ServerAt(opa.host, opa.port)},
        allow_on_headers_stop_iteration=True,
    )
    headers = {"content-type": "application/json"}
    pieces = [b'{"amount"', b": 99}"]
    exchange = proxy.post("/", headers=headers, body=pieces)
    assert exchange.status == 200
    assert exchange.upstream is not None
    assert exchange.upstream.body == b"".join(pieces)
    assert_denied(proxy.post("/", headers=headers, body=b'{"amount": 100}'), 403, "")
    assert_denied(proxy.get("/"), 403, "", "opa_authz: no decision: the decision is undefined")
    large = proxy.post("/", headers=headers, body=b" " * 101)
    assert_denied(large, 413, "", "opa_authz: the body has more than 100 bytes")
    assert proxy.metric("opa_authz_requests", decision="refused") == 1


def test_only_the_beginning_of_a_long_body_is_waited_for(start_proxy: StartProxy) -> None:
    inputs: list[Any] = []

    def opa(request: UpstreamRequest) -> UpstreamResponse:
        inputs.append(json.loads(request.body)["input"])
        return respond(200, body='{"result": true}')

    body = b"x" * 300_000
    proxy = start_proxy(
        configuration={
            "opa_cluster": "opa",
            "timeout_ms": 20_000,
            "with_request_body": {"max_request_bytes": 1000, "allow_partial_message": True},
        },
        clusters={"opa": opa},
        allow_on_headers_stop_iteration=True,
    )
    exchange = proxy.post("/", body=body)
    assert exchange.status == 200
    assert exchange.upstream is not None
    assert exchange.upstream.body == body
    assert len(inputs[0]["attributes"]["request"]["http"]["body"]) == 1000
    assert inputs[0]["truncated_body"] is True


@pytest.mark.strict(False)  # noqa: FBT003 - the marker's only argument
@pytest.mark.parametrize("failure_mode_allow", [False, True])
def test_where_the_proxy_holds_bodies_back_requests_with_one_are_denied_and_the_log_says_why(
    start_proxy: StartProxy, failure_mode_allow: bool
) -> None:
    proxy = start_proxy(
        configuration={
            "opa_cluster": "opa",
            "with_request_body": {"max_request_bytes": 100},
            "failure_mode_allow": failure_mode_allow,
        },
        clusters={"opa": respond(200, body='{"result": true}')},
    )
    assert_denied(proxy.post("/", body=b"x" * 50), 403, "", "opa_authz: the body cannot be read")
    assert_denied(proxy.post("/", body=b"x" * 50), 403, "", "opa_authz: the body cannot be read")
    assert proxy.get("/").status == 200
    told = [record for record in proxy.logs if "allow_on_headers_stop_iteration" in record.message]
    assert len(told) == 1


@pytest.mark.parametrize("may_pass", [True, False])
@pytest.mark.parametrize("early", [True, False])
def test_neither_body_nor_trailers_pass_before_the_decision(
    start_proxy: StartProxy, may_pass: bool, early: bool
) -> None:
    proxy = start_proxy(
        configuration={"opa_cluster": "opa", "timeout_ms": 20_000},
        clusters={"opa": Answering(respond(200, body=json.dumps({"result": may_pass})), delay=0.3)},
        allow_on_headers_stop_iteration=early,
    )
    exchange = proxy.post("/", body=[b"one,", b"two"], trailers={"x-sum": "2"})
    if may_pass:
        assert exchange.status == 200
        assert exchange.upstream is not None
        assert (exchange.upstream.body, exchange.upstream.trailers["x-sum"]) == (b"one,two", "2")
    else:
        assert_denied(exchange, 403, "")


def deciding(start_proxy: StartProxy, result: object, **fields: object) -> Proxy:
    """The filter in front of an OPA that always decides so."""
    return start_proxy(
        configuration={"opa_cluster": "opa", "timeout_ms": 20_000, **fields},
        clusters={"opa": respond(200, body=json.dumps({"result": result}))},
        observed_properties=["opa_authz.user", "opa_authz.claims"],
    )


def test_several_headers_objects_and_values_are_all_set(start_proxy: StartProxy) -> None:
    headers = [{"x-a": ["1", "2"], "X-B": "3"}, {"x-a": "4"}]
    exchange = deciding(start_proxy, {"allowed": True, "headers": headers}).get("/", headers={"x-b": "client"})
    assert exchange.upstream is not None
    assert exchange.upstream.headers.get_list("x-a") == ["1", "2", "4"]
    assert exchange.upstream.headers.get_list("x-b") == ["3"]


def test_the_request_itself_can_be_changed_by_headers(start_proxy: StartProxy) -> None:
    result = {"allowed": True, "headers": {":path": "/other?x", "host": "other.example.com", ":method": "PUT"}}
    exchange = deciding(start_proxy, result).get("/")
    assert exchange.upstream is not None
    assert exchange.upstream.authority == "other.example.com"
    assert (exchange.upstream.method, exchange.upstream.path) == ("PUT", "/other?x")


def test_what_frames_a_message_and_what_names_a_request_stay(start_proxy: StartProxy) -> None:
    result = {
        "allowed": True,
        "headers": {"content-length": "7", "transfer-encoding": "chunked", "x-a": "1"},
        "request_headers_to_remove": [":path", "Host", ":method", "x-none"],
    }
    exchange = deciding(start_proxy, result).post("/a", body=b"body", authority="example.com")
    assert exchange.upstream is not None
    assert (exchange.upstream.path, exchange.upstream.authority) == ("/a", "example.com")
    assert exchange.upstream.body == b"body"
    assert exchange.upstream.headers["content-length"] == "4"


@pytest.mark.parametrize(
    ("path", "to_set", "to_remove", "changed"),
    [
        ("/a", {"b": "c"}, [], "/a?b=c"),
        ("/a?", {}, ["x"], "/a?"),
        ("/a?b", {}, ["b"], "/a"),
        ("/a?b=1&c=2&b=3", {"b": "4"}, [], "/a?c=2&b=4"),
        ("/a?b=1", {"b": ["2", "3"]}, [], "/a?b=2&b=3"),
        ("/a?b=1", {"b": "2"}, ["b"], "/a"),
        ("/a?%62=1&c=%2f", {}, ["b"], "/a?c=%2f"),
        ("/a", {"ö &=?#": "a b&c=d\n"}, [], "/a?%C3%B6%20%26%3D%3F%23=a%20b%26c%3Dd%0A"),
    ],
)
def test_the_query_is_changed_and_the_rest_of_it_stays(
    start_proxy: StartProxy, path: str, to_set: object, to_remove: object, changed: str
) -> None:
    result = {"allowed": True, "query_parameters_to_set": to_set, "query_parameters_to_remove": to_remove}
    exchange = deciding(start_proxy, result).get(path)
    assert exchange.upstream is not None
    assert exchange.upstream.path == changed


def test_dynamic_metadata_goes_to_filter_state(start_proxy: StartProxy) -> None:
    result = {"allowed": True, "dynamic_metadata": {"user": "älice", "claims": {"a": [1, True]}}}
    exchange = deciding(start_proxy, result).get("/")
    assert exchange.properties["opa_authz.user"].decode() == "älice"
    assert json.loads(exchange.properties["opa_authz.claims"]) == {"a": [1, True]}


def test_what_is_no_text_becomes_some(start_proxy: StartProxy) -> None:
    half = "\ud800"
    result = {
        "allowed": True,
        "headers": {"x-a": f"a{half}b"},
        "query_parameters_to_set": {half: [half]},
        "dynamic_metadata": {half: half, "user": half},
    }
    exchange = deciding(start_proxy, result).get("/")
    assert exchange.upstream is not None
    assert exchange.upstream.headers["x-a"] == "a?b"
    assert exchange.upstream.path == "/?%3F=%3F"
    assert exchange.properties["opa_authz.user"] == b"?"


@pytest.mark.parametrize("status", [200, 204, 302, 401, 404, 429, 503, 511])
def test_a_denial_has_the_status_of_the_decision(start_proxy: StartProxy, status: int) -> None:
    exchange = deciding(start_proxy, {"allowed": False, "http_status": status}).get("/")
    assert (exchange.status, exchange.upstream) == (status, None)


@pytest.mark.parametrize(
    "result",
    [
        {"allowed": True, "body": 7, "http_status": "x"},  # read for denials only
        {"allowed": True, "unknown": {}},
    ],
)
def test_what_does_not_matter_to_a_decision_is_not_looked_at(start_proxy: StartProxy, result: object) -> None:
    assert deciding(start_proxy, result).get("/").status == 200


WRONG: list[tuple[object, str]] = [
    (None, "result must be a boolean or an object"),
    ("true", "result must be a boolean or an object"),
    (1, "result must be a boolean or an object"),
    ([True], "result must be a boolean or an object"),
    ({}, "allowed must be a boolean"),
    ({"allowed": "true"}, "allowed must be a boolean"),
    ({"allowed": True, "headers": None}, "headers must be an object"),
    ({"allowed": True, "headers": "x"}, "headers must be an object"),
    ({"allowed": True, "headers": [["x", "y"]]}, "headers must be an object"),
    ({"allowed": True, "headers": {"x": 1}}, "headers must be an array of strings"),
    ({"allowed": True, "headers": {"x": [None]}}, "headers must be a string"),
    ({"allowed": True, "headers": {"x y": "1"}}, "headers has what is no name of a header"),
    ({"allowed": True, "headers": {"x": "1\r\ny: 2"}}, "headers has a value with a line break or a NUL"),
    (
        {"allowed": True, "response_headers_to_add": {"x": "\0"}},
        "response headers to add has a value with a line break",
    ),
    ({"allowed": True, "request_headers_to_remove": "x"}, "request headers to remove must be an array of strings"),
    ({"allowed": True, "request_headers_to_remove": [1]}, "request headers to remove must be a string"),
    ({"allowed": True, "query_parameters_to_set": []}, "query parameters to set must be an object"),
    ({"allowed": True, "query_parameters_to_set": {"a": 1}}, "query parameters to set must be an array of strings"),
    ({"allowed": True, "query_parameters_to_remove": {}}, "query parameters to remove must be an array of strings"),
    ({"allowed": True, "dynamic_metadata": []}, "dynamic metadata must be an object"),
    ({"allowed": False, "dynamic_metadata": 1}, "dynamic metadata must be an object"),
    ({"allowed": False, "body": {}}, "body must be a string"),
    ({"allowed": False, "http_status": "403"}, "http status must be a number without a fraction"),
    ({"allowed": False, "http_status": 403.0}, "http status must be a number without a fraction"),
    ({"allowed": False, "http_status": True}, "http status must be a number without a fraction"),
    ({"allowed": False, "http_status": 99}, "http status is no status that a response can have"),
    ({"allowed": False, "http_status": 600}, "http status is no status that a response can have"),
]


def test_a_decision_of_another_form_is_none(start_proxy: StartProxy) -> None:
    results = iter(WRONG)
    current: list[object] = []

    def opa(_: UpstreamRequest) -> UpstreamResponse:
        return respond(200, body=json.dumps({"result": current[-1]}))

    proxy = start_proxy(configuration={"opa_cluster": "opa", "timeout_ms": 20_000}, clusters={"opa": opa})
    for result, problem in results:
        current.append(result)
        exchange = proxy.get("/")
        assert (exchange.status, exchange.body, exchange.upstream) == (403, b"", None), result
        details = exchange.details.replace("_", " ")
        assert details.startswith(f"opa authz: no decision: {problem}"), result
    assert proxy.metric("opa_authz_errors", kind="decision") == len(WRONG)


def test_the_id_of_a_decision_is_told(start_proxy: StartProxy) -> None:
    answer = {"result": {"allowed": True, "dynamic_metadata": {"decision_id": "mine"}}, "decision_id": "opa's"}
    proxy = start_proxy(
        configuration={"opa_cluster": "opa"},
        clusters={"opa": respond(200, body=json.dumps(answer))},
        observed_properties=["opa_authz.decision_id"],
    )
    assert proxy.get("/").properties["opa_authz.decision_id"] == b"opa's"


def test_nothing_that_a_client_sends_is_logged(start: Start) -> None:
    proxy = start("allow_list/allow")
    proxy.get("/private?hunter2", headers={"authorization": "Bearer hunter2", "x-a": "hunter2"})
    assert not [record for record in proxy.logs if "hunter2" in record.message]


def test_istio_ecosystems_configuration_means_what_it_means_there(start_proxy: StartProxy, opa: OpaServer) -> None:
    proxy = start_proxy(
        configuration={"opa_cluster_name": "opa", "opa_service_host": "opa.default", "check_result_cache_valid_sec": 3},
        clusters={"opa": ServerAt(opa.host, opa.port)},
    )
    assert proxy.get("/public").status == 200
    assert proxy.get("/public?other").status == 200
    assert proxy.metric("opa_authz_cache", result="hit") == 1
    assert_denied(proxy.post("/public"), 403, "", "OPA policy check denied")
