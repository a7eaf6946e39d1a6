"""The configuration: JSON in, rules that are ready to judge requests out. README.md describes every field.

Nothing here keeps a password: of each credential only digests stay in memory.
"""

import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from basic_auth_paths import literal

from proxy_wasm import ConfigurationError

LONGEST_CREDENTIAL = 4096
"""Bytes of `user:password`, configured or sent."""

_Hash = Callable[[bytes], bytes]
_Hashing = tuple[_Hash, bytes]
"""A hash function and the salt that follows the password."""


class Settings:
    """A whole valid configuration."""

    __slots__ = (
        "challenge",
        "forward_username_header",
        "has_regex",
        "names_hosts",
        "remove_authorization_header",
        "rules",
    )

    def __init__(self, document: object) -> None:
        """Read `document`, which is decoded JSON; raise `ConfigurationError` naming the field that is wrong."""
        fields = _Fields(document, "", _SETTINGS)
        self.challenge = f'Basic realm="{_quoted(fields.text("realm", "istio"), fields)}"'
        self.forward_username_header = _header_name(fields, "forward_username_header")
        self.remove_authorization_header = fields.boolean("remove_authorization_header", default=False)
        self.rules: dict[str, tuple[Rule, ...]] = {}
        for place, value in fields.items("basic_auth_rules"):
            rule_fields = _Fields(value, place, _RULE)
            rule = Rule(rule_fields)
            for method in dict.fromkeys(_methods(rule_fields)):
                self.rules[method] = (*self.rules.get(method, ()), rule)
        self.has_regex = any(rule.has_regex for rules in self.rules.values() for rule in rules)
        """Whether there is a rule with a regular expression."""
        self.names_hosts = any(rule.hosts for rules in self.rules.values() for rule in rules)
        """Whether there is a rule for some hosts only."""


class Rule:
    """Which hosts and paths need which credentials."""

    __slots__ = ("_credentials", "_matches_path", "has_regex", "hosts")

    def __init__(self, fields: "_Fields") -> None:
        self.hosts = _hosts(fields)
        kind = _path_kind(fields)
        self.has_regex = kind == "regex"
        self._matches_path = _PATH_MATCHERS[kind](fields)
        self._credentials = tuple(
            _Credential(place, value) for place, value in fields.texts("credentials", at_least_one=True)
        )

    def matches_path(self, readings: Sequence[str]) -> bool:
        """Whether the rule applies to a path with these readings."""
        for reading in readings:  # noqa: SIM110 - a generator takes longer than one reading
            if self._matches_path(reading):
                return True
        return False

    def accepts(self, username: bytes, password: bytes) -> bool:
        """Whether this is one of the rule's credentials.

        Every credential is compared, and each comparison takes the same time whatever it compares: timing tells neither
        which users exist nor how much of a password was right.
        """
        user = _sha256(username)
        digests: dict[_Hashing, bytes] = {}
        accepted = False
        for credential in self._credentials:
            hashing = credential.hashing
            if hashing not in digests:
                digests[hashing] = hashing[0](password + hashing[1])
            same_user = hmac.compare_digest(credential.user, user)
            same_password = hmac.compare_digest(credential.password, digests[hashing])
            accepted |= same_user & same_password
        return accepted


class Hosts:
    """The patterns of a rule's `hosts`."""

    __slots__ = ("_exact", "_prefixes", "_suffixes")

    def __init__(self, patterns: Sequence[str]) -> None:
        self._exact = frozenset(pattern for pattern in patterns if "*" not in pattern)
        self._prefixes = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))
        self._suffixes = tuple(pattern[1:] for pattern in patterns if pattern.startswith("*"))

    def __contains__(self, host: str) -> bool:
        return host in self._exact or host.endswith(self._suffixes) or host.startswith(self._prefixes)


def host_of(authority: str) -> str | None:
    """The host of `authority` (a request's `:authority`) without port, in lower case; `None` if that is no host."""
    match = _AUTHORITY.fullmatch(authority.lower())
    return match[1].rstrip(".") or None if match else None


class _Credential:
    """A user and the hash of the password.

    A password that was configured in the clear is treated as its SHA-256 hash, so that all credentials are alike.
    """

    __slots__ = ("hashing", "password", "user")

    def __init__(self, place: str, text: str) -> None:
        parts = _split(text.encode()) if ":" in text else split_credentials(text)
        if parts is None or parts == (b"", b""):
            msg = f"{place}: must be 'user:password' or the base64 form of it, at most {LONGEST_CREDENTIAL} bytes"
            raise ConfigurationError(msg)
        user, password = parts
        if _CONTROL_OCTETS.search(user):
            msg = f"{place}: the username holds control characters"
            raise ConfigurationError(msg)
        self.user = _sha256(user)
        self.hashing, self.password = (_sha256, b""), _sha256(password)
        if ":" in text:
            self.hashing, self.password = _hashed(place, password)


def split_credentials(encoded: str) -> tuple[bytes, bytes] | None:
    """Username and password of base64 text, padded or not; `None` if it is no base64, holds no colon or is too long."""
    if not _BASE64.fullmatch(encoded):
        return None
    digits = encoded.rstrip("=")
    try:
        decoded = binascii.a2b_base64(digits + "=" * (-len(digits) % 4))
    except binascii.Error:
        return None
    return _split(decoded)


def _split(credentials: bytes) -> tuple[bytes, bytes] | None:
    username, colon, password = credentials.partition(b":")
    return (username, password) if colon and len(credentials) <= LONGEST_CREDENTIAL else None


def _hashed(place: str, password: bytes) -> tuple[_Hashing, bytes]:
    match = _SCHEME.match(password)
    if not match:
        return (_sha256, b""), _sha256(password)
    scheme = _HASHES.get(match[0].upper())
    if scheme is None:
        known = " and ".join(name.decode() for name in _HASHES)
        msg = (
            f"{place}: the password is hashed in a way that is not known, {known} are; "
            "if it is the password itself, write the credential in base64"
        )
        raise ConfigurationError(msg)
    algorithm, size, is_salted = scheme
    try:
        decoded = binascii.a2b_base64(password[match.end() :], strict_mode=True)
    except binascii.Error:
        decoded = b""
    digest, salt = decoded[:size], decoded[size:]
    if len(digest) != size or bool(salt) != is_salted:
        expected = f"{size} bytes and a salt" if is_salted else f"{size} bytes"
        msg = f"{place}: what follows the hash's name must be base64 of {expected}"
        raise ConfigurationError(msg)
    return (algorithm, salt), digest


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


_HASHES: dict[bytes, tuple[_Hash, int, bool]] = {b"{SHA}": (_sha1, 20, False), b"{SSHA256}": (_sha256, 32, True)}
_SCHEME = re.compile(rb"\{[A-Za-z0-9-]+\}|\$(?:apr1|1|2[abxy]?|5|6)\$")
"""What marks a hashed password in htpasswd and LDIF files."""


def _methods(fields: "_Fields") -> Iterator[str]:
    """Methods in upper case: some servers take `get` for `GET`, so a rule must, too."""
    for place, method in fields.texts("request_methods", at_least_one=True):
        if not _TOKEN.fullmatch(method):
            msg = f"{place}: is not the name of a method"
            raise ConfigurationError(msg)
        yield method.upper()


def _hosts(fields: "_Fields") -> Hosts | None:
    patterns: list[str] = []
    for place, text in fields.texts("hosts"):
        pattern = _host_pattern(text)
        if pattern is None:
            msg = f"{place}: is no host such as 'example.com', '*.example.com' or '10.0.0.*'"
            raise ConfigurationError(msg)
        patterns.append(pattern)
    return None if not patterns or "*" in patterns else Hosts(patterns)


def _host_pattern(text: str) -> str | None:
    pattern = text.lower()
    if pattern.count(":") > 1 and not set("[]") & set(pattern):  # an IPv6 address as it is written outside of URLs
        pattern = ("" if pattern.startswith("*") else "[") + pattern + ("" if pattern.endswith("*") else "]")
    match = _HOST_PATTERN.fullmatch(pattern)
    return match[1].rstrip(".") or None if match else None


def _path_kind(fields: "_Fields") -> str:
    kinds = [kind for kind in _PATH_MATCHERS if kind in fields.values]
    if len(kinds) != 1:
        found = " and ".join(kinds) or "none"
        msg = f"{fields.place}: needs exactly one of {', '.join(_PATH_MATCHERS)}, has {found}"
        raise ConfigurationError(msg)
    if not fields.text(kinds[0]):
        hint = ", '/' covers every path" if kinds[0] == "prefix" else ""
        raise fields.error(kinds[0], f"needs at least one character{hint}")
    return kinds[0]


def _path_literal(fields: "_Fields", kind: str) -> str:
    try:
        return literal(kind, fields.text(kind))
    except ValueError as reason:
        raise fields.error(kind, str(reason)) from None


def _prefix(fields: "_Fields") -> Callable[[str], bool]:
    prefix = _path_literal(fields, "prefix")
    return lambda reading: reading.startswith(prefix)


def _exact(fields: "_Fields") -> Callable[[str], bool]:
    exact = _path_literal(fields, "exact")
    return lambda reading: reading == exact


def _suffix(fields: "_Fields") -> Callable[[str], bool]:
    suffix = _path_literal(fields, "suffix")
    return lambda reading: reading.endswith(suffix)


def _regex(fields: "_Fields") -> Callable[[str], bool]:
    try:
        regex = re.compile(fields.text("regex"))
    except (re.error, OverflowError, RecursionError) as error:
        raise fields.error("regex", f"is no regular expression: {error}") from None
    return lambda reading: regex.fullmatch(reading) is not None


_PATH_MATCHERS = {"prefix": _prefix, "exact": _exact, "suffix": _suffix, "regex": _regex}


def _header_name(fields: "_Fields", key: str) -> str | None:
    if key not in fields.values:
        return None
    name = fields.text(key).lower()
    if not _TOKEN.fullmatch(name):
        raise fields.error(key, "is not the name of a header")
    if name in _OTHERS_HEADERS:
        raise fields.error(key, f"cannot be {name!r}, which has a meaning of its own")
    return name


def _quoted(realm: str, fields: "_Fields") -> str:
    if _CONTROL.search(realm):
        raise fields.error("realm", "holds control characters")
    return realm.replace("\\", "\\\\").replace('"', '\\"')


_REG_NAME = r"[!$&'()+\-.0-9;=_a-z~]+"
_AUTHORITY = re.compile(rf"({_REG_NAME}|\[[0-9a-f:.]+\])(?::[0-9]*)?")
_HOST_PATTERN = re.compile(
    rf"((?:\*|{_REG_NAME}|\[[0-9a-f:.]+\])"  # all, or one host
    rf"|\*(?:{_REG_NAME}|[0-9a-f:.]+\])"  # the end of hosts
    rf"|(?:{_REG_NAME}|\[[0-9a-f:.]+)\*)"  # the beginning of hosts
    r"(?::[0-9]*)?"
)
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""RFC 9110, 5.6.2."""
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_OCTETS = re.compile(rb"[\x00-\x1f\x7f]")
_OTHERS_HEADERS = frozenset(
    {"authorization", "connection", "content-length", "host", "te", "transfer-encoding", "upgrade"}
)

_SETTINGS = ("basic_auth_rules", "realm", "forward_username_header", "remove_authorization_header")
_RULE = ("hosts", "prefix", "exact", "suffix", "regex", "request_methods", "credentials")


# `cast` would say the same, but `typing` would be part of every VM for it.


def _mapping(value: object) -> Mapping[str, object] | None:
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType] - it comes from JSON


def _array(value: object) -> Sequence[object] | None:
    return value if isinstance(value, list) else None  # pyright: ignore[reportUnknownVariableType] - it comes from JSON


class _Fields:
    """The fields of one JSON object; every error names the path of the field."""

    __slots__ = ("place", "values")

    def __init__(self, value: object, place: str, known: tuple[str, ...]) -> None:
        self.place = place
        values = _mapping(value)
        if values is None:
            msg = f"{place or 'configuration'}: must be an object, is {_kind(value)}"
            raise ConfigurationError(msg)
        self.values = values
        for key in self.values:
            if key not in known:
                raise self.error(key, f"is not known, {', '.join(known)} are")

    def error(self, key: str, problem: str) -> ConfigurationError:
        return ConfigurationError(f"{self._path(key)}: {problem}")

    def text(self, key: str, default: str = "") -> str:
        return _text(self._path(key), self.values.get(key, default))

    def boolean(self, key: str, *, default: bool) -> bool:
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"must be true or false, is {_kind(value)}")
        return value

    def items(self, key: str, *, at_least_one: bool = False) -> Iterator[tuple[str, object]]:
        """The path and the value of each entry of an array."""
        array = self.values.get(key, [])
        entries = _array(array)
        if entries is None:
            raise self.error(key, f"must be an array, is {_kind(array)}")
        if at_least_one and not entries:
            raise self.error(key, "needs at least one entry")
        return ((f"{self._path(key)}[{index}]", entry) for index, entry in enumerate(entries))

    def texts(self, key: str, *, at_least_one: bool = False) -> Iterator[tuple[str, str]]:
        """The path and the value of each entry of an array of strings."""
        return ((place, _text(place, entry)) for place, entry in self.items(key, at_least_one=at_least_one))

    def _path(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key


def _text(place: str, value: object) -> str:
    if not isinstance(value, str):
        msg = f"{place}: must be a string, is {_kind(value)}"
        raise ConfigurationError(msg)
    if any("\ud800" <= character <= "\udfff" for character in value):
        msg = f"{place}: holds half of a surrogate pair"
        raise ConfigurationError(msg)
    return value


def _kind(value: object) -> str:
    return _KINDS.get(type(value).__name__, "a number")


_KINDS = {"dict": "an object", "list": "an array", "str": "a string", "bool": "a boolean", "NoneType": "null"}
