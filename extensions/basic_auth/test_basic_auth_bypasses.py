"""Ways around a rule that work on other filters: each must end in a denial, on all three hosts."""

import pytest

from proxy_wasm.testing import Proxy, StartProxy

pytestmark = pytest.mark.strict

CREDENTIALS = ("authorization", "Basic YWxpY2U6c2VjcmV0")

CONFIGURATION = {
    "basic_auth_rules": [
        {"prefix": "/admin", "request_methods": ["GET"], "credentials": ["alice:secret"]},
        {"exact": "/exact", "request_methods": ["GET"], "credentials": ["alice:secret"]},
        {"suffix": "/suffix", "request_methods": ["GET"], "credentials": ["alice:secret"]},
        {"prefix": "/a:b", "request_methods": ["GET"], "credentials": ["alice:secret"]},
        {"regex": "/r[0-9]+/x", "request_methods": ["PUT", "OPTIONS"], "credentials": ["alice:secret"]},
        {"hosts": ["example.com"], "prefix": "/hosts", "request_methods": ["GET"], "credentials": ["alice:secret"]},
    ]
}


REFUSALS = (400, 401, 404)
"""Envoy answers some malformed requests with 400 or 404 itself, before any filter sees them."""


@pytest.fixture
def proxy(start_proxy: StartProxy) -> Proxy:
    return start_proxy(configuration=CONFIGURATION)


QUERIES = ["/admin?", "/admin?x", "/exact?x", "/exact?x=/../public", "/x/suffix?x", "/suffix?/y", "/admin?#"]
SLASHES = ["//admin", "///admin", "/x/..//admin", "//x//..//admin", "//exact", "//x//suffix"]
DOT_SEGMENTS = [
    "/x/../admin",
    "/./admin",
    "/x/./../admin",
    "/../admin",
    "/../../admin/x",
    "/x/../exact",
    "/x//../admin",
]
ESCAPES = [
    "/%61dmin",
    "/%61%64%6D%69%6e",
    "/adm%69n?x",
    "/exac%74",
    "/x/%73uffix",
    "/a%3Ab",
    "/x/%2e%2e/admin",
    "/x/%2E./admin",
    "/x/.%2e/exact",
    "/%2e/admin",
]
SEPARATORS = [
    "/%2Fadmin",
    "/%2fadmin",
    "/x%2Fsuffix",
    "/x/..%2Fadmin",
    "/x%2F..%2Fadmin",
    "/x/%2e%2e%2fadmin",
    "/x\\..\\admin",
    "/x/..\\admin",
    "/\\admin",
    "/x%5C..%5Cadmin",
    "/x/%2e%2e%5cexact",
]
PARAMETERS = [
    "/admin;x=1",
    "/exact;x=1",
    "/x/..;/admin",
    "/x/..;y/exact",
    "/;/admin",
    "/x/.;/../admin",
    "/x/..%3B/admin",
]
TWICE_ESCAPED = [
    "/%2561dmin",
    "/%252Fadmin",
    "/x/%252e%252e/admin",
    "/x/..%252fadmin",
    "/%25252e/admin",
    "/%25%36%31dmin",
]


@pytest.mark.parametrize(
    "path", [*QUERIES, *SLASHES, *DOT_SEGMENTS, *ESCAPES, *SEPARATORS, *PARAMETERS, *TWICE_ESCAPED]
)
def test_a_protected_path_stays_protected_however_it_is_written(proxy: Proxy, path: str) -> None:
    denied = proxy.get(path)
    assert denied.upstream is None
    assert denied.status in REFUSALS
    if denied.status == 401:
        allowed = proxy.get(path, headers=[CREDENTIALS])
        assert allowed.status == 200
        assert allowed.upstream is not None
        assert allowed.upstream.path == path


@pytest.mark.parametrize(
    "path",
    [
        "/Admin",
        "/ADMIN",
        "/%41dmin",
        "/x/admin",
        "/x?/../admin",
        "/x?y=/suffix",
        "/admin/../public",
        "/exact/",
        "/x%3Fadmin",
        "/.well-known/x",
        "/x;admin",
        "/caf%C3%A9",
        "/100%25",
        "/x%2Fy",
        "/%FF%FE",
    ],
)
def test_other_paths_stay_open(proxy: Proxy, path: str) -> None:
    assert proxy.get(path).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "*",
        "admin",
        "http:/admin",
        "/x#/../admin",
        "/admin#x",
        "/%",
        "/%6",
        "/%zz",
        "/%u0061dmin",
        "/admin%00",
        "/x%0a/admin",
        "/%7f",
        "/%c0%afadmin",
        "/x/%c0%ae%c0%ae/admin",
        "/%e0%80%afadmin",
        "/%f0%80%80%afadmin",
        "/x/%2f\\;y/%25%32%35//..",
        "/" + "x" * 8192,
        "/" + "%61" * 3000,
    ],
    ids=lambda path: path[:40],
)
def test_a_path_that_cannot_be_judged_is_denied_with_and_without_credentials(proxy: Proxy, path: str) -> None:
    for headers in ([], [CREDENTIALS]):
        exchange = proxy.get(path, headers=headers)
        assert exchange.upstream is None
        assert exchange.status in REFUSALS
        assert exchange.status != 401 or "cannot" in exchange.details


@pytest.mark.parametrize("octets", [b"/\xff", b"/\xc3\xa9", b"\x80", b"/../admin\xfe", b"/\t", b"/\x01"])
def test_bytes_that_are_no_text_do_not_open_a_path(proxy: Proxy, octets: bytes) -> None:
    exchange = proxy.get("/admin" + octets.decode("utf-8", "surrogateescape"))
    assert exchange.upstream is None
    assert exchange.status in REFUSALS


def test_a_path_is_judged_only_where_a_rule_for_the_method_could_apply(proxy: Proxy) -> None:
    assert proxy.request("DELETE", "/%zz").status == 200


@pytest.mark.hosts("native", "wasm")
@pytest.mark.parametrize("method", ["get", "Get", "gET"])
def test_a_method_in_another_case_is_the_same_method(proxy: Proxy, method: str) -> None:
    exchange = proxy.request(method, "/admin")
    assert exchange.status == 401
    assert exchange.upstream is None


def test_the_asterisk_form_is_denied_where_a_rule_covers_options(proxy: Proxy) -> None:
    exchange = proxy.request("OPTIONS", "*")
    assert exchange.upstream is None
    assert exchange.status in REFUSALS


@pytest.mark.hosts("native", "wasm")
def test_connect_is_denied_where_a_rule_covers_it(start_proxy: StartProxy) -> None:
    rule = {"prefix": "/", "request_methods": ["CONNECT"], "credentials": ["alice:secret"]}
    proxy = start_proxy(configuration={"basic_auth_rules": [rule]})
    exchange = proxy.request("CONNECT", "", authority="example.com:443", headers=[CREDENTIALS])
    assert exchange.upstream is None
    assert exchange.status == 401


@pytest.mark.hosts("envoy")
def test_the_absolute_form_is_judged_by_its_path(proxy: Proxy) -> None:
    assert proxy.get("http://example.com/admin").status == 401
    assert proxy.get("http://example.com/hosts").status == 401
    assert proxy.get("http://example.com/public").status == 200


@pytest.mark.parametrize(
    "authority", ["EXAMPLE.com", "example.com:1", "example.com.", "example.com:", "Example.Com.:65535"]
)
def test_a_host_stays_protected_however_it_is_written(proxy: Proxy, authority: str) -> None:
    exchange = proxy.get("/hosts", authority=authority)
    assert exchange.upstream is None
    assert exchange.status in REFUSALS


@pytest.mark.parametrize(
    "authority",
    [
        "",
        "user@example.com",
        "example.com:80:80",
        "example.com:http",
        "example.com/x",
        "ex%61mple.com",
        "[::1",
        "a.com,b.com",
    ],
)
def test_an_authority_that_cannot_be_judged_is_denied_where_the_host_matters(proxy: Proxy, authority: str) -> None:
    exchange = proxy.get("/hosts", authority=authority, headers=[CREDENTIALS])
    assert exchange.upstream is None
    assert exchange.status in REFUSALS


@pytest.mark.hosts("native", "wasm")
def test_an_authority_that_cannot_be_judged_passes_where_the_host_does_not_matter(proxy: Proxy) -> None:
    assert proxy.get("/public", authority="user@example.com").status == 200


def test_a_regular_expression_must_match_the_whole_path(proxy: Proxy) -> None:
    assert proxy.request("PUT", "/r1/x").status == 401
    assert proxy.request("PUT", "/r1/%78?y").status == 401
    assert proxy.request("PUT", "/r1/xy").status == 200
    assert proxy.request("PUT", "/q/r1/x").status == 200
    assert proxy.request("PUT", "/r1/x%0a").status == 401


def test_a_regular_expression_never_sees_a_long_path(proxy: Proxy) -> None:
    assert proxy.request("PUT", "/" + "x" * 2000).status == 200
    assert proxy.request("PUT", "/" + "x" * 2048).status == 401
