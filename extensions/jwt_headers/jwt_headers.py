"""Claims of verified JSON Web Tokens (RFC 7519) become request headers. README.md describes the configuration."""

import logging
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import jwt_without_client  # noqa: F401 # pyright: ignore[reportUnusedImport] # isort: skip - before all that imports jwt
from jwt_headers_config import Requirement, Settings, read
from jwt_headers_paths import LONGEST_PATH, readings
from jwt_headers_provider import UNAVAILABLE, KeysComing, Missing, Pairs, Provider, Request, make_provider
from jwt_headers_tokens import PATH
from jwt_headers_verifier import UNAUTHORIZED, Refused

from proxy_wasm import (
    Action,
    Body,
    Headers,
    HostError,
    HttpContext,
    PluginContext,
    Task,
    UnknownForeignFunctionError,
)

logger = logging.getLogger(__name__)

LONGEST_PATH_FOR_REGEX = 2048
"""Characters, without the query; a regular expression may take a time that grows with the square of the length, or worse."""

Decision = Action | int | None
Result = Decision | Coroutine[Any, Any, Decision]

MOST_PATHS = MOST_NAMES = 1024
LONGEST_REMEMBERED_PATH, LONGEST_REMEMBERED_NAME = 512, 128
"""What paths demand and what names of headers mean is remembered, up to so many; then it begins anew."""

_READ, _FORGED = 1, 2
"""What a header may be, as bits: one that is looked at, one that only claims may set."""

_BAD_REQUEST = 400
_ERRORS = {_BAD_REQUEST: "invalid_request", UNAUTHORIZED: "invalid_token"}
"""What a client is told (RFC 6750, 3.1)."""


class Demand(NamedTuple):
    """What a rule wants of a request."""

    providers: tuple[Provider, ...]
    allow_missing: bool
    allow_failed: bool


class JwtHeaders(PluginContext):
    """One configuration: its rules and providers, and how often which decision was made."""

    def __init__(self) -> None:
        self._providers: dict[str, Provider] = {}
        self._verifies_natively = True
        self._demands: dict[str, Sequence[Demand]] = {}
        self.roles: dict[str, int] = {}
        """From names of headers, as they are written, to what they are."""

    def on_configure(self) -> None:
        self.settings = settings = Settings(read(self.configuration.text) if self.configuration.raw else {})
        self.allowed = self.counter("jwt_headers_requests", decision="allowed")
        self.anonymous = self.counter("jwt_headers_requests", decision="anonymous")
        self.denied = self.counter("jwt_headers_requests", decision="denied")
        self.unavailable = self.counter("jwt_headers_requests", decision="unavailable")
        self.unprotected = self.counter("jwt_headers_requests", decision="unprotected")
        for provider in self._providers.values():
            provider.stop()
        self._providers = {
            name: make_provider(self, each, self._verify_natively) for name, each in settings.providers.items()
        }
        providers = self._providers.values()
        self.headers_read = frozenset({PATH}).union(*(each.headers_read for each in providers))
        self.headers_set = frozenset(name.replace("_", "-") for each in providers for name in each.headers_set)
        self.rules = tuple((rule.matches, self._demand(rule.requirement)) for rule in settings.rules)
        has_regex = any(rule.has_regex for rule in settings.rules)
        self.longest_path = LONGEST_PATH_FOR_REGEX if has_regex else LONGEST_PATH
        self._demands.clear()
        self.roles.clear()

    def _demand(self, requirement: Requirement) -> Demand:
        providers = tuple(self._providers[name] for name in requirement.providers)
        return Demand(providers, requirement.allow_missing, requirement.allow_failed)

    def http_context(self) -> HttpContext["JwtHeaders"]:
        return JwtHeadersStream(self)

    def _verify_natively(self, hash_name: str, public_key: bytes, signature: bytes, text: bytes) -> bool | None:
        """What the proxy's own cryptography says; `None` where it has none."""
        if not self._verifies_natively:
            return None
        try:
            return self.foreign_functions.verify_signature(hash_name, public_key, signature, text)
        except (UnknownForeignFunctionError, HostError):
            self._verifies_natively = False
            logger.info("the proxy verifies no signatures for the filter: Python does")
        except ValueError:  # it knows fewer kinds of keys
            pass
        return None

    def demands(self, path: str) -> Sequence[Demand]:
        """What the rules want of a request with this path; raises `Refused` where that cannot be told.

        A path that may mean several things has to meet the demands for each of them.
        """
        path = path.partition("?")[0]
        demands = self._demands.get(path)
        if demands is None:
            demands = self._judge_path(path)
            if len(path) <= LONGEST_REMEMBERED_PATH:
                if len(self._demands) >= MOST_PATHS:
                    self._demands.clear()
                self._demands[path] = demands
        return demands

    def role_of(self, written: str) -> int:
        """What a header of that name is; servers may take `_` for `-` in the names that claims set."""
        name = written.lower()
        role = _READ if name in self.headers_read else 0
        if name in self.headers_set or ("_" in name and name.replace("_", "-") in self.headers_set):
            role |= _FORGED
        if len(written) <= LONGEST_REMEMBERED_NAME:
            if len(self.roles) >= MOST_NAMES:
                self.roles.clear()
            self.roles[written] = role
        return role

    def _judge_path(self, path: str) -> Sequence[Demand]:
        if not self.rules:
            return ()
        found = readings(path, self.longest_path)
        if not found:
            msg = "Its path cannot be judged."
            raise Refused(msg, _BAD_REQUEST)
        demands: list[Demand] = []
        for reading in found:
            for matches, demand in self.rules:
                if matches(reading):
                    if demand.providers and demand not in demands:
                        demands.append(demand)
                    break
        return demands


class JwtHeadersStream(HttpContext[JwtHeaders]):
    """Judges one request."""

    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Result:
        request = Request(self._read(headers), lambda: self.properties.metadata)
        try:
            return self._decide(request, headers)
        except KeysComing as coming:
            return self._decide_later(coming.task, request, headers)

    def on_request_body(self, body: Body, end_of_stream: bool) -> None:
        """Nothing is done here, but a proxy takes a callback that is not there for one that continues.

        With `allow_on_headers_stop_iteration` headers that wait for keys would go on with the first bytes of a body.
        """

    def on_request_trailers(self, trailers: Headers) -> None:
        """As `on_request_body`."""

    async def _decide_later(self, task: Task[None], request: Request, headers: Headers) -> Decision:
        while True:
            await task
            request.waited_for.add(task)
            try:
                return self._decide(request, headers)
            except KeysComing as coming:
                task = coming.task

    def _read(self, headers: Headers) -> dict[str, list[str]]:
        """The values of the headers that are looked at; those that only claims may set are removed.

        Of these also how some servers write them: with `_` in place of `-`.
        """
        plugin = self.plugin
        roles = plugin.roles
        values: dict[str, list[str]] = {}
        forged: list[str] = []
        for written, value in headers.multi_items():
            role = roles.get(written)
            if role is None:
                role = plugin.role_of(written)
            if role:
                if role & _READ:
                    values.setdefault(written.lower(), []).append(value)
                if role & _FORGED:
                    forged.append(written)
        for name in dict.fromkeys(forged):
            headers.discard(name)
        return values

    def _decide(self, request: Request, headers: Headers) -> Decision:
        plugin = self.plugin
        try:
            demands = plugin.demands("".join(request.values.get(PATH, ())[:1]))
            claimed = [pairs for demand in demands if (pairs := judge(demand, request)) is not None]
        except Refused as refused:
            return self._deny(refused)
        for demand in demands:
            for provider in demand.providers:
                provider.remove_tokens(request, headers)
        for pairs in claimed:
            for name, value in pairs:
                headers[name] = value
        if demands and plugin.settings.clear_route_cache:
            self._clear_route_cache()
        (plugin.allowed if claimed else plugin.anonymous if demands else plugin.unprotected).increment()
        return None

    def _deny(self, refused: Refused) -> Decision:
        logger.debug("denied: %s", refused)
        (self.plugin.unavailable if refused.status == UNAVAILABLE else self.plugin.denied).increment()
        challenge = []
        if refused.status in _ERRORS:
            error = "" if isinstance(refused, Missing) else f', error="{_ERRORS[refused.status]}"'
            challenge = [("www-authenticate", self.plugin.settings.challenge + error)]
        details = f"Request denied by JWT check. {refused}"
        return self.send_local_response(refused.status, headers=challenge, details=details)

    def _clear_route_cache(self) -> None:
        with suppress(UnknownForeignFunctionError):  # a proxy without it chooses the route after every filter
            self.foreign_functions.clear_route_cache()


def judge(demand: Demand, request: Request) -> Pairs | None:
    """The headers for a request that a provider of `demand` accepts; `None` where it is let through without.

    Raises `Refused`, or `KeysComing` where no provider accepts it yet.
    """
    failures: list[Refused] = []
    missing: list[Refused] = []
    coming: KeysComing | None = None
    for provider in demand.providers:
        try:
            return provider.headers(request)
        except Missing as absent:
            missing.append(absent)
        except Refused as refused:
            failures.append(refused)
        except KeysComing as keys:
            coming = coming or keys
    if coming is not None:
        raise coming
    if demand.allow_failed or (demand.allow_missing and not failures):
        return None
    raise max(failures or missing, key=lambda failure: failure.status)
