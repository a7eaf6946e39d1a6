"""A description of what is in a snapshot, left in the snapshot's memory for whoever reads the module.

The guest encodes it while it is imported and keeps the bytes alive; the build and `inspect` find them in the data of the
component or module. Form: 16 bytes of magic, the JSON's size and CRC-32 as little-endian u32, the JSON.
"""

import json
from binascii import crc32
from collections.abc import Mapping
from typing import Any

_MASKED = bytes.fromhex("8f8d908786d2889e8c92d08c919e8ffe")
_MASK = 0xFF
_PREFIX_SIZE = 16 + 4 + 4


def _magic() -> bytes:
    """Computed, so that no constant of this module's code, which lies in the same memory, is mistaken for a manifest."""
    return bytes(octet ^ _MASK for octet in _MASKED)


def encode(manifest: Mapping[str, Any]) -> bytes:
    """`manifest` with what it takes to find it in memory."""
    payload = json.dumps(manifest, sort_keys=True).encode()
    return _magic() + len(payload).to_bytes(4, "little") + crc32(payload).to_bytes(4, "little") + payload


def find(memory: bytes) -> dict[str, Any] | None:
    """The first intact manifest in `memory`, or `None`."""
    magic = _magic()
    start = memory.find(magic)
    while start >= 0:
        size = int.from_bytes(memory[start + 16 : start + 20], "little")
        payload = memory[start + _PREFIX_SIZE : start + _PREFIX_SIZE + size]
        if len(payload) == size and crc32(payload) == int.from_bytes(memory[start + 20 : start + 24], "little"):
            return json.loads(payload)
        start = memory.find(magic, start + 1)
    return None
