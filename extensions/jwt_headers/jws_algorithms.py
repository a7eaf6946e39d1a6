"""The algorithms of JSON Web Signatures (RFC 7518, section 3; RFC 8037) for PyJWT, which decides everything else about a token.

PyJWT has only HMAC without the package `cryptography`, which cannot run inside a proxy. Here signatures are verified by the proxy where it can do that, else in Python.
A key is used only as it was meant: its kind, its curve, and what it says of itself (`alg`, `use`, `key_ops`; RFC 7517, section 4) must all agree with the algorithm.
Nothing is signed.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256, sha384, sha512
from hmac import compare_digest
from hmac import digest as hmac_digest
from typing import Any, NoReturn, TypeAlias

from jws_der import ecdsa_signature
from jws_ecdsa import verify as verify_ecdsa
from jws_eddsa import verify as verify_eddsa
from jws_keys import EcKey, Key, OctKey, OkpKey, RsaKey, parse_key
from jws_rsa import verify_pkcs1, verify_pss
from jwt import InvalidKeyError, PyJWS
from jwt.algorithms import Algorithm

Verify: TypeAlias = Callable[[str, bytes, bytes, bytes], bool | None]
"""The proxy's own verification: the hash function's name ("sha256"), a public key (`SubjectPublicKeyInfo`, DER), a signature (ECDSA: DER) and the signed text give
whether the signature is genuine, or `None` where the proxy cannot tell."""

Check: TypeAlias = Callable[[Any, str, bytes, bytes, Verify | None], bool]
"""A key of the right kind, the hash function's name, the signed text, the signature, and the proxy's verification."""

_HASHES = {"sha256": sha256, "sha384": sha384, "sha512": sha512}
_SIZES = {"sha256": 32, "sha384": 48, "sha512": 64}


def _check_hmac(key: OctKey, hash_name: str, text: bytes, signature: bytes, _: Verify | None) -> bool:
    return compare_digest(hmac_digest(key.secret, text, hash_name), signature)


def _check_pkcs1(key: RsaKey, hash_name: str, text: bytes, signature: bytes, native: Verify | None) -> bool:
    verdict = native(hash_name, key.der, signature, text) if native is not None else None
    if verdict is None:
        return verify_pkcs1(key.n, key.e, hash_name, _digest(hash_name, text), signature)
    return verdict


def _check_pss(key: RsaKey, hash_name: str, text: bytes, signature: bytes, _: Verify | None) -> bool:
    def hash_of(data: bytes) -> bytes:
        return _digest(hash_name, data)

    return verify_pss(key.n, key.e, hash_of, hash_of(text), signature)


def _check_ecdsa(key: EcKey, hash_name: str, text: bytes, signature: bytes, native: Verify | None) -> bool:
    if len(signature) != 2 * key.point.curve.size:
        return False
    verdict = native(hash_name, key.der, ecdsa_signature(signature), text) if native is not None else None
    if verdict is None:
        return verify_ecdsa(key.point, _digest(hash_name, text), signature)
    return verdict


def _check_eddsa(key: OkpKey, _hash_name: str, text: bytes, signature: bytes, _: Verify | None) -> bool:
    return verify_eddsa(key.x, key.minus_point, text, signature)


def _digest(hash_name: str, data: bytes) -> bytes:
    return _HASHES[hash_name](data).digest()


class JwsAlgorithm:
    """An algorithm: the keys that it takes, the hash function, and how a signature is verified."""

    __slots__ = ("check", "crv", "hash_name", "kind", "name")

    def __init__(self, name: str, kind: type[Key], hash_name: str, check: Check, crv: str | None = None) -> None:
        self.name = name
        self.kind = kind
        self.hash_name = hash_name
        self.check = check
        self.crv = crv


ALGORITHMS: Mapping[str, JwsAlgorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        JwsAlgorithm("HS256", OctKey, "sha256", _check_hmac),
        JwsAlgorithm("HS384", OctKey, "sha384", _check_hmac),
        JwsAlgorithm("HS512", OctKey, "sha512", _check_hmac),
        JwsAlgorithm("RS256", RsaKey, "sha256", _check_pkcs1),
        JwsAlgorithm("RS384", RsaKey, "sha384", _check_pkcs1),
        JwsAlgorithm("RS512", RsaKey, "sha512", _check_pkcs1),
        JwsAlgorithm("PS256", RsaKey, "sha256", _check_pss),
        JwsAlgorithm("PS384", RsaKey, "sha384", _check_pss),
        JwsAlgorithm("PS512", RsaKey, "sha512", _check_pss),
        JwsAlgorithm("ES256", EcKey, "sha256", _check_ecdsa, "P-256"),
        JwsAlgorithm("ES384", EcKey, "sha384", _check_ecdsa, "P-384"),
        JwsAlgorithm("ES512", EcKey, "sha512", _check_ecdsa, "P-521"),
        JwsAlgorithm("EdDSA", OkpKey, "sha512", _check_eddsa),
    )
}
"""By the names that tokens have for them."""


def suits(key: Key, algorithm: str) -> bool:
    """Whether the key may be used with the algorithm of this name; an unknown one suits no key."""
    return algorithm in ALGORITHMS and objection(key, ALGORITHMS[algorithm]) is None


def objection(key: Key, algorithm: JwsAlgorithm) -> str | None:
    """Why the key may not be used with the algorithm, or `None`."""
    return _objection_to_kind(key, algorithm) or _objection_of_key(key, algorithm)


def _objection_to_kind(key: Key, algorithm: JwsAlgorithm) -> str | None:
    if not isinstance(key, algorithm.kind):
        return f"the key is of another kind than {algorithm.name} takes"
    if isinstance(key, EcKey) and key.crv != algorithm.crv:
        return f"the key is on {key.crv}, {algorithm.name} takes keys on {algorithm.crv}"
    if isinstance(key, OctKey) and len(key.secret) < _SIZES[algorithm.hash_name]:
        return f"the secret is shorter than the {_SIZES[algorithm.hash_name]} bytes that {algorithm.name} needs"
    return None


def _objection_of_key(key: Key, algorithm: JwsAlgorithm) -> str | None:
    if key.alg not in (None, algorithm.name):
        return f"the key's own alg is not {algorithm.name}"
    if key.use not in (None, "sig"):
        return "the key's use is not 'sig'"
    if key.key_ops is not None and "verify" not in key.key_ops:
        return "the key's key_ops have no 'verify'"
    return None


def jws(native: Verify | None = None) -> PyJWS:
    """PyJWT's signatures with these algorithms and no others; keys are those of `jws_keys`."""
    found = PyJWS(algorithms=())
    for algorithm in ALGORITHMS.values():
        found.register_algorithm(algorithm.name, _Registered(algorithm, native))
    return found


class _Registered(Algorithm):
    """An algorithm as PyJWT calls it."""

    def __init__(self, algorithm: JwsAlgorithm, native: Verify | None) -> None:
        self._algorithm = algorithm
        self._native = native

    def prepare_key(self, key: object) -> Key:
        """The key itself, where it suits; raises `InvalidKeyError`."""
        if not isinstance(key, RsaKey | EcKey | OkpKey | OctKey):
            reason = "it is no key that jws_keys has read"
            raise InvalidKeyError(reason)
        reason = objection(key, self._algorithm)
        if reason is not None:
            raise InvalidKeyError(reason)
        return key

    def verify(self, msg: bytes, key: Key, sig: bytes) -> bool:
        return self._algorithm.check(key, self._algorithm.hash_name, msg, sig, self._native)

    def sign(self, msg: bytes, key: Any) -> NoReturn:  # noqa: ANN401 - as PyJWT has it
        """Raises `NotImplementedError`: there are no private keys here."""
        reason = f"{self._algorithm.name}: signatures are only verified here"
        raise NotImplementedError(reason)

    @staticmethod
    def to_jwk(key_obj: Any, as_dict: bool = False) -> NoReturn:  # noqa: ANN401 - as PyJWT has it
        """Raises `NotImplementedError`."""
        msg = "keys are only read here"
        raise NotImplementedError(msg)

    @staticmethod
    def from_jwk(jwk: Any) -> Key:  # noqa: ANN401 - as PyJWT has it
        """See `parse_key`; here the key must be a mapping."""
        return parse_key(jwk)
