"""Fingerprints: by these a filter knows again what it must not keep, such as credentials that it has accepted.

A fingerprint is a keyed hash, SipHash-2-4 with 128 bits (Aumasson and Bernstein, "SipHash: a fast short-input PRF"): who does not know the key can neither
make a text with a given fingerprint nor learn anything of a text from it. The key is drawn anew for every function that makes them, so that no two
workers, and no two plugin contexts, have the same fingerprint for a text; they are of no use outside of the VM. Hash what has to be compared elsewhere, or
what could be guessed by somebody who reads the VM's memory, with `hashlib`.
"""

import os
from collections.abc import Callable

Fingerprint = Callable[[str | bytes], str]
"""From a text or bytes to 32 hexadecimal digits. Text counts as its UTF-8, with `surrogateescape`."""

KEY_SIZE = 16
"""Bytes."""

_MASK = (1 << 64) - 1


def make_fingerprint() -> Fingerprint:
    """A function that makes fingerprints with a key of its own; to be made once, in `on_configure`, and kept."""
    return with_key(os.urandom(KEY_SIZE))


def with_key(key: bytes) -> Fingerprint:
    """A function that makes fingerprints with a key of `KEY_SIZE` bytes."""
    return _with_key(key)


def _in_python(key: bytes) -> Fingerprint:
    def fingerprint(secret: str | bytes, /) -> str:
        return fingerprint_with(key, secret)

    return fingerprint


_with_key: Callable[[bytes], Fingerprint] = _in_python


def bind(made_with: Callable[[bytes], Fingerprint]) -> None:
    """Let functions be made by `made_with`, from their key; a compiled guest has one that does without the interpreter."""
    global _with_key  # noqa: PLW0603 - there is one for all
    _with_key = made_with


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
