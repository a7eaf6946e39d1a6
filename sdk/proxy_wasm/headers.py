"""The header maps of a stream, as a mapping of text on top of hostcalls.

A map stays in the proxy. Reading one header costs one hostcall; whatever needs all of them (iteration, `getall`, `raw`) fetches
the map anew each time, so nothing here is ever stale.
"""

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, MutableMapping, ValuesView
from typing import NoReturn, TypeVar, cast, overload

from proxy_wasm.abi.enums import MapType, Status
from proxy_wasm.abi.header_map import Pair, decode_pairs, encode_pairs, encode_parts
from proxy_wasm.abi.hostcalls import Hostcalls, HostError
from proxy_wasm.errors import PhaseError

Text = str | bytes
HeaderPairs = Mapping[str, str] | Mapping[str, bytes] | Mapping[str, Text] | Iterable[tuple[Text, Text]]
"""What names several headers at once: a mapping, or pairs of name and value, which may repeat a name."""

MAX_PAIRS = 1024
MAX_SERIALIZED_SIZE = 1024 * 1024
"""Beyond these Envoy takes a serialized map for an empty one (proxy-wasm-cpp-host, `limits.h`)."""

_Default = TypeVar("_Default")
_NOTHING = object()

_OFFERED = {
    MapType.HTTP_REQUEST_HEADERS: (
        "request headers",
        "in on_request_headers, while it keeps the request paused, and read-only in on_log",
    ),
    MapType.HTTP_REQUEST_TRAILERS: ("request trailers", "in on_request_trailers"),
    MapType.HTTP_RESPONSE_HEADERS: (
        "response headers",
        "in on_response_headers, while it keeps the response paused, and read-only in on_log",
    ),
    MapType.HTTP_RESPONSE_TRAILERS: ("response trailers", "in on_response_trailers, and read-only in on_log"),
    MapType.HTTP_CALL_RESPONSE_HEADERS: ("received headers", "with the answer"),
}


class Headers(MutableMapping[str, str]):
    """The headers or trailers of the stream that the proxy is working on: a case-insensitive mapping that keeps repeated names.

    Names and values are `str` or `bytes` going in and `str` coming out: UTF-8 with `surrogateescape`, so that any bytes can be
    read and written back unchanged. Every method raises `PhaseError` where the proxy does not hold the map: it lets go
    of it once the callback that received it returns `Action.CONTINUE`. Keep in an attribute what is needed later.

    A repeated header: `get` and `[]` give its first value (as Envoy does), `getall` every one. Where a second value would
    be an attack, use `getall`.
    """

    __slots__ = ("_fetch", "_hostcalls", "_map_type", "_read")

    def __init__(self, hostcalls: Hostcalls, map_type: MapType) -> None:
        self._hostcalls = hostcalls
        self._map_type = int(map_type)
        self._read = hostcalls.get_header_map_value
        self._fetch = hostcalls.get_header_map_pairs

    def __repr__(self) -> str:
        return f"<{_OFFERED[MapType(self._map_type)][0]}>"

    # One header

    @overload
    def get(self, key: Text, /) -> str | None: ...
    @overload
    def get(self, key: Text, /, default: str) -> str: ...
    @overload
    def get(self, key: Text, /, default: _Default) -> str | _Default: ...
    def get(self, key: Text, /, default: object = None) -> object:
        """The first value of the header, or `default`."""
        try:
            value = self._read(
                self._map_type, key if isinstance(key, bytes) else key.encode("utf-8", "surrogateescape")
            )
        except HostError as error:
            raise self._explained(error) from None
        return default if value is None else value.decode("utf-8", "surrogateescape")

    def path(self) -> str:
        """The path of a request, `:path`, without its query; empty where there is none."""
        return self.get(":path", "").partition("?")[0]

    def __getitem__(self, key: Text, /) -> str:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __contains__(self, key: object, /) -> bool:
        return isinstance(key, (str, bytes)) and self.get(key) is not None

    def getall(self, key: Text, /) -> list[str]:
        """Every value of the header, in order; empty where it is absent."""
        wanted = checked_name(key).lower()
        serialized = self._serialized()
        if wanted + b"\0" not in serialized.lower():
            return []
        return [
            value.decode("utf-8", "surrogateescape")
            for name, value in decode_pairs(serialized)
            if name.lower() == wanted
        ]

    get_list = getall

    def __setitem__(self, key: Text, value: Text, /) -> None:
        """Set the header to one value, in place of all it had; `ValueError` for NUL, CR or LF in name or value."""
        pair = checked_pair(key, value)
        try:
            self._hostcalls.replace_header_map_value(self._map_type, *pair)
        except HostError as error:
            raise self._explained(error) from None

    def add(self, key: Text, value: Text, /) -> None:
        """Add a value to those that the header has; `ValueError` for NUL, CR or LF in name or value."""
        pair = checked_pair(key, value)
        try:
            self._hostcalls.add_header_map_value(self._map_type, *pair)
        except HostError as error:
            raise self._explained(error) from None

    def discard(self, key: Text, /) -> None:
        """Remove every value of the header, if it has any."""
        try:
            self._hostcalls.remove_header_map_value(self._map_type, checked_name(key))
        except HostError as error:
            raise self._explained(error) from None

    def __delitem__(self, key: Text, /) -> None:
        if self.get(key) is None:
            raise KeyError(key)
        self.discard(key)

    @overload
    def pop(self, key: Text, /) -> str: ...
    @overload
    def pop(self, key: Text, /, default: str) -> str: ...
    @overload
    def pop(self, key: Text, /, default: _Default) -> str | _Default: ...
    def pop(self, key: Text, /, default: object = _NOTHING) -> object:
        """Remove the header and give its first value, or `default`; `KeyError` where there is neither."""
        value = self.get(key)
        if value is not None:
            self.discard(key)
            return value
        if default is _NOTHING:
            raise KeyError(key)
        return default

    # The whole map

    @property
    def raw(self) -> list[Pair]:
        """The names and values as bytes, in order, repeated names included."""
        return decode_pairs(self._serialized())

    def multi_items(self) -> list[tuple[str, str]]:
        """The names and values as text, in order, repeated names included."""
        serialized = self._serialized()
        count = int.from_bytes(serialized[:4], "little")
        parts = serialized[4 + 8 * count :].decode("utf-8", "surrogateescape").split("\0")
        if len(parts) != 2 * count + 1:  # a NUL in a name or value: let the sizes decide
            parts = [
                text.decode("utf-8", "surrogateescape") for pair in decode_pairs(serialized) for text in (*pair,)
            ] + [""]
        return list(zip(parts[0:-1:2], parts[1:-1:2], strict=True))

    def _first_values(self) -> dict[str, str]:
        first: dict[str, str] = {}
        for name, value in self.multi_items():
            first.setdefault(name, value)
        return first

    def __iter__(self) -> Iterator[str]:
        return iter(self._first_values())

    def __len__(self) -> int:
        return len(self._first_values())

    def keys(self) -> KeysView[str]:
        """The names, each once."""
        return self._first_values().keys()

    def values(self) -> ValuesView[str]:
        """The first value of each name."""
        return self._first_values().values()

    def items(self) -> ItemsView[str, str]:
        """Each name with its first value; `multi_items` has them all."""
        return self._first_values().items()

    def replace(self, headers: HeaderPairs, /) -> None:
        """Put `headers` in place of the whole map, `:path` and its like included.

        Raises `ValueError` for NUL, CR or LF in a name or value, and for more than 1024 headers or 1 MiB of them, where Envoy
        would clear the map instead.
        """
        serialized = serialize(headers)
        try:
            self._hostcalls.set_header_map_pairs(self._map_type, serialized)
        except HostError as error:
            raise self._explained(error) from None

    def clear(self) -> None:
        """Remove every header."""
        self.replace(())

    def _serialized(self) -> bytes:
        try:
            serialized = self._fetch(self._map_type)
            if not serialized:
                # Where Envoy does not hold the map it hands out an empty one here, but refuses to look up a header.
                self._read(self._map_type, b"x")
        except HostError as error:
            raise self._explained(error) from None
        return serialized

    def _explained(self, error: HostError) -> Exception:
        if error.status is not Status.BAD_ARGUMENT:
            return error
        what, when = _OFFERED[MapType(self._map_type)]
        return PhaseError(f"no {what} here: the proxy offers them {when}; keep what is needed later in an attribute")


class ReceivedHeaders(Headers):
    """Headers that came with the answer to a callout: a copy of the proxy's, which can be read for as long as it is kept."""

    __slots__ = ()

    def __init__(self, pairs: list[Pair]) -> None:
        super().__init__(cast("Hostcalls", _Copy(pairs)), MapType.HTTP_CALL_RESPONSE_HEADERS)

    def without_pseudo(self) -> "ReceivedHeaders":
        """The same without `:status` and its like."""
        return ReceivedHeaders([pair for pair in self.raw if not pair[0].startswith(b":")])


class _Copy:
    """Stands in for the hostcalls of a map that the proxy no longer holds."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: list[Pair]) -> None:
        self._pairs = pairs

    def get_header_map_value(self, _: int, key: bytes) -> bytes | None:
        wanted = key.lower()
        for name, value in self._pairs:
            if name.lower() == wanted:
                return value
        return None

    def get_header_map_pairs(self, _: int) -> bytes:
        return encode_pairs(self._pairs)

    def _refuse(self, *_: object) -> NoReturn:
        msg = "received headers can be read only; make a dict of them to change it"
        raise TypeError(msg)

    replace_header_map_value = add_header_map_value = remove_header_map_value = set_header_map_pairs = _refuse


def checked_name(name: object) -> bytes:
    """A header's name as the proxy takes it; `TypeError` or `ValueError` where it is none."""
    octets = _octets(name, "name of a header", name)
    if not octets:
        msg = "name of a header: empty"
        raise ValueError(msg)
    return octets


def checked_pair(name: object, value: object) -> Pair:
    """A header as the proxy takes it; `TypeError` or `ValueError`, naming the header, where it is none."""
    return checked_name(name), checked_value(name, value)


def checked_value(name: object, value: object) -> bytes:
    """The value of header `name` as the proxy takes it; `TypeError` or `ValueError` where it is none."""
    return _octets(value, "value of header", name)


def _octets(text: object, what: str, name: object) -> bytes:
    if isinstance(text, str):
        try:
            encoded = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            msg = f"{what} {name!r}: no text that can be encoded: {error.reason}"
            raise ValueError(msg) from None
        if text.isprintable():  # which NUL, CR and LF are not: one test for most text
            return encoded
        text = encoded
    if not isinstance(text, bytes):
        msg = f"{what} {name!r}: str or bytes, not {type(text).__name__}"
        raise TypeError(msg)
    if b"\n" in text or b"\r" in text or b"\0" in text:
        msg = f"{what} {name!r}: holds NUL, CR or LF, with which a client could split the message"
        raise ValueError(msg)
    return text


def serialize(headers: HeaderPairs) -> bytes:
    """`headers` as the proxy takes a whole map; `TypeError` or `ValueError` where it would not."""
    parts: list[bytes] = []
    for name, value in pairs_of(headers):
        parts += checked_pair(name, value)
    serialized = encode_parts(parts)
    check_limits(serialized, len(parts) // 2)
    return serialized


def check_limits(serialized: bytes, count: int) -> None:
    """Raise `ValueError` for a map of `count` headers that a proxy would not take."""
    if count > MAX_PAIRS or len(serialized) > MAX_SERIALIZED_SIZE:
        msg = f"{count} headers of {len(serialized)} bytes: a proxy takes at most {MAX_PAIRS} of 1 MiB together"
        raise ValueError(msg)


def pairs_of(headers: HeaderPairs) -> Iterable[tuple[object, object]]:
    """The names and values of `headers`, in order, as they were given."""
    if type(headers) is dict:  # what it mostly is, and quick to see
        return cast("dict[object, object]", headers).items()
    if isinstance(headers, Headers):
        return headers.multi_items()
    if isinstance(headers, Mapping):
        return cast("Mapping[object, object]", headers).items()
    return headers
