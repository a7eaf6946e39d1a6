"""From the claims of a token to the values of request headers.

A value is refused, and with it the token, where it could reach the upstream as something else than the claim: characters that no
header holds or that are cut off its ends, text that is no Unicode, an entry of a list that holds the separator.
"""

import json
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

LONGEST_VALUE = 16384
"""Bytes of one header's value."""


class ClaimError(ValueError):
    """A claim that cannot become a header; the message says why, without its value."""


class ClaimHeader(NamedTuple):
    """Which claim becomes which header."""

    path: tuple[str, ...]
    """The names on the way to the claim, outermost first."""
    header: str
    """The name of the header, in lower case."""
    separator: str
    """What stands between the entries of a list."""

    def value(self, claims: dict[str, object]) -> str | None:
        """The value of the header; `None` where the claim is absent, null or empty. Raises `ClaimError`."""
        claim: object = claims
        for name in self.path:
            claim = _member(claim, name)
        try:
            return self._checked(self._text(claim)) if claim is not None else None
        except RecursionError:
            msg = f"claim {self._name()}: nested too deeply"
            raise ClaimError(msg) from None

    def _text(self, claim: object) -> str:
        if not isinstance(claim, list):
            return self._scalar(claim)
        entries = [self._scalar(entry) for entry in cast("Sequence[object]", claim) if entry is not None]
        if any(self.separator in entry for entry in entries):
            msg = f"claim {self._name()}: an entry holds the separator"
            raise ClaimError(msg)
        return self.separator.join(entries)

    def _scalar(self, claim: object) -> str:
        if isinstance(claim, str):
            return claim
        if isinstance(claim, float):
            return self._number(claim)
        if isinstance(claim, int):  # which a boolean is, too
            return str(claim).lower()
        return json.dumps(plain(claim), ensure_ascii=True, separators=(",", ":"), allow_nan=False)

    def _number(self, number: float) -> str:
        if not math.isfinite(number):
            msg = f"claim {self._name()}: a number without end"
            raise ClaimError(msg)
        return str(_integral(number))

    def _checked(self, text: str) -> str | None:
        if not text.isascii() and not _is_unicode(text):
            msg = f"claim {self._name()}: half of a surrogate pair"
            raise ClaimError(msg)
        if _CONTROL.search(text) or text != text.strip():
            msg = f"claim {self._name()}: characters that a header cannot hold, or a space at an end"
            raise ClaimError(msg)
        if len(text.encode()) > LONGEST_VALUE:
            msg = f"claim {self._name()}: longer than {LONGEST_VALUE} bytes"
            raise ClaimError(msg)
        return text or None

    def _name(self) -> str:
        return ".".join(self.path)


def _member(claim: object, name: str) -> object:
    return cast("dict[str, object]", claim).get(name) if isinstance(claim, dict) else None


def plain(claim: Any) -> Any:  # noqa: ANN401 - JSON is what it is
    """JSON in which numbers that are integers are written as such: in the proxy's metadata all are `float`."""
    if isinstance(claim, float):
        if not math.isfinite(claim):
            msg = "a number without end"
            raise ClaimError(msg)
        return _integral(claim)
    if isinstance(claim, dict):
        return {name: plain(value) for name, value in cast("dict[str, object]", claim).items()}
    if isinstance(claim, list):
        return [plain(value) for value in cast("list[object]", claim)]
    return claim


def _integral(number: float) -> float | int:
    return int(number) if number.is_integer() and abs(number) <= _EXACT else number


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_EXACT = 2**53
"""Up to here every integer is a `float`."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
