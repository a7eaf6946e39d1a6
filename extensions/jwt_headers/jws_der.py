"""What the proxy's own verification takes: public keys and ECDSA signatures in DER (RFC 5280, section 4.1; RFC 8017, appendix A.1.1; RFC 5480)."""

_RSA = bytes.fromhex("300d06092a864886f70d0101010500")
"""The algorithm of RSA keys: its identifier, and no parameters."""
_EC = bytes.fromhex("06072a8648ce3d0201")
"""The identifier of the algorithm of keys on curves."""

_LONG = 0x80
"""From this size on, what follows a tag is the size of the size, with this bit set."""


def rsa_public_key(n: int, e: int) -> bytes:
    """The `SubjectPublicKeyInfo` of an RSA key."""
    return _sequence(_RSA, _bits(_sequence(_integer(n), _integer(e))))


def ec_public_key(curve_oid: bytes, x: bytes, y: bytes) -> bytes:
    """The `SubjectPublicKeyInfo` of a key on the curve with this identifier, itself in DER."""
    return _sequence(_sequence(_EC, curve_oid), _bits(b"\4" + x + y))


def ecdsa_signature(signature: bytes) -> bytes:
    """`Ecdsa-Sig-Value` of a signature that is r and s in halves of the same size (RFC 3279, section 2.2.3)."""
    half = len(signature) // 2
    return _sequence(*(_integer(int.from_bytes(part, "big")) for part in (signature[:half], signature[half:])))


def _sequence(*parts: bytes) -> bytes:
    return _value(0x30, b"".join(parts))


def _integer(number: int) -> bytes:
    """Of a number that is not negative: where its highest bit is set, a zero byte goes before it."""
    return _value(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _bits(content: bytes) -> bytes:
    return _value(0x03, b"\0" + content)


def _value(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < _LONG:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG | len(length))) + length + content
