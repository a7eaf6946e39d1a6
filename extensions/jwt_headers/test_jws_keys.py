"""JSON Web Keys: what is read of good ones, and that every bad one is refused with the member that is wrong."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from jws_ecdsa import CURVES
from jws_keys import MOST_KEYS, EcKey, JwkError, OctKey, OkpKey, RsaKey, parse_key, parse_key_set

Json = dict[str, Any]


def encoded(value: bytes | int, size: int = 0) -> str:
    if isinstance(value, int):
        value = value.to_bytes(size or (value.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


RSA_NUMBERS = rsa.generate_private_key(65537, 2048).public_key().public_numbers()
RSA: Json = {"kty": "RSA", "n": encoded(RSA_NUMBERS.n), "e": "AQAB"}
EC_NUMBERS = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
EC: Json = {"kty": "EC", "crv": "P-256", "x": encoded(EC_NUMBERS.x, 32), "y": encoded(EC_NUMBERS.y, 32)}
ED: Json = {
    "kty": "OKP",
    "crv": "Ed25519",
    "x": encoded(ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()),
}
SECRET = b"hunter2" * 5
OCT: Json = {"kty": "oct", "k": encoded(SECRET)}
GOOD = [RSA, EC, ED, OCT]


def test_an_rsa_key_has_its_numbers() -> None:
    key = parse_key(RSA)
    assert isinstance(key, RsaKey)
    assert (key.n, key.e) == (RSA_NUMBERS.n, 65537)
    assert (key.kid, key.alg, key.use, key.key_ops) == (None, None, None, None)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=["P-256", "P-384", "P-521"])
def test_a_key_on_a_curve_has_its_point(curve: ec.EllipticCurve) -> None:
    name = f"P-{curve.key_size}"
    size = CURVES[name].size
    for secret in (1, 2, 12345):
        numbers = ec.derive_private_key(secret, curve).public_key().public_numbers()
        key = parse_key(
            {"kty": "EC", "crv": name, "x": encoded(numbers.x, size), "y": encoded(numbers.y, size), "d": "AQ"}
        )
        assert isinstance(key, EcKey)
        assert (key.crv, key.point.x, key.point.y) == (name, numbers.x, numbers.y)


def test_an_eddsa_key_has_its_bytes() -> None:
    key = parse_key(ED)
    assert isinstance(key, OkpKey)
    assert encoded(key.x) == ED["x"]


def test_a_secret_is_read_and_never_shown() -> None:
    key = parse_key({**OCT, "kid": "a"})
    assert isinstance(key, OctKey)
    assert key.secret == SECRET
    assert repr(key) == "<OctKey 'a'>"


def test_what_a_key_says_of_itself_is_kept() -> None:
    for jwk in GOOD:
        key = parse_key({**jwk, "kid": "k1", "alg": "X", "use": "sig", "key_ops": ["verify", "x"], "x5c": 7})
        assert (key.kid, key.alg, key.use, key.key_ops) == ("k1", "X", "sig", ("verify", "x"))
        assert "'k1'" in repr(key)


def test_zeros_before_a_number_do_no_harm() -> None:
    key = parse_key({**RSA, "n": encoded(b"\0" + RSA_NUMBERS.n.to_bytes(256, "big")), "e": "AAEAAQ"})
    assert isinstance(key, RsaKey)
    assert (key.n, key.e) == (RSA_NUMBERS.n, 65537)


def on_curve(name: str, x: int, y: int) -> Json:
    size = CURVES[name].size
    return {"kty": "EC", "crv": name, "x": encoded(x, size), "y": encoded(y, size)}


P256 = CURVES["P-256"]
NO_BASE64 = "is no base64url: letters, digits, '-' and '_', without padding, and zeros in the bits left over"
BAD: list[tuple[Json, str]] = [
    ({}, "kty: is missing"),
    ({"kty": None}, "kty: is missing"),
    ({"kty": ["RSA"]}, "kty: must be a string, is an array"),
    ({"kty": "rsa"}, "kty: 'rsa' is not known; RSA, EC, OKP, oct are"),
    ({"kty": "x" * 100_000}, f"kty: '{'x' * 40}...' is not known; RSA, EC, OKP, oct are"),
    ({"kty": "AKP", "alg": "ML-DSA-44"}, "kty: 'AKP' is not known; RSA, EC, OKP, oct are"),
    ({**RSA, "kid": 7}, "kid: must be a string, is a number"),
    ({**RSA, "alg": True}, "alg: must be a string, is a boolean"),
    ({**RSA, "use": {}}, "use: must be a string, is an object"),
    ({**RSA, "key_ops": "verify"}, "key_ops: must be an array, is a string"),
    ({**RSA, "key_ops": ["verify", 1]}, "key_ops: must be an array of strings"),
    ({"kty": "RSA", "e": "AQAB"}, "n: is missing"),
    ({"kty": "RSA", "n": RSA["n"]}, "e: is missing"),
    ({**RSA, "n": 12}, "n: must be a string, is a number"),
    ({**RSA, "n": RSA["n"] + "="}, f"n: {NO_BASE64}"),
    ({**RSA, "n": "+" + RSA["n"][1:]}, f"n: {NO_BASE64}"),
    ({**RSA, "n": "é" + RSA["n"][1:]}, f"n: {NO_BASE64}"),
    ({**RSA, "n": "\ud800" + RSA["n"][1:]}, f"n: {NO_BASE64}"),
    ({**RSA, "n": " " + RSA["n"][1:]}, f"n: {NO_BASE64}"),
    ({**RSA, "n": RSA["n"] + "\n"}, f"n: {NO_BASE64}"),
    ({**RSA, "n": RSA["n"] + "AAA"}, f"n: {NO_BASE64}"),
    ({**RSA, "n": ""}, "n: has 0 bits, needs 2048 to 8192"),
    ({**RSA, "n": encoded((1 << 1023) | 1)}, "n: has 1024 bits, needs 2048 to 8192"),
    ({**RSA, "n": encoded((1 << 2046) | 1)}, "n: has 2047 bits, needs 2048 to 8192"),
    ({**RSA, "n": encoded(1 << 2047)}, "n: is even, so it is no product of two large primes"),
    ({**RSA, "n": encoded((1 << 8192) | 1)}, "n: has 8193 bits, may have 8192"),
    ({**RSA, "n": "A" * 1_000_000}, "n: has 750000 bytes, may have 8192 bits"),
    ({**RSA, "e": ""}, "e: must be odd, and at least 3"),
    ({**RSA, "e": "AQ"}, "e: must be odd, and at least 3"),
    ({**RSA, "e": "AQAA"}, "e: must be odd, and at least 3"),
    ({**RSA, "e": encoded((1 << 33) | 1)}, "e: has 34 bits, may have 33"),
    ({**RSA, "e": RSA["n"]}, "e: has 256 bytes, may have 33 bits"),
    ({**EC, "crv": None}, "crv: is missing"),
    ({**EC, "crv": "secp256k1"}, "crv: 'secp256k1' is not known for kty 'EC'; P-256, P-384, P-521 are"),
    ({**EC, "crv": "P-384"}, "x: has 32 bytes, needs 48"),
    ({**EC, "x": EC["x"][:-2]}, "x: has 30 bytes, needs 32"),
    ({**EC, "y": "A" * 1_000_000}, "y: has 750000 bytes, needs 32"),
    ({**EC, "y": EC["x"]}, "x, y: are no point on P-256"),
    (on_curve("P-256", 0, 0), "x, y: are no point on P-256"),
    (on_curve("P-256", P256.generator.x, P256.p - 1), "x, y: are no point on P-256"),
    (on_curve("P-521", P256.generator.x, P256.generator.y), "x, y: are no point on P-521"),
    (
        on_curve("P-521", CURVES["P-521"].generator.x + CURVES["P-521"].p, CURVES["P-521"].generator.y),
        "x, y: are no point on P-521",
    ),
    ({**ED, "crv": "Ed448"}, "crv: 'Ed448' is not known for kty 'OKP'; Ed25519 is"),
    ({**ED, "crv": "X25519"}, "crv: 'X25519' is not known for kty 'OKP'; Ed25519 is"),
    ({**ED, "x": encoded(bytes(31))}, "x: has 31 bytes, needs 32"),
    ({**ED, "x": encoded(b"\2" + bytes(31))}, "x: is no point on Ed25519"),
    ({**ED, "x": encoded(b"\xff" * 32)}, "x: is no point on Ed25519"),
    ({**ED, "x": encoded(b"\1" + bytes(30) + b"\x80")}, "x: is no point on Ed25519"),
    ({**ED, "x": encoded(b"\1" + bytes(31))}, "x: is no key of Ed25519"),
    ({**ED, "x": encoded(bytes(32))}, "x: is no key of Ed25519"),
    (
        {**ED, "x": encoded(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"))},
        "x: is no key of Ed25519",
    ),
    ({"kty": "oct"}, "k: is missing"),
    ({**OCT, "k": ""}, "k: has 0 bytes, needs 1 to 4096"),
    ({**OCT, "k": encoded(SECRET) + "!"}, f"k: {NO_BASE64}"),
    ({**OCT, "k": "A" * 1_000_000}, "k: has 750000 bytes, needs 1 to 4096"),
]


@pytest.mark.parametrize(("jwk", "message"), BAD, ids=[f"{number}" for number in range(len(BAD))])
def test_a_bad_key_is_refused_by_its_member(jwk: Json, message: str) -> None:
    with pytest.raises(JwkError) as refusal:
        parse_key(jwk)
    assert str(refusal.value) == message


def test_a_refused_secret_is_not_shown() -> None:
    for k in (encoded(SECRET) + "=", encoded(SECRET)[:-1] + "\n"):
        with pytest.raises(JwkError) as refusal:
            parse_key({**OCT, "k": k})
        assert encoded(SECRET)[:8] not in str(refusal.value)


# Sets


def test_good_keys_of_a_set_outlive_bad_ones() -> None:
    entries: list[object] = [
        RSA,
        {**EC, "use": "enc", "kid": "e"},
        {"kty": "AKP", "kid": "a"},
        "key",
        None,
        {**EC, "kid": "b" * 100, "x": "!"},
        {**EC, "kid": 5},
        {**ED, "crv": "Ed448"},
        EC,
        OCT,
        ED,
    ]
    found = parse_key_set({"keys": entries, "other": 1}, "providers.accounts.local_jwks")
    assert [type(key) for key in found.keys] == [RsaKey, EcKey, OctKey, OkpKey]
    assert found.skipped == (
        "providers.accounts.local_jwks.keys[1] (kid 'e'): use: is 'enc', so it is no key for signatures",
        "providers.accounts.local_jwks.keys[2] (kid 'a'): kty: 'AKP' is not known; RSA, EC, OKP, oct are",
        "providers.accounts.local_jwks.keys[3]: must be an object, is a string",
        "providers.accounts.local_jwks.keys[4]: must be an object, is null",
        f"providers.accounts.local_jwks.keys[5] (kid '{'b' * 40}...'): x: has 0 bytes, needs 32",
        "providers.accounts.local_jwks.keys[6]: kid: must be a string, is a number",
        "providers.accounts.local_jwks.keys[7]: crv: 'Ed448' is not known for kty 'OKP'; Ed25519 is",
    )


@pytest.mark.parametrize(
    ("document", "place", "message"),
    [
        ([], "", 'JWK set: must be an object with "keys", is an array'),
        (None, "answer", 'answer: must be an object with "keys", is null'),
        ("{}", "", 'JWK set: must be an object with "keys", is a string'),
        ({}, "", "keys: must be an array of keys, is missing"),
        (RSA, "answer", "answer.keys: must be an array of keys, is missing"),
        ({"keys": RSA}, "answer", "answer.keys: must be an array of keys, is an object"),
        ({"keys": [RSA] * (MOST_KEYS + 1)}, "", "keys: has 1001 keys, may have 1000"),
        ({"keys": [None] * 10_000}, "", "keys: has 10000 keys, may have 1000"),
    ],
)
def test_what_is_no_set_is_refused(document: object, place: str, message: str) -> None:
    with pytest.raises(JwkError) as refusal:
        parse_key_set(document, place)
    assert str(refusal.value) == message


def test_an_empty_set_has_no_keys() -> None:
    found = parse_key_set({"keys": []})
    assert (found.keys, found.skipped) == ((), ())


def test_a_set_may_have_a_thousand_keys() -> None:
    assert len(parse_key_set({"keys": [EC] * MOST_KEYS}).keys) == MOST_KEYS


# Anything at all

NAMES = ["kty", "crv", "n", "e", "x", "y", "k", "d", "kid", "alg", "use", "key_ops", "keys"]
TEXTS = st.one_of(
    st.text(max_size=50),
    st.text("ABCxyz019-_=+/ \n", max_size=90),
    st.sampled_from(["RSA", "EC", "OKP", "oct", "P-256", "P-384", "P-521", "Ed25519", "enc", "sig"]),
    st.binary(max_size=600).map(encoded),
    st.sampled_from([value for jwk in GOOD for value in jwk.values()]),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=6),
    max_leaves=12,
)


def changed(jwk: Json, changes: Json) -> Json:
    return {**jwk, **changes}


CHANGED = st.builds(changed, st.sampled_from(GOOD), st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=3))


@settings(deadline=None, max_examples=500)
@given(jwk=CHANGED | st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=8))
def test_every_bad_key_is_a_jwk_error(jwk: Json) -> None:
    try:
        key = parse_key(jwk)
    except JwkError as error:
        assert str(error).partition(":")[0] in (*NAMES, "x, y")  # noqa: PT017 - either outcome is fine
    else:
        assert jwk["kty"] in ("RSA", "EC", "OKP", "oct")
        assert key.kid == jwk.get("kid")


@settings(deadline=None, max_examples=300)
@given(document=ANYTHING | st.fixed_dictionaries({"keys": st.lists(CHANGED | ANYTHING, max_size=5)}))
def test_every_bad_set_is_a_jwk_error(document: object) -> None:
    try:
        found = parse_key_set(document)
    except JwkError as error:
        assert str(error).startswith(("JWK set: ", "keys: "))  # noqa: PT017 - either outcome is fine
    else:
        assert isinstance(document, dict)
        assert len(found.keys) + len(found.skipped) == len(document["keys"])  # type: ignore[arg-type]
