"""The question to OPA is the OPA-Envoy plugin's input, row by row.

Each row is worked out from the plugin's source (envoyauth/request.go, protomap.go) and from what Envoy puts into a `CheckRequest`
(check_request_utils.cc): the value that is named, and the place in the input where it stands.
"""

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

import pytest
from opa_authz_body import parsed_body
from opa_authz_encoding import EncodingError

from proxy_wasm.protobuf import encode
from proxy_wasm.testing import Proxy, StartProxy, UpstreamRequest, UpstreamResponse, presets, respond

pytestmark = pytest.mark.strict

JSON = ("content-type", "application/json")
FORM = ("content-type", "application/x-www-form-urlencoded")
PLAIN = ("content-type", "text/plain")
MULTIPART = ("content-type", "multipart/form-data; boundary=foo")
LIMIT = 256


@dataclass(frozen=True)
class Row:
    """A request, and what stands where in the input."""

    name: str
    expected: dict[str, Any]
    path: str = "/"
    method: str = "GET"
    headers: list[tuple[str, str | bytes]] = field(default_factory=list[tuple[str, str | bytes]])
    body: bytes = b""
    status: int = 200
    """400 where the plugin refuses the request, which is then not asked about."""


ABSENT = object()
"""Nothing stands there."""


def path_row(path: str, *segments: str, **query: list[str]) -> Row:
    expected: dict[str, Any] = {"parsed_path": list(segments), "attributes.request.http.path": path}
    return Row(f"path {path}", expected | {"parsed_query": query}, path=path)


def bad_path(path: str) -> Row:
    return Row(f"bad path {path}", {}, path=path, status=400)


def query_row(query: str, parsed: dict[str, list[str]]) -> Row:
    return Row(f"query {query}", {"parsed_query": parsed, "parsed_path": ["x"]}, path=f"/x?{query}")


def body_row(name: str, header: tuple[str, str], body: bytes | str, parsed: object, *, cut: bool = False) -> Row:
    data = body.encode() if isinstance(body, str) else body
    return Row(
        f"body {name}", {"parsed_body": parsed, "truncated_body": cut}, method="POST", headers=[header], body=data
    )


def bad_body(name: str, header: tuple[str, str], body: bytes | str) -> Row:
    data = body.encode() if isinstance(body, str) else body
    return Row(f"bad body {name}", {}, method="POST", headers=[header], body=data, status=400)


def headers_row(name: str, headers: list[tuple[str, str | bytes]], **expected: object) -> Row:
    found = {f"attributes.request.http.headers.{key.replace('_', '-')}": value for key, value in expected.items()}
    return Row(f"headers {name}", found, headers=headers)


def part(name: str, value: str, more: str = "") -> str:
    return f'--foo\r\nContent-Disposition: form-data; name="{name}"\r\n{more}\r\n{value}\r\n'


PATHS = [
    path_row("/", ""),
    path_row("/my/test/path", "my", "test", "path"),
    path_row("//admin", "admin"),
    path_row("///admin//x", "admin", "", "x"),
    path_row("/admin/", "admin", ""),
    path_row("/%61dmin", "admin"),
    path_row("/%2Fadmin", "admin"),
    path_row("/a%2Fb/c", "a", "b", "c"),
    path_row("/a/../b", "a", "..", "b"),
    path_row("/a%2e%2e/b", "a..", "b"),
    path_row("/a+b%2Bc", "a+b+c"),
    path_row("/caf%C3%A9", "café"),
    path_row("/%25%34%31", "%41"),
    path_row("/a%3Fb", "a?b"),
    path_row("/%FF", "\ufffd"),
    path_row("/a;x=1", "a;x=1"),
    path_row("/my/test/path?a=1", "my", "test", "path", a=["1"]),
    bad_path("/%"),
    bad_path("/a%2"),
    bad_path("/a%zz"),
    bad_path("/a?b=%"),
    bad_path("/a?b=1;c=2"),
]

QUERIES = [
    query_row("", {}),
    query_row("a=1&a=2", {"a": ["1", "2"]}),
    query_row("a=1&b=2&a=", {"a": ["1", ""], "b": ["2"]}),
    query_row("a", {"a": [""]}),
    query_row("=1", {"": ["1"]}),
    query_row("=&&", {"": [""]}),
    query_row("a=b=c", {"a": ["b=c"]}),
    query_row("a=1+2%2B3", {"a": ["1 2+3"]}),
    query_row("%61=%0a", {"a": ["\n"]}),
    query_row("a=/x?y", {"a": ["/x?y"]}),
    query_row("q=%C3%A9", {"q": ["é"]}),
]

BODIES = [
    body_row("JSON object", JSON, '{"a": [1, 2.50, true, null]}', {"a": [1, 2.5, True, None]}),
    body_row("JSON string", JSON, '"foo"', "foo"),
    body_row("JSON number", JSON, "42", 42),
    body_row("JSON null", JSON, "null", None),
    body_row(
        "JSON of a suffix of the type", ("content-type", "text/json, application/json; charset=utf-8"), "[1]", [1]
    ),
    body_row("empty JSON", JSON, "", None),
    body_row("no UTF-8 in JSON", JSON, b'"\xff"', "!"),
    body_row("plain text", PLAIN, "hello", None),
    body_row("another case of the type", ("content-type", "Application/JSON"), "{}", None),
    body_row("no type", ("x-none", "1"), "{}", None),
    body_row("gRPC", ("content-type", "application/grpc"), b"\0\0\0\0\1x", None),
    body_row(
        "form",
        FORM,
        "firstname=foo&lastname=bar&lastname=foo+bar",
        {"firstname": ["foo"], "lastname": ["bar", "foo bar"]},
    ),
    body_row("multipart", MULTIPART, part("a", "1") + part("a", "2") + "--foo--\r\n", {"a": ["1", "2"]}),
    body_row(
        "multipart with LF alone",
        MULTIPART,
        '--foo\nContent-Disposition: form-data; name="a"\n\n1\n--foo--',
        {"a": ["1"]},
    ),
    body_row("multipart of nothing", MULTIPART, "--foo--\r\n", {}),
    body_row("multipart without boundary", ("content-type", "multipart/form-data"), "--foo--", None),
    body_row("cut off", JSON, json.dumps("x" * LIMIT), None, cut=True),
    body_row("plain and cut off", PLAIN, "x" * (LIMIT + 1), None, cut=True),
    body_row("as long as the limit", PLAIN, "x" * LIMIT, None),
    bad_body("JSON", JSON, '{"a": '),
    bad_body("two of JSON", JSON, "{} {}"),
    bad_body("no number of JSON", JSON, "NaN"),
    bad_body("form", FORM, "a=%"),
    bad_body("multipart without end", MULTIPART, part("a", "1")),
]

JSON_PART = Row(
    "body multipart with JSON",
    {"parsed_body": {"a": [{"n": 1}]}},
    method="POST",
    headers=[MULTIPART],
    body=(part("a", '{"n":1}', "Content-Type: application/json\r\n") + "--foo--").encode(),
)

OTHERS = [
    headers_row("in lower case", [("X-Name", "Value")], x_name="Value"),
    headers_row("of one name, joined", [("x-a", "1"), ("x-b", "2"), ("x-a", "3, 4")], x_a="1,3, 4", x_b="2"),
    headers_row("that are no UTF-8", [("x-a", b"\xe9t\xc3\xa9")], x_a="!té"),
    headers_row("empty", [("x-a", "")], x_a=""),
    headers_row(
        "excluded", [("cookie", "a=1"), ("x-secret-1", "s"), ("x-a", "1")], cookie=ABSENT, x_secret_1=ABSENT, x_a="1"
    ),
    headers_row("that only Envoy may set", [("x-envoy-auth-partial-body", "true")], x_envoy_auth_partial_body=ABSENT),
    Row(
        "body and what Envoy says of it",
        {
            "attributes.request.http.body": "hello",
            "attributes.request.http.size": 5,
            "attributes.request.http.headers.x-envoy-auth-partial-body": "false",
        },
        method="POST",
        headers=[PLAIN, ("x-envoy-auth-partial-body", "true")],
        body=b"hello",
    ),
    Row(
        "the beginning of a body",
        {
            "attributes.request.http.body": "x" * LIMIT,
            "attributes.request.http.size": LIMIT,
            "attributes.request.http.headers.x-envoy-auth-partial-body": "true",
        },
        method="POST",
        headers=[PLAIN],
        body=b"x" * 1000,
    ),
    Row(
        "the head",
        {
            "attributes.request.http.method": "PATCH",
            "attributes.request.http.host": "shop.example.com:8080",
            "attributes.request.http.path": "/a?b=c",
            "attributes.request.http.scheme": "http",
            "attributes.request.http.protocol": "HTTP/1.1",
            "attributes.request.http.id": "one",
            "attributes.request.http.body": ABSENT,
            "attributes.request.http.size": ABSENT,
            "attributes.request.http.headers.:method": "PATCH",
            "attributes.request.http.headers.:path": "/a?b=c",
            "attributes.request.http.headers.:authority": "shop.example.com:8080",
        },
        method="PATCH",
        path="/a?b=c",
        headers=[("host", "shop.example.com:8080"), ("x-request-id", "one")],
    ),
    Row(
        "what is fixed",
        {
            "version": {"ext_authz": "v3", "encoding": "protojson"},
            "attributes.contextExtensions": {"env": "prod"},
            "attributes.metadataContext": {},
            "attributes.routeMetadataContext": {},
            "source_principal": ABSENT,
            "attributes.source.principal": ABSENT,
            "attributes.source.address.socketAddress.address": "127.0.0.1",
            "attributes.destination.address.socketAddress.address": "127.0.0.1",
            "attributes.tlsSession": ABSENT,
            "attributes.source.service": "web",
        },
        headers=[("x-envoy-downstream-service-cluster", "web")],
    ),
]

ROWS = [*PATHS, *QUERIES, *BODIES, JSON_PART, *OTHERS]


class Asked:
    """An OPA that allows everything and remembers what it was asked."""

    def __init__(self) -> None:
        self.inputs: list[dict[str, Any]] = []

    def __call__(self, request: UpstreamRequest) -> UpstreamResponse:
        assert (request.method, request.path) == ("POST", "/v1/data/envoy/authz/allow")
        assert request.authority == "opa.example.com"
        assert request.headers["content-type"] == "application/json"
        self.inputs.append(json.loads(request.body)["input"])
        return respond(200, body='{"result": true}')

    @property
    def last(self) -> dict[str, Any]:
        return self.inputs[-1]


def start(start_proxy: StartProxy, opa: Asked, **fields: object) -> Proxy:
    configuration = {"opa_cluster": "opa", "opa_host": "opa.example.com", "timeout_ms": 20_000, **fields}
    return start_proxy(configuration=configuration, clusters={"opa": opa}, allow_on_headers_stop_iteration=True)


WHOLE = {
    "exclude_headers": ["Cookie", "x-secret-*"],
    "with_request_body": {"max_request_bytes": LIMIT, "allow_partial_message": True},
    "context_extensions": {"env": "prod"},
}


def at(document: Any, place: str) -> Any:  # noqa: ANN401 - JSON
    """What stands at a place of the input; names of headers hold no dots."""
    for name in place.split("."):
        if not isinstance(document, dict) or name not in document:
            return ABSENT
        document = cast("dict[str, Any]", document)[name]
    return document


def check(proxy: Proxy, opa: Asked, row: Row) -> None:
    before = len(opa.inputs)
    authority = next((str(value) for name, value in row.headers if name == "host"), None)
    headers = [(name, value) for name, value in row.headers if name != "host"]
    exchange = proxy.request(row.method, row.path, headers=headers, body=row.body, authority=authority)
    assert exchange.status == row.status, row.name
    if row.status != 200:
        assert (exchange.upstream, exchange.body, len(opa.inputs)) == (None, b"", before), row.name
        assert exchange.details.startswith("opa_authz:_"), row.name
        return
    assert exchange.upstream is not None
    assert (exchange.upstream.body, exchange.upstream.path) == (row.body, row.path), row.name
    assert len(opa.inputs) == before + 1
    found = {place: at(opa.last, place) for place in row.expected}
    assert found == row.expected, row.name


def test_the_table_is_as_long_as_it_has_to_be() -> None:
    assert len(ROWS) >= 40
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_the_input_is_the_plugins_for_every_request_of_the_table(start_proxy: StartProxy) -> None:
    opa = Asked()
    proxy = start(start_proxy, opa, **WHOLE)
    for row in ROWS:
        check(proxy, opa, row)


def test_the_whole_input_has_nothing_that_the_plugins_has_not(start_proxy: StartProxy) -> None:
    opa = Asked()
    start(start_proxy, opa).get("/a?b=c", headers={"x-a": "1"}, authority="example.com")
    document = opa.last
    attributes = document["attributes"]
    for peer in ("source", "destination"):
        assert isinstance(attributes[peer]["address"]["socketAddress"].pop("portValue"), int)
    time = attributes["request"].pop("time")
    assert isinstance(time["seconds"], int)
    assert 0 <= time.get("nanos", 0) < 10**9
    headers = attributes["request"]["http"].pop("headers")
    assert headers.pop("x-forwarded-proto", "http") == "http"  # Envoy's own
    assert headers == {":authority": "example.com", ":method": "GET", ":path": "/a?b=c", ":scheme": "http", "x-a": "1"}
    address = {"address": {"socketAddress": {"address": "127.0.0.1"}}}
    http = {"method": "GET", "path": "/a?b=c", "host": "example.com", "scheme": "http", "protocol": "HTTP/1.1"}
    assert document == {
        "attributes": {
            "source": address,
            "destination": address,
            "request": {"http": http},
            "metadataContext": {},
            "routeMetadataContext": {},
        },
        "parsed_path": ["a"],
        "parsed_query": {"b": ["c"]},
        "parsed_body": None,
        "truncated_body": False,
        "version": {"ext_authz": "v3", "encoding": "protojson"},
    }


def test_numbers_reach_opa_digit_by_digit(start_proxy: StartProxy) -> None:
    texts: list[bytes] = []

    def opa(request: UpstreamRequest) -> UpstreamResponse:
        texts.append(request.body)
        return respond(200, body='{"result": true}')

    proxy = start_proxy(
        configuration={"opa_cluster": "opa", "timeout_ms": 20_000, "with_request_body": {"max_request_bytes": 100}},
        clusters={"opa": opa},
        allow_on_headers_stop_iteration=True,
    )
    assert proxy.post("/", headers=[JSON], body=b'{"n": 1.000, "m": 123456789012345678901, "l": 1e400}').status == 200
    assert b'"parsed_body": {"n": 1.000, "m": 123456789012345678901, "l": 1e400}}' in texts[0]


def test_only_included_headers_are_told(start_proxy: StartProxy) -> None:
    opa = Asked()
    proxy = start(start_proxy, opa, include_headers=["x-*", ":method", "Authorization"], exclude_headers=["x-b"])
    proxy.get("/", headers={"x-a": "1", "x-b": "2", "authorization": "t", "accept": "*/*"})
    headers = opa.last["attributes"]["request"]["http"]["headers"]
    assert {name: value for name, value in headers.items() if not name.startswith("x-f")} == {
        ":method": "GET",
        "x-a": "1",
        "authorization": "t",
    }


SURROUNDINGS = [
    (
        presets.mtls(uri_san="spiffe://cluster.local/ns/shop/sa/web"),
        {"source_principal": "spiffe://cluster.local/ns/shop/sa/web"},
    ),
    (
        {
            "connection.mtls": True,
            "connection.uri_san_peer_certificate": "",
            "connection.dns_san_peer_certificate": "web.example.com",
        },
        {"source_principal": "web.example.com", "attributes.source.principal": "web.example.com"},
    ),
    (
        {"connection.mtls": True, "connection.subject_peer_certificate": "CN=web,O=Example"},
        {"source_principal": "CN=web,O=Example"},
    ),
    (
        {
            "connection.mtls": False,
            "connection.tls_version": "TLSv1.3",
            "connection.uri_san_local_certificate": "spiffe://proxy",
            "connection.requested_server_name": "shop.example.com",
        },
        {
            "source_principal": ABSENT,
            "attributes.destination.principal": "spiffe://proxy",
            "attributes.tlsSession.sni": "shop.example.com",
        },
    ),
    (
        {"source.address": "[2001:db8::1]:50000", "destination.address": "10.0.0.1:443"},
        {
            "attributes.source.address.socketAddress": {"address": "2001:db8::1", "portValue": 50000},
            "attributes.destination.address.socketAddress": {"address": "10.0.0.1", "portValue": 443},
        },
    ),
    ({"source.address": "/run/web.sock"}, {"attributes.source.address": {"pipe": {"path": "/run/web.sock"}}}),
]


@pytest.mark.hosts("native", "wasm")
@pytest.mark.parametrize(("properties", "expected"), SURROUNDINGS)
def test_the_input_says_who_is_at_both_ends(
    start_proxy: StartProxy, properties: dict[str, Any], expected: dict[str, Any]
) -> None:
    opa = Asked()
    proxy = start(start_proxy, opa)
    assert proxy.get("/", properties=properties).status == 200
    assert {place: at(opa.last, place) for place in expected} == expected


@pytest.mark.hosts("native", "wasm")
def test_dynamic_metadata_is_told_by_namespace(start_proxy: StartProxy) -> None:
    opa = Asked()
    proxy = start(start_proxy, opa, metadata_context_namespaces=["envoy.filters.http.jwt_authn", "none"])

    def struct(name: str, value: bytes) -> bytes:
        return encode((1, encode((1, name), (2, value))))

    claims = struct("claims", encode((5, struct("sub", encode((3, "alice"))))))
    namespaces = [encode((1, "envoy.filters.http.jwt_authn"), (2, claims)), encode((1, "other"), (2, claims))]
    proxy.get("/", properties={"metadata": b"".join(encode((1, namespace)) for namespace in namespaces)})
    assert opa.last["attributes"]["metadataContext"] == {
        "filterMetadata": {"envoy.filters.http.jwt_authn": {"claims": {"sub": "alice"}}}
    }


@pytest.mark.parametrize(
    "fields",
    [{"opa_cluster": "opa", "input": "istio"}, {"opa_cluster_name": "opa", "opa_service_host": "opa.example.com"}],
)
def test_the_input_istio_is_that_of_istio_ecosystem(start_proxy: StartProxy, fields: dict[str, object]) -> None:
    inputs: list[object] = []

    def opa(request: UpstreamRequest) -> UpstreamResponse:
        assert request.path == "/v1/data/test/allow"
        inputs.append(json.loads(request.body))
        return respond(200, body='{"result": true}')

    proxy = start_proxy(configuration=fields, clusters={"opa": opa})
    assert proxy.request("PUT", "/a%20b?c=d").status == 200
    question = {
        "source_principal": "",
        "destination_workload": "",
        "request_method": "PUT",
        "request_url_path": "/a%20b",
    }
    assert inputs == [{"input": question}]


@pytest.mark.hosts("native", "wasm")
def test_the_input_istio_names_both_ends(start_proxy: StartProxy) -> None:
    inputs: list[dict[str, Any]] = []

    def opa(request: UpstreamRequest) -> UpstreamResponse:
        inputs.append(json.loads(request.body)["input"])
        return respond(200, body='{"result": true}')

    sidecar = presets.istio_sidecar(workload="httpbin", namespace="shop", labels={}, peer={"workload": "web"})
    proxy = start_proxy(
        configuration={"opa_cluster": "opa", "input": "istio"}, clusters={"opa": opa}, properties=sidecar
    )
    proxy.get("/", properties=presets.mtls(uri_san="spiffe://cluster.local/ns/default/sa/client"))
    assert inputs[0]["source_principal"] == "spiffe://cluster.local/ns/default/sa/client"
    assert inputs[0]["destination_workload"] == "httpbin"


def test_whatever_a_client_sends_is_parsed_or_refused() -> None:
    random = Random(8)
    alphabet = [
        "--foo",
        "--",
        "\r\n",
        "\n",
        "Content-Disposition: form-data; name=",
        '"a"',
        ":",
        ";",
        "=",
        "%",
        "%41",
        "&",
        "+",
    ]
    alphabet += [
        "{",
        "}",
        "[",
        "]",
        '"',
        ",",
        "1",
        "e9",
        "null",
        "é",
        "!",
        "\0",
        "\\",
        "Content-Type: application/json",
    ]
    types = [
        JSON,
        FORM,
        MULTIPART,
        ("content-type", 'multipart/form-data; boundary="f\\"oo"; x=y'),
        ("content-type", "multipart/form-data;;="),
    ]
    parsed_count = 0
    for _ in range(20_000):
        name, kind = random.choice(types)
        text = "".join(random.choices(alphabet, k=random.randint(1, 12)))
        try:
            parsed, _ = parsed_body({name: kind}, text)
        except EncodingError:
            continue
        parsed_count += 1
        json.loads(f'{{"parsed_body": {parsed}}}', parse_float=str, parse_int=str)
    assert parsed_count > 1000
