"""Header maps as a host holds them, and as tests read them."""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import cast

Text = str | bytes
Headers = Mapping[str, str] | Iterable[tuple[Text, Text]]
"""What a header map can be made from: a mapping, or pairs."""


def to_bytes(text: Text) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def to_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


class HeaderMap(MutableMapping[str, str]):
    """A case-insensitive multi-mapping that keeps order and repeated names.

    Names are lower case, as proxies hold them. Values are bytes (`raw`) and read as UTF-8 with `surrogateescape`, so that
    any bytes survive. `[]` and `get` join the values of a repeated name with `", "`; `get_list` gives them apart.
    Equal to another header map, or list of pairs, with the same pairs in the same order.
    """

    __slots__ = ("_pairs",)

    def __init__(self, headers: Headers = ()) -> None:
        self._pairs: list[tuple[bytes, bytes]] = []
        for name, value in _pairs_of(headers):
            self.add(name, value)

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """The pairs as bytes, names in lower case."""
        return list(self._pairs)

    def multi_items(self) -> list[tuple[str, str]]:
        """The pairs as text, repeated names included."""
        return [(to_text(name), to_text(value)) for name, value in self._pairs]

    def get_list(self, name: Text) -> list[str]:
        """The values of `name`, in order; empty where there is none."""
        return [to_text(value) for value in self.values_of(name)]

    def values_of(self, name: Text) -> list[bytes]:
        """The values of `name` as bytes, in order; empty where there is none."""
        wanted = to_bytes(name).lower()
        return [value for present, value in self._pairs if present == wanted]

    def add(self, name: Text, value: Text) -> None:
        """Append a pair; pseudo-headers stay in front of all others."""
        pair = (to_bytes(name).lower(), to_bytes(value))
        if pair[0].startswith(b":"):
            self._pairs.insert(sum(1 for present, _ in self._pairs if present.startswith(b":")), pair)
        else:
            self._pairs.append(pair)

    def set(self, name: Text, value: Text) -> None:
        """Replace all values of `name` by one, which comes last."""
        self.remove(name)
        self.add(name, value)

    def change(self, name: Text, value: Text) -> None:
        """Give all pairs of `name` another value, each in its place."""
        changed, replacement = to_bytes(name).lower(), to_bytes(value)
        self._pairs[:] = [(present, replacement if present == changed else old) for present, old in self._pairs]

    def remove(self, name: Text) -> None:
        """Remove all values of `name`, if there are any."""
        unwanted = to_bytes(name).lower()
        self._pairs[:] = [pair for pair in self._pairs if pair[0] != unwanted]

    def remove_all(self) -> None:
        """Leave no pair."""
        self._pairs.clear()

    def copy(self) -> "HeaderMap":
        """Another map with the same pairs."""
        return HeaderMap(self._pairs)

    def without(self, *names: str) -> "HeaderMap":
        """A copy without pseudo-headers, without pairs that have no name, and without `names` (in lower case)."""
        unwanted = {b"", *map(to_bytes, names)}
        return HeaderMap(pair for pair in self._pairs if pair[0][:1] != b":" and pair[0] not in unwanted)

    @property
    def byte_size(self) -> int:
        """The bytes of all names and values together."""
        return sum(len(name) + len(value) for name, value in self._pairs)

    @property
    def pair_count(self) -> int:
        """How many pairs there are, repeated names included."""
        return len(self._pairs)

    def __getitem__(self, name: str) -> str:
        values = self.get_list(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __setitem__(self, name: str, value: str) -> None:
        self.set(name, value)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self.remove(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str | bytes) and bool(self.values_of(name))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(to_text(name) for name, _ in self._pairs))

    def __len__(self) -> int:
        return len({name for name, _ in self._pairs})

    def __eq__(self, other: object) -> bool:
        if isinstance(other, HeaderMap):
            return self._pairs == other._pairs
        if isinstance(other, list):
            return self.multi_items() == other or self._pairs == other
        return NotImplemented

    __hash__ = None  # type: ignore[assignment] - a header map changes

    def __repr__(self) -> str:
        return f"HeaderMap({self.multi_items()!r})"


def _pairs_of(headers: Headers) -> Iterable[tuple[Text, Text]]:
    if isinstance(headers, HeaderMap):
        return headers.raw
    if isinstance(headers, Mapping):
        return cast("Mapping[str, str]", headers).items()
    return headers
