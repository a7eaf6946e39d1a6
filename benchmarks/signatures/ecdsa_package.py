"""Signatures with the package `ecdsa`."""

from base64 import urlsafe_b64decode
from hashlib import sha256, sha384, sha512
from importlib import import_module
from typing import Any

from signatures_filter import SignaturesFilter

ecdsa: Any = import_module("ecdsa")  # it has no types
CURVES = {"ES256": ecdsa.NIST256p, "ES384": ecdsa.NIST384p, "ES512": ecdsa.NIST521p, "EdDSA": ecdsa.Ed25519}
HASHES = {"ES256": sha256, "ES384": sha384, "ES512": sha512, "EdDSA": None}


class EcdsaPackage(SignaturesFilter):
    def use(self, algorithm: str, jwk: dict[str, Any]) -> None:
        coordinates = b"".join(urlsafe_b64decode(jwk[name] + "==") for name in ("x", "y") if name in jwk)
        self.key = ecdsa.VerifyingKey.from_string(coordinates, CURVES[algorithm], HASHES[algorithm])

    def verify(self) -> bool:
        try:
            return self.key.verify(self.signature, self.text)
        except ecdsa.BadSignatureError:
            return False
