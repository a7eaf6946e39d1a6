"""Signatures with the modules of extensions/jwt_headers, without PyJWT upon them."""

from collections.abc import Callable
from hashlib import sha256, sha384, sha512
from typing import Any

from jws_ecdsa import verify as verify_ecdsa
from jws_eddsa import verify as verify_eddsa
from jws_keys import EcKey, OkpKey, RsaKey, parse_key
from jws_rsa import verify_pkcs1, verify_pss
from signatures_filter import SignaturesFilter


def digest_256(data: bytes) -> bytes:
    return sha256(data).digest()


class Own(SignaturesFilter):
    def use(self, algorithm: str, jwk: dict[str, Any]) -> None:
        key = parse_key(jwk)
        if isinstance(key, EcKey):
            hash_function = {"ES256": sha256, "ES384": sha384, "ES512": sha512}[algorithm]
            self.check: Callable[[bytes, bytes], bool] = lambda text, signature: verify_ecdsa(
                key.point, hash_function(text).digest(), signature
            )
        elif isinstance(key, OkpKey):
            self.check = lambda text, signature: verify_eddsa(key.x, key.minus_point, text, signature)
        elif isinstance(key, RsaKey) and algorithm == "RS256":
            self.check = lambda text, signature: verify_pkcs1(key.n, key.e, "sha256", digest_256(text), signature)
        elif isinstance(key, RsaKey):
            self.check = lambda text, signature: verify_pss(key.n, key.e, digest_256, digest_256(text), signature)

    def verify(self) -> bool:
        return self.check(self.text, self.signature)
