"""A provider at work: from a request to the headers that the claims of its token become."""

import base64
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from jws_algorithms import Verify, jws
from jws_keys import KeySet
from jwt_headers_cache import TokenCache
from jwt_headers_claims import plain
from jwt_headers_config import MetadataKey, ProviderSettings
from jwt_headers_keys import Keys, LocalKeys, RemoteKeys
from jwt_headers_tokens import Places
from jwt_headers_verifier import Refused, UnknownKey, Verifier

from proxy_wasm import Headers, PluginContext, Task

NAMESPACE = "envoy.filters.http.jwt_authn"
"""Where Envoy's own filter leaves payloads in the dynamic metadata."""

UNAVAILABLE = 503

Pairs = Sequence[tuple[str, str]]
"""Headers to be set."""


class Missing(Refused):
    """There is no token."""


class KeysComing(Exception):  # noqa: N818 - a state, not an error
    """The request cannot be judged before keys are there that are on their way."""

    def __init__(self, task: Task[None]) -> None:
        super().__init__()
        self.task = task


class Request:
    """What of a request matters."""

    __slots__ = ("metadata", "values", "waited_for")

    def __init__(
        self, values: Mapping[str, Sequence[str]], metadata: Callable[[], Mapping[str, Mapping[str, object]]]
    ) -> None:
        self.values = values
        """The values of headers by names in lower case."""
        self.metadata = metadata
        """Gives the dynamic metadata of the stream by namespace."""
        self.waited_for: set[Task[None]] = set()
        """The fetches whose end the request has seen."""


class Provider(Protocol):
    """Whose tokens are accepted."""

    @property
    def headers_set(self) -> frozenset[str]:
        """The names of the headers that its claims may set."""
        ...

    @property
    def headers_read(self) -> frozenset[str]:
        """The names of the headers that it looks at."""
        ...

    def headers(self, request: Request) -> Pairs:
        """The headers that the claims of the request become; raises `Refused` (`Missing`, if there is no token) or `KeysComing`."""
        ...

    def remove_tokens(self, request: Request, headers: Headers) -> None:
        """Take the tokens out of the request, unless they are to reach the upstream."""
        ...

    def stop(self) -> None:
        """Do nothing more in the background."""
        ...


def make_provider(plugin: PluginContext, settings: ProviderSettings, native: Verify) -> Provider:
    """The provider with these settings; `native` is the proxy's own verification of signatures."""
    if isinstance(settings.source, MetadataKey):
        return PayloadProvider(settings, settings.source)
    return TokenProvider(plugin, settings, native)


class TokenProvider:
    """Verifies tokens."""

    __slots__ = ("_cache", "_forward", "_hits", "_keys", "_misses", "_places", "_verifier", "headers_read", "headers_set")  # fmt: skip

    def __init__(self, plugin: PluginContext, settings: ProviderSettings, native: Verify) -> None:
        self.headers_set = frozenset(settings.set_headers())
        self.headers_read = frozenset(settings.places.names())
        self._places: Places = settings.places
        self._forward = settings.forward
        self._hits = plugin.counter("jwt_headers_cache", result="hit")
        self._misses = plugin.counter("jwt_headers_cache", result="miss")
        self._cache = TokenCache(settings.cache_size, settings.longest_cached)
        self._verifier = Verifier(settings.expectations, settings.headers, jws(native))
        source = settings.source
        self._keys: Keys
        if isinstance(source, KeySet):
            self._keys = LocalKeys(source)
        else:
            assert not isinstance(source, MetadataKey)  # noqa: S101 - see `make_provider`
            self._keys = RemoteKeys(plugin, settings.name, source, self._forget_tokens)

    def stop(self) -> None:
        """See `Provider`."""
        self._keys.stop()

    def _forget_tokens(self, keys: KeySet) -> None:
        self._cache.keep(lambda verified: verified.key in keys.keys)

    def headers(self, request: Request) -> Pairs:
        """See `Provider`."""
        tokens = self._places.tokens(request.values)
        if len(tokens) != 1:
            if not tokens:
                msg = "There is no token."
                raise Missing(msg)
            msg = "There are several different tokens."
            raise Refused(msg)
        (token,) = tokens
        verified = self._cache.get(token, time.time())
        if verified is not None:
            self._hits.increment()
            return verified.headers
        try:
            verified = self._verifier.verify(token, self._keys.current)
        except UnknownKey:
            coming = self._keys.coming(unknown=not request.waited_for)
            if coming is not None and coming not in request.waited_for:
                raise KeysComing(coming) from None
            if self._keys.current is None:
                msg = "The keys are not there."
                raise Refused(msg, UNAVAILABLE) from None
            raise
        self._misses.increment()
        self._cache.put(token, verified)
        return verified.headers

    def remove_tokens(self, request: Request, headers: Headers) -> None:
        """See `Provider`."""
        if not self._forward:
            self._places.remove(request.values, headers)


class PayloadProvider:
    """Takes the payloads of tokens that Envoy's own filter has verified."""

    __slots__ = ("_headers", "_key", "headers_read", "headers_set")

    def __init__(self, settings: ProviderSettings, key: MetadataKey) -> None:
        self.headers_set = frozenset(settings.set_headers())
        self.headers_read: frozenset[str] = frozenset()
        self._headers = settings.headers
        self._key = key.key

    def headers(self, request: Request) -> Pairs:
        """See `Provider`."""
        payload = request.metadata().get(NAMESPACE, {}).get(self._key)
        if payload is None:
            msg = "There is no payload in the metadata."
            raise Missing(msg)
        if not isinstance(payload, dict):
            msg = "The payload in the metadata is no object."
            raise Refused(msg)
        claims: dict[str, object] = plain(payload)
        encoded = base64.urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode()).rstrip(b"=")
        return self._headers.of(claims, encoded.decode())

    def remove_tokens(self, request: Request, headers: Headers) -> None:
        """See `Provider`: what becomes of the token is for Envoy's own filter to say."""

    def stop(self) -> None:
        """See `Provider`."""
