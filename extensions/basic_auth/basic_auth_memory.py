"""What was judged before, so that what comes again is not judged again.

It is requests with what was decided of them, the rules that a place needs, and the credentials that were accepted. All three are bounded, and begin anew when they are full: a client that never asks the same twice costs what it would without them. Nothing here keeps
credentials: requests and what was accepted are known by fingerprints, with keys that each VM draws for itself. What was refused is not kept, so who guesses learns
nothing from the time that an answer takes.
"""

from collections.abc import Sequence

from basic_auth_config import Rule

from proxy_wasm import make_fingerprint, make_headers_fingerprint

MOST_DECISIONS = 1024
MOST_PLACES = 1024
MOST_ACCEPTED = 1024
LONGEST_PLACE = 512
"""Characters of method, authority and path together; the rules of what is longer are looked for each time."""


class Memory:
    """What one plugin context remembers."""

    __slots__ = ("_places", "accepted", "decisions", "fingerprint", "request", "rules")

    def __init__(self) -> None:
        self.request = make_headers_fingerprint(":method", ":authority", ":path", "authorization", query=False)
        """By what a request is known: all that a decision depends on."""
        self.decisions: dict[str, str | None] = {}
        """From requests that were let through to the name of their user, `None` where no rule applied."""
        self.fingerprint = make_fingerprint()
        """By what a value of `authorization` is known."""
        self.rules: dict[str, dict[str, dict[str, tuple[Rule, ...]]]] = {}
        """The rules of a place: by its method, its authority, and its path without the query."""
        self._places = 0
        self.accepted: dict[str, tuple[Sequence[Rule], str]] = {}
        """From the fingerprint of a value of `authorization` to the rules that accepted it and the name of its user."""

    def remember_decision(self, request: str, username: str | None) -> None:
        """That a request was let through."""
        if len(self.decisions) >= MOST_DECISIONS:
            self.decisions.clear()
        self.decisions[request] = username

    def remember_rules(self, method: str, authority: str, path: str, rules: tuple[Rule, ...]) -> None:
        """The rules that requests of a place must be accepted by."""
        if len(method) + len(authority) + len(path) > LONGEST_PLACE:
            return
        if self._places >= MOST_PLACES:
            self.rules.clear()
            self._places = 0
        self.rules.setdefault(method, {}).setdefault(authority, {})[path] = rules
        self._places += 1

    def remember_accepted(self, fingerprint: str, rules: Sequence[Rule], username: str) -> None:
        """That `rules` accept what has that fingerprint."""
        if len(self.accepted) >= MOST_ACCEPTED:
            self.accepted.clear()
        self.accepted[fingerprint] = rules, username
