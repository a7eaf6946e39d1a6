"""What jwt_headers lets through, what it denies, and what it tells the upstream and the client; the same on all three hosts."""

import base64
import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm.testing import Exchange, Proxy, StartProxy

if TYPE_CHECKING:
    from conftest import Issuer

pytestmark = pytest.mark.strict

ISSUER = "https://accounts.example.com"


def provider(issuer: "Issuer", /, **fields: object) -> dict[str, Any]:
    keys = issuer.jwks("rsa", "ec", "okp", "oct")
    return {
        "issuer": ISSUER,
        "audiences": ["api", "web"],
        "local_jwks": keys,
        "claim_to_headers": [{"claim": "sub", "header": "X-Jwt-Sub"}],
        **fields,
    }


def start(start_proxy: StartProxy, issuer: "Issuer", requires: object = "accounts", **fields: object) -> Proxy:
    """A proxy with one provider, whose tokens every path needs."""
    return start_proxy(
        configuration={
            "providers": {"accounts": provider(issuer, **fields)},
            "rules": [{"prefix": "/", "requires": requires}],
        }
    )


def bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


def upstream_headers(exchange: Exchange, name: str = "x-jwt-sub") -> list[str]:
    assert exchange.status == 200, exchange.details
    assert exchange.upstream is not None
    return exchange.upstream.headers.get_list(name)


def assert_denied(exchange: Exchange, reason: str, status: int = 401) -> None:
    assert exchange.status == status, exchange.details
    assert exchange.upstream is None
    assert exchange.body == b""
    assert exchange.details == f"Request denied by JWT check. {reason}".replace(" ", "_")
    challenge = exchange.headers.get("www-authenticate")
    if status == 403:
        assert challenge is None
    elif reason == "There is no token.":
        assert challenge == 'Bearer realm="jwt"'
    else:
        assert challenge == 'Bearer realm="jwt", error="invalid_token"'


# Algorithms and keys


@pytest.mark.parametrize(
    ("kid", "algorithm"),
    [
        *(("rsa", algorithm) for algorithm in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        *(("oct", algorithm) for algorithm in ("HS256", "HS384", "HS512")),
        ("ec", "ES256"),
        ("okp", "EdDSA"),
    ],
)
def test_a_token_of_each_algorithm_is_accepted(
    start_proxy: StartProxy, issuer: "Issuer", kid: str, algorithm: str
) -> None:
    proxy = start(start_proxy, issuer)
    token = issuer.token(kid, algorithm)
    for _ in range(2):
        assert upstream_headers(proxy.get("/", headers=[bearer(token)])) == ["alice"]
    text, _, signature = token.rpartition(".")
    forged = f"{text}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
    assert_denied(proxy.get("/", headers=[bearer(forged)]), "Its signature is wrong.")


def test_only_algorithms_that_are_listed_are_accepted(start_proxy: StartProxy, issuer: "Issuer") -> None:
    proxy = start(start_proxy, issuer, algorithms=["ES256", "RS512"])
    assert upstream_headers(proxy.get("/", headers=[bearer(issuer.token("rsa", "RS512"))])) == ["alice"]
    assert upstream_headers(proxy.get("/", headers=[bearer(issuer.token("ec", "ES256"))])) == ["alice"]
    for kid, algorithm in (("rsa", "RS256"), ("rsa", "PS512"), ("oct", "HS256"), ("okp", "EdDSA")):
        denied = proxy.get("/", headers=[bearer(issuer.token(kid, algorithm))])
        assert_denied(denied, "Its algorithm is not accepted.")


def test_a_token_without_kid_is_accepted_where_one_key_suits(start_proxy: StartProxy, issuer: "Issuer") -> None:
    proxy = start(start_proxy, issuer)
    assert upstream_headers(proxy.get("/", headers=[bearer(issuer.token(None, "ES256", key="ec"))])) == ["alice"]
    keys = {"keys": [*issuer.jwks("rsa", "ec")["keys"], issuer.public_jwk(issuer.keys["rsa"], kid="again")]}
    proxy = start(start_proxy, issuer, local_jwks=keys)
    assert upstream_headers(proxy.get("/", headers=[bearer(issuer.token(None, "ES256", key="ec"))])) == ["alice"]
    denied = proxy.get("/", headers=[bearer(issuer.token(None, "RS256", key="rsa"))])
    assert_denied(denied, "Several keys may have signed it.")
    assert_denied(
        proxy.get("/", headers=[bearer(issuer.token(None, "EdDSA", key="okp"))]), "No key suits its algorithm."
    )


# Claims that must fit


MISFITS: list[Any] = [
    ({"iss": "https://evil.example.com"}, "It has another issuer.", 401),
    ({"iss": ISSUER + "/"}, "It has another issuer.", 401),
    ({"iss": 5}, "It has another issuer.", 401),
    ({"iss": [ISSUER]}, "It has another issuer.", 401),
    ({"iss": None}, "It has another issuer.", 401),
    ({"aud": "shop"}, "It is meant for another audience.", 403),
    ({"aud": "API"}, "It is meant for another audience.", 403),
    ({"aud": ["shop", "mail"]}, "It is meant for another audience.", 403),
    ({"aud": []}, "It is meant for another audience.", 403),
    ({"aud": {"api": 1}}, "It is meant for another audience.", 403),
    ({"aud": ["api", 5]}, "It is meant for another audience.", 403),
    ({"aud": None}, "It is meant for another audience.", 403),
    ({"exp": None}, "It has no expiry.", 401),
    ({"exp": "soon"}, "It is no JSON Web Token.", 401),
    ({"exp": [9999999999]}, "It is no JSON Web Token.", 401),
    ({"exp": True}, "It has expired.", 401),
    ({"exp": -1}, "It has expired.", 401),
    ({"nbf": "never"}, "It is no JSON Web Token.", 401),
    ({"iat": "today"}, "A claim of it is of a wrong type.", 401),
    ({"sub": 5}, "A claim of it is of a wrong type.", 401),
    ({"jti": ["1"]}, "A claim of it is of a wrong type.", 401),
]


def test_claims_must_be_those_that_are_wanted(start_proxy: StartProxy, issuer: "Issuer") -> None:
    proxy = start(start_proxy, issuer)
    for claims, reason, status in MISFITS:
        assert_denied(proxy.get("/", headers=[bearer(issuer.token(**claims))]), reason, status)


@pytest.mark.parametrize("aud", ["web", ["shop", "api"], ["api", "web"]], ids=str)
def test_one_audience_of_several_suffices(start_proxy: StartProxy, issuer: "Issuer", aud: object) -> None:
    assert upstream_headers(start(start_proxy, issuer).get("/", headers=[bearer(issuer.token(aud=aud))])) == ["alice"]


def test_what_is_not_configured_is_not_wanted(start_proxy: StartProxy, issuer: "Issuer") -> None:
    proxy = start_proxy(
        configuration={
            "providers": {
                "any": {
                    "local_jwks": issuer.jwks(),
                    "require_expiration": False,
                    "claim_to_headers": [{"claim": "sub", "header": "x-jwt-sub"}],
                }
            },
            "rules": [{"prefix": "/", "requires": "any"}],
        }
    )
    token = issuer.token(iss=None, aud="whoever", exp=None)
    for _ in range(2):
        assert upstream_headers(proxy.get("/", headers=[bearer(token)])) == ["alice"]
    assert_denied(proxy.get("/", headers=[bearer(issuer.token(exp=1))]), "It has expired.")


@pytest.mark.parametrize(
    ("claim", "offset", "reason"),
    [
        ("exp", -290, ""),
        ("exp", -301, "It has expired."),
        ("nbf", 290, ""),
        ("nbf", 330, "It is not valid yet."),
        ("iat", 290, ""),
        ("iat", 330, "It is not valid yet."),
    ],
)
def test_clocks_may_differ_by_the_skew(
    start_proxy: StartProxy, issuer: "Issuer", claim: str, offset: int, reason: str
) -> None:
    proxy = start(start_proxy, issuer, clock_skew_seconds=300)
    changed: dict[str, Any] = {claim: int(time.time()) + offset}
    exchange = proxy.get("/", headers=[bearer(issuer.token(**changed))])
    if reason:
        assert_denied(exchange, reason)
    else:
        assert upstream_headers(exchange) == ["alice"]


@pytest.mark.hosts("native")
def test_the_skew_ends_at_its_second(
    start_proxy: StartProxy, issuer: "Issuer", monkeypatch: pytest.MonkeyPatch
) -> None:
    from jwt import api_jwt  # noqa: PLC0415 - as the filter has imported it

    now = 1_900_000_000

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Clock":  # noqa: ANN401 - as `datetime` has it
            return cls.fromtimestamp(now, tz)

    proxy = start(start_proxy, issuer, clock_skew_seconds=60)
    monkeypatch.setattr(api_jwt, "datetime", Clock)
    monkeypatch.setattr(time, "time", lambda: now)
    for claim, fits, does_not in (
        ("exp", now - 59, now - 60),
        ("nbf", now + 60, now + 61),
        ("iat", now + 60, now + 61),
    ):
        claims: dict[str, Any] = {"exp": now + 600, "iat": now}
        claims[claim] = fits
        assert upstream_headers(proxy.get("/", headers=[bearer(issuer.token(**claims))])) == ["alice"], claim
        claims[claim] = does_not
        assert proxy.get("/", headers=[bearer(issuer.token(**claims))]).status == 401, claim
    expiring = issuer.token(exp=now + 10, iat=now)
    assert upstream_headers(proxy.get("/", headers=[bearer(expiring)])) == ["alice"]
    now += 69
    assert upstream_headers(proxy.get("/", headers=[bearer(expiring)])) == ["alice"]
    now += 1
    assert_denied(proxy.get("/", headers=[bearer(expiring)]), "It has expired.")


# Rules


RULES = [
    {"prefix": "/health", "requires": "none"},
    {"exact": "/metrics", "requires": "none"},
    {"prefix": "/partners", "requires": ["partners", "accounts"]},
    {"prefix": "/maybe", "requires": {"allow_missing": "accounts"}},
    {"prefix": "/try", "requires": {"allow_missing_or_failed": ["accounts", "partners"]}},
    {"suffix": ".pdf", "requires": "partners"},
    {"regex": "/[0-9]+/file", "requires": "partners"},
    {"prefix": "/api", "requires": "accounts"},
]


@pytest.fixture
def ruled(start_proxy: StartProxy, issuer: "Issuer") -> Proxy:
    accounts = provider(issuer, local_jwks=issuer.jwks("rsa"))
    partners = provider(
        issuer,
        issuer="https://partners.example.com",
        local_jwks=issuer.jwks("ec"),
        from_headers=[{"name": "X-Partner-Token"}],
        claim_to_headers=[{"claim": "sub", "header": "x-partner"}],
    )
    return start_proxy(configuration={"providers": {"accounts": accounts, "partners": partners}, "rules": RULES})


def partner(issuer: "Issuer", aud: str = "api") -> tuple[str, str]:
    return "x-partner-token", issuer.token("ec", "ES256", iss="https://partners.example.com", aud=aud)


NEEDS_TOKEN: list[Any] = [
    ("/health", False),
    ("/healthy?x=1", False),
    ("/metrics", False),
    ("/metrics/all", False),  # no rule
    ("/", False),
    ("/api", True),
    ("/api/../health", False),
    ("/health/../api", True),
    ("//api", True),
    ("/%61pi", True),
    ("/health/..;/api", True),
    ("/health%2F..%2Fapi", True),
    ("/health\\..\\api", True),
    ("/x.pdf", True),
    ("/12/file", True),
    ("/x/file", False),
    ("/maybe", False),
    ("/try", False),
    ("/partners", True),
]


def test_the_first_rule_that_matches_decides(ruled: Proxy) -> None:
    for path, needs_token in NEEDS_TOKEN:
        exchange = ruled.get(path)
        if needs_token:
            assert_denied(exchange, "There is no token.")
        else:
            assert exchange.status == 200, path


def test_of_several_providers_one_must_accept(ruled: Proxy, issuer: "Issuer") -> None:
    both = [bearer(issuer.token()), partner(issuer)]
    for headers, name, other in (
        ([both[0]], "x-jwt-sub", "x-partner"),
        ([both[1]], "x-partner", "x-jwt-sub"),
        (both, "x-partner", "x-jwt-sub"),  # the first that the rule lists
    ):
        exchange = ruled.get("/partners", headers=headers)
        assert (upstream_headers(exchange, name), upstream_headers(exchange, other)) == (["alice"], [])
        assert upstream_headers(exchange, "authorization") == upstream_headers(exchange, "x-partner-token") == []
    expired = bearer(issuer.token(exp=1))
    assert upstream_headers(ruled.get("/partners", headers=[expired, partner(issuer)]), "x-partner") == ["alice"]
    assert_denied(ruled.get("/partners", headers=[expired]), "It has expired.")
    assert_denied(
        ruled.get("/partners", headers=[expired, partner(issuer, aud="x")]), "It is meant for another audience.", 403
    )


def test_a_token_of_one_provider_is_none_of_another(ruled: Proxy, issuer: "Issuer") -> None:
    assert_denied(ruled.get("/api", headers=[bearer(partner(issuer)[1])]), "Its key is not known.")
    assert_denied(ruled.get("/x.pdf", headers=[("x-partner-token", issuer.token())]), "Its key is not known.")
    assert_denied(ruled.get("/x.pdf", headers=[bearer(issuer.token())]), "There is no token.")


def test_a_token_may_be_missing_where_a_rule_says_so(ruled: Proxy, issuer: "Issuer") -> None:
    assert upstream_headers(ruled.get("/maybe")) == []
    assert upstream_headers(ruled.get("/maybe", headers=[bearer(issuer.token())])) == ["alice"]
    assert_denied(ruled.get("/maybe", headers=[bearer(issuer.token(exp=1))]), "It has expired.")
    assert_denied(ruled.get("/maybe", headers=[bearer("x")]), "It is no JSON Web Token.")


def test_a_token_may_be_wrong_where_a_rule_says_so(ruled: Proxy, issuer: "Issuer") -> None:
    assert upstream_headers(ruled.get("/try")) == []
    assert upstream_headers(ruled.get("/try", headers=[bearer(issuer.token())])) == ["alice"]
    for wrong in (bearer(issuer.token(exp=1)), bearer("x"), partner(issuer, aud="x")):
        exchange = ruled.get("/try", headers=[wrong, ("x-jwt-sub", "root"), ("x-partner", "root")])
        assert upstream_headers(exchange) == upstream_headers(exchange, "x-partner") == []
        assert upstream_headers(exchange, wrong[0]) == []  # nor is the upstream tempted to believe it


def test_a_path_that_cannot_be_judged_is_denied(ruled: Proxy, issuer: "Issuer") -> None:
    for path in ("/api%", "/api%zz", "/%00api", "/api/%c0%af", "/a\\;%2F//b"):
        exchange = ruled.get(path, headers=[bearer(issuer.token())])
        assert exchange.status == 400, path
        assert exchange.upstream is None


def test_without_rules_everything_passes_but_forged_headers(start_proxy: StartProxy, issuer: "Issuer") -> None:
    for configuration in (None, "", "{}"):
        assert start_proxy(configuration=configuration).get("/").status == 200
    proxy = start_proxy(configuration={"providers": {"accounts": provider(issuer)}})
    assert upstream_headers(proxy.get("/", headers=[("x-jwt-sub", "root"), bearer("x")])) == []


# Where tokens are


WRITTEN: list[Any] = [
    ("Bearer {}", 200),
    ("bearer {}", 200),
    ("BEARER   {} ", 200),
    (" Bearer\t{}", 200),
    ("Bearer{}", 401),
    ("Basic {}", 401),
    ("{}", 401),
    ("Bearer {}.", 401),
    ("Bearer {},x", 401),
    ("Bearer x {}", 401),
    ('Bearer "{}"', 401),
]


def test_a_prefix_stands_before_the_token(start_proxy: StartProxy, issuer: "Issuer") -> None:
    proxy = start(start_proxy, issuer)
    for value, status in WRITTEN:
        assert proxy.get("/", headers=[("authorization", value.format(issuer.token()))]).status == status, value


PLACES: dict[str, Any] = {
    "from_headers": [
        {"name": "X-Token"},
        {"name": "x-other", "prefix": "token="},
        {"name": "authorization", "prefix": "JWT "},
    ],
    "from_params": ["access_token", "tökén"],
    "from_cookies": ["session", "jwt"],
}


FOUND: list[Any] = [
    ("/", "x-token", "{}", None, "/"),
    ("/", "x-other", "token={}", None, "/"),
    ("/", "authorization", "jwt {}", None, "/"),
    ("/?access_token={}", "x", "y", "y", "/"),
    ("/a?b=1&access_token={}&c=%20", "x", "y", "y", "/a?b=1&c=%20"),
    ("/?acces%73_token={}&", "x", "y", "y", "/"),
    ("/?access%5Ftoken={}", "x", "y", "y", "/"),
    ("/?t%C3%B6k%C3%A9n={}", "x", "y", "y", "/"),
    ("/", "cookie", "session={}", None, "/"),
    ("/", "cookie", "a=b; session={}; c=d", "a=b; c=d", "/"),
    ("/", "cookie", 'a=b;jwt="{}";c', "a=b; c", "/"),
]


def test_a_token_is_found_and_kept_from_the_upstream(start_proxy: StartProxy, issuer: "Issuer") -> None:
    proxy = start(start_proxy, issuer, **PLACES)
    token = issuer.token()
    for path, header, value, sent_on, path_sent_on in FOUND:
        exchange = proxy.get(path.format(token), headers=[(header, value.format(token))])
        assert upstream_headers(exchange) == ["alice"], path
        assert upstream_headers(exchange, header) == ([] if sent_on is None else [sent_on])
        assert exchange.upstream is not None
        assert exchange.upstream.path == path_sent_on


def test_a_token_is_found_and_sent_on_where_that_is_wanted(start_proxy: StartProxy, issuer: "Issuer") -> None:
    proxy = start(start_proxy, issuer, **PLACES, forward=True)
    token = issuer.token()
    for path, header, value, _, _ in FOUND:
        exchange = proxy.get(path.format(token), headers=[(header, value.format(token))])
        assert upstream_headers(exchange) == ["alice"], path
        assert upstream_headers(exchange, header) == [value.format(token)]
        assert exchange.upstream is not None
        assert exchange.upstream.path == path.format(token)


def test_other_places_are_not_looked_at(start_proxy: StartProxy, issuer: "Issuer") -> None:
    proxy = start(start_proxy, issuer, **PLACES)
    token = issuer.token()
    for path, header in (
        ("/", ("authorization", f"Bearer {token}")),
        (f"/?Access_token={token}", ("x", "y")),
        (f"/?x=access_token={token}", ("x", "y")),
        ("/", ("cookie", f"Session={token}")),
        ("/", ("cookie", f"a=session={token}")),
        ("/", ("x-other", token)),
    ):
        assert_denied(proxy.get(path, headers=[header]), "There is no token.")
    assert_denied(proxy.get("/?access_token=&access_token", headers=[("x-token", "")]), "There is no token.")


def test_unless_told_tokens_are_in_the_authorization_or_the_access_token(
    start_proxy: StartProxy, issuer: "Issuer"
) -> None:
    proxy = start(start_proxy, issuer)
    assert upstream_headers(proxy.get(f"/?access_token={issuer.token()}")) == ["alice"]
    kept = [("authorization", "Basic YTpi")]
    exchange = proxy.get(f"/?access_token={issuer.token()}", headers=kept)
    assert upstream_headers(exchange, "authorization") == ["Basic YTpi"]


def test_one_token_in_two_places_is_one_token(start_proxy: StartProxy, issuer: "Issuer") -> None:
    token = issuer.token()
    exchange = start(start_proxy, issuer).get(f"/?access_token={token}", headers=[bearer(token)])
    assert upstream_headers(exchange) == ["alice"]
    assert upstream_headers(exchange, "authorization") == []
    assert exchange.upstream is not None
    assert exchange.upstream.path == "/"


# Claims become headers


TYPES: list[Any] = [
    ("text", "text"),
    ("", None),
    ("mit Umläuten €", "mit Umläuten €"),
    (0, "0"),
    (1_700_000_000, "1700000000"),
    (-5, "-5"),
    (2**70, str(2**70)),
    (1.5, "1.5"),
    (1e3, "1000"),
    (True, "true"),
    (False, "false"),
    (["admin", "dev"], "admin,dev"),
    (["admin"], "admin"),
    ([], None),
    ([1, 2.0, True, None, "x"], "1,2,true,x"),
    ([["a"], {"b": 1}], '["a"],{"b":1}'),
    ({"a": [1.0, {"b": None}], "c": "€"}, '{"a":[1,{"b":null}],"c":"\\u20ac"}'),
    ({}, "{}"),
]


def test_a_claim_becomes_a_header_by_its_type(start_proxy: StartProxy, issuer: "Issuer") -> None:
    proxy = start(start_proxy, issuer, claim_to_headers=[{"claim": "value", "header": "x-claim"}])
    for value, expected in TYPES:
        exchange = proxy.get("/", headers=[bearer(issuer.token(value=value)), ("x-claim", "forged")])
        assert upstream_headers(exchange, "x-claim") == ([] if expected is None else [expected])


NAMED: list[Any] = [
    ("realm_access.roles", ["a,b"]),
    ("realm_access.nothing", []),
    ("realm_access.roles.a", []),
    ("sub.x", []),
    ("nothing", []),
    ("null", []),
    (["https://example.com/tenant"], ["acme"]),
    (["realm_access", "roles"], ["a,b"]),
    (["realm_access.roles"], []),
    ("https://example.com/tenant", []),
]


def test_claims_are_named_by_path_or_exactly(start_proxy: StartProxy, issuer: "Issuer") -> None:
    entries = [{"claim": claim, "header": f"x-{number}"} for number, (claim, _) in enumerate(NAMED)]
    proxy = start(start_proxy, issuer, claim_to_headers=entries)
    claims: dict[str, Any] = {"realm_access": {"roles": ["a", "b"]}, "https://example.com/tenant": "acme", "null": None}
    exchange = proxy.get("/", headers=[bearer(issuer.token(**claims))])
    for number, (claim, expected) in enumerate(NAMED):
        assert upstream_headers(exchange, f"x-{number}") == expected, claim


def test_lists_are_joined_as_configured(start_proxy: StartProxy, issuer: "Issuer") -> None:
    entries = [
        {"claim": "roles", "header": "x-roles", "separator": " | "},
        {"claim": "groups", "header": "x-groups", "separator": ";"},
    ]
    proxy = start(start_proxy, issuer, claim_to_headers=entries)
    exchange = proxy.get("/", headers=[bearer(issuer.token(roles=["a", "b"], groups=["c,d", "e"]))])
    assert (upstream_headers(exchange, "x-roles"), upstream_headers(exchange, "x-groups")) == (["a | b"], ["c,d;e"])


UNFIT: list[Any] = [
    ("a\r\nx-admin: 1", "characters that a header cannot hold, or a space at an end"),
    ("a\x00", "characters that a header cannot hold, or a space at an end"),
    ("a\x7f", "characters that a header cannot hold, or a space at an end"),
    (" admin", "characters that a header cannot hold, or a space at an end"),
    ("admin\u00a0", "characters that a header cannot hold, or a space at an end"),
    ("\udc41", "half of a surrogate pair"),
    (["a,admin"], "an entry holds the separator"),
    (["x", "a,admin"], "an entry holds the separator"),
]


def test_a_claim_that_could_be_read_as_something_else_is_refused(start_proxy: StartProxy, issuer: "Issuer") -> None:
    proxy = start(start_proxy, issuer, claim_to_headers=[{"claim": "value", "header": "x-claim"}])
    for value, reason in UNFIT:
        exchange = proxy.get("/", headers=[bearer(issuer.token(value=value))])
        assert_denied(exchange, f"It has a claim that cannot be a header; claim value: {reason}.")


def test_the_whole_payload_can_be_forwarded(start_proxy: StartProxy, issuer: "Issuer") -> None:
    proxy = start(start_proxy, issuer, forward_payload_header="X-Jwt-Payload")
    exchange = proxy.get("/", headers=[bearer(issuer.token(a={"b": 1})), ("x-jwt-payload", "forged")])
    (payload,) = upstream_headers(exchange, "x-jwt-payload")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert (claims["sub"], claims["a"], claims["iss"]) == ("alice", {"b": 1}, ISSUER)


FORGED = [
    ("x-jwt-sub", "root"),
    ("X-JWT-SUB", "admin"),
    ("x-Jwt-sub", ""),
    ("x_jwt_sub", "root"),
    ("X-Jwt_Sub", "root"),
    ("x-jwt-email", "root@example.com"),
    ("x-jwt-payload", "e30"),
]


@pytest.mark.parametrize(
    "requires", ["accounts", "none", {"allow_missing": "accounts"}, {"allow_missing_or_failed": "accounts"}], ids=str
)
def test_headers_of_claims_are_never_the_clients(start_proxy: StartProxy, issuer: "Issuer", requires: object) -> None:
    entries = [{"claim": "sub", "header": "x-jwt-sub"}, {"claim": "email", "header": "x-jwt-email"}]
    proxy = start(start_proxy, issuer, requires, claim_to_headers=entries, forward_payload_header="x-jwt-payload")
    exchange = proxy.get("/", headers=[*FORGED, bearer(issuer.token()), ("x-other", "kept")])
    verified = requires != "none"
    assert upstream_headers(exchange) == (["alice"] if verified else [])
    assert len(upstream_headers(exchange, "x-jwt-payload")) == verified
    for name in ("x_jwt_sub", "x-jwt_sub", "x-jwt-email"):
        assert upstream_headers(exchange, name) == []
    assert upstream_headers(exchange, "x-other") == ["kept"]
    if requires not in ("accounts", "none"):
        exchange = proxy.get("/", headers=FORGED)
        for name in ("x-jwt-sub", "x_jwt_sub", "x-jwt_sub", "x-jwt-email", "x-jwt-payload"):
            assert upstream_headers(exchange, name) == []


def test_other_headers_reach_the_upstream_unchanged(start_proxy: StartProxy, issuer: "Issuer") -> None:
    exchange = start(start_proxy, issuer).get("/?a=1", headers=[bearer(issuer.token()), ("x-a", "1"), ("x-a", "2")])
    assert upstream_headers(exchange, "x-a") == ["1", "2"]
    assert exchange.upstream is not None
    assert exchange.upstream.path == "/?a=1"


# Answers, metrics, logs, memory


def test_the_realm_is_quoted(start_proxy: StartProxy, issuer: "Issuer") -> None:
    configuration = {
        "realm": 'say "hi\\"',
        "providers": {"a": provider(issuer)},
        "rules": [{"prefix": "/", "requires": "a"}],
    }
    exchange = start_proxy(configuration=configuration).get("/")
    assert exchange.headers["www-authenticate"] == 'Bearer realm="say \\"hi\\\\\\""'


def test_decisions_are_counted(ruled: Proxy, issuer: "Issuer") -> None:
    def count(decision: str) -> int:
        return ruled.metric("jwt_headers_requests", decision=decision)

    decisions = ("allowed", "anonymous", "denied", "unavailable", "unprotected")
    before = [count(decision) for decision in decisions]
    hits, misses = (ruled.metric("jwt_headers_cache", result=result) for result in ("hit", "miss"))
    token = bearer(issuer.token())
    for _ in range(3):
        ruled.get("/api", headers=[token])
    ruled.get("/api")
    ruled.get("/api", headers=[bearer("x")])
    ruled.get("/maybe")
    ruled.get("/health")
    ruled.get("/health")
    ruled.get("/")
    after = [count(decision) for decision in decisions]
    assert [new - old for new, old in zip(after, before, strict=True)] == [3, 1, 2, 0, 3]
    assert ruled.metric("jwt_headers_cache", result="hit") - hits == 2
    assert ruled.metric("jwt_headers_cache", result="miss") - misses == 1


def test_no_token_is_logged(ruled: Proxy, issuer: "Issuer") -> None:
    tokens = [issuer.token(), issuer.token(exp=1), "secret.e30.e30"]
    for token in tokens:
        ruled.get("/api", headers=[bearer(token)])
        ruled.get(f"/api?access_token={token}")
    log = "\n".join(record.message for record in ruled.logs)
    for secret in ("alice", "secret", *(part for token in tokens for part in token.split(".") if len(part) > 3)):
        assert secret not in log


def test_of_a_full_cache_the_token_goes_that_was_not_seen_for_longest(
    start_proxy: StartProxy, issuer: "Issuer"
) -> None:
    proxy = start(start_proxy, issuer, jwt_cache_config={"jwt_cache_size": 2})
    hits = proxy.metric("jwt_headers_cache", result="hit")
    one, two, three = (bearer(issuer.token("oct", "HS256", sub=name)) for name in ("one", "two", "three"))
    for header, hit in ((one, 0), (two, 0), (one, 1), (three, 0), (one, 1), (two, 0), (three, 0), (one, 0)):
        assert proxy.get("/", headers=[header]).status == 200
        hits += hit
        assert proxy.metric("jwt_headers_cache", result="hit") == hits


@pytest.mark.parametrize("cache", [{"jwt_cache_size": 0}, {"jwt_max_token_size": 64}], ids=str)
def test_tokens_need_not_be_remembered(start_proxy: StartProxy, issuer: "Issuer", cache: dict[str, int]) -> None:
    proxy = start(start_proxy, issuer, jwt_cache_config=cache)
    hits = proxy.metric("jwt_headers_cache", result="hit")
    token = bearer(issuer.token())
    for _ in range(3):
        assert upstream_headers(proxy.get("/", headers=[token])) == ["alice"]
    assert proxy.metric("jwt_headers_cache", result="hit") == hits


def test_a_token_that_one_provider_has_accepted_is_judged_anew_by_another(
    start_proxy: StartProxy, issuer: "Issuer"
) -> None:
    proxy = start_proxy(
        configuration={
            "providers": {"api": provider(issuer, audiences=["api"]), "web": provider(issuer, audiences=["web"])},
            "rules": [{"prefix": "/api", "requires": "api"}, {"prefix": "/", "requires": "web"}],
        }
    )
    token = bearer(issuer.token(aud="api"))
    for _ in range(2):
        assert upstream_headers(proxy.get("/api", headers=[token])) == ["alice"]
        assert_denied(proxy.get("/web", headers=[token]), "It is meant for another audience.", 403)


@pytest.mark.hosts("wasm", "envoy")  # for native see test_the_skew_ends_at_its_second
def test_a_token_expires_in_the_cache_too(start_proxy: StartProxy, issuer: "Issuer") -> None:
    proxy = start(start_proxy, issuer, clock_skew_seconds=0)
    token = bearer(issuer.token("oct", "HS256", exp=int(time.time()) + 4))
    assert upstream_headers(proxy.get("/", headers=[token])) == ["alice"]
    proxy.advance(5)
    assert_denied(proxy.get("/", headers=[token]), "It has expired.")
