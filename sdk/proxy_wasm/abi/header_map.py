"""The codec of serialized header maps.

The form (specification, "Serialized map"): a little-endian u32 count; for each pair the u32 sizes of key and value; then for
each pair the key, a NUL, the value, a NUL. An empty map may also be no bytes at all.

Decoding runs at C speed: HTTP names and values hold no NUL, so the data is one `split`. Where a NUL does occur (metadata and
properties may hold any bytes) the parts outnumber the pairs, and the sizes decide instead.
"""

from collections.abc import Sequence
from struct import pack, unpack_from

Pair = tuple[bytes, bytes]


def decode_pairs(serialized: bytes) -> list[Pair]:
    """The pairs of a serialized map, in order, repeated names included.

    Raises `ValueError` where the bytes are no serialized map: too short, too long, or sizes beyond the end.
    """
    if not serialized:
        return []
    if len(serialized) < _U32:
        msg = f"header map: {len(serialized)} bytes are too few to hold the number of pairs"
        raise ValueError(msg)
    (count,) = unpack_from("<I", serialized)
    start = _U32 + 2 * _U32 * count
    if len(serialized) < start:
        msg = f"header map: {count} pairs need {start} bytes of sizes, {len(serialized)} are there"
        raise ValueError(msg)
    parts = serialized[start:].split(b"\0")
    if len(parts) == 2 * count + 1 and not parts[-1]:
        return list(zip(parts[0:-1:2], parts[1:-1:2], strict=True))
    return _decode_by_sizes(serialized, count, start)


def _decode_by_sizes(serialized: bytes, count: int, start: int) -> list[Pair]:
    sizes = unpack_from(f"<{2 * count}I", serialized, _U32)
    expected = start + sum(sizes) + len(sizes)
    if expected != len(serialized):
        msg = f"header map: its sizes add up to {expected} bytes, {len(serialized)} are there"
        raise ValueError(msg)
    parts: list[bytes] = []
    for size in sizes:
        parts.append(serialized[start : start + size])
        start += size + 1
    return list(zip(parts[0::2], parts[1::2], strict=True))


def encode_pairs(pairs: Sequence[Pair]) -> bytes:
    """`pairs` as a serialized map; the empty sequence as a map of no pairs (four NUL bytes)."""
    parts: list[bytes] = []
    for pair in pairs:
        parts += pair
    return encode_parts(parts)


def encode_parts(parts: Sequence[bytes]) -> bytes:
    """The same of names and values, one after the other."""
    count = len(parts)
    head = pack(f"<{count + 1}I", count // 2, *map(len, parts))
    return head + b"\0".join((*parts, b"")) if parts else head


_U32 = 4
