"""Properties that are protobuf messages: Envoy hands over a whole one serialized, but parts of it as values of their own.

Source: Envoy, api/envoy/config/core/v3/base.proto.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from proxy_wasm.emulator.header_map import HeaderMap, to_bytes, to_text
from proxy_wasm.protobuf import encode

if TYPE_CHECKING:
    from proxy_wasm.emulator.properties import Value

Encode: TypeAlias = "Callable[[Mapping[str, Value]], bytes]"
Parts: TypeAlias = tuple[str, ...]


def encoder(parts: Parts) -> "Encode | None":
    """What serializes the property at `parts`, if that is a message."""
    return _MESSAGES.get(parts)


def in_struct(parts: Parts) -> bool:
    """Whether `parts` lead into a `google.protobuf.Struct`, whose numbers are all `double`."""
    return any(parts[: len(struct)] == struct for struct in _STRUCTS)


def with_doubles(value: "Value") -> "Value":
    """`value` as it is in a `google.protobuf.Struct`."""
    if isinstance(value, bool | str | bytes | HeaderMap):
        return value
    if isinstance(value, int):
        return float(value)
    if isinstance(value, Mapping):
        return {key: with_doubles(inner) for key, inner in value.items()}
    return value if isinstance(value, float | datetime | timedelta) else [with_doubles(inner) for inner in value]


def _metadata(value: "Mapping[str, Value]") -> bytes:
    namespaces = _mapping(value.get("filter_metadata"))
    return encode(*((1, encode((1, name), (2, _struct(_mapping(fields))))) for name, fields in namespaces.items()))


def _locality(value: "Mapping[str, Value]") -> bytes:
    return encode(*((number, _text(value.get(name))) for number, name in enumerate(("region", "zone", "sub_zone"), 1)))


def _build_version(value: "Mapping[str, Value]") -> bytes:
    version = _mapping(value.get("version"))
    numbers = ((number, version.get(name)) for number, name in enumerate(("major_number", "minor_number", "patch"), 1))
    return encode((1, encode(*((number, part) for number, part in numbers if isinstance(part, int)))))


def _node(value: "Mapping[str, Value]") -> bytes:
    return encode(
        (1, _text(value.get("id"))),
        (2, _text(value.get("cluster"))),
        (3, _struct(_mapping(value.get("metadata")))),
        (4, _locality(_mapping(value.get("locality")))),
        (6, _text(value.get("user_agent_name"))),
        (8, _build_version(_mapping(value.get("user_agent_build_version")))),
    )


def _struct(fields: "Mapping[str, Value]") -> bytes:
    return encode(*((1, encode((1, key), (2, _value(inner)))) for key, inner in fields.items()))


def _value(value: "Value") -> bytes:
    if isinstance(value, bool):
        return encode((4, value))
    if isinstance(value, int | float):
        return encode((2, float(value)))
    if isinstance(value, str | bytes):
        return encode((3, to_bytes(value)))
    if isinstance(value, Mapping):
        return encode((5, _struct(value)))
    if isinstance(value, datetime | timedelta | HeaderMap):
        msg = f"metadata: {value!r} is no JSON"
        raise TypeError(msg)
    return encode((6, encode(*((1, _value(inner)) for inner in value))))


def _mapping(value: "Value | None") -> "Mapping[str, Value]":
    return value if isinstance(value, Mapping) else {}


def _text(value: "Value | None") -> str | None:
    return to_text(value) if isinstance(value, bytes) else value if isinstance(value, str) else None


_METADATA: tuple[Parts, ...] = (
    ("metadata",),
    *(
        ("xds", f"{of}_metadata")
        for of in ("cluster", "listener", "route", "virtual_host", "upstream_host", "upstream_host_locality")
    ),
)
_NODE = ("xds", "node")
_STRUCTS = (*_METADATA, (*_NODE, "metadata"))
_MESSAGES: dict[Parts, Encode] = {
    **dict.fromkeys(_METADATA, _metadata),
    _NODE: _node,
    (*_NODE, "locality"): _locality,
    (*_NODE, "user_agent_build_version"): _build_version,
    ("upstream", "locality"): _locality,
}
