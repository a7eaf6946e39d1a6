"""Where tokens stand in a request: read from headers, query and cookies, and taken out of them again.

A place without a token in it, also one that is empty, counts as none. What a place holds is taken as it is: whether it is a token is
decided later. Names of parameters are compared decoded, so that no way of writing one hides a token.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from proxy_wasm import Headers

PATH = ":path"
COOKIE = "cookie"


class HeaderPlace(NamedTuple):
    """A header whose value is a token, or a prefix and a token."""

    name: str
    """In lower case."""
    prefix: re.Pattern[str]
    """What stands before the token, with the spaces that may follow it."""

    def token(self, value: str) -> str:
        """The token in a value of the header; empty where there is none."""
        match = self.prefix.match(value)
        return value[match.end() :].strip(" \t") if match else ""


def header_place(name: str, prefix: str) -> HeaderPlace:
    """A place in the header `name`; `prefix` is compared without case, and a space at its end may be several."""
    scheme = prefix.rstrip(" ")
    gap = r"[ \t]+" if scheme != prefix else ""
    return HeaderPlace(name, re.compile(r"[ \t]*" + re.escape(scheme) + gap, re.IGNORECASE))


class Places(NamedTuple):
    """Where the tokens of one provider stand."""

    headers: tuple[HeaderPlace, ...]
    params: frozenset[str]
    cookies: frozenset[str]

    def names(self) -> Iterable[str]:
        """The headers that `tokens` reads."""
        yield from (place.name for place in self.headers)
        if self.params:
            yield PATH
        if self.cookies:
            yield COOKIE

    def tokens(self, values: Mapping[str, Sequence[str]]) -> list[str]:
        """The tokens of a request with these header values by name, each once."""
        found = [place.token(value) for place in self.headers for value in values.get(place.name, ())]
        if self.params:
            for path in values.get(PATH, ()):
                if "?" in path:
                    found += [text for name, text, _ in _parameters(path) if name in self.params]
        if self.cookies:
            found += [text for name, text, _ in _cookies(values) if name in self.cookies]
        return list(dict.fromkeys(filter(None, found))) if len(found) > 1 else [token for token in found if token]

    def remove(self, values: Mapping[str, Sequence[str]], headers: Headers) -> None:
        """Take the tokens out of the request whose `headers` have these `values`, and leave what stands beside them."""
        for name in dict.fromkeys(place.name for place in self.headers):
            places = [place for place in self.headers if place.name == name]
            present = values.get(name, ())
            kept = [value for value in present if not any(place.token(value) for place in places)]
            if len(kept) < len(present):
                _put(headers, name, kept)
        if self.params:
            self._remove_params(values, headers)
        if self.cookies:
            self._remove_cookies(values, headers)

    def _remove_params(self, values: Mapping[str, Sequence[str]], headers: Headers) -> None:
        for path in values.get(PATH, ()):
            if "?" not in path:
                continue
            parameters = _parameters(path)
            kept = [raw for name, _, raw in parameters if name not in self.params]
            if len(kept) < len(parameters):
                query = "&".join(kept)
                headers[PATH] = path.partition("?")[0] + (f"?{query}" if query else "")

    def _remove_cookies(self, values: Mapping[str, Sequence[str]], headers: Headers) -> None:
        cookies = _cookies(values)
        kept = [raw for name, _, raw in cookies if name not in self.cookies]
        if len(kept) < len(cookies):
            _put(headers, COOKIE, ["; ".join(kept)] if kept else [])


def _put(headers: Headers, name: str, values: Sequence[str]) -> None:
    headers.discard(name)
    for value in values:
        headers.add(name, value)


def _parameters(path: str) -> list[tuple[str, str, str]]:
    """Of each parameter in a path's query its name and value, decoded, and how it is written."""
    found: list[tuple[str, str, str]] = []
    for raw in path.partition("?")[2].split("&"):
        name, _, value = raw.partition("=")
        found.append((_decoded(name), _decoded(value), raw))
    return found


def _decoded(text: str) -> str:
    if "%" not in text and "+" not in text:
        return text
    octets = text.replace("+", " ").encode("utf-8", "surrogateescape")
    return _ESCAPE.sub(_octet, octets).decode("utf-8", "surrogateescape")


def _octet(escape: re.Match[bytes]) -> bytes:
    return bytes((int(escape[1], 16),))


def _cookies(values: Mapping[str, Sequence[str]]) -> list[tuple[str, str, str]]:
    """Of each cookie its name and value, and how it is written (RFC 6265, 5.4)."""
    found: list[tuple[str, str, str]] = []
    for header in values.get(COOKIE, ()):
        for part in header.split(";"):
            raw = part.strip(" \t")
            name, _, value = raw.partition("=")
            if raw:
                found.append((name.rstrip(" \t"), value.strip(' \t"'), raw))
    return found


_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
