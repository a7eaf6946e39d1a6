r"""The readings of a request's path: what it may mean to whoever serves it.

Theory of operation
-------------------
A rule protects a path, but a path can be written in many ways, and proxies and servers do not agree on which of them are the
same. Where all of them agree, the path is brought into one form: the query is cut off, percent-escapes are decoded, dot
segments are resolved (RFC 3986, 5.2.4) and repeated slashes are merged. Where they do not agree, one path has several
*readings*:

- an escaped `/` is data of a segment (RFC 3986, 2.2), or a separator;
- a `\` is data, or a separator;
- `;x=1` at the end of a segment is data, or a parameter that the server cuts off (so that `..;` becomes `..`);
- `//` is merged before dot segments are resolved, or after: `/x//../admin` is `/x/admin` or `/admin`;
- an escaped `%` is data, or an escape is decoded once more.

For each reading the first rule that matches it says what is required, and all of that must be met: more readings can only mean that
more is required, never less, so being generous here is safe. What has no sensible reading at all (a path that does not begin with a `/`, half an
escape, control characters, a fragment, overlong UTF-8), or very many, or is very long, has none here, and is denied.
"""

import re
from collections.abc import Sequence

LONGEST_PATH = 8192
"""Characters, without the query. Longer paths have no reading: each costs time in proportion to its length."""

MOST_READINGS = 8
"""A path that mixes more ambiguities than three has no reading."""


def readings(path: str, longest: int = LONGEST_PATH) -> Sequence[str]:
    """What `path` (a request's `:path`) may mean, in the form in which patterns are written; empty if it cannot be judged."""
    path = path.partition("?")[0]
    if not path.startswith("/") or len(path) > longest:
        return ()
    if not _UNUSUAL.search(path):
        return (path,)
    if _UNREADABLE.search(path):
        return ()
    decoded = _decode(path)
    if _UNREADABLE_DECODED.search(decoded):
        return ()
    candidates = {decoded, _decode(_ESCAPED_TWICE.sub("%", decoded))}
    for ambiguity, replacement in _AMBIGUITIES:
        candidates |= {ambiguity.sub(replacement, candidate) for candidate in candidates}
    if len(candidates) > MOST_READINGS:
        return ()
    return tuple({_resolve(candidate) for candidate in candidates})


def literal(kind: str, text: str) -> str:
    """The `text` of a rule's `prefix`, `exact` or `suffix` in the form in which readings are.

    Raises `ValueError` saying why, where no path can ever match it.
    """
    if kind != "suffix" and not text.startswith("/"):
        msg = "must begin with '/', as every path does"
        raise ValueError(msg)
    if "?" in text or "#" in text:
        msg = "holds a query or a fragment, but paths are compared without them"
        raise ValueError(msg)
    if _HALF_ESCAPE.search(text):
        msg = "holds a '%' that begins no escape such as '%20'"
        raise ValueError(msg)
    decoded = _SLASHES.sub("/", _decode(text))
    if _UNREADABLE_DECODED.search(decoded):
        msg = "holds characters that no path may hold"
        raise ValueError(msg)
    segments = decoded.split("/")
    whole = {"prefix": segments[:-1], "exact": segments, "suffix": segments[1:]}[kind]
    if "." in whole or ".." in whole:
        msg = "holds a dot segment, but paths are compared after resolving them"
        raise ValueError(msg)
    return decoded


def _decode(path: str) -> str:
    octets = path.encode("utf-8", "surrogateescape")
    return _ESCAPE.sub(_decode_escape, octets).decode("utf-8", "surrogateescape")


def _decode_escape(escape: re.Match[bytes]) -> bytes:
    return _DECODED[escape[1].upper()]


def _resolve(path: str) -> str:
    segments: list[str] = []
    last = ""
    for last in path.split("/")[1:]:
        if last == "..":
            del segments[-1:]
        elif last != ".":
            segments.append(last)
    merged = "/" + "/".join(filter(None, segments))
    ends_in_directory = last in {"", ".", ".."}
    return merged + "/" if ends_in_directory and merged != "/" else merged


_UNUSUAL = re.compile(r"//|/\.|[^!$&'()*+,\-./0-9:=@A-Z_a-z~]")
"""A path without any of this is its only reading."""

_HALF_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNREADABLE = re.compile(rf"[\x00-\x20\x7f#]|{_HALF_ESCAPE.pattern}")
_UNREADABLE_DECODED = re.compile("[\x00-\x1f\x7f]|[\udcc0\udcc1]|\udce0[\udc80-\udc9f]|\udcf0[\udc80-\udc8f]")
"""Control characters; the first bytes of overlong UTF-8, as surrogateescape shows them: some decoders read them as ASCII."""

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_DECODED = {b"%02X" % octet: b"%%%02X" % octet if octet in rb"%/\;?#" else bytes([octet]) for octet in range(256)}
"""What each escape becomes: its octet, but for those that would then mean something else than data."""

_SLASHES = re.compile("//+")
_ESCAPED_TWICE = re.compile("%(?:25)+(?=[0-9A-Fa-f]{2})")
_AMBIGUITIES = (
    (re.compile("%2F"), "/"),
    (re.compile(r"\\|%5C"), "/"),
    (re.compile("(?:;|%3B)[^/]*"), ""),
    (_SLASHES, "/"),
)
