"""Tokens that were verified, so that a busy client costs one verification.

Bounded in number and in the size of a token, and kept by the token itself, never by a hash of it. Of a full cache the token that
was not seen for longest goes. An entry lives as long as its token, and as long as the key that verified it is among the keys.
"""

from collections import OrderedDict
from collections.abc import Callable

from jwt_headers_verifier import Verified


class TokenCache:
    """The verified tokens of one provider."""

    __slots__ = ("_longest_token", "_most", "_verified")

    def __init__(self, most: int, longest_token: int) -> None:
        """At most `most` tokens (0 for none) of at most `longest_token` characters each."""
        self._most = most
        self._longest_token = longest_token
        self._verified: OrderedDict[str, Verified] = OrderedDict()

    def __len__(self) -> int:
        return len(self._verified)

    def get(self, token: str, now: float) -> Verified | None:
        """What was found out about `token`, unless it has expired at `now`, in seconds since 1970."""
        verified = self._verified.get(token)
        if verified is None:
            return None
        if verified.expires <= now:
            del self._verified[token]
            return None
        self._verified.move_to_end(token)
        return verified

    def put(self, token: str, verified: Verified) -> None:
        """Remember a token, if it is one of those that are remembered."""
        if not self._most or len(token) > self._longest_token:
            return
        if len(self._verified) >= self._most and token not in self._verified:
            self._verified.popitem(last=False)
        self._verified[token] = verified

    def keep(self, is_valid: Callable[[Verified], bool]) -> None:
        """Forget the tokens of which that is no longer so."""
        for token in [token for token, verified in self._verified.items() if not is_valid(verified)]:
            del self._verified[token]
