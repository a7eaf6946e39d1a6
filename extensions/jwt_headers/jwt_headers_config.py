"""The configuration: JSON in, what the filter works with out. README.md describes every field."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, cast

from jws_algorithms import ALGORITHMS, suits
from jws_keys import JwkError, KeySet, parse_key_set
from jwt_headers_claims import ClaimHeader
from jwt_headers_keys import RemoteAddress
from jwt_headers_paths import literal
from jwt_headers_tokens import COOKIE, HeaderPlace, Places, header_place
from jwt_headers_verifier import Expectations, HeadersOfClaims

from proxy_wasm import ConfigurationError


class MetadataKey(NamedTuple):
    """Where Envoy's own filter leaves the payload of a token that it has verified."""

    key: str
    """In the namespace of that filter."""


class ProviderSettings(NamedTuple):
    """Whose tokens are accepted, and what becomes of them."""

    name: str
    source: KeySet | RemoteAddress | MetadataKey
    """Where keys come from, or the payload itself."""
    expectations: Expectations
    places: Places
    forward: bool
    headers: HeadersOfClaims
    cache_size: int
    """Tokens."""
    longest_cached: int
    """Characters of a token."""

    def set_headers(self) -> Iterator[str]:
        """The names of the headers that the provider's claims may set."""
        yield from (each.header for each in self.headers.claims)
        if self.headers.payload:
            yield self.headers.payload


class Requirement(NamedTuple):
    """What a rule wants of a request."""

    providers: tuple[str, ...]
    """The names of providers of which one must accept; empty where no token is required."""
    allow_missing: bool = False
    allow_failed: bool = False


class Rule(NamedTuple):
    """Which paths it is for, and what it wants."""

    matches: Callable[[str], bool]
    """Whether it is for the path with this reading."""
    has_regex: bool
    requirement: Requirement


class Settings:
    """A whole valid configuration."""

    __slots__ = ("challenge", "clear_route_cache", "providers", "rules")

    def __init__(self, document: object) -> None:
        """Read `document`, which is decoded JSON; raise `ConfigurationError` naming the field that is wrong."""
        fields = _Fields(document, "", _SETTINGS)
        self.challenge = f'Bearer realm="{_quoted(fields)}"'
        self.clear_route_cache = fields.boolean("clear_route_cache", default=False)
        self.providers = {name: _provider(name, place, value) for name, place, value in fields.members("providers")}
        self.rules = tuple(self._rule(place, value) for place, value in fields.items("rules"))

    def _rule(self, place: str, value: object) -> Rule:
        fields = _Fields(value, place, _RULE)
        kind = _path_kind(fields)
        if "requires" not in fields.values:
            raise fields.error("requires", 'is missing; "none" is for paths that need no token')
        requirement = self._requirement(f"{place}.requires", fields.values["requires"])
        return Rule(_PATH_MATCHERS[kind](fields), kind == "regex", requirement)

    def _requirement(self, place: str, value: object) -> Requirement:
        if value == "none":
            return Requirement(())
        if not isinstance(value, dict):
            return Requirement(self._names(place, value))
        fields = _Fields(cast("object", value), place, _ALLOWANCES)
        if len(fields.values) != 1:
            msg = f"{place}: needs exactly one of {', '.join(_ALLOWANCES)}"
            raise ConfigurationError(msg)
        ((allowance, names),) = fields.values.items()
        return Requirement(
            self._names(f"{place}.{allowance}", names), allow_missing=True, allow_failed=allowance != "allow_missing"
        )

    def _names(self, place: str, value: object) -> tuple[str, ...]:
        entries = [(place, value)]
        if isinstance(value, list):
            entries = [(f"{place}[{index}]", entry) for index, entry in enumerate(cast("list[object]", value))]
        if not entries:
            msg = f"{place}: needs at least one provider"
            raise ConfigurationError(msg)
        names: list[str] = []
        for where, entry in entries:
            name = _text(where, entry)
            if name not in self.providers:
                known = ", ".join(self.providers) or "none are"
                msg = f"{where}: there is no provider {name!r}; known: {known}"
                raise ConfigurationError(msg)
            names.append(name)
        return tuple(dict.fromkeys(names))


def _provider(name: str, place: str, value: object) -> ProviderSettings:
    fields = _Fields(value, place, _PROVIDER)
    if not name or name == "none":
        msg = f"{place}: cannot be the name of a provider"
        raise ConfigurationError(msg)
    source = _source(fields)
    algorithms = tuple(_algorithms(fields))
    if isinstance(source, KeySet) and not any(suits(key, name) for key in source.keys for name in algorithms):
        raise fields.error("algorithms", "none of the keys is one for any of them")
    if isinstance(source, MetadataKey):
        for key in fields.values:
            if key not in _WITH_METADATA:
                raise fields.error(key, "has no meaning with payload_from_metadata, where Envoy has verified the token")
    cache = _Fields(fields.values.get("jwt_cache_config", {}), f"{place}.jwt_cache_config", _CACHE)
    places = _places(fields)
    settings = ProviderSettings(
        name,
        source,
        Expectations(
            issuer=fields.text("issuer") if "issuer" in fields.values else None,
            audiences=tuple(text for _, text in fields.texts("audiences")),
            algorithms=algorithms,
            clock_skew=fields.number("clock_skew_seconds", 60, 0, _DAY),
            require_expiration=fields.boolean("require_expiration", default=True),
            longest_token=fields.number("max_token_size", 16384, 64, 65536),
        ),
        places,
        fields.boolean("forward", default=False),
        HeadersOfClaims(tuple(_claims(fields)), _header_name(fields, "forward_payload_header")),
        cache.number("jwt_cache_size", 1000, 0, 1_000_000),
        cache.number("jwt_max_token_size", 4096, 64, 65536),
    )
    _check_headers(fields, settings)
    return settings


def _check_headers(fields: "_Fields", settings: ProviderSettings) -> None:
    names = list(settings.set_headers())
    for name in names:
        if names.count(name) > 1:
            raise fields.error("claim_to_headers", f"sets the header {name!r} twice")
        if name in set(settings.places.names()):
            raise fields.error("claim_to_headers", f"sets the header {name!r}, which tokens are read from")


def _source(fields: "_Fields") -> KeySet | RemoteAddress | MetadataKey:
    kinds = [kind for kind in _SOURCES if kind in fields.values]
    if len(kinds) != 1:
        found = " and ".join(kinds) or "none"
        msg = f"{fields.place}: needs exactly one of {', '.join(_SOURCES)}, has {found}"
        raise ConfigurationError(msg)
    return _SOURCES[kinds[0]](fields)


def _local_keys(fields: "_Fields") -> KeySet:
    place = f"{fields.place}.local_jwks"
    try:
        keys = parse_key_set(fields.values["local_jwks"], place)
    except JwkError as error:
        raise ConfigurationError(str(error)) from None
    if keys.skipped:
        msg = f"{place}: {'; '.join(keys.skipped)}"
        raise ConfigurationError(msg)
    if not keys.keys:
        msg = f"{place}: needs at least one key"
        raise ConfigurationError(msg)
    kids = [key.kid for key in keys.keys if key.kid is not None]
    for kid in kids:
        if kids.count(kid) > 1:
            msg = f"{place}: several keys have the kid {kid!r}"
            raise ConfigurationError(msg)
    return keys


def _remote_keys(fields: "_Fields") -> RemoteAddress:
    remote = _Fields(fields.values["remote_jwks"], f"{fields.place}.remote_jwks", _REMOTE)
    for key in ("cluster", "uri"):
        if not remote.text(key):
            raise remote.error(key, "is missing")
    uri = _URI.fullmatch(remote.text("uri"))
    if uri is None:
        raise remote.error("uri", "must be a URL such as 'https://accounts.example.com/jwks.json'")
    return RemoteAddress(
        remote.text("cluster"),
        uri["scheme"].lower(),
        uri["authority"],
        uri["path"] or "/",
        remote.number("timeout_ms", 1000, 1, 60_000) / 1000,
        remote.number("cache_seconds", 600, 1, _DAY),
        remote.number("cooldown_seconds", 10, 1, _DAY),
    )


def _metadata_key(fields: "_Fields") -> MetadataKey:
    key = fields.text("payload_from_metadata")
    if not key:
        raise fields.error("payload_from_metadata", "needs at least one character")
    return MetadataKey(key)


_SOURCES: Mapping[str, Callable[["_Fields"], KeySet | RemoteAddress | MetadataKey]] = {
    "local_jwks": _local_keys,
    "remote_jwks": _remote_keys,
    "payload_from_metadata": _metadata_key,
}


def _algorithms(fields: "_Fields") -> Iterator[str]:
    if "algorithms" not in fields.values:
        yield from ALGORITHMS
    for place, name in fields.texts("algorithms", at_least_one="algorithms" in fields.values):
        if name not in ALGORITHMS:
            msg = f"{place}: {name!r} is not known, {', '.join(ALGORITHMS)} are"
            raise ConfigurationError(msg)
        yield name


def _places(fields: "_Fields") -> Places:
    if not any(key in fields.values for key in ("from_headers", "from_params", "from_cookies")):
        return Places((header_place("authorization", "Bearer "),), frozenset({"access_token"}), frozenset())
    params = frozenset(_names(fields, "from_params"))
    cookies = frozenset(_names(fields, "from_cookies", _COOKIE_NAME))
    places = Places(tuple(_header_places(fields)), params, cookies)
    if not any(places):
        raise fields.error("from_headers", "needs at least one entry, or from_params or from_cookies does")
    return places


def _header_places(fields: "_Fields") -> Iterator[HeaderPlace]:
    for place, value in fields.items("from_headers"):
        entry = _Fields(value, place, _FROM_HEADER)
        name = _header_name(entry, "name", _NO_TOKENS)
        if name is None:
            raise entry.error("name", "is missing")
        prefix = entry.text("prefix")
        if _CONTROL.search(prefix):
            raise entry.error("prefix", "holds control characters")
        yield header_place(name, prefix)


def _names(fields: "_Fields", key: str, fit: "re.Pattern[str] | None" = None) -> Iterator[str]:
    for place, name in fields.texts(key):
        if not name or (fit and not fit.fullmatch(name)):
            msg = f"{place}: is not the name of a {'cookie' if fit else 'parameter'}"
            raise ConfigurationError(msg)
        yield name


def _claims(fields: "_Fields") -> Iterator[ClaimHeader]:
    for place, value in fields.items("claim_to_headers"):
        entry = _Fields(value, place, _CLAIM)
        header = _header_name(entry, "header")
        if header is None:
            raise entry.error("header", "is missing")
        separator = entry.text("separator", ",")
        if not separator or _CONTROL.search(separator):
            raise entry.error("separator", "needs at least one character, and no control characters")
        yield ClaimHeader(_claim_path(entry), header, separator)


def _claim_path(entry: "_Fields") -> tuple[str, ...]:
    if isinstance(entry.values.get("claim"), list):
        path = tuple(text for _, text in entry.texts("claim", at_least_one=True))
    else:
        path = tuple(entry.text("claim").split("."))
    if not all(path):
        raise entry.error("claim", "must name a claim, such as 'sub' or 'realm_access.roles'")
    return path


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


def _header_name(fields: "_Fields", key: str, others: Sequence[str] = ()) -> str | None:
    if key not in fields.values:
        return None
    name = fields.text(key).lower()
    if not _TOKEN.fullmatch(name):
        raise fields.error(key, "is not the name of a header")
    if name in (others or _OTHERS_HEADERS):
        raise fields.error(key, f"cannot be {name!r}, which has a meaning of its own")
    return name


def _quoted(fields: "_Fields") -> str:
    realm = fields.text("realm", "jwt")
    if _CONTROL.search(realm):
        raise fields.error("realm", "holds control characters")
    return realm.replace("\\", "\\\\").replace('"', '\\"')


def read(text: str) -> object:
    """The configuration's JSON; `ConfigurationError` where it is none, or names something twice in one object."""
    try:
        return json.loads(text, object_pairs_hook=_members)
    except RecursionError:
        msg = "configuration: nested too deeply"
        raise ConfigurationError(msg) from None
    except ValueError as error:
        msg = f"configuration: not JSON: {error}"
        raise ConfigurationError(msg) from None


def _members(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    members: dict[str, object] = {}
    for key, value in pairs:
        if key in members:
            msg = f"configuration: the name {key!r} occurs twice in one object"
            raise ConfigurationError(msg)
        members[key] = value
    return members


_DAY = 86_400
_URI = re.compile(r"(?i:(?P<scheme>https?))://(?P<authority>[^\s/?#@]+)(?P<path>/[!-\"$-~]*)?")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""RFC 9110, 5.6.2."""
_COOKIE_NAME = _TOKEN
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_TOKENS = ("connection", "content-length", COOKIE, "host", "te", "transfer-encoding", "upgrade")
_OTHERS_HEADERS = ("authorization", *_NO_TOKENS)

_SETTINGS = ("providers", "rules", "clear_route_cache", "realm")
_RULE = ("prefix", "exact", "suffix", "regex", "requires")
_ALLOWANCES = ("allow_missing", "allow_missing_or_failed")
_FROM_HEADER = ("name", "prefix")
_CLAIM = ("claim", "header", "separator")
_REMOTE = ("cluster", "uri", "timeout_ms", "cache_seconds", "cooldown_seconds")
_CACHE = ("jwt_cache_size", "jwt_max_token_size")
_WITH_METADATA = ("payload_from_metadata", "claim_to_headers", "forward_payload_header")
_PROVIDER = (
    "issuer",
    "audiences",
    "local_jwks",
    "remote_jwks",
    "payload_from_metadata",
    "algorithms",
    "from_headers",
    "from_params",
    "from_cookies",
    "forward",
    "clock_skew_seconds",
    "require_expiration",
    "claim_to_headers",
    "forward_payload_header",
    "max_token_size",
    "jwt_cache_config",
)


class _Fields:
    """The fields of one JSON object; every error names the path of the field."""

    __slots__ = ("place", "values")

    def __init__(self, value: object, place: str, known: tuple[str, ...] | None) -> None:
        """`known` are the fields that there may be; `None`: any."""
        self.place = place
        if not isinstance(value, dict):
            msg = f"{place or 'configuration'}: must be an object, is {_kind(value)}"
            raise ConfigurationError(msg)
        self.values = cast("Mapping[str, object]", value)
        for key in self.values:
            if known is not None and key not in known:
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

    def number(self, key: str, default: int, least: int, most: int) -> int:
        value = self.values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            what = "a number with a fraction" if isinstance(value, float) else _kind(value)
            raise self.error(key, f"must be an integer, is {what}")
        if not least <= value <= most:
            raise self.error(key, f"must be from {least} to {most}")
        return value

    def members(self, key: str) -> Iterator[tuple[str, str, object]]:
        """The name, the path and the value of each member of an object."""
        fields = _Fields(self.values.get(key, {}), self._path(key), None)
        return ((name, f"{fields.place}.{name}", value) for name, value in fields.values.items())

    def items(self, key: str, *, at_least_one: bool = False) -> Iterator[tuple[str, object]]:
        """The path and the value of each entry of an array."""
        array = self.values.get(key, [])
        if not isinstance(array, list):
            raise self.error(key, f"must be an array, is {_kind(array)}")
        entries = cast("list[object]", array)
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
