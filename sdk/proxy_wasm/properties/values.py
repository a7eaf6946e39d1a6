"""From the bytes of a property to its value; `None` stands for a property that the proxy has no value for."""

from enum import IntEnum
from typing import TYPE_CHECKING

from proxy_wasm.abi.header_map import decode_pairs
from proxy_wasm.metadata import Fields, Locality, Metadata
from proxy_wasm.protobuf import Message, decode_struct

if TYPE_CHECKING:
    from datetime import datetime, timedelta, timezone
else:
    # The classes of `datetime` without the modules for parsing that go into a build with it: 450 KB of every VM.
    from _datetime import datetime, timedelta, timezone


class TrafficDirection(IntEnum):
    """Which traffic a listener is there for, as Envoy numbers it; outside a mesh mostly `UNSPECIFIED`."""

    UNSPECIFIED = 0
    INBOUND = 1
    OUTBOUND = 2


def text(value: bytes | None) -> str | None:
    """UTF-8; bytes that are none become surrogate escapes."""
    return None if value is None else value.decode("utf-8", "surrogateescape")


def signed(value: bytes | None) -> int | None:
    return None if value is None else int.from_bytes(value, "little", signed=True)


def unsigned(value: bytes | None) -> int | None:
    return None if value is None else int.from_bytes(value, "little")


def flag(value: bytes | None) -> bool | None:
    return None if value is None else value != b"\0"


def time(value: bytes | None) -> datetime | None:
    """Nanoseconds since 1970 as UTC, in microseconds."""
    since = duration(value)
    return None if since is None else _EPOCH + since


def duration(value: bytes | None) -> timedelta | None:
    """Nanoseconds as microseconds."""
    return None if value is None else timedelta(microseconds=int.from_bytes(value, "little", signed=True) // 1000)


def texts(value: bytes | None) -> dict[str, str]:
    """A map of text to text, empty where there is none."""
    return {
        key.decode("utf-8", "surrogateescape"): content.decode("utf-8", "surrogateescape")
        for key, content in decode_pairs(value or b"")
    }


def pem(value: bytes | None) -> str | None:
    """A certificate, which Envoy hands over URL-encoded."""
    if value is None:
        return None
    first, *encoded = value.split(b"%")
    return (first + b"".join([bytes([int(part[:2], 16)]) + part[2:] for part in encoded])).decode(
        "utf-8", "surrogateescape"
    )


def direction(value: bytes | None) -> TrafficDirection | None:
    return None if value is None else TrafficDirection(int.from_bytes(value, "little"))


def metadata(value: bytes | None) -> Metadata:
    """An `envoy.config.core.v3.Metadata`, without namespaces where there is none."""
    return Metadata(value or b"")


def locality(value: bytes | None) -> Locality | None:
    """An `envoy.config.core.v3.Locality`."""
    if value is None:
        return None
    message = Message(value)
    return Locality(message.text(1), message.text(2), message.text(3))


def node_metadata(value: bytes | None) -> Fields:
    """The metadata of an `envoy.config.core.v3.Node`."""
    return Fields(decode_struct(Message(value or b"").octets(3)))


def semantic_version(value: bytes | None) -> tuple[int, int, int] | None:
    """The version in an `envoy.config.core.v3.BuildVersion`."""
    if value is None:
        return None
    version = Message(value).message(1)
    return version.unsigned(1), version.unsigned(2), version.unsigned(3)


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
