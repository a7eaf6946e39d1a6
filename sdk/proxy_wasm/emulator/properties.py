"""Properties (Envoy: attributes): how a path finds a value, and how a value travels.

Source: Envoy, context.cc (`getProperty`, `findValue`, `serializeValue`) and attributes.rst. There is no type on the wire;
text and bytes travel as they are, numbers as 8 bytes, a bool as one, times and durations as nanoseconds, maps and lists as
serialized pairs, messages (`proxy_wasm.emulator.messages`) in their protobuf form.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from struct import pack
from typing import TypeAlias

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.header_map import encode_pairs
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.emulator import messages
from proxy_wasm.emulator.header_map import HeaderMap, to_bytes, to_text
from proxy_wasm.emulator.numerals import number_in

Value: TypeAlias = (
    "str | bytes | bool | int | float | datetime | timedelta | Mapping[str, Value] | Sequence[Value] | HeaderMap"
)
Found: TypeAlias = "Value | None"
Path: TypeAlias = str | tuple[str, ...]
"""A property's path: parts joined by dots, or a tuple where parts hold dots themselves."""
Properties: TypeAlias = Mapping[Path, Value]
Tree: TypeAlias = "dict[str, Value]"

_U64 = (1 << 64) - 1


_GROUPS = frozenset({"request", "response", "connection", "source", "destination", "upstream", "xds"})


class Group(dict[str, Value]):
    """Attributes that belong together, such as `request`: readable one by one, not as a whole. Without any, a null of Envoy's."""


def tree(properties: Properties) -> Tree:
    """`properties` as nested dictionaries."""
    root: Tree = {}
    for path, value in properties.items():
        parts = path.split(".") if isinstance(path, str) else path
        level = root
        for part in parts[:-1]:
            inner = level.setdefault(part, Group() if level is root and part in _GROUPS else {})
            if not isinstance(inner, dict):
                msg = f"property {'.'.join(parts)}: {part!r} is a value already, it can hold no other"
                raise TypeError(msg)
            level[part] = inner = type(inner)(inner)  # what was given is not to change
            level = inner
        level[parts[-1]] = value
    return root


def of_the_proxy(root: Tree) -> Tree:
    """Those of `root` that belong to no stream, which is what plugin contexts can read: the node's."""
    xds = root.get("xds")
    node = xds.get("node") if isinstance(xds, Mapping) and not isinstance(xds, HeaderMap) else None
    return {} if node is None else {"xds": Group({"node": node})}


def find(root: Mapping[str, Value], parts: Sequence[bytes]) -> Found:
    """The value at `parts`, `None` where there is none."""
    value: Value = root
    for part in parts:
        inner = _step(value, part.decode("utf-8", "surrogateescape"))
        if inner is None:
            return None
        value = inner
    return value


def _step(value: Value, part: str) -> Found:
    if isinstance(value, HeaderMap):
        values = value.values_of(part)
        if not values and part.lower() == "host":  # another word for it in requests, the only ones that have it
            values = value.values_of(":authority")
        return b",".join(values) if values else None
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, str | bytes | bool | int | float | datetime | timedelta):
        return None
    index = number_in(part)
    return value[index] if index is not None and index < len(value) else None


def split_path(path: bytes) -> list[bytes]:
    """The parts of a guest's path; a NUL at its end is allowed."""
    parts = path.split(b"\0")
    return parts[:-1] if parts[-1] == b"" else parts


def serialize(value: Value) -> bytes:
    """`value` as a guest gets it."""
    if isinstance(value, str | bytes):
        return to_bytes(value)
    if isinstance(value, int | float):
        return _serialize_number(value)
    if isinstance(value, datetime):
        value -= _EPOCH
    if isinstance(value, timedelta):
        return _serialize_number(value // timedelta(microseconds=1) * 1000)
    if isinstance(value, Group):
        raise HostError("get_property", Status.SERIALIZATION_FAILURE)
    if isinstance(value, HeaderMap):
        return encode_pairs(
            [(name, b",".join(value.values_of(name))) for name in dict.fromkeys(n for n, _ in value.raw)]
        )
    if isinstance(value, Mapping):
        return encode_pairs([(to_bytes(key), serialize(inner)) for key, inner in value.items()])
    return encode_pairs([(serialize(inner), b"") for inner in value])


def _serialize_number(value: float) -> bytes:
    if isinstance(value, bool):
        return bytes([value])
    return pack("<d", value) if isinstance(value, float) else pack("<Q", value & _U64)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FilterState:
    """What filters keep with a stream: what `set_property` wrote, under names that hide no attribute, and objects of Envoy's own.

    The whole path that was written is one name, so a path of several parts can be written but, as reading goes part by part, read only as
    `filter_state`, `wasm.PATH`.
    """

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}

    def set(self, path: bytes, value: bytes, *, once: bool = False) -> None:
        """`once` is how the plugin declared the property: read-only."""
        if once and _PREFIX + path in self._values:
            raise HostError("set_property", Status.BAD_ARGUMENT)
        self._values[_PREFIX + path] = value

    def set_object(self, key: bytes, value: bytes) -> None:
        self._values[key] = value

    def written(self) -> dict[str, bytes]:
        """What filters set, by name."""
        return {to_text(key[len(_PREFIX) :]): value for key, value in self._values.items() if key.startswith(_PREFIX)}

    def get(self, parts: Sequence[bytes]) -> bytes | None:
        if list(parts) == [_FILTER_STATE]:
            raise HostError("get_property", Status.SERIALIZATION_FAILURE)
        if len(parts) == 1:
            return self._values.get(_PREFIX + parts[0])
        return self._values.get(parts[1]) if list(parts[:-1]) == [_FILTER_STATE] else None


_FILTER_STATE = b"filter_state"
_PREFIX = b"wasm."
"""What Envoy puts before the names of properties that filters set (`CelStateKeyPrefix`)."""


def look_up(path: bytes, attributes: Sequence[Mapping[str, Value]], state: FilterState | None) -> bytes | None:
    """What `get_property` answers: from the first of `attributes` that knows the path, else from `state`."""
    parts = split_path(path)
    if not parts:
        raise HostError("get_property", Status.SERIALIZATION_FAILURE)
    for root in attributes:
        value = find(root, parts)
        if value is not None:
            return _serialize_at(tuple(part.decode("utf-8", "surrogateescape") for part in parts), value)
    return None if state is None else state.get(parts)


def _serialize_at(parts: tuple[str, ...], value: Value) -> bytes:
    encode = messages.encoder(parts)
    if isinstance(value, Group):
        return serialize(value)
    if encode is not None and isinstance(value, Mapping):
        return encode(value)
    return serialize(messages.with_doubles(value) if messages.in_struct(parts) else value)
