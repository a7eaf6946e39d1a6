"""Numbers that guests and peers spell in text, such as `content-length`."""

_U64 = (1 << 64) - 1
_MOST_DIGITS = 20


def number_in(text: str) -> int | None:
    """The number that decimal digits spell; `None` where there is anything else, or it has more than 64 bits (as in Envoy, `absl::SimpleAtoi`)."""
    if not (text.isascii() and text.isdecimal()) or len(text.lstrip("0")) > _MOST_DIGITS:
        return None
    number = int(text.lstrip("0") or "0")
    return number if number <= _U64 else None
