"""The keys of a provider: those of its configuration, or those of a server that are fetched by callout.

Theory of operation
-------------------
Each worker of the proxy fetches the keys for itself: when it is configured, from then on by a timer, and once more when a token
names a key that is not known. One fetch is under way at a time, and whoever needs its result waits for it.

- A fetch ends at its timeout at the latest, and so does the wait of a request.
- Keys that were fetched stay until others were. A fetch that fails, whatever it was that failed, is repeated after a short
  time, which doubles with each failure up to the time after which keys are fetched anyway.
- An unknown key leads to a fetch only if the last one lies back far enough: however many tokens name whatever keys, the server
  sees at most one fetch in `cooldown_seconds`.
- Time is that of the proxy's timers, since tests can move those.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol

from jws_keys import JwkError, Key, KeySet, OctKey, OkpKey, parse_key_set
from jwt_headers_verifier import strict_object

from proxy_wasm import CalloutError, HttpResponse, PluginContext, Task, Timer

logger = logging.getLogger(__name__)

LARGEST_DOCUMENT = 256 * 1024
"""Bytes of a key set."""

FIRST_RETRY = 0.5
"""Seconds after the first fetch that failed."""

_MOST_DOUBLINGS = 30
_OK = 200


class Keys(Protocol):
    """Where the keys of a provider come from."""

    @property
    def current(self) -> KeySet | None:
        """The keys that are known; `None` where none were ever fetched."""
        ...

    def coming(self, *, unknown: bool) -> "Task[None] | None":
        """What brings keys, to be waited for; `None` where none are on their way.

        `unknown`: a token names a key that is not among those that are known.
        """
        ...

    def stop(self) -> None:
        """Fetch no more."""
        ...


class LocalKeys:
    """Keys that are a part of the configuration."""

    __slots__ = ("current",)

    def __init__(self, keys: KeySet) -> None:
        self.current: KeySet | None = keys

    def coming(self, *, unknown: bool) -> "Task[None] | None":
        """Nothing: all keys are there."""
        del unknown

    def stop(self) -> None:
        """See `Keys`."""


class RemoteAddress(NamedTuple):
    """Where keys are fetched, and how often."""

    cluster: str
    scheme: str
    authority: str
    path: str
    timeout: float
    """Seconds."""
    refresh: float
    """Seconds between two fetches."""
    cooldown: float
    """Seconds between two fetches that unknown keys lead to."""


class RemoteKeys:
    """Keys that are fetched."""

    __slots__ = ("_address", "_changed", "_cooldown", "_failed", "_failures", "_fetch", "_name", "_next", "_plugin", "_succeeded", "current")  # fmt: skip

    def __init__(
        self, plugin: PluginContext, name: str, address: RemoteAddress, changed: Callable[[KeySet], None]
    ) -> None:
        """Of the provider `name`; `changed` is called when there are other keys than before. Fetches the first ones at once."""
        self.current: KeySet | None = None
        self._plugin = plugin
        self._name = name
        self._address = address
        self._changed = changed
        self._failures = 0
        self._succeeded = plugin.counter("jwt_headers_key_fetches", result="succeeded")
        self._failed = plugin.counter("jwt_headers_key_fetches", result="failed")
        self._next: Timer | None = None
        self._cooldown: Timer | None = None
        self._fetch: Task[None] | None = None
        self._begin()

    def stop(self) -> None:
        """See `Keys`."""
        for pending in (self._next, self._cooldown, self._fetch):
            if pending is not None:
                pending.cancel()

    def coming(self, *, unknown: bool) -> "Task[None] | None":
        """See `Keys`."""
        if self._fetch is None and unknown and self.current is not None and self._cooldown is None:
            self._begin()
        return self._fetch

    def _begin(self) -> None:
        for pending in (self._next, self._cooldown):
            if pending is not None:
                pending.cancel()
        self._cooldown = self._plugin.call_later(self._address.cooldown, self._cooled)
        self._fetch = self._plugin.create_task(self._run())

    def _cooled(self) -> None:
        self._cooldown = None

    async def _run(self) -> None:
        try:
            seconds = await self._refreshed()
        finally:
            self._fetch = None
        self._next = self._plugin.call_later(seconds, self._begin)

    async def _refreshed(self) -> float:
        """Fetch the keys; in how many seconds to do it again."""
        try:
            keys = await self._fetched()
        except (CalloutError, ValueError) as error:
            seconds = min(FIRST_RETRY * 2 ** min(self._failures, _MOST_DOUBLINGS), self._address.refresh)
            self._failures += 1
            self._failed.increment()
            kept = "there are none yet" if self.current is None else "those of before stay"
            logger.warning("keys of provider %s: %s; %s, next try in %g s", self._name, error, kept, seconds)
            return seconds
        self._failures = 0
        self._succeeded.increment()
        if self.current is None or keys.keys != self.current.keys:
            self.current = keys
            self._changed(keys)
        return self._address.refresh

    async def _fetched(self) -> KeySet:
        address = self._address
        response = await self._plugin.http_call(
            address.cluster,
            "GET",
            address.path,
            headers={"accept": "application/jwk-set+json, application/json"},
            timeout=address.timeout,
            authority=address.authority,
            scheme=address.scheme,
        )
        keys = _key_set(response)
        for skipped in keys.skipped:
            logger.info("keys of provider %r: left out: %s", self._name, skipped)
        return _with_known(keys, self.current)


def _with_known(keys: KeySet, known: KeySet | None) -> KeySet:
    """`keys`, of which those that are known already are the same objects as before."""
    before = {} if known is None else {_identity(key): key for key in known.keys}
    return KeySet([before.get(_identity(key), key) for key in keys.keys], keys.skipped)


def _identity(key: Key) -> tuple[object, ...]:
    """All that a key is and may be used for."""
    if isinstance(key, OctKey):
        material = key.secret
    elif isinstance(key, OkpKey):
        material = key.x
    else:
        material = key.der
    return type(key), key.kid, key.alg, key.use, key.key_ops, material


def _key_set(response: HttpResponse) -> KeySet:
    """The keys in an answer; `ValueError` where there are none."""
    if response.status != _OK:
        msg = f"the server answered with status {response.status}"
        raise ValueError(msg)
    if len(response.content) > LARGEST_DOCUMENT:
        msg = f"the server's answer has {len(response.content)} bytes, a key set has at most {LARGEST_DOCUMENT}"
        raise ValueError(msg)
    try:
        keys = parse_key_set(strict_object(response.content), "answer")
    except JwkError as error:
        msg = f"the server's answer is no key set: {error}"
        raise ValueError(msg) from None
    except ValueError as error:
        msg = f"the server's answer is no JSON object: {error}"
        raise ValueError(msg) from None
    if not keys.keys:
        msg = "the server's answer has no key that can be used"
        raise ValueError(msg)
    return keys
