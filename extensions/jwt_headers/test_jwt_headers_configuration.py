"""Every field of the configuration, wrong: refused with a message that names the field, on all three hosts."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm.testing import ConfigurationRejected, StartProxy

if TYPE_CHECKING:
    from conftest import Issuer

SECRET = "aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMmh1bnQ"
OCT = {"kty": "oct", "k": SECRET, "kid": "1"}
PROVIDER: dict[str, Any] = {"local_jwks": {"keys": [OCT]}}
REMOTE = {"cluster": "accounts", "uri": "https://accounts.example.com/jwks.json"}
METADATA = {"payload_from_metadata": "payload"}


def one(**fields: object) -> dict[str, Any]:
    return {"providers": {"a": {**PROVIDER, **fields}}}


def local(*keys: object) -> dict[str, Any]:
    return one(local_jwks={"keys": list(keys)})


def remote(**fields: object) -> dict[str, Any]:
    return {"providers": {"a": {"remote_jwks": {**REMOTE, **fields}}}}


def metadata(**fields: object) -> dict[str, Any]:
    return {"providers": {"a": {**METADATA, **fields}}}


def claim(**fields: object) -> dict[str, Any]:
    return one(claim_to_headers=[{"claim": "sub", "header": "x-sub"}, {"claim": "a", "header": "x-a", **fields}])


def rule(**fields: object) -> dict[str, Any]:
    return {"providers": {"a": PROVIDER}, "rules": [{"prefix": "/x", "requires": "a"}, fields]}


def requires(value: object) -> dict[str, Any]:
    return rule(prefix="/", requires=value)


BAD: list[tuple[object, str]] = [
    ("{", "configuration: not JSON"),
    ("[" * 100_000, "configuration: nested too deeply"),
    ("[]", "configuration: must be an object, is an array"),
    ('{"rules": [], "rules": []}', "configuration: the name 'rules' occurs twice in one object"),
    ({"provider": {}}, "provider: is not known, providers, rules, clear_route_cache, realm are"),
    ({"clear_route_cache": 1}, "clear_route_cache: must be true or false, is a number"),
    ({"realm": 5}, "realm: must be a string, is a number"),
    ({"realm": "a\nb"}, "realm: holds control characters"),
    ({"providers": []}, "providers: must be an object, is an array"),
    ({"providers": {"a": []}}, "providers.a: must be an object, is an array"),
    ({"providers": {"none": PROVIDER}}, "providers.none: cannot be the name of a provider"),
    ({"providers": {"": PROVIDER}}, "providers.: cannot be the name of a provider"),
    (one(issuers="x"), "providers.a.issuers: is not known"),
    (one(issuer=5), "providers.a.issuer: must be a string, is a number"),
    (one(audiences="api"), "providers.a.audiences: must be an array, is a string"),
    (one(audiences=["api", 5]), "providers.a.audiences[1]: must be a string, is a number"),
    (
        {"providers": {"a": {}}},
        "providers.a: needs exactly one of local_jwks, remote_jwks, payload_from_metadata, has none",
    ),
    (one(remote_jwks=REMOTE), "has local_jwks and remote_jwks"),
    (one(local_jwks=[]), "providers.a.local_jwks: must be an object"),
    (one(local_jwks={}), "providers.a.local_jwks.keys: must be an array of keys, is missing"),
    (local(), "providers.a.local_jwks: needs at least one key"),
    (local(OCT, {"kty": "x"}), "providers.a.local_jwks.keys[1]: kty: 'x' is not known"),
    (local({"kty": "RSA", "n": "AQAB", "e": "AQAB"}), "providers.a.local_jwks.keys[0]: n: has"),
    (local({**OCT, "use": "enc"}), "providers.a.local_jwks.keys[0] (kid '1'): use: is 'enc'"),
    (local(OCT, OCT), "providers.a.local_jwks: several keys have the kid '1'"),
    (one(algorithms=["RS256"]), "providers.a.algorithms: none of the keys is one for any of them"),
    (local({"kty": "oct", "k": "c2hvcnQ"}), "providers.a.algorithms: none of the keys is one for any of them"),
    (one(algorithms=[]), "providers.a.algorithms: needs at least one entry"),
    (one(algorithms=["HS256", "none"]), "providers.a.algorithms[1]: 'none' is not known, HS256, HS384"),
    (one(algorithms=["hs256"]), "providers.a.algorithms[0]: 'hs256' is not known"),
    (one(algorithms="HS256"), "providers.a.algorithms: must be an array, is a string"),
    ({"providers": {"a": {"remote_jwks": "x"}}}, "providers.a.remote_jwks: must be an object, is a string"),
    (remote(url="x"), "providers.a.remote_jwks.url: is not known"),
    (remote(cluster=""), "providers.a.remote_jwks.cluster: is missing"),
    (remote(cluster=5), "providers.a.remote_jwks.cluster: must be a string, is a number"),
    ({"providers": {"a": {"remote_jwks": {"cluster": "a"}}}}, "providers.a.remote_jwks.uri: is missing"),
    (remote(uri="accounts.example.com"), "providers.a.remote_jwks.uri: must be a URL such as"),
    (remote(uri="ftp://a/b"), "providers.a.remote_jwks.uri: must be a URL such as"),
    (remote(uri="https://a b/c"), "providers.a.remote_jwks.uri: must be a URL such as"),
    (remote(uri="https://a/b c"), "providers.a.remote_jwks.uri: must be a URL such as"),
    (remote(uri="https://user@a/"), "providers.a.remote_jwks.uri: must be a URL such as"),
    (remote(uri="https://a/#x"), "providers.a.remote_jwks.uri: must be a URL such as"),
    (remote(timeout_ms=0), "providers.a.remote_jwks.timeout_ms: must be from 1 to 60000"),
    (remote(timeout_ms="1s"), "providers.a.remote_jwks.timeout_ms: must be an integer, is a string"),
    (remote(timeout_ms=1.5), "providers.a.remote_jwks.timeout_ms: must be an integer, is a number with a fraction"),
    (remote(timeout_ms=True), "providers.a.remote_jwks.timeout_ms: must be an integer, is a boolean"),
    (remote(cache_seconds=0), "providers.a.remote_jwks.cache_seconds: must be from 1 to 86400"),
    (remote(cooldown_seconds=0), "providers.a.remote_jwks.cooldown_seconds: must be from 1 to 86400"),
    (metadata(payload_from_metadata=""), "providers.a.payload_from_metadata: needs at least one character"),
    (metadata(payload_from_metadata=5), "providers.a.payload_from_metadata: must be a string, is a number"),
    (metadata(issuer="x"), "providers.a.issuer: has no meaning with payload_from_metadata"),
    (metadata(algorithms=["RS256"]), "providers.a.algorithms: has no meaning with payload_from_metadata"),
    (metadata(from_headers=[]), "providers.a.from_headers: has no meaning with payload_from_metadata"),
    (one(from_headers={}), "providers.a.from_headers: must be an array, is an object"),
    (one(from_headers=[]), "providers.a.from_headers: needs at least one entry, or from_params or from_cookies does"),
    (one(from_headers=["authorization"]), "providers.a.from_headers[0]: must be an object, is a string"),
    (one(from_headers=[dict[str, object]()]), "providers.a.from_headers[0].name: is missing"),
    (one(from_headers=[{"name": "x y"}]), "providers.a.from_headers[0].name: is not the name of a header"),
    (one(from_headers=[{"name": ":path"}]), "providers.a.from_headers[0].name: is not the name of a header"),
    (one(from_headers=[{"name": "Cookie"}]), "providers.a.from_headers[0].name: cannot be 'cookie'"),
    (one(from_headers=[{"name": "a", "prefix": 1}]), "providers.a.from_headers[0].prefix: must be a string"),
    (
        one(from_headers=[{"name": "a", "prefix": "a\n"}]),
        "providers.a.from_headers[0].prefix: holds control characters",
    ),
    (one(from_headers=[{"name": "a", "value": ""}]), "providers.a.from_headers[0].value: is not known"),
    (one(from_params="a"), "providers.a.from_params: must be an array, is a string"),
    (one(from_params=["a", ""]), "providers.a.from_params[1]: is not the name of a parameter"),
    (one(from_cookies=[1]), "providers.a.from_cookies[0]: must be a string, is a number"),
    (one(from_cookies=["a;b"]), "providers.a.from_cookies[0]: is not the name of a cookie"),
    (one(forward="yes"), "providers.a.forward: must be true or false, is a string"),
    (one(clock_skew_seconds=-1), "providers.a.clock_skew_seconds: must be from 0 to 86400"),
    (one(clock_skew_seconds="60"), "providers.a.clock_skew_seconds: must be an integer, is a string"),
    (one(require_expiration=0), "providers.a.require_expiration: must be true or false, is a number"),
    (one(max_token_size=10), "providers.a.max_token_size: must be from 64 to 65536"),
    (one(max_token_size=None), "providers.a.max_token_size: must be an integer, is null"),
    (one(jwt_cache_config=5), "providers.a.jwt_cache_config: must be an object, is a number"),
    (one(jwt_cache_config={"size": 1}), "providers.a.jwt_cache_config.size: is not known"),
    (one(jwt_cache_config={"jwt_cache_size": -1}), "providers.a.jwt_cache_config.jwt_cache_size: must be from 0 to"),
    (one(jwt_cache_config={"jwt_max_token_size": 1}), "providers.a.jwt_cache_config.jwt_max_token_size: must be from"),
    (one(claim_to_headers={}), "providers.a.claim_to_headers: must be an array, is an object"),
    (one(claim_to_headers=["sub"]), "providers.a.claim_to_headers[0]: must be an object, is a string"),
    (claim(name="x"), "providers.a.claim_to_headers[1].name: is not known"),
    (claim(claim=5), "providers.a.claim_to_headers[1].claim: must be a string, is a number"),
    (claim(claim=""), "providers.a.claim_to_headers[1].claim: must name a claim"),
    (claim(claim="a..b"), "providers.a.claim_to_headers[1].claim: must name a claim"),
    (claim(claim=[]), "providers.a.claim_to_headers[1].claim: needs at least one entry"),
    (claim(claim=["a", 5]), "providers.a.claim_to_headers[1].claim[1]: must be a string, is a number"),
    (claim(header=5), "providers.a.claim_to_headers[1].header: must be a string, is a number"),
    (one(claim_to_headers=[{"claim": "a"}]), "providers.a.claim_to_headers[0].header: is missing"),
    (claim(header="x a"), "providers.a.claim_to_headers[1].header: is not the name of a header"),
    (claim(header=":path"), "providers.a.claim_to_headers[1].header: is not the name of a header"),
    (claim(header="Host"), "providers.a.claim_to_headers[1].header: cannot be 'host'"),
    (claim(header="authorization"), "providers.a.claim_to_headers[1].header: cannot be 'authorization'"),
    (claim(header="X-Sub"), "providers.a.claim_to_headers: sets the header 'x-sub' twice"),
    (claim(separator=""), "providers.a.claim_to_headers[1].separator: needs at least one character"),
    (claim(separator="\n"), "providers.a.claim_to_headers[1].separator: needs at least one character, and no control"),
    (claim(separator=5), "providers.a.claim_to_headers[1].separator: must be a string, is a number"),
    (one(forward_payload_header=""), "providers.a.forward_payload_header: is not the name of a header"),
    (one(forward_payload_header="te"), "providers.a.forward_payload_header: cannot be 'te'"),
    (
        one(from_headers=[{"name": "X-T"}], forward_payload_header="x-t"),
        "providers.a.claim_to_headers: sets the header 'x-t', which tokens are read from",
    ),
    ({"rules": {}}, "rules: must be an array, is an object"),
    ({"rules": ["/"]}, "rules[0]: must be an object, is a string"),
    (rule(requires="a"), "rules[1]: needs exactly one of prefix, exact, suffix, regex, has none"),
    (
        rule(prefix="/", exact="/", requires="a"),
        "rules[1]: needs exactly one of prefix, exact, suffix, regex, has prefix",
    ),
    (rule(prefix="", requires="a"), "rules[1].prefix: needs at least one character, '/' covers every path"),
    (rule(prefix="x", requires="a"), "rules[1].prefix: must begin with '/'"),
    (rule(exact="/a/../b", requires="a"), "rules[1].exact: holds a dot segment"),
    (rule(suffix="?x", requires="a"), "rules[1].suffix: holds a query or a fragment"),
    (rule(regex="(", requires="a"), "rules[1].regex: is no regular expression"),
    (rule(path="/", requires="a"), "rules[1].path: is not known"),
    (rule(prefix="/"), "rules[1].requires: is missing"),
    (requires("b"), "rules[1].requires: there is no provider 'b'; known: a"),
    (requires(None), "rules[1].requires: must be a string, is null"),
    (requires([]), "rules[1].requires: needs at least one provider"),
    (requires(["a", "none"]), "rules[1].requires[1]: there is no provider 'none'"),
    (requires([["a"]]), "rules[1].requires[0]: must be a string, is an array"),
    (requires({}), "rules[1].requires: needs exactly one of allow_missing, allow_missing_or_failed"),
    (requires({"any": "a"}), "rules[1].requires.any: is not known, allow_missing, allow_missing_or_failed are"),
    (
        requires({"allow_missing": "a", "allow_missing_or_failed": "a"}),
        "rules[1].requires: needs exactly one of allow_missing, allow_missing_or_failed",
    ),
    (requires({"allow_missing": "b"}), "rules[1].requires.allow_missing: there is no provider 'b'"),
    (requires({"allow_missing": []}), "rules[1].requires.allow_missing: needs at least one provider"),
    ({"rules": [{"prefix": "/", "requires": "a"}]}, "rules[0].requires: there is no provider 'a'; known: none are"),
]


@pytest.mark.hosts("native", "wasm")
@pytest.mark.parametrize(("configuration", "message"), BAD, ids=[message for _, message in BAD])
def test_a_bad_configuration_is_refused_by_the_path_of_the_field(
    start_proxy: StartProxy, configuration: object, message: str
) -> None:
    text = configuration if isinstance(configuration, str) else json.dumps(configuration)
    with pytest.raises(ConfigurationRejected) as rejection:
        start_proxy(configuration=text)
    assert message in str(rejection.value)
    assert SECRET not in str(rejection.value)


@pytest.mark.hosts("envoy")
@pytest.mark.parametrize(("configuration", "message"), BAD[::20], ids=[message for _, message in BAD[::20]])
def test_envoy_refuses_a_bad_configuration_with_its_message(
    start_proxy: StartProxy, configuration: object, message: str
) -> None:
    """Each takes Envoy half a second, so that these stand for all."""
    text = configuration if isinstance(configuration, str) else json.dumps(configuration)
    with pytest.raises(ConfigurationRejected) as rejection:
        start_proxy(configuration=text)
    assert message in str(rejection.value)


GOOD: list[dict[str, Any]] = [
    one(),
    remote(timeout_ms=60_000, cache_seconds=86_400, cooldown_seconds=1, uri="http://a:8080"),
    metadata(forward_payload_header="x-payload"),
    one(jwt_cache_config={}, clock_skew_seconds=0, from_headers=[], from_params=["t"], audiences=[]),
    local(OCT, {"kty": "oct", "k": SECRET}, {"kty": "oct", "k": SECRET}),
    requires({"allow_missing_or_failed": ["a", "a"]}),
]


@pytest.mark.parametrize("configuration", GOOD, ids=[str(number) for number in range(len(GOOD))])
def test_a_good_configuration_is_accepted(start_proxy: StartProxy, configuration: dict[str, Any]) -> None:
    assert start_proxy(configuration=configuration, clusters={}).get("/other").status == 200


def test_a_refused_configuration_changes_nothing_for_the_one_that_runs(
    start_proxy: StartProxy, issuer: "Issuer"
) -> None:
    good = {"providers": {"a": {"local_jwks": issuer.jwks()}}, "rules": [{"prefix": "/", "requires": "a"}]}
    proxy = start_proxy(configuration=good)
    with pytest.raises(ConfigurationRejected):
        start_proxy(configuration={**good, "rules": []} | {"realm": 5})
    assert proxy.get("/").status == 401
    assert proxy.get("/", headers={"authorization": f"Bearer {issuer.token()}"}).status == 200
