"""Fingerprints: by these a filter knows again what it must not keep, such as credentials that it has accepted.

A fingerprint is a keyed hash, SipHash-2-4 with 128 bits (Aumasson and Bernstein, "SipHash: a fast short-input PRF"): who does not know the key can neither
make a text with a given fingerprint nor learn anything of a text from it. The key is drawn anew for every function that makes them, so that no two
workers, and no two plugin contexts, have the same fingerprint for a text; they are of no use outside of the VM. Hash what has to be compared elsewhere, or
what could be guessed by somebody who reads the VM's memory, with `hashlib`.

One of several headers stands for all that a decision depends on: who remembers decisions by it judges a request that comes again in one step.
"""

import os
from collections.abc import Callable

from proxy_wasm.headers import Headers, checked_name

Fingerprint = Callable[[str | bytes], str]
"""From a text or bytes to 32 hexadecimal digits. Text counts as its UTF-8, with `surrogateescape`."""
HeadersFingerprint = Callable[[Headers], str]
"""From a request's or response's headers to 32 hexadecimal digits."""

KEY_SIZE = 16
"""Bytes."""
LONGEST_NAME = 255
"""Bytes of the name of a header."""
END_OF_VALUES = 0xFFFFFFFF
"""Where another value's size could stand."""

_MASK = (1 << 64) - 1


def make_fingerprint() -> Fingerprint:
    """A function that makes fingerprints with a key of its own; to be made once, in `on_configure`, and kept."""
    return with_key(os.urandom(KEY_SIZE))


def make_headers_fingerprint(*names: str, query: bool = True) -> HeadersFingerprint:
    """A function that makes fingerprints of what headers have under `names`, with a key of its own; to be made once, in `on_configure`, and kept.

    Two maps have the same fingerprint if they have the same values under each name, as many and in the same order (`Headers.getall`; what the proxy does not list,
    but knows, counts too: `Headers.get`). Without `query` the query is no part of `:path` (`Headers.path`). The function raises what
    reading headers raises: `PhaseError` where the proxy does not hold the map.

    Raises `ValueError` for no names, and `TypeError` or `ValueError` for one that no header can have or that has more than `LONGEST_NAME` bytes.
    """
    return with_specification(specification(os.urandom(KEY_SIZE), names, query=query))


def specification(key: bytes, names: tuple[str, ...], *, query: bool) -> bytes:
    """What `headers_fingerprint_with` goes by: the key, then for each name its size, whether what follows a `?` is left out, and itself, in lower case; a zero."""
    if not names:
        msg = "a fingerprint of headers needs the names of some"
        raise ValueError(msg)
    encoded = dict.fromkeys([_checked(name) for name in names])
    parts = [bytes((len(name), name == b":path" and not query)) + name for name in encoded]
    return b"".join([key, *parts, b"\0"])


def _checked(name: str) -> bytes:
    encoded = checked_name(name).lower()
    if len(encoded) > LONGEST_NAME:
        msg = f"name of a header: {name[:20]!r}... has {len(encoded)} bytes, a fingerprint takes {LONGEST_NAME} at most"
        raise ValueError(msg)
    return encoded


def with_key(key: bytes) -> Fingerprint:
    """A function that makes fingerprints with a key of `KEY_SIZE` bytes."""
    return _with_key(key)


def with_specification(specified: bytes) -> HeadersFingerprint:
    """A function that makes fingerprints of headers by a `specification`."""
    return _with_specification(specified)


def _in_python(key: bytes) -> Fingerprint:
    def fingerprint(secret: str | bytes, /) -> str:
        return fingerprint_with(key, secret)

    return fingerprint


def _of_headers_in_python(specified: bytes) -> HeadersFingerprint:
    def fingerprint(headers: Headers, /) -> str:
        return headers_fingerprint_with(specified, headers)

    return fingerprint


_with_key: Callable[[bytes], Fingerprint] = _in_python
_with_specification: Callable[[bytes], HeadersFingerprint] = _of_headers_in_python


def bind(
    made_with_key: Callable[[bytes], Fingerprint], made_with_specification: Callable[[bytes], HeadersFingerprint]
) -> None:
    """Let functions be made by these, from their key or specification; a compiled guest has some that do without the interpreter."""
    global _with_key, _with_specification
    _with_key, _with_specification = made_with_key, made_with_specification


def headers_fingerprint_with(specified: bytes, headers: object, /) -> str:
    """The fingerprint of headers by a `specification`. `TypeError` for what are no headers."""
    if not isinstance(headers, Headers):
        msg = f"a fingerprint is of Headers, not of {type(headers).__name__}"
        raise TypeError(msg)
    parts: list[bytes] = []
    start = KEY_SIZE
    while size := specified[start]:
        name = specified[start + 2 : start + 2 + size]
        values = headers.getall(name)
        if not values and (value := headers.get(name)) is not None:
            values = [value]
        for value in values:
            counted = (value.partition("?")[0] if specified[start + 1] else value).encode("utf-8", "surrogateescape")
            parts += (len(counted).to_bytes(4, "little"), counted)
        parts.append(END_OF_VALUES.to_bytes(4, "little"))
        start += 2 + size
    return fingerprint_with(specified[:KEY_SIZE], b"".join(parts))


def fingerprint_with(key: bytes, secret: object, /) -> str:
    """The fingerprint under a key of `KEY_SIZE` bytes. `TypeError` for what is neither text nor bytes."""
    if isinstance(secret, str):
        secret = secret.encode("utf-8", "surrogateescape")
    if not isinstance(secret, bytes):
        msg = f"a fingerprint is of str or bytes, not of {type(secret).__name__}"
        raise TypeError(msg)
    low, high = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    state = [
        low ^ 0x736F6D6570736575,
        high ^ 0x646F72616E646F6D ^ 0xEE,
        low ^ 0x6C7967656E657261,
        high ^ 0x7465646279746573,
    ]
    whole = len(secret) & ~7
    blocks = [int.from_bytes(secret[start : start + 8], "little") for start in range(0, whole, 8)]
    for block in [*blocks, int.from_bytes(secret[whole:], "little") | (len(secret) & 0xFF) << 56]:
        state[3] ^= block
        _mix(state, 2)
        state[0] ^= block
    state[2] ^= 0xEE
    _mix(state, 4)
    first = state[0] ^ state[1] ^ state[2] ^ state[3]
    state[1] ^= 0xDD
    _mix(state, 4)
    second = state[0] ^ state[1] ^ state[2] ^ state[3]
    return (first.to_bytes(8, "little") + second.to_bytes(8, "little")).hex()


def _mix(state: list[int], rounds: int) -> None:
    v0, v1, v2, v3 = state
    for _ in range(rounds):
        v0 = v0 + v1 & _MASK
        v1 = _rotated(v1, 13) ^ v0
        v0 = _rotated(v0, 32)
        v2 = v2 + v3 & _MASK
        v3 = _rotated(v3, 16) ^ v2
        v0 = v0 + v3 & _MASK
        v3 = _rotated(v3, 21) ^ v0
        v2 = v2 + v1 & _MASK
        v1 = _rotated(v1, 17) ^ v2
        v2 = _rotated(v2, 32)
    state[:] = v0, v1, v2, v3


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> 64 - bits) & _MASK
