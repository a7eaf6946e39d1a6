"""Signatures as Envoy makes and checks them, and its words where it does not (source/common/crypto/crypto_impl.cc)."""

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA224, SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

_HASHES: dict[str, HashAlgorithm] = {
    "sha1": SHA1(),  # noqa: S303 - what Envoy can check
    "sha224": SHA224(),
    "sha256": SHA256(),
    "sha384": SHA384(),
    "sha512": SHA512(),
}
_PEM = b"-----BEGIN "


def verify(hash_function: str, public_key: bytes, signature: bytes, text: bytes) -> str | None:
    """`None` where `signature` is one of `text`; else Envoy's error."""
    algorithm = _HASHES.get(hash_function.lower())
    if algorithm is None:
        return f"{hash_function} is not supported."
    try:
        key = load_pem_public_key(public_key) if public_key.startswith(_PEM) else load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm):
        return "Failed to initialize digest verify."
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, text, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, text, ec.ECDSA(algorithm))
        else:
            return "Failed to initialize digest verify."
    except (InvalidSignature, ValueError):
        return "Failed to verify digest. Error code: 0"
    return None


def sign(hash_function: str, private_key: bytes, text: bytes) -> tuple[bytes, str | None]:
    """A signature of `text`, or Envoy's error."""
    algorithm = _HASHES.get(hash_function.lower())
    if algorithm is None:
        return b"", f"{hash_function} is not supported."
    try:
        load = load_pem_private_key if private_key.startswith(_PEM) else load_der_private_key
        key = load(private_key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return b"", "Invalid key type: private key required for signing operation."
    try:
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(text, padding.PKCS1v15(), algorithm), None
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return key.sign(text, ec.ECDSA(algorithm)), None
    except ValueError:  # an RSA key that is too short for the digest
        return b"", "Failed to create signature."
    return b"", "Invalid private key: key data is corrupted or malformed."
