"""What was judged before, so that what comes again is not judged again.

It is requests with what was decided of them, and credentials that were accepted. Both are bounded, and begin anew when they are full: a client that never asks the same
twice costs what it would without them. Nothing here keeps credentials: requests and what was accepted are known by fingerprints, with keys that each VM draws for itself. What was
refused is not kept, so who guesses learns nothing from the time that an answer takes.
"""

from collections.abc import Sequence

from basic_auth_config import Rule

from proxy_wasm import make_fingerprint, make_headers_fingerprint

MOST_DECISIONS = 1024
MOST_ACCEPTED = 1024
UNKNOWN = ""
"""The name of the user of a request that is not remembered; a user without a name is judged each time."""


class Memory:
    """What one plugin context remembers."""

    __slots__ = ("accepted", "decisions", "fingerprint", "request")

    def __init__(self) -> None:
        self.request = make_headers_fingerprint(":method", ":authority", ":path", "authorization", query=False)
        """By what a request is known: all that a decision depends on."""
        self.decisions: dict[str, str | None] = {}
        """From requests that were let through to the name of their user, `None` where no rule applied."""
        self.fingerprint = make_fingerprint()
        """By what a value of `authorization` is known."""
        self.accepted: dict[str, tuple[Sequence[Rule], str]] = {}
        """From the fingerprint of a value of `authorization` to the rules that accepted it and the name of its user."""

    def remember_decision(self, request: str, username: str | None) -> None:
        """That a request was let through."""
        if len(self.decisions) >= MOST_DECISIONS:
            self.decisions.clear()
        self.decisions[request] = username

    def remember_accepted(self, fingerprint: str, rules: Sequence[Rule], username: str) -> None:
        """That `rules` accept what has that fingerprint."""
        if len(self.accepted) >= MOST_ACCEPTED:
            self.accepted.clear()
        self.accepted[fingerprint] = rules, username
