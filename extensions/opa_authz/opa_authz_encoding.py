"""Text and percent-encoding, as Envoy and Go's net/url have them: what they let pass passes here, what they refuse is refused."""

import re

MOST_PARAMETERS = 10_000
"""How many parameters Go takes of a query or form."""

_LOST_BYTES = re.compile("[\ud800-\udfff]")
_HEX = re.compile(rb"[0-9A-Fa-f]{2}")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class EncodingError(ValueError):
    """Something is not encoded as it has to be; the message says what."""


def text_of(octets: bytes) -> str:
    """Bytes of a header or body as the text that Envoy tells OPA: a `!` in place of each byte that is no UTF-8."""
    return sanitized(octets.decode("utf-8", "surrogateescape"))


def sanitized(text: str) -> str:
    """Text with a `!` in place of each byte that is no UTF-8, which the SDK has as a surrogate."""
    return text if text.isascii() else _LOST_BYTES.sub("!", text)


def unescaped(text: str, *, plus_is_space: bool = False) -> str:
    """Text without percent-escapes; `EncodingError` for a `%` that begins none.

    Bytes that are no UTF-8 then are U+FFFD, since the question to OPA is JSON.
    """
    if plus_is_space:
        text = text.replace("+", " ")
    if "%" not in text:
        return text
    first, *rest = text.encode().split(b"%")
    decoded = [first]
    for part in rest:
        if not _HEX.match(part):
            raise EncodingError("a '%' begins no escape")
        decoded.append(bytes([int(part[:2], 16)]) + part[2:])
    return b"".join(decoded).decode("utf-8", "replace")


def percent_encoded(text: str) -> str:
    """Text in which all but unreserved characters (RFC 3986, 2.3) are escaped."""
    return "".join([chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in text.encode()])


def parsed_path(path: str) -> list[str]:
    """The segments of a path with its query: unescaped first, then without all leading slashes, then split."""
    return unescaped(path.partition("?")[0]).lstrip("/").split("/")


def parsed_parameters(encoded: str) -> dict[str, list[str]]:
    """The values of a query or form by key; `EncodingError` where Go finds it malformed."""
    if encoded.count("&") >= MOST_PARAMETERS:
        raise EncodingError("it has too many parameters")
    values: dict[str, list[str]] = {}
    for parameter in encoded.split("&"):
        if ";" in parameter:
            raise EncodingError("a ';' separates no parameters")
        if parameter:
            key, _, value = parameter.partition("=")
            values.setdefault(unescaped(key, plus_is_space=True), []).append(unescaped(value, plus_is_space=True))
    return values
