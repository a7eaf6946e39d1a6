"""Tokens that `cryptography` has signed are accepted, and nothing that differs from them by a bit is."""

import base64
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jws_algorithms import ALGORITHMS, jws
from jws_ecdsa import CURVES
from jws_keys import Key, parse_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

JWS = jws()
RSA = [rsa.generate_private_key(exponent, bits) for exponent, bits in ((65537, 2048), (3, 2049), (65537, 3071))]
"""With a modulus of a bit more than whole bytes the encoded message has a byte less than the signature."""
EC = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
ORDERS = {"ES256": CURVES["P-256"].order, "ES384": CURVES["P-384"].order, "ES512": CURVES["P-521"].order}


def pair(name: str, seed: int) -> tuple[Any, Key]:
    """What signs and what verifies, for an algorithm; another one for each seed, in which those next to 0 and to its end are edge cases."""
    if name.startswith("HS"):
        secret = seed.to_bytes(67, "big") * 8
        return secret, parse_key({"kty": "oct", "k": base64.urlsafe_b64encode(secret).rstrip(b"=").decode()})
    if name in EC:
        order = ORDERS[name]
        key = ec.derive_private_key(seed % (order - 1) + 1, EC[name])
        return key, parse_key(public(ECAlgorithm.to_jwk(key.public_key(), as_dict=True)))
    if name == "EdDSA":
        edwards = ed25519.Ed25519PrivateKey.from_private_bytes((seed % (1 << 256)).to_bytes(32, "big"))
        return edwards, parse_key(public(OKPAlgorithm.to_jwk(edwards.public_key(), as_dict=True)))
    private = RSA[seed % len(RSA)]
    return private, parse_key(public(RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)))


def public(jwk: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in jwk.items() if name != "key_ops"}


def accepted(token: str, key: Key) -> bytes:
    return JWS.decode(token, key, algorithms=list(ALGORITHMS))  # type: ignore[arg-type]


SEEDS = (
    st.integers(0, (1 << 528) - 1) | st.integers(0, 20) | st.integers(2, 20).map(lambda less: ORDERS["ES256"] - less)
)


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(seed=SEEDS, payload=st.binary(max_size=300), other=st.binary(max_size=20))
def test_signed_tokens_are_accepted_and_no_others(name: str, seed: int, payload: bytes, other: bytes) -> None:
    private, key = pair(name, seed)
    token = jwt.api_jws.encode(payload, private, name)
    assert accepted(token, key) == payload
    header, _, signature = token.split(".")
    if payload != other:
        with pytest.raises(jwt.InvalidSignatureError):
            accepted(f"{header}.{encoded(other)}.{signature}", key)
    with pytest.raises(jwt.InvalidSignatureError):
        accepted(token, pair(name, seed + 1)[1])


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def decoded(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


EVERY = {"ES256": 2, "ES384": 11, "ES512": 19}
"""Of which how many bits one is changed, where verification takes long; elsewhere it is each of them."""


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_token_with_another_bit_is_refused(name: str) -> None:
    private, key = pair(name, 12345)
    token = jwt.api_jws.encode(b'{"a":1}', private, name, {"typ": None})
    assert accepted(token, key) == b'{"a":1}'
    parts = [decoded(segment) for segment in token.split(".")]
    refused = 0
    for number, part in enumerate(parts):
        for bit in range(number, 8 * len(part), EVERY.get(name, 1)):
            changed = bytearray(part)
            changed[bit // 8] ^= 1 << bit % 8
            segments = [encoded(bytes(changed) if place == number else other) for place, other in enumerate(parts)]
            with pytest.raises(jwt.PyJWTError):
                accepted(".".join(segments), key)
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_signature_of_another_size_is_refused(name: str) -> None:
    private, key = pair(name, 7)
    header, payload, signature = jwt.api_jws.encode(b"{}", private, name).split(".")
    whole = decoded(signature)
    for other in (b"", whole[:-1], whole + b"\0", b"\0" + whole, whole[1:], whole * 2, whole * 1000):
        with pytest.raises(jwt.InvalidSignatureError):
            accepted(f"{header}.{payload}.{encoded(other)}", key)


@pytest.mark.parametrize("name", ["RS256", "PS256"])
def test_a_signature_beyond_the_modulus_is_refused(name: str) -> None:
    """Its remainder would be a genuine one."""
    private, key = pair(name, 0)
    header, payload, signature = jwt.api_jws.encode(b"{}", private, name).split(".")
    modulus = private.public_key().public_numbers().n
    for times in range(1, 4):
        number = int.from_bytes(decoded(signature), "big") + times * modulus
        if number < 1 << 2048:
            with pytest.raises(jwt.InvalidSignatureError):
                accepted(f"{header}.{payload}.{encoded(number.to_bytes(256, 'big'))}", key)


@pytest.mark.parametrize("name", EC)
def test_signatures_out_of_range_are_refused(name: str) -> None:
    private, key = pair(name, 99)
    header, payload, signature = jwt.api_jws.encode(b"{}", private, name).split(".")
    whole, order = decoded(signature), ORDERS[name]
    size = len(whole) // 2
    r, s = int.from_bytes(whole[:size], "big"), int.from_bytes(whole[size:], "big")
    for other_r, other_s in ((0, s), (r, 0), (0, 0), (order, s), (r, order), (r, s + order), (r + order, s)):
        if max(other_r, other_s) < 1 << 8 * size:
            other = other_r.to_bytes(size, "big") + other_s.to_bytes(size, "big")
            with pytest.raises(jwt.InvalidSignatureError):
                accepted(f"{header}.{payload}.{encoded(other)}", key)
