"""Which configurations opa_authz refuses, and how it names what is wrong."""

import json

import pytest

from proxy_wasm.testing import ConfigurationRejected, StartProxy, respond

pytestmark = pytest.mark.strict

KEYS = {"key": ["path"]}


def settings(**fields: object) -> dict[str, object]:
    return {"opa_cluster": "opa", **fields}


BAD: list[tuple[object, str]] = [
    ("", "configuration: empty where JSON is needed"),
    ("[]", "configuration: must be an object, is an array"),
    ({}, "opa_cluster: is missing"),
    ({"opa_cluster": ""}, "opa_cluster: needs at least one character"),
    ({"opa_cluster": 1}, "opa_cluster: must be a string, is a number"),
    (settings(opa_clustr="x"), "opa_clustr: is not known, opa_cluster, "),
    (settings(opa_host="a b"), "opa_host: must be a host, with its port if need be"),
    (settings(opa_host=""), "opa_host: needs at least one character"),
    (settings(decision_path=""), "decision_path: needs at least one character"),
    (settings(decision_path="a//b"), "decision_path: must be the path of a rule such as 'envoy/authz/allow'"),
    (settings(decision_path=["a"]), "decision_path: must be a string, is an array"),
    (settings(timeout_ms=0), "timeout_ms: must be 1 to 60000, is 0"),
    (settings(timeout_ms="1s"), "timeout_ms: must be an integer, is a string"),
    (settings(timeout_ms=1.5), "timeout_ms: must be an integer, is a number"),
    (settings(timeout_ms=True), "timeout_ms: must be an integer, is a boolean"),
    (settings(input="opa"), "input: must be 'envoy' or 'istio'"),
    (settings(include_headers="*"), "include_headers: must be an array, is a string"),
    (settings(include_headers=["a b"]), "include_headers[0]: is no name of a header such as 'cookie' or 'x-*'"),
    (settings(exclude_headers=["a", "*b"]), "exclude_headers[1]: is no name of a header such as 'cookie' or 'x-*'"),
    (settings(with_request_body={}), "with_request_body.max_request_bytes: is missing"),
    (settings(with_request_body=8192), "with_request_body: must be an object, is a number"),
    (settings(with_request_body={"max_request_bytes": 0}), "with_request_body.max_request_bytes: must be 1 to 1048576"),
    (settings(with_request_body={"max_request_bytes": 2**21}), "with_request_body.max_request_bytes: must be 1 to"),
    (
        settings(with_request_body={"max_request_bytes": 1, "allow_partial_message": 1}),
        "with_request_body.allow_partial_message: must be true or false, is a number",
    ),
    (settings(with_request_body={"pack_as_bytes": True}), "with_request_body.pack_as_bytes: is not known"),
    (settings(failure_mode_allow="no"), "failure_mode_allow: must be true or false, is a string"),
    (settings(status_on_error=200), "status_on_error: must be 400 to 599, is 200"),
    (settings(cache={}), "cache.key: needs at least one entry"),
    (settings(cache={"key": []}), "cache.key: needs at least one entry"),
    (settings(cache={"key": ["paht"]}), "cache.key[0]: 'paht' is not known, method, path, "),
    (settings(cache={"key": ["path", "headers."]}), "cache.key[1]: 'headers.' is not known"),
    (settings(cache={"key": ["path.x"]}), "cache.key[0]: 'path.x' is not known"),
    (settings(cache={"key": [1]}), "cache.key[0]: must be a string, is a number"),
    (settings(cache={"ttl_seconds": 0, **KEYS}), "cache.ttl_seconds: must be 1 to 86400, is 0"),
    (settings(cache={"max_entries": 10**6, **KEYS}), "cache.max_entries: must be 1 to 100000"),
    (settings(cache={"ttl": 1, **KEYS}), "cache.ttl: is not known, ttl_seconds, max_entries, key are"),
    (
        settings(cache=KEYS, with_request_body={"max_request_bytes": 1}),
        "cache.key: needs body, since with_request_body lets policies decide by it",
    ),
    (settings(context_extensions=[]), "context_extensions: must be an object, is an array"),
    (settings(context_extensions={"a": 1}), "context_extensions.a: must be a string, is a number"),
    (settings(context_extensions={"a": "\ud800"}), "context_extensions.a: holds half of a surrogate pair"),
    (settings(metadata_context_namespaces=[1]), "metadata_context_namespaces[0]: must be a string, is a number"),
    (settings(input="istio", include_headers=["*"]), 'include_headers: is not part of the input "istio"'),
    ({"opa_service_host": "opa"}, "opa_cluster_name: is missing"),
    ({"opa_cluster_name": "opa"}, "opa_service_host: is missing"),
    (
        {"opa_cluster_name": "opa", "opa_service_host": "opa", "timeout_ms": 1},
        "timeout_ms: is not known, opa_service_host, opa_cluster_name, check_result_cache_valid_sec are",
    ),
    (
        {"opa_cluster_name": "opa", "opa_service_host": "opa", "check_result_cache_valid_sec": "3"},
        "check_result_cache_valid_sec: must be an integer, is a string",
    ),
]


@pytest.mark.parametrize(("configuration", "message"), BAD, ids=[message for _, message in BAD])
def test_a_bad_configuration_is_refused_by_the_path_of_the_field(
    start_proxy: StartProxy, configuration: object, message: str
) -> None:
    text = configuration if isinstance(configuration, str) else json.dumps(configuration)
    with pytest.raises(ConfigurationRejected) as rejection:
        start_proxy(configuration=text)
    assert message in str(rejection.value)


def test_a_path_of_any_text_reaches_opa_as_it_is_meant(start_proxy: StartProxy) -> None:
    paths: list[str] = []

    def opa(request: object) -> object:
        paths.append(getattr(request, "path", ""))
        return respond(200, body='{"result": true}')

    proxy = start_proxy(
        configuration=settings(decision_path="/a b/ü?/allow/"),
        clusters={"opa": opa},  # pyright: ignore[reportArgumentType] - a function of any request
    )
    assert proxy.get("/").status == 200
    assert paths == ["/v1/data/a%20b/%C3%BC%3F/allow"]
