"""JSON Web Keys (RFC 7517) with which signatures are verified: RSA keys, keys on curves and shared secrets (RFC 7518, section 6; RFC 8037).

Only the public part of a key pair is read. Whatever is wrong with a key is a `JwkError`, and what is read is a key that the algorithms can rely on: its numbers are in their ranges,
its point is on its curve. Nothing of a key but its kind, its curve and its identifier is ever in a message.
"""

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, cast

from jws_der import ec_public_key, rsa_public_key
from jws_ecdsa import CURVES
from jws_ecdsa import Point as EcPoint
from jws_eddsa import SIZE as ED25519_SIZE
from jws_eddsa import Point as EdPoint
from jws_eddsa import decode as decode_point

RSA_BITS = (2048, 8192)
"""The least and the most bits of an RSA modulus (RFC 7518, section 3.3, for the least; what BoringSSL takes for the most)."""
MOST_EXPONENT_BITS = 33
"""Of an RSA exponent, as BoringSSL has it: larger ones serve nothing but to make verification slow."""
MOST_SECRET_BYTES = 4096
MOST_KEYS = 1000
"""In a set."""

_SHOWN = 40
"""Characters of a value that a message shows."""


class JwkError(ValueError):
    """A key, or a set of keys, that cannot be used; the message says what is wrong with which member."""


class RsaKey:
    """An RSA public key: `n` and `e`."""

    __slots__ = ("alg", "der", "e", "key_ops", "kid", "n", "use")

    def __init__(self, members: "Members") -> None:
        self.kid, self.alg, self.use, self.key_ops = members.common()
        self.n = members.number("n", RSA_BITS[1])
        bits = self.n.bit_length()
        if bits < RSA_BITS[0]:
            msg = f"n: has {bits} bits, needs {RSA_BITS[0]} to {RSA_BITS[1]}"
            raise JwkError(msg)
        if self.n % 2 == 0:
            msg = "n: is even, so it is no product of two large primes"
            raise JwkError(msg)
        self.e = members.number("e", MOST_EXPONENT_BITS)
        if self.e < 3 or self.e % 2 == 0:  # noqa: PLR2004 - 1 would make every signature its own message
            msg = "e: must be odd, and at least 3"
            raise JwkError(msg)
        self.der = rsa_public_key(self.n, self.e)
        """The key as a `SubjectPublicKeyInfo`."""

    def __repr__(self) -> str:
        return f"<RsaKey {self.kid!r}, {self.n.bit_length()} bits>"


class EcKey:
    """A public key for ECDSA: a `point` on a curve, whose name is `crv`."""

    __slots__ = ("alg", "crv", "der", "key_ops", "kid", "point", "use")

    def __init__(self, members: "Members") -> None:
        self.kid, self.alg, self.use, self.key_ops = members.common()
        self.crv = members.text("crv")
        curve = CURVES.get(self.crv)
        if curve is None:
            msg = f"crv: {_shown(self.crv)} is not known for kty 'EC'; {', '.join(CURVES)} are"
            raise JwkError(msg)
        x, y = (members.octets(name, curve.size, curve.size) for name in ("x", "y"))
        self.point = EcPoint(curve, int.from_bytes(x, "big"), int.from_bytes(y, "big"))
        if not curve.has(self.point.x, self.point.y):
            msg = f"x, y: are no point on {self.crv}"
            raise JwkError(msg)
        self.der = ec_public_key(curve.oid, x, y)
        """The key as a `SubjectPublicKeyInfo`."""

    def __repr__(self) -> str:
        return f"<EcKey {self.kid!r}, {self.crv}>"


class OkpKey:
    """A public key for EdDSA: 32 bytes `x`, and the point on the other side of the one that they stand for."""

    __slots__ = ("alg", "crv", "key_ops", "kid", "minus_point", "use", "x")

    def __init__(self, members: "Members") -> None:
        self.kid, self.alg, self.use, self.key_ops = members.common()
        self.crv = members.text("crv")
        if self.crv != "Ed25519":
            msg = f"crv: {_shown(self.crv)} is not known for kty 'OKP'; Ed25519 is"
            raise JwkError(msg)
        self.x = members.octets("x", ED25519_SIZE, ED25519_SIZE)
        point = decode_point(self.x)
        if point is None or point.has_small_order():
            msg = f"x: is no {'point on' if point is None else 'key of'} Ed25519"
            raise JwkError(msg)
        self.minus_point: EdPoint = point.negative()

    def __repr__(self) -> str:
        return f"<OkpKey {self.kid!r}, {self.crv}>"


class OctKey:
    """A shared secret."""

    __slots__ = ("alg", "key_ops", "kid", "secret", "use")

    def __init__(self, members: "Members") -> None:
        self.kid, self.alg, self.use, self.key_ops = members.common()
        self.secret = members.octets("k", 1, MOST_SECRET_BYTES)

    def __repr__(self) -> str:
        return f"<OctKey {self.kid!r}>"


Key: TypeAlias = RsaKey | EcKey | OkpKey | OctKey

_KINDS: Mapping[str, Callable[["Members"], Key]] = {"RSA": RsaKey, "EC": EcKey, "OKP": OkpKey, "oct": OctKey}
"""By `kty`."""


class KeySet:
    """The keys of a set that can be used, in its order, and why the others cannot."""

    __slots__ = ("keys", "skipped")

    def __init__(self, keys: Sequence[Key], skipped: Sequence[str]) -> None:
        self.keys = tuple(keys)
        self.skipped = tuple(skipped)


def parse_key(jwk: Mapping[str, object]) -> Key:
    """The key that a JSON Web Key, as JSON has it, stands for; raises `JwkError`.

    Members that are not known, and those of a private key, are ignored (RFC 7517, section 4).
    """
    members = Members(jwk)
    kty = members.text("kty")
    kind = _KINDS.get(kty)
    if kind is None:
        msg = f"kty: {_shown(kty)} is not known; {', '.join(_KINDS)} are"
        raise JwkError(msg)
    return kind(members)


def parse_key_set(document: object, place: str = "") -> KeySet:
    """The keys of a JWK Set, `{"keys": [...]}`, as JSON has it; `place` goes before what is said of it.

    Keys of kinds that are not known, keys for encryption and keys that are malformed are skipped, so that they do not take the others with them (RFC 7517, section 5). What is no
    set at all, or has more than `MOST_KEYS` keys, raises `JwkError`.
    """
    where = f"{place}.keys" if place else "keys"
    if not isinstance(document, Mapping):
        msg = f'{place or "JWK set"}: must be an object with "keys", is {_kind(document)}'
        raise JwkError(msg)
    entries = cast("Mapping[object, object]", document).get("keys")
    if not isinstance(entries, list):
        msg = f"{where}: must be an array of keys, {'is missing' if entries is None else f'is {_kind(entries)}'}"
        raise JwkError(msg)
    jwks = cast("list[object]", entries)
    if len(jwks) > MOST_KEYS:
        msg = f"{where}: has {len(jwks)} keys, may have {MOST_KEYS}"
        raise JwkError(msg)
    keys: list[Key] = []
    skipped: list[str] = []
    for number, jwk in enumerate(jwks):
        try:
            keys.append(_of_set(jwk))
        except JwkError as error:
            skipped.append(f"{where}[{number}]{_named(jwk)}: {error}")
    return KeySet(keys, skipped)


def _of_set(jwk: object) -> Key:
    if not isinstance(jwk, Mapping):
        msg = f"must be an object, is {_kind(jwk)}"
        raise JwkError(msg)
    members = cast("Mapping[str, object]", jwk)
    if members.get("use") == "enc":
        msg = "use: is 'enc', so it is no key for signatures"
        raise JwkError(msg)
    return parse_key(members)


def _named(jwk: object) -> str:
    kid = cast("Mapping[str, object]", jwk).get("kid") if isinstance(jwk, Mapping) else None
    return f" (kid {_shown(kid)})" if isinstance(kid, str) else ""


class Members:
    """The members of a JSON Web Key, whatever they hold; what raises `JwkError` names the member."""

    __slots__ = ("_jwk",)

    def __init__(self, jwk: Mapping[str, object]) -> None:
        self._jwk = jwk

    def common(self) -> tuple[str | None, str | None, str | None, tuple[str, ...] | None]:
        """`kid`, `alg`, `use` and `key_ops`."""
        return self._optional("kid"), self._optional("alg"), self._optional("use"), self._operations()

    def text(self, name: str) -> str:
        """A string that must be there."""
        value = self._jwk.get(name)
        if not isinstance(value, str):
            msg = f"{name}: {'is missing' if value is None else f'must be a string, is {_kind(value)}'}"
            raise JwkError(msg)
        return value

    def octets(self, name: str, least: int, most: int) -> bytes:
        """Bytes in base64url (RFC 7515, section 2)."""
        value = self.text(name)
        size = len(value) * 3 // 4
        if not least <= size <= most:
            needed = f"{least}" if least == most else f"{least} to {most}"
            msg = f"{name}: has {size} bytes, needs {needed}"
            raise JwkError(msg)
        return _decoded(name, value)

    def number(self, name: str, most_bits: int) -> int:
        """A positive number, big-endian in base64url (RFC 7518, section 2); zeros before it, which some issuers write, do no harm."""
        value = self.text(name)
        most = most_bits // 8 + 2
        if len(value) * 3 // 4 > most:
            msg = f"{name}: has {len(value) * 3 // 4} bytes, may have {most_bits} bits"
            raise JwkError(msg)
        found = int.from_bytes(_decoded(name, value), "big")
        if found.bit_length() > most_bits:
            msg = f"{name}: has {found.bit_length()} bits, may have {most_bits}"
            raise JwkError(msg)
        return found

    def _optional(self, name: str) -> str | None:
        return None if self._jwk.get(name) is None else self.text(name)

    def _operations(self) -> tuple[str, ...] | None:
        value = self._jwk.get("key_ops")
        if value is None:
            return None
        if not isinstance(value, list):
            msg = f"key_ops: must be an array, is {_kind(value)}"
            raise JwkError(msg)
        operations = cast("list[object]", value)
        texts = tuple(operation for operation in operations if isinstance(operation, str))
        if len(texts) != len(operations):
            msg = "key_ops: must be an array of strings"
            raise JwkError(msg)
        return texts


def _decoded(name: str, value: str) -> bytes:
    """Base64url without padding, line ends or other characters, and with zeros in the bits that are left over: one text for the same bytes."""
    try:
        text = value.encode("ascii")
        found = a2b_base64(text.translate(_FROM_URL) + b"=" * (-len(text) % 4), strict_mode=True)
    except (UnicodeEncodeError, Base64Error):
        found = b""
    if b2a_base64(found, newline=False).translate(_TO_URL).rstrip(b"=") != value.encode("ascii", "replace"):
        msg = f"{name}: is no base64url: letters, digits, '-' and '_', without padding, and zeros in the bits left over"
        raise JwkError(msg)
    return found


_FROM_URL = bytes.maketrans(b"-_+/", b"+/!!")
_TO_URL = bytes.maketrans(b"+/", b"-_")


def _shown(value: str) -> str:
    return ascii(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}...")


_JSON_KINDS: Mapping[type, str] = {
    bool: "a boolean",
    dict: "an object",
    float: "a number",
    int: "a number",
    list: "an array",
    str: "a string",
}


def _kind(value: object) -> str:
    return "null" if value is None else _JSON_KINDS.get(type(value), "no JSON")
