"""RSA signatures, PKCS #1 v1.5 and PSS (RFC 8017, sections 8.2.2 and 8.1.2; RFC 7518, sections 3.3 and 3.5): whether one is genuine."""

from collections.abc import Callable
from hmac import compare_digest

Hash = Callable[[bytes], bytes]
"""From bytes to their digest."""

_DIGEST_INFO = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
"""What stands before a digest: DER of the hash function's name (RFC 8017, section 9.2, note 1)."""

_TRAILER = 0xBC
"""What a message that is encoded for PSS ends with."""


def verify_pkcs1(n: int, e: int, hash_name: str, digest: bytes, signature: bytes) -> bool:
    """Whether `signature` is one of the text with this digest.

    The whole message that the signer must have encoded is made and compared: nothing is looked for in what came.
    """
    size = (n.bit_length() + 7) // 8
    found = _message(n, e, signature)
    if found is None:
        return False
    ending = b"\0" + _DIGEST_INFO[hash_name] + digest
    expected = b"\0\1" + b"\xff" * (size - 2 - len(ending)) + ending
    return found == int.from_bytes(expected, "big")


def verify_pss(n: int, e: int, hash_of: Hash, digest: bytes, signature: bytes) -> bool:
    """Whether `signature` is one of the text with this digest; its salt and its masks are of the same hash function (RFC 7518, section 3.5)."""
    found = _message(n, e, signature)
    bits = n.bit_length() - 1
    size = (bits + 7) // 8
    if found is None or found.bit_length() > bits:
        return False
    encoded = found.to_bytes(size, "big")
    length = len(digest)
    masked, salted, trailer = encoded[: -length - 1], encoded[-length - 1 : -1], encoded[-1]
    mask = int.from_bytes(_mask(hash_of, salted, len(masked)), "big")
    block = (int.from_bytes(masked, "big") ^ mask) & ((1 << (8 * len(masked) - (8 * size - bits))) - 1)
    # zeros, a one, and the salt
    if trailer != _TRAILER or block >> (8 * length) != 1:
        return False
    salt = (block & ((1 << (8 * length)) - 1)).to_bytes(length, "big")
    return compare_digest(hash_of(bytes(8) + digest + salt), salted)


def _message(n: int, e: int, signature: bytes) -> int | None:
    """What the signer encoded, or `None` where that cannot be a signature (RFC 8017, section 5.2.2)."""
    if len(signature) != (n.bit_length() + 7) // 8:
        return None
    number = int.from_bytes(signature, "big")
    return pow(number, e, n) if number < n else None


def _mask(hash_of: Hash, seed: bytes, size: int) -> bytes:
    """MGF1 (RFC 8017, appendix B.2.1)."""
    found = b""
    counter = 0
    while len(found) < size:
        found += hash_of(seed + counter.to_bytes(4, "big"))
        counter += 1
    return found[:size]
