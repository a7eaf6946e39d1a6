"""Tokens with which other filters were deceived: each must end in a denial, on all three hosts."""

import json
import time
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from proxy_wasm.testing import Exchange, Proxy, StartProxy

if TYPE_CHECKING:
    from conftest import Issuer

pytestmark = pytest.mark.strict


@pytest.fixture
def proxy(start_proxy: StartProxy, issuer: "Issuer") -> Proxy:
    return start_proxy(configuration=configuration(issuer))


def configuration(issuer: "Issuer", **fields: object) -> dict[str, Any]:
    provider = {
        "issuer": "https://accounts.example.com",
        "local_jwks": issuer.jwks("rsa", "ec", "okp", "oct"),
        "claim_to_headers": [{"claim": "sub", "header": "x-jwt-sub"}],
        **fields,
    }
    return {"providers": {"accounts": provider}, "rules": [{"prefix": "/", "requires": "accounts"}]}


def send(proxy: Proxy, token: str | bytes) -> Exchange:
    octets = token if isinstance(token, bytes) else token.encode()
    return proxy.get("/", headers=[(b"authorization", b"Bearer " + octets)])


def assert_accepted(exchange: Exchange) -> None:
    assert exchange.status == 200, exchange.details
    assert exchange.upstream is not None
    assert exchange.upstream.headers.get_list("x-jwt-sub") == ["alice"]


def assert_denied(exchange: Exchange, reason: str = "") -> None:
    assert exchange.status == 401
    assert exchange.upstream is None
    assert reason.replace(" ", "_") in exchange.details


NONES = ["".join(letters) for letters in product(*({letter, letter.upper()} for letter in "none"))]


def test_none_is_no_algorithm_however_it_is_written(proxy: Proxy, issuer: "Issuer") -> None:
    for name in [*NONES, "", " none", "none ", "NONE\u0000", "n\u043ene", None, 0, ["none"], {"none": 1}, True]:
        for kid in ("rsa", "oct", None):
            fields: dict[str, Any] = {"alg": name, **({"kid": kid} if kid else {})}
            for key in (None, issuer.keys["oct"]):
                token = issuer.compact(fields, issuer.claims(), key, "HS256")
                assert_denied(send(proxy, token), "Its algorithm is not accepted")
    token = issuer.compact({"typ": "JWT", "kid": "rsa"}, issuer.claims(), issuer.keys["rsa"], "RS256")
    assert_denied(send(proxy, token), "Its algorithm is not accepted")


def test_a_public_key_is_no_secret(proxy: Proxy, issuer: "Issuer") -> None:
    key = issuer.keys["rsa"]
    assert isinstance(key, rsa.RSAPrivateKey)
    public = key.public_key()
    formats = [
        (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        (serialization.Encoding.PEM, serialization.PublicFormat.PKCS1),
        (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
    ]
    secrets = [public.public_bytes(*each) for each in formats]
    secrets += [json.dumps(issuer.jwks("rsa")["keys"][0]).encode(), issuer.jwks("rsa")["keys"][0]["n"].encode()]
    for secret in (*secrets, *(each.rstrip(b"\n") for each in secrets)):
        for kid in ("rsa", None, "oct"):
            fields = {"alg": "HS256", **({"kid": kid} if kid else {})}
            assert_denied(send(proxy, issuer.compact(fields, issuer.claims(), secret, "HS256")))


NAMED: list[Any] = [
    ("rsa", "HS256", "Its key is not one for its algorithm"),
    ("rsa", "ES256", "Its key is not one for its algorithm"),
    ("rsa", "EdDSA", "Its key is not one for its algorithm"),
    ("ec", "RS256", "Its key is not one for its algorithm"),
    ("ec", "ES384", "Its key is not one for its algorithm"),
    ("okp", "ES256", "Its key is not one for its algorithm"),
    ("oct", "RS256", "Its key is not one for its algorithm"),
    ("unknown", "RS256", "Its key is not known"),
    ("", "RS256", "Its key is not known"),
    ("RSA", "RS256", "Its key is not known"),
    ("rsa ", "RS256", "Its key is not known"),
    ("../rsa", "RS256", "Its key is not known"),
    ("x" * 5000, "RS256", "Its key is not known"),
    (None, "RS512", ""),
]


def test_a_token_is_verified_with_the_key_that_it_names(proxy: Proxy, issuer: "Issuer") -> None:
    """Signed by the one key that fits the algorithm, if the key that is named does not."""
    for kid, algorithm, reason in NAMED:
        signer = {"HS": "oct", "RS": "rsa", "ES": "ec", "Ed": "okp"}[algorithm[:2]]
        exchange = send(proxy, issuer.token(kid, algorithm, key=signer))
        if reason:
            assert_denied(exchange, reason)
        else:
            assert_accepted(exchange)


def test_a_kid_is_a_string(proxy: Proxy, issuer: "Issuer") -> None:
    for kid in (5, None, True, ["rsa"], {"rsa": 1}):
        token = issuer.compact({"alg": "RS256", "kid": kid}, issuer.claims(), issuer.keys["rsa"], "RS256")
        assert_denied(send(proxy, token), "It is no JSON Web Token")


def test_keys_that_a_token_brings_along_are_ignored(proxy: Proxy, issuer: "Issuer") -> None:
    mine = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    jwk = issuer.public_jwk(mine, kid="rsa")
    bait: dict[str, Any] = {
        "jwk": jwk,
        "jku": "https://evil.example.com/jwks.json",
        "x5u": "https://evil.example.com/cert.pem",
        "x5c": ["MIIB"],
        "x5t": "x",
    }
    for fields in (*({name: value} for name, value in bait.items()), bait):
        for kid in ({"kid": "rsa"}, {"kid": "mine"}, {}):
            token = issuer.compact({"alg": "RS256", **kid, **fields}, issuer.claims(), mine, "RS256")
            assert_denied(send(proxy, token))
        assert_accepted(send(proxy, issuer.token(header=fields)))


CRITICAL: list[Any] = [
    {"crit": ["exp"], "exp": 1},
    {"crit": []},
    {"crit": ["b64"], "b64": True},
    {"crit": "x"},
    {"crit": None},
    {"b64": False},
]


def test_critical_extensions_are_refused(proxy: Proxy, issuer: "Issuer") -> None:
    for fields in CRITICAL:
        assert_denied(send(proxy, issuer.token(header=fields)), "It has critical extensions")


def test_a_name_that_occurs_twice_is_refused(proxy: Proxy, issuer: "Issuer") -> None:
    header, claims = {"alg": "RS256", "kid": "rsa"}, json.dumps(issuer.claims())[1:]
    payloads = [
        b'{"sub": "root", ' + claims.encode(),
        b'{"a": [{"b": 1, "c": {"d": 1, "d": 1}}], ' + claims.encode(),
        b'{"s\\u0075b": "root", ' + claims.encode(),
    ]
    for payload in payloads:
        assert_denied(
            send(proxy, issuer.compact(header, payload, issuer.keys["rsa"], "RS256")), "It is no JSON Web Token"
        )
    for doubled in (b'{"alg": "none", "alg": "RS256", "kid": "rsa"}', b'{"kid": "x", "alg": "RS256", "kid": "rsa"}'):
        token = issuer.compact(doubled, issuer.claims(), issuer.keys["rsa"], "RS256")
        assert_denied(send(proxy, token), "It is no JSON Web Token")


NO_OBJECTS: list[Any] = [
    b"",
    b"[]",
    b'"text"',
    b"5",
    b"null",
    b"{",
    b'{"sub": "alice"} {}',
    b'{"sub": "alice", "exp": NaN}',
    b'{"sub": "alice", "exp": Infinity}',
    b'{"sub": "alice", "exp": 1e999}',
    b'{"sub": "alice", "exp": ' + b"9" * 5000 + b"}",
    b'{"sub": "\xff", "exp": 9999999999}',
    b'\xef\xbb\xbf{"sub": "alice", "exp": 9999999999}',
    '{"sub": "alice", "exp": 9999999999}'.encode("utf-16"),
    b"{'sub': 'alice'}",
    b'{"sub": "alice", "exp": 9999999999,}',
]


def test_a_payload_that_is_no_object_of_json_is_refused(proxy: Proxy, issuer: "Issuer") -> None:
    for payload in NO_OBJECTS:
        token = issuer.compact({"alg": "RS256", "kid": "rsa"}, payload, issuer.keys["rsa"], "RS256")
        assert_denied(send(proxy, token))


def malformed(issuer: "Issuer") -> list[str | bytes]:
    token = issuer.token("oct", "HS256")
    header, payload, signature = token.split(".")
    last = signature[-1]
    same = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    bits = signature[:-1] + same[same.index(last) ^ 1]  # decodes to the same bytes
    return [
        f"{header}.{payload}.{bits}",
        f"{token}=",
        f"{header}=.{payload}.{signature}",
        f"{header}.{payload}==.{signature}",
        f"{header}.{payload}.{signature}\n".replace("\n", "%0A"),
        token.replace("-", "+").replace("_", "/") + "+",
        f"{header}.{payload} .{signature}",
        f"{header}..{signature}",
        f".{payload}.{signature}",
        f"{header}.{payload}.",
        f"{header}.{payload}",
        header,
        f"{token}.{signature}",
        f"{header}.{payload}.{signature}.x.y",
        f"{token},{token}",
        f"{token} {token}",
        "..",
        ".",
        "a.b.c",
        "AAAA.AAAA.AAAA",
        "null.null.null",
        token.encode() + b"\xff",
        b"\xff\xfe\x80",
        "\uff45yJ.e30.e30",
    ]


def test_a_token_has_one_form(proxy: Proxy, issuer: "Issuer") -> None:
    assert_accepted(send(proxy, issuer.token("oct", "HS256")))
    for token in malformed(issuer):
        assert_denied(send(proxy, token))


def test_a_token_of_a_megabyte_is_refused_before_it_is_read(proxy: Proxy, issuer: "Issuer") -> None:
    for token in ("x" * 1_000_000, issuer.token("oct", "HS256", filler="x" * 750_000), "." * 1_000_000):
        assert_denied(send(proxy, token), "It is longer than 16384 characters")
    assert_denied(proxy.get("/?access_token=" + "x" * 60_000), "It is longer than 16384 characters")
    assert_accepted(send(proxy, issuer.token("oct", "HS256", filler="x" * 11_000)))


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_ten_thousand_nested_claims_do_no_harm(start_proxy: StartProxy, issuer: "Issuer", opening: str) -> None:
    proxy = start_proxy(
        configuration=configuration(
            issuer,
            max_token_size=65536,
            claim_to_headers=[{"claim": "sub", "header": "x-jwt-sub"}, {"claim": "deep", "header": "x-deep"}],
        )
    )
    closing = {"[": "]", '{"a":': "}"}[opening]
    deep = f"{opening * 6000}1{closing * 6000}" if opening != "[" else "[" * 10_000 + "]" * 10_000
    for name in ("deep", "other"):
        payload = json.dumps(issuer.claims())[:-1] + f', "{name}": {deep}}}'
        exchange = send(
            proxy, issuer.compact({"alg": "HS256", "kid": "oct"}, payload.encode(), issuer.keys["oct"], "HS256")
        )
        assert exchange.status in (200, 401)
        if name == "deep":
            assert_denied(exchange)
    header = f'{{"alg": "HS256", "kid": "oct", "x": {deep}}}'
    assert_denied(send(proxy, issuer.compact(header.encode(), issuer.claims(), issuer.keys["oct"], "HS256")))
    assert_accepted(send(proxy, issuer.token("oct", "HS256")))


def test_tokens_in_two_places_must_be_the_same(proxy: Proxy, issuer: "Issuer") -> None:
    right, other = issuer.token(), issuer.token(sub="bob")
    for one, two in ((right, other), (other, right), (right, "x"), ("x", right), (right, issuer.token(exp=1))):
        exchange = proxy.get(f"/?access_token={two}", headers={"authorization": f"Bearer {one}"})
        assert_denied(exchange, "There are several different tokens")
        assert_denied(proxy.get(f"/?access_token={one}&access_token={two}"), "There are several different tokens")
        two_headers = [("authorization", f"Bearer {one}"), ("authorization", f"Bearer {two}")]
        assert_denied(proxy.get("/", headers=two_headers))


def test_a_signature_belongs_to_one_text(proxy: Proxy, issuer: "Issuer") -> None:
    header, _, signature = issuer.token().split(".")
    payload = issuer.base64url(json.dumps(issuer.claims(sub="root")).encode())
    assert_denied(send(proxy, f"{header}.{payload}.{signature}"), "Its signature is wrong")
    for size in (0, 1, 255, 257, 512):
        forged = issuer.base64url(bytes(size))
        assert_denied(send(proxy, f"{'.'.join(issuer.token().split('.')[:2])}.{forged}"))


def test_a_token_that_was_refused_is_refused_again(proxy: Proxy, issuer: "Issuer") -> None:
    accepted = issuer.token()
    forged = accepted[:-4] + ("AAAA" if not accepted.endswith("AAAA") else "BBBA")
    for _ in range(3):
        assert_accepted(send(proxy, accepted))
        assert_denied(send(proxy, forged))
        assert_denied(send(proxy, issuer.token(exp=int(time.time()) - 1000)), "It has expired")
