"""The configuration: JSON in, settings that are ready for asking out. README.md describes every field."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from opa_authz_cache import KeyPart, key_part
from opa_authz_encoding import percent_encoded

from proxy_wasm import ConfigurationError

LONGEST_TIMEOUT = 60_000
"""In milliseconds."""
LARGEST_BODY = 1 << 20
"""In bytes: what Envoy buffers unless told otherwise."""
LONGEST_CACHING = 86_400
"""In seconds."""
LARGEST_CACHE = 100_000
"""In entries."""

ISTIO_DETAILS = "OPA policy check denied"
"""The details of a denial by istio-ecosystem's filter."""
DETAILS = "opa_authz: denied by the policy"


class BodyLimit:
    """How much of a request's body is part of the question."""

    __slots__ = ("allow_partial", "size")

    def __init__(self, fields: "_Fields") -> None:
        self.size = fields.integer("max_request_bytes", None, 1, LARGEST_BODY)
        self.allow_partial = fields.boolean("allow_partial_message", default=False)


class Caching:
    """How long, how many and by what decisions are kept."""

    __slots__ = ("key", "max_entries", "ttl")

    def __init__(self, ttl: float, max_entries: int, key: tuple[KeyPart, ...]) -> None:
        self.ttl = ttl
        self.max_entries = max_entries
        self.key = key


class HeaderNames:
    """The names that an `include_headers` or `exclude_headers` lists; `x-*` are all that begin with `x-`, `*` is every one."""

    __slots__ = ("_exact", "_prefixes")

    def __init__(self, patterns: Sequence[str]) -> None:
        self._exact = frozenset(pattern for pattern in patterns if not pattern.endswith("*"))
        self._prefixes = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))

    def __contains__(self, name: str) -> bool:
        return name in self._exact or name.startswith(self._prefixes)


class Settings:
    """A whole valid configuration."""

    __slots__ = (
        "authority",
        "body",
        "caching",
        "cluster",
        "context_extensions",
        "denial_details",
        "exclude_headers",
        "failure_mode_allow",
        "include_headers",
        "is_istio",
        "metadata_namespaces",
        "path",
        "status_on_error",
        "timeout",
    )

    def __init__(self, document: object) -> None:
        """Read `document`, which is decoded JSON; raise `ConfigurationError` naming the field that is wrong."""
        self.failure_mode_allow = False
        self.status_on_error = 403
        self.body: BodyLimit | None = None
        self.caching: Caching | None = None
        self.include_headers = HeaderNames(["*"])
        self.exclude_headers = HeaderNames([])
        self.context_extensions: dict[str, str] = {}
        self.metadata_namespaces: tuple[str, ...] = ()
        named = cast("Mapping[str, object]", document) if isinstance(document, dict) else dict[str, object]()
        if any(key in named for key in _ISTIO_SETTINGS):
            self._read_istio(_Fields(named, "", _ISTIO_SETTINGS))
        else:
            self._read(_Fields(cast("object", document), "", _SETTINGS))

    def _read(self, fields: "_Fields") -> None:
        self.is_istio = fields.choice("input", ("envoy", "istio")) == "istio"
        self.cluster = fields.text("opa_cluster", required=True)
        self.authority = _authority(fields, "opa_host", self.cluster)
        self.path = _data_path(fields, "test/allow" if self.is_istio else "envoy/authz/allow")
        self.denial_details = ISTIO_DETAILS if self.is_istio else DETAILS
        self.timeout = fields.integer("timeout_ms", 200, 1, LONGEST_TIMEOUT) / 1000
        self.failure_mode_allow = fields.boolean("failure_mode_allow", default=False)
        self.status_on_error = fields.integer("status_on_error", 403, 400, 599)
        if self.is_istio:
            fields.without(_ENVOY_ONLY, 'is not part of the input "istio"')
        else:
            self.include_headers = _header_names(fields, "include_headers", ["*"])
            self.exclude_headers = _header_names(fields, "exclude_headers", [])
            self.body = None if (body := fields.object("with_request_body", _BODY)) is None else BodyLimit(body)
            self.context_extensions = fields.text_by_name("context_extensions")
            self.metadata_namespaces = tuple(name for _, name in fields.texts("metadata_context_namespaces"))
        if (cache := fields.object("cache", _CACHE)) is not None:
            self.caching = self._caching(cache)

    def _caching(self, fields: "_Fields") -> Caching:
        ttl = fields.integer("ttl_seconds", 10, 1, LONGEST_CACHING)
        max_entries = fields.integer("max_entries", 1000, 1, LARGEST_CACHE)
        if self.is_istio and "key" not in fields.values:
            return Caching(ttl, max_entries, _ISTIO_KEY)
        parts: list[KeyPart] = []
        for place, name in fields.texts("key", at_least_one=True):
            part = key_part(name)
            if part is None:
                raise ConfigurationError(f"{place}: {name!r} is not known, {', '.join(_KEY_PARTS)} are")
            parts.append(part)
        names = [name for _, name in fields.texts("key")]
        if self.body is not None and "body" not in names:
            raise fields.error("key", "needs body, since with_request_body lets policies decide by it")
        return Caching(ttl, max_entries, tuple(parts))

    def _read_istio(self, fields: "_Fields") -> None:
        """What istio-ecosystem's open_policy_agent takes, and what it means there."""
        self.is_istio = True
        self.cluster = fields.text("opa_cluster_name", required=True)
        fields.text("opa_service_host", required=True)
        self.authority = _authority(fields, "opa_service_host", "")
        self.path = "/v1/data/test/allow"
        self.denial_details = ISTIO_DETAILS
        self.timeout = 5.0
        self.status_on_error = 500
        ttl = fields.integer("check_result_cache_valid_sec", 0, 0, LONGEST_CACHING)
        if ttl:
            self.caching = Caching(ttl, 1000, _ISTIO_KEY)


_SETTINGS = (
    "opa_cluster",
    "opa_host",
    "decision_path",
    "timeout_ms",
    "input",
    "include_headers",
    "exclude_headers",
    "with_request_body",
    "context_extensions",
    "metadata_context_namespaces",
    "failure_mode_allow",
    "status_on_error",
    "cache",
)
_ENVOY_ONLY = (
    "include_headers",
    "exclude_headers",
    "with_request_body",
    "context_extensions",
    "metadata_context_namespaces",
)
_ISTIO_SETTINGS = ("opa_service_host", "opa_cluster_name", "check_result_cache_valid_sec")
_BODY = ("max_request_bytes", "allow_partial_message")
_CACHE = ("ttl_seconds", "max_entries", "key")
_KEY_PARTS = (
    "method",
    "path",
    "url_path",
    "host",
    "scheme",
    "body",
    "source_principal",
    "source_address",
    "sni",
    "headers.NAME",
    "metadata.NAMESPACE",
)


def _part(name: str) -> KeyPart:
    part = key_part(name)
    if part is None:
        raise LookupError(name)
    return part


_ISTIO_KEY = tuple(map(_part, ("source_principal", "method", "url_path")))
"""All that differs between questions of the input "istio": the workload is always the same."""

_HEADER_PATTERN = re.compile(r":?[!#$%&'+\-.^_`|~0-9A-Za-z]*\*?")
_AUTHORITY = re.compile(r"[\x21-\x7e]+")


def _authority(fields: "_Fields", key: str, default: str) -> str:
    text = fields.text(key, default)
    if key in fields.values and not _AUTHORITY.fullmatch(text):
        raise fields.error(key, "must be a host, with its port if need be")
    return text


def _data_path(fields: "_Fields", default: str) -> str:
    segments = fields.text("decision_path", default).strip("/").split("/")
    if not all(segments):
        raise fields.error("decision_path", "must be the path of a rule such as 'envoy/authz/allow'")
    return "/v1/data/" + "/".join(map(percent_encoded, segments))


def _header_names(fields: "_Fields", key: str, default: list[str]) -> HeaderNames:
    patterns: list[str] = []
    for place, pattern in fields.texts(key):
        if not pattern or not _HEADER_PATTERN.fullmatch(pattern):
            raise ConfigurationError(f"{place}: is no name of a header such as 'cookie' or 'x-*'")
        patterns.append(pattern.lower())
    return HeaderNames(patterns if key in fields.values else default)


class _Fields:
    """The fields of one JSON object; every error names the path of the field."""

    __slots__ = ("place", "values")

    def __init__(self, value: object, place: str, known: tuple[str, ...]) -> None:
        self.place = place
        if not isinstance(value, dict):
            raise ConfigurationError(f"{place or 'configuration'}: must be an object, is {_kind(value)}")
        self.values = cast("Mapping[str, object]", value)
        for key in self.values:
            if key not in known:
                raise self.error(key, f"is not known, {', '.join(known)} are")

    def error(self, key: str, problem: str) -> ConfigurationError:
        return ConfigurationError(f"{self._path(key)}: {problem}")

    def without(self, keys: tuple[str, ...], problem: str) -> None:
        for key in keys:
            if key in self.values:
                raise self.error(key, problem)

    def text(self, key: str, default: str = "", *, required: bool = False) -> str:
        if required and key not in self.values:
            raise self.error(key, "is missing")
        value = _text(self._path(key), self.values.get(key, default))
        if not value and (required or key in self.values):
            raise self.error(key, "needs at least one character")
        return value

    def choice(self, key: str, words: tuple[str, ...]) -> str:
        value = self.values.get(key, words[0])
        if value not in words:
            raise self.error(key, f"must be {' or '.join(map(repr, words))}")
        return cast("str", value)

    def boolean(self, key: str, *, default: bool) -> bool:
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"must be true or false, is {_kind(value)}")
        return value

    def integer(self, key: str, default: int | None, least: int, most: int) -> int:
        value = self.values.get(key, default)
        if value is None and key not in self.values:
            raise self.error(key, "is missing")
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(key, f"must be an integer, is {_kind(value)}")
        if not least <= value <= most:
            raise self.error(key, f"must be {least} to {most}, is {value}")
        return value

    def object(self, key: str, known: tuple[str, ...]) -> "_Fields | None":
        return _Fields(self.values[key], self._path(key), known) if key in self.values else None

    def text_by_name(self, key: str) -> dict[str, str]:
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self.error(key, f"must be an object, is {_kind(value)}")
        named = cast("dict[str, object]", value)
        return {name: _text(f"{self._path(key)}.{name}", text) for name, text in named.items()}

    def texts(self, key: str, *, at_least_one: bool = False) -> Iterator[tuple[str, str]]:
        """The path and the value of each entry of an array of strings."""
        array = self.values.get(key, [])
        if not isinstance(array, list):
            raise self.error(key, f"must be an array, is {_kind(array)}")
        entries = cast("list[object]", array)
        if at_least_one and not entries:
            raise self.error(key, "needs at least one entry")
        places = (f"{self._path(key)}[{index}]" for index in range(len(entries)))
        return ((place, _text(place, entry)) for place, entry in zip(places, entries, strict=True))

    def _path(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key


def _text(place: str, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{place}: must be a string, is {_kind(value)}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ConfigurationError(f"{place}: holds half of a surrogate pair")
    return value


def _kind(value: object) -> str:
    return _KINDS.get(type(value).__name__, "a number")


_KINDS = {"dict": "an object", "list": "an array", "str": "a string", "bool": "a boolean", "NoneType": "null"}
