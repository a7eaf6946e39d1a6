"""Whether a token is what it claims to be: which key may have signed it, and what PyJWT says of its signature and claims.

PyJWT decides on signature, algorithm, times, issuer and audience. What is looked at before is what a token must not even ask
for: it is refused if it is too long, not in the one form that its text can have (RFC 7515, 7.1, with base64 as RFC 4648, 3.5,
wants it), if its JSON names something twice, or if it has critical extensions. Keys that a token brings along or points to
(`jwk`, `jku`, `x5c`, `x5u`) are never looked at.
"""

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from jws_algorithms import suits
from jws_keys import Key, KeySet
from jwt import PyJWS, PyJWT
from jwt import exceptions as errors
from jwt_headers_claims import ClaimError, ClaimHeader

UNAUTHORIZED = 401
FORBIDDEN = 403


class Refused(Exception):  # noqa: N818 - a decision, not an error
    """A request is not let through; the message says why, without anything of a token, and goes to the response code details."""

    def __init__(self, reason: str, status: int = UNAUTHORIZED) -> None:
        super().__init__(reason)
        self.status = status


class UnknownKey(Refused):
    """The token's key is not among those that are known."""


class Verified(NamedTuple):
    """What is known of a token that was accepted."""

    headers: tuple[tuple[str, str], ...]
    """The request headers that its claims become, by names in lower case."""
    expires: float
    """Until when it is accepted, the clock's skew included, in seconds since 1970; infinite where it does not expire."""
    key: Key
    """The key that verified it."""


class Expectations(NamedTuple):
    """What a provider's tokens must be like."""

    issuer: str | None
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...]
    clock_skew: int
    """Seconds."""
    require_expiration: bool
    longest_token: int
    """Characters."""


class HeadersOfClaims(NamedTuple):
    """The request headers that claims become."""

    claims: tuple[ClaimHeader, ...]
    payload: str | None
    """The name of the header for all of them, in base64url; `None` for none."""

    def of(self, claims: dict[str, object], payload: str) -> tuple[tuple[str, str], ...]:
        """The headers; raises `Refused` where a claim cannot be one."""
        try:
            values = [(each.header, each.value(claims)) for each in self.claims]
        except ClaimError as error:
            msg = f"It has a claim that cannot be a header; {error}."
            raise Refused(msg) from None
        headers = [(name, value) for name, value in values if value is not None]
        if self.payload:
            headers.append((self.payload, payload))
        return tuple(headers)


class Verifier:
    """Judges the tokens of one provider."""

    __slots__ = ("_expectations", "_headers", "_jwt", "_options")

    def __init__(self, expectations: Expectations, headers: HeadersOfClaims, jws: PyJWS) -> None:
        self._expectations = expectations
        self._headers = headers
        self._jwt = _StrictJwt(jws)
        self._options: Any = {
            "require": ["exp"] if expectations.require_expiration else [],
            "verify_aud": bool(expectations.audiences),
        }

    def verify(self, token: str, keys: KeySet | None) -> Verified:
        """What `token` says; raises `Refused`, and of these `UnknownKey` where other keys could make a difference."""
        expected = self._expectations
        header = self._header(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in expected.algorithms:
            msg = "Its algorithm is not accepted."
            raise Refused(msg)
        key = _chosen(() if keys is None else keys.keys, header, algorithm)
        try:
            claims = self._jwt.decode(
                token,
                cast("Any", key),
                [algorithm],
                self._options,
                audience=expected.audiences or None,
                issuer=expected.issuer,
                leeway=expected.clock_skew,
            )
        except errors.PyJWTError as error:
            raise _refusal(error) from None
        headers = self._headers.of(claims, token.split(".")[1])
        expires = int(claims["exp"]) + expected.clock_skew if "exp" in claims else math.inf
        return Verified(headers, expires, key)

    def _header(self, token: str) -> Mapping[str, object]:
        longest = self._expectations.longest_token
        if len(token) > longest:
            msg = f"It is longer than {longest} characters."
            raise Refused(msg)
        if not _COMPACT.fullmatch(token):
            raise Refused(MALFORMED)
        try:
            header = strict_object(_decoded(token.partition(".")[0].encode()))
        except ValueError:
            raise Refused(MALFORMED) from None
        if "crit" in header or "b64" in header:
            msg = "It has critical extensions."
            raise Refused(msg)
        return header


def _chosen(keys: Sequence[Key], header: Mapping[str, object], algorithm: str) -> Key:
    """The one key that may have signed: the one that the token names, or else the only one that suits its algorithm."""
    kid = header.get("kid")
    if "kid" in header and not isinstance(kid, str):
        raise Refused(MALFORMED)
    if kid is None:
        found: Sequence[Key] = [key for key in keys if suits(key, algorithm)]
        if not found:
            msg = "No key suits its algorithm."
            raise UnknownKey(msg)
    else:
        named = [key for key in keys if key.kid == kid]
        if not named:
            msg = "Its key is not known."
            raise UnknownKey(msg)
        found = [key for key in named if suits(key, algorithm)]
        if not found:
            msg = "Its key is not one for its algorithm."
            raise Refused(msg)
    if len(found) > 1:
        msg = "Several keys may have signed it."
        raise Refused(msg)
    return found[0]


class _StrictJwt(PyJWT):
    """PyJWT with algorithms of ours, and with claims that are read strictly."""

    def __init__(self, jws: PyJWS) -> None:
        super().__init__()
        self._jws = jws  # all that PyJWT offers for this is one that the whole process shares
        # PyJWT looks at each character by itself, which takes half of a token's time; here all were looked at before.
        jws._decode_base64url_segment = _decoded  # noqa: SLF001 # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]

    def _decode_payload(self, decoded: dict[str, Any]) -> dict[str, Any]:
        try:
            return strict_object(decoded["payload"])
        except ValueError as error:
            raise errors.DecodeError(str(error)) from None


def _decoded(segment: bytes, _name: str = "") -> bytes:
    """The bytes of a segment that is canonical."""
    return base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))


def strict_object(data: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8, no name of which occurs twice at one place; `ValueError` for anything else."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_number)
    except RecursionError:
        msg = "nested too deeply"
        raise ValueError(msg) from None
    if not isinstance(value, dict):
        msg = "no object"
        raise ValueError(msg)  # noqa: TRY004 - like all that is no such JSON
    return cast("dict[str, Any]", value)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        msg = "a name occurs twice"
        raise ValueError(msg)
    return members


def _no_number(_: str) -> None:
    msg = "no number of JSON"
    raise ValueError(msg)


def _refusal(error: errors.PyJWTError) -> Refused:
    if isinstance(error, errors.MissingRequiredClaimError):
        return _MISSING_CLAIM.get(error.claim, _Reason(MALFORMED)).refusal()
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason.refusal()
    return Refused(MALFORMED)


class _Reason(NamedTuple):
    text: str
    status: int = UNAUTHORIZED

    def refusal(self) -> Refused:
        return Refused(self.text, self.status)


MALFORMED = "It is no JSON Web Token."
_WRONG_AUDIENCE = _Reason("It is meant for another audience.", FORBIDDEN)
_WRONG_ISSUER = _Reason("It has another issuer.")
_MISSING_CLAIM = {"aud": _WRONG_AUDIENCE, "exp": _Reason("It has no expiry."), "iss": _WRONG_ISSUER}
_REASONS: Sequence[tuple[type[errors.PyJWTError], _Reason]] = (
    (errors.ExpiredSignatureError, _Reason("It has expired.")),
    (errors.ImmatureSignatureError, _Reason("It is not valid yet.")),
    (errors.InvalidAudienceError, _WRONG_AUDIENCE),
    (errors.InvalidIssuerError, _WRONG_ISSUER),
    (errors.InvalidAlgorithmError, _Reason("Its algorithm is not accepted.")),
    (errors.InvalidSignatureError, _Reason("Its signature is wrong.")),
    (errors.InvalidKeyError, _Reason("Its key is not one for its algorithm.")),
    (errors.InvalidIssuedAtError, _Reason("A claim of it is of a wrong type.")),
    (errors.InvalidSubjectError, _Reason("A claim of it is of a wrong type.")),
    (errors.InvalidJTIError, _Reason("A claim of it is of a wrong type.")),
)
"""Of PyJWT's errors those that say more than that the token is none."""

_CANONICAL = "(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])?"
"""base64url without padding, whose last character has no bits that say nothing."""
_COMPACT = re.compile(rf"{_CANONICAL}\.{_CANONICAL}\.{_CANONICAL}")
