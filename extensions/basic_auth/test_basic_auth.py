"""What basic_auth lets through, what it denies and what it tells whom; the same on all three hosts."""

import base64
import hashlib
import hmac

import pytest

from proxy_wasm.testing import Exchange, Proxy, StartProxy


def basic(credentials: str | bytes, scheme: str = "Basic") -> tuple[str, str]:
    octets = credentials.encode() if isinstance(credentials, str) else credentials
    return "authorization", f"{scheme} {base64.b64encode(octets).decode()}"


def sha(password: str) -> str:
    digest = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return "{SHA}" + base64.b64encode(digest).decode()


def ssha256(password: str, salt: bytes) -> str:
    digest = hashlib.sha256(password.encode() + salt).digest()
    return "{SSHA256}" + base64.b64encode(digest + salt).decode()


pytestmark = pytest.mark.strict

USERS = {
    "alice": "alice:secret",
    "bob": base64.b64encode(b"bob:secret2").decode(),
    "bin": base64.b64encode(b"bin:\xff\x00\xfe").decode(),
    "carol": "carol:" + sha("secret3"),
    "dave": "dave:" + ssha256("secret4", b"pepper"),
    "erin": "erin:with:colons",
    "käthe": "käthe:pässwörd",
}

CONFIGURATION = {
    "basic_auth_rules": [
        {"prefix": "/admin", "request_methods": ["GET", "POST"], "credentials": list(USERS.values())},
        {"prefix": "/admin/vault", "request_methods": ["GET"], "credentials": ["alice:secret", "frank:vault"]},
        {"exact": "/exact", "request_methods": ["GET"], "credentials": ["alice:secret"]},
        {"suffix": ".key", "request_methods": ["GET"], "credentials": ["alice:secret"]},
        {"regex": "/users/[0-9]+/(?:keys|päss)", "request_methods": ["GET"], "credentials": ["alice:secret"]},
        {
            "hosts": ["Shop.example.com", "*.internal.example", "10.0.0.*", "[2001:db8::1]:8443", "fe80::*"],
            "prefix": "/hosts",
            "request_methods": ["GET"],
            "credentials": ["alice:secret"],
        },
    ],
    "forward_username_header": "X-Authenticated-User",
}


@pytest.fixture
def proxy(start_proxy: StartProxy) -> Proxy:
    return start_proxy(configuration=CONFIGURATION)


def assert_denied(exchange: Exchange, reason: str) -> None:
    assert exchange.status == 401
    assert exchange.upstream is None
    assert exchange.body == b""
    assert exchange.headers["www-authenticate"] == 'Basic realm="istio"'
    assert reason.replace(" ", "_") in exchange.details.replace(" ", "_")


def forwarded(exchange: Exchange) -> list[str]:
    assert exchange.status == 200
    assert exchange.upstream is not None
    return exchange.upstream.headers.get_list("x-authenticated-user")


@pytest.mark.parametrize("path", ["/admin", "/admin/", "/administration", "/exact", "/top.key", "/users/7/keys"])
def test_a_protected_path_without_credentials_is_denied(proxy: Proxy, path: str) -> None:
    assert_denied(proxy.get(path), "No Basic Authentication information found")


@pytest.mark.parametrize("path", ["/", "/public", "/exact/more", "/top.keys", "/users/x/keys", "/v1/users/7/keys/9"])
def test_a_path_that_no_rule_matches_needs_no_credentials(proxy: Proxy, path: str) -> None:
    assert forwarded(proxy.get(path)) == []


def test_a_method_that_no_rule_lists_needs_no_credentials(proxy: Proxy) -> None:
    assert forwarded(proxy.request("DELETE", "/admin")) == []
    assert_denied(proxy.post("/admin", body=b"x=1"), "No Basic Authentication information found")


@pytest.mark.parametrize(
    "credentials",
    [
        "alice:secret",
        "bob:secret2",
        b"bin:\xff\x00\xfe",
        "carol:secret3",
        "dave:secret4",
        "erin:with:colons",
        "käthe:pässwörd",
    ],
)
def test_each_form_of_configured_credential_is_accepted(proxy: Proxy, credentials: str | bytes) -> None:
    exchange = proxy.get("/admin", headers=[basic(credentials)])
    octets = credentials.encode() if isinstance(credentials, str) else credentials
    assert forwarded(exchange) == [octets.partition(b":")[0].decode()]


@pytest.mark.parametrize(
    "credentials",
    [
        "alice:Secret",
        "alice:secret ",
        "alice:secre",
        "alice:",
        "alice",
        "Alice:secret",
        ":secret",
        ":",
        "",
        "bob:secret",
        "carol:" + sha("secret3"),
        "dave:" + ssha256("secret4", b"pepper"),
        "dave:secret4pepper",
        "erin:with",
        "mallory:secret",
        "käthe:passwort",
        b"\xff\xfe:\xff",
        b"alice:secret\x00",
        b"alice\x00:secret",
    ],
)
def test_wrong_credentials_are_denied(proxy: Proxy, credentials: str | bytes) -> None:
    assert_denied(proxy.get("/admin", headers=[basic(credentials)]), "")


def test_rules_for_the_same_path_must_all_accept_the_user(proxy: Proxy) -> None:
    assert forwarded(proxy.get("/admin/vault", headers=[basic("alice:secret")])) == ["alice"]
    assert_denied(proxy.get("/admin/vault", headers=[basic("erin:with:colons")]), "Invalid username and/or password")
    assert_denied(proxy.get("/admin/vault", headers=[basic("frank:vault")]), "Invalid username and/or password")


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "bAsIc"])
def test_the_scheme_may_be_written_in_any_case(proxy: Proxy, scheme: str) -> None:
    assert forwarded(proxy.get("/admin", headers=[basic("alice:secret", scheme)])) == ["alice"]


@pytest.mark.parametrize(
    "encoded", ["Y2Fyb2w6c2VjcmV0Mw==", "Y2Fyb2w6c2VjcmV0Mw", "Y2Fyb2w6c2VjcmV0Mx==", " Y2Fyb2w6c2VjcmV0Mw==  "]
)
def test_base64_may_be_unpadded_or_not_canonical(proxy: Proxy, encoded: str) -> None:
    assert forwarded(proxy.get("/admin", headers=[("authorization", f"Basic {encoded}")])) == ["carol"]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic",
        "Basic ",
        "YWxpY2U6c2VjcmV0",
        "BasicYWxpY2U6c2VjcmV0",
        "Bearer YWxpY2U6c2VjcmV0",
        "Basic\tYWxpY2U6c2VjcmV0",
        "Basic alice:secret",
        "Basic YWxpY2U6c2VjcmV0!",
        "Basic YWxp Y2U6c2VjcmV0",
        "Basic YWxpY2U6c2VjcmV0====",
        "Basic YWxpY2U6c2VjcmV0A",
        "Basic =YWxpY2U6c2VjcmV0",
        "Basic YWxpY2U6c2VjcmV0, Basic YWxpY2U6c2VjcmV0",
        "Basic YWxpY2U6c2VjcmV0,",
        'Basic "YWxpY2U6c2VjcmV0"',
    ],
)
def test_a_malformed_header_is_denied(proxy: Proxy, value: str) -> None:
    assert_denied(proxy.get("/admin", headers=[("authorization", value)]), "")


def test_bytes_that_are_no_text_in_the_header_are_denied(proxy: Proxy) -> None:
    assert_denied(proxy.get("/admin", headers=[(b"authorization", b"Basic \xff\xfe\x80")]), "Invalid username")


def test_several_authorization_headers_are_denied_even_if_each_is_right(proxy: Proxy) -> None:
    right, wrong = basic("alice:secret"), basic("alice:wrong")
    for pair in ([right, right], [right, wrong], [wrong, right]):
        assert_denied(proxy.get("/admin", headers=pair), "")


def test_an_empty_authorization_header_beside_another_reaches_no_upstream(proxy: Proxy) -> None:
    right, empty = basic("alice:secret"), ("authorization", "")
    for pair in ([right, empty], [empty, right]):
        exchange = proxy.get("/admin", headers=pair)
        if exchange.upstream is not None:  # Envoy joins the values of this header, and leaves out empty ones
            assert exchange.upstream.headers.get_list("authorization") == [right[1]]


def test_huge_credentials_are_denied(proxy: Proxy) -> None:
    assert_denied(proxy.get("/admin", headers=[basic("alice:" + "s" * 5_000)]), "Invalid username and/or password")
    assert_denied(proxy.get("/admin", headers=[basic("alice:" + "s" * 40_000)]), "Invalid username and/or password")


def test_without_rules_everything_passes(start_proxy: StartProxy) -> None:
    for configuration in (None, "", "{}", '{"basic_auth_rules": []}'):
        assert start_proxy(configuration=configuration).get("/admin").status == 200


def test_the_realm_is_quoted(start_proxy: StartProxy) -> None:
    rule = {"prefix": "/", "request_methods": ["GET"], "credentials": ["a:b"]}
    for realm, expected in (("staff only", "staff only"), ('say "hi\\"', 'say \\"hi\\\\\\"'), ("", "")):
        exchange = start_proxy(configuration={"realm": realm, "basic_auth_rules": [rule]}).get("/")
        assert exchange.status == 401
        assert exchange.headers["www-authenticate"] == f'Basic realm="{expected}"'


def test_the_forwarded_username_replaces_what_the_client_sent(proxy: Proxy) -> None:
    forged = [("x-authenticated-user", "root"), ("X-AUTHENTICATED-USER", "admin")]
    assert forwarded(proxy.get("/admin", headers=[*forged, basic("alice:secret")])) == ["alice"]
    assert forwarded(proxy.get("/public", headers=forged)) == []
    assert forwarded(proxy.get("/public", headers=[*forged, basic("alice:secret")])) == []


def test_other_headers_reach_the_upstream_unchanged(proxy: Proxy) -> None:
    authorization = basic("alice:secret")
    exchange = proxy.get("/admin?a=1", headers=[authorization, ("x-other", "1"), ("x-other", "2")])
    assert exchange.upstream is not None
    assert exchange.upstream.path == "/admin?a=1"
    assert exchange.upstream.headers.get_list("authorization") == [authorization[1]]
    assert exchange.upstream.headers.get_list("x-other") == ["1", "2"]


def test_credentials_that_were_verified_can_be_kept_from_the_upstream(start_proxy: StartProxy) -> None:
    rule = {"prefix": "/admin", "request_methods": ["GET"], "credentials": ["alice:secret"]}
    proxy = start_proxy(configuration={"basic_auth_rules": [rule], "remove_authorization_header": True})
    verified = proxy.get("/admin", headers=[basic("alice:secret"), ("x-authenticated-user", "kept")])
    assert verified.upstream is not None
    assert "authorization" not in verified.upstream.headers
    assert verified.upstream.headers["x-authenticated-user"] == "kept"
    passed = proxy.get("/public", headers=[("authorization", "Bearer token")])
    assert passed.upstream is not None
    assert passed.upstream.headers["authorization"] == "Bearer token"


@pytest.mark.parametrize(
    ("authority", "is_protected"),
    [
        ("shop.example.com", True),
        ("SHOP.Example.COM", True),
        ("shop.example.com:8080", True),
        ("shop.example.com.", True),
        ("shop.example.com.:8080", True),
        ("myshop.example.com", False),
        ("shop.example.com.evil.example", False),
        ("a.internal.example", True),
        ("A.B.Internal.Example:443", True),
        ("internal.example", False),
        ("10.0.0.7", True),
        ("10.0.0.7:80", True),
        ("10.0.1.7", False),
        ("[2001:db8::1]", True),
        ("[2001:DB8::1]:443", True),
        ("[2001:db8::2]", False),
        ("[fe80::5]:80", True),
        ("localhost", False),
    ],
)
def test_hosts_are_compared_without_case_and_port(proxy: Proxy, authority: str, *, is_protected: bool) -> None:
    exchange = proxy.get("/hosts", authority=authority)
    assert exchange.status == (401 if is_protected else 200)


def test_a_wildcard_alone_covers_every_host(start_proxy: StartProxy) -> None:
    rule = {"hosts": ["*"], "prefix": "/", "request_methods": ["GET"], "credentials": ["a:b"]}
    assert start_proxy(configuration={"basic_auth_rules": [rule]}).get("/", authority="any.example").status == 401


def test_patterns_may_be_written_with_escapes_and_repeated_slashes(start_proxy: StartProxy) -> None:
    rules = [
        {"prefix": "/%61dmin//x", "request_methods": ["GET"], "credentials": ["a:b"]},
        {"exact": "/caf%c3%a9 au lait", "request_methods": ["get"], "credentials": ["a:b"]},
        {"exact": "/a%2fb", "request_methods": ["GET"], "credentials": ["a:b"]},
    ]
    proxy = start_proxy(configuration={"basic_auth_rules": rules})
    for path in ("/admin/x", "/caf%C3%A9%20au%20lait", "/a%2Fb"):
        assert proxy.get(path).status == 401, path
    assert proxy.get("/a/b").status == 200


def test_decisions_are_counted(proxy: Proxy) -> None:
    before = proxy.metrics()
    proxy.get("/admin")
    proxy.get("/admin", headers=[basic("alice:wrong")])
    proxy.get("/admin", headers=[basic("alice:secret")])
    for _ in range(3):
        proxy.get("/public")
    after = proxy.metrics()
    counted = {name: value - before.get(name, 0) for name, value in after.items() if "basic_auth_requests" in name}
    assert sorted(counted.values()) == [1, 2, 3]
    (allowed,) = (value for name, value in counted.items() if "allowed" in name)
    (denied,) = (value for name, value in counted.items() if "denied" in name)
    (unprotected,) = (value for name, value in counted.items() if "unprotected" in name)
    assert (allowed, denied, unprotected) == (1, 2, 3)


def test_no_secret_is_logged(proxy: Proxy) -> None:
    for credentials in ("alice:secret", "mallory:hunter2", "dave:secret4"):
        proxy.get("/admin", headers=[basic(credentials)])
    log = "\n".join(record.message for record in proxy.logs)
    for secret in ("secret", "hunter2", "alice", "mallory", basic("mallory:hunter2")[1]):
        assert secret not in log


@pytest.mark.hosts("native")
def test_every_credential_is_compared_whoever_asks(start_proxy: StartProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    users = [f"user{number}:password{number}" for number in range(10)]
    rule = {"prefix": "/", "request_methods": ["GET"], "credentials": users}
    proxy = start_proxy(configuration={"basic_auth_rules": [rule]})
    compared: list[bytes] = []
    compare_digest = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return compare_digest(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    for credentials in ("user0:password0", "user9:password9", "user5:wrong", "nobody:x"):
        compared.clear()
        proxy.get("/", headers=[basic(credentials)])
        assert len(compared) == 2 * len(users)
