"""What was judged before, so that what comes again is not judged again: which rules a place needs, and which credentials were accepted.

Both are bounded, and begin anew when they are full: a client that never asks the same twice costs what it would without them. Nothing here keeps
credentials: what was accepted is known by a digest with a key that each VM draws for itself. What was refused is not kept, so who guesses learns nothing from
the time that an answer takes.
"""

import hashlib
import os
from collections.abc import Sequence

from basic_auth_config import Rule

MOST_PLACES = 1024
MOST_ACCEPTED = 1024
LONGEST_PLACE = 512
"""Characters of authority and path together; what is longer is judged each time."""

Place = tuple[str, str, str]
"""Method, authority, and path without its query."""


class Memory:
    """What one plugin context remembers."""

    __slots__ = ("_key", "accepted", "rules")

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self.rules: dict[Place, tuple[Rule, ...]] = {}
        self.accepted: dict[bytes, tuple[Sequence[Rule], str]] = {}
        """From the digest of a value of `authorization` to the rules that accepted it and the name of its user."""

    def remember_rules(self, place: Place, rules: tuple[Rule, ...]) -> None:
        """The rules that requests of `place` must be accepted by."""
        if len(place[1]) + len(place[2]) > LONGEST_PLACE:
            return
        if len(self.rules) >= MOST_PLACES:
            self.rules.clear()
        self.rules[place] = rules

    def digest(self, authorization: str) -> bytes:
        """By what a value of `authorization` is known."""
        return hashlib.sha256(self._key + authorization.encode("utf-8", "surrogateescape")).digest()

    def remember_accepted(self, digest: bytes, rules: Sequence[Rule], username: str) -> None:
        """That `rules` accept what has that digest."""
        if len(self.accepted) >= MOST_ACCEPTED:
            self.accepted.clear()
        self.accepted[digest] = rules, username
