"""Decisions that are kept for a while, and what they are kept by.

A key is the tuple of all that it is made of, and compared as such: never a hash alone. Each part is a tuple or `None`, so that no two requests of which
a part differs can have one key, however their bytes are divided among the parts.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from opa_authz_input import Question

KeyPart = Callable[["Question"], tuple[object, ...]]
"""From a question, the part of its key that the configuration names."""
Key = tuple[tuple[object, ...], ...]
DecisionT = TypeVar("DecisionT")

LARGEST_ENTRY = 16 * 1024
"""Bytes of a key and its answer: what is larger is not kept, so that clients cannot fill the memory."""


def key_part(name: str) -> KeyPart | None:
    """What the configuration calls `name`; `None` where it is not known."""
    kind, dot, rest = name.partition(".")
    if kind == "headers" and rest:
        header = rest.lower()
        return lambda question: question.values(header)
    if kind == "metadata" and rest:
        return lambda question: (question.metadata_text(rest),)
    return None if dot else _PARTS.get(name)


_PARTS: dict[str, KeyPart] = {
    "method": lambda question: question.values(":method"),
    "path": lambda question: question.values(":path"),
    "url_path": lambda question: tuple(path.partition("?")[0] for path in question.values(":path")),
    "host": lambda question: question.values(":authority"),
    "scheme": lambda question: question.values(":scheme"),
    "body": lambda question: (question.body, question.is_truncated),
    "source_principal": lambda question: (question.source_principal,),
    "source_address": lambda question: (question.source_host,),
    "sni": lambda question: (question.sni,),
}


def size_of(key: Key) -> int:
    """The bytes that a key takes, about."""
    return sum(len(value) for part in key for value in part if isinstance(value, (bytes, str)))


class DecisionCache(Generic[DecisionT]):
    """Decisions by key, each for `ttl` seconds after it was asked for; the oldest go first where there are too many."""

    __slots__ = ("_entries", "_max_entries", "_ttl")

    def __init__(self, ttl: float, max_entries: int) -> None:
        self._ttl = ttl
        self._max_entries = max_entries
        self._entries: dict[Key, tuple[float, DecisionT]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key, now: float) -> DecisionT | None:
        """The decision, if it is there and not too old; `now` in seconds."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now - entry[0] < self._ttl:
            return entry[1]
        del self._entries[key]
        return None

    def put(self, key: Key, decision: DecisionT, asked: float, now: float) -> None:
        """Keep a decision that was asked for at `asked`; what is too old by `now` goes."""
        entries = self._entries
        entries.pop(key, None)
        while entries:
            oldest = next(iter(entries))
            if now - entries[oldest][0] < self._ttl and len(entries) < self._max_entries:
                break
            del entries[oldest]
        if now - asked < self._ttl:
            entries[key] = (asked, decision)
