"""Who issues the tokens of the tests: keys and tokens made with `cryptography`, on this side of the proxy."""

import base64
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

Json = Mapping[str, Any]
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | bytes

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
NAME = "https://accounts.example.com"
_HOURS = 10 * 3600
"""Seconds: longer than any run of the tests."""


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def base64url_number(number: int, size: int | None = None) -> str:
    return base64url(number.to_bytes(size or (number.bit_length() + 7) // 8, "big"))


def compact(header: Json | bytes, payload: Json | bytes, key: PrivateKey | None, algorithm: str) -> str:
    """A token; `header` and `payload` may be bytes, which are taken as they are."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    text = ".".join(map(base64url, parts))
    return f"{text}.{base64url(sign(key, algorithm, text.encode()))}"


def sign(key: PrivateKey | None, algorithm: str, text: bytes) -> bytes:
    hash_function = HASHES.get(algorithm[-3:], hashes.SHA256())
    match key:
        case None:
            return b""
        case bytes():
            digest = hmac.HMAC(key, hash_function)
            digest.update(text)
            return digest.finalize()
        case ed25519.Ed25519PrivateKey():
            return key.sign(text)
        case ec.EllipticCurvePrivateKey():
            size = (key.curve.key_size + 7) // 8
            r, s = decode_dss_signature(key.sign(text, ec.ECDSA(hash_function, deterministic_signing=True)))
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
        case rsa.RSAPrivateKey():
            pss = padding.PSS(padding.MGF1(hash_function), hash_function.digest_size)
            return key.sign(text, pss if algorithm.startswith("PS") else padding.PKCS1v15(), hash_function)


def public_jwk(key: PrivateKey, **members: object) -> dict[str, object]:
    """What of a key others may know; of a shared secret all."""
    match key:
        case bytes():
            return {"kty": "oct", "k": base64url(key), **members}
        case ed25519.Ed25519PrivateKey():
            return {"kty": "OKP", "crv": "Ed25519", "x": base64url(key.public_key().public_bytes_raw()), **members}
        case ec.EllipticCurvePrivateKey():
            numbers, size = key.public_key().public_numbers(), (key.curve.key_size + 7) // 8
            crv = f"P-{key.curve.key_size}"
            x, y = (base64url_number(each, size) for each in (numbers.x, numbers.y))
            return {"kty": "EC", "crv": crv, "x": x, "y": y, **members}
        case rsa.RSAPrivateKey():
            numbers = key.public_key().public_numbers()
            return {"kty": "RSA", "n": base64url_number(numbers.n), "e": base64url_number(numbers.e), **members}


class Issuer:
    """Someone with a key for each kind of algorithm, whose kid is the kind."""

    def __init__(self) -> None:
        self._now = int(time.time())  # the same for all tokens, so that a test sends the same ones on every host
        self.keys: dict[str, PrivateKey] = {
            "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ec": ec.generate_private_key(ec.SECP256R1()),
            "okp": ed25519.Ed25519PrivateKey.generate(),
            "oct": bytes(range(64)),
        }

    def jwks(self, *kids: str) -> dict[str, Any]:
        """The public keys with these kids, or all but the shared secret."""
        return {"keys": [public_jwk(self.keys[kid], kid=kid) for kid in kids or ("rsa", "ec", "okp")]}

    def claims(self, **claims: object) -> dict[str, object]:
        """Those that every token has, and others; `None` leaves one out."""
        usual = {"iss": NAME, "sub": "alice", "aud": "api", "iat": self._now, "exp": self._now + _HOURS}
        return {name: value for name, value in {**usual, **claims}.items() if value is not None}

    def token(
        self,
        kid: str | None = "rsa",
        algorithm: str = "RS256",
        *,
        key: str | None = None,
        header: Json | None = None,
        **claims: object,
    ) -> str:
        """A token that names the key `kid` and is signed by it, or by `key`."""
        fields = {"typ": "JWT", "alg": algorithm, **({} if kid is None else {"kid": kid}), **(header or {})}
        return compact(fields, self.claims(**claims), self.keys[key or kid or "rsa"], algorithm)

    compact = staticmethod(compact)
    sign = staticmethod(sign)
    public_jwk = staticmethod(public_jwk)
    base64url = staticmethod(base64url)


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    return Issuer()
