"""What operators and filters attach to routes, clusters, listeners and streams: Envoy's `Metadata`, and a place's `Locality`.

Source: Envoy, api/envoy/config/core/v3/base.proto.
"""

from collections import namedtuple
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from proxy_wasm.protobuf import Json, Message, decode_struct


class Fields(dict[str, Json]):
    """The content of one namespace: JSON as Python has it (numbers are all `float`). A key that is not there reads as `None`."""

    __slots__ = ()

    def __missing__(self, key: str) -> None:
        return None


class Metadata(Mapping[str, Fields]):
    """Metadata by namespace, as it was when it was read; a namespace that is not there reads as one without content.

    `metadata["com.example"]["tier"]` therefore never raises `KeyError`; `in`, `len` and iteration tell what is there. A
    namespace is decoded when it is read: keep it rather than reading it twice.
    """

    __slots__ = ("_namespaces",)

    def __init__(self, message: bytes = b"") -> None:
        """From a serialized `envoy.config.core.v3.Metadata`; `ValueError` where it is none."""
        self._namespaces = Message(message).map(_FILTER_METADATA)

    def __getitem__(self, namespace: str) -> Fields:
        return Fields(decode_struct(self._namespaces.get(namespace, b"")))

    def __contains__(self, namespace: object) -> bool:
        return namespace in self._namespaces

    def __iter__(self) -> Iterator[str]:
        return iter(self._namespaces)

    def __len__(self) -> int:
        return len(self._namespaces)

    def __repr__(self) -> str:
        return f"Metadata({dict(self.items())})"


_FILTER_METADATA = 1


if TYPE_CHECKING:
    from typing import NamedTuple

    class Locality(NamedTuple):
        """Where something runs; a part that is not known is empty."""

        region: str
        zone: str
        sub_zone: str
else:
    # Without what evaluates annotations, and `ast` with it, in every VM.
    Locality = namedtuple("Locality", ("region", "zone", "sub_zone"))  # noqa: PYI024 - as above
    Locality.__doc__ = "Where something runs; a part that is not known is empty."
