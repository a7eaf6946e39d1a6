"""The properties of the proxy (Envoy: attributes), by name and with their types: `self.properties.request.path`.

Theory of operation
-------------------

A property travels as bytes that do not say what they are: a path names it, and whoever asks knows its type. So each property here is one
`Attribute`: path, decoder, and when the proxy has a value for it. Attributes that belong together are a `Group`, whose path comes before
theirs; reading `group.attribute` is one hostcall and one decoding, each time anew. Nothing is kept, so nothing is ever stale.

What the proxy has no value for is `None`; mappings are empty instead, so that looking something up in them needs no `None` of its own.

Values are those of the *effective* context, the one whose callback runs, so one object serves all contexts of a VM.

Source: Envoy, "Attributes" (attributes.rst); which value has which type, and how it is written: source/extensions/filters/common/expr/context.cc and
`serializeValue` in source/extensions/common/wasm/context.cc. Maps of values of several types are read as whole protobuf messages, because in the
form that `serializeValue` gives to parts of them the types are lost.
"""

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.hostcalls import Hostcalls, HostError
from proxy_wasm.body import Data, octets
from proxy_wasm.errors import PhaseError
from proxy_wasm.properties import values
from proxy_wasm.properties.attribute import STREAM, Attribute, Group, Read, none_if_null
from proxy_wasm.properties.proxy import Node, Peer, Plugin, Workload
from proxy_wasm.properties.stream import Connection, Destination, Request, Response, Source, Upstream, Xds


class FilterState:
    """Objects that filters and the proxy left on the stream, by key: bytes, or `None` where there is none."""

    __slots__ = ("_prefix", "_read")

    def __init__(self, read: Read, name: str) -> None:
        self._read = read
        self._prefix = name.encode() + b"\0"

    def __getitem__(self, key: str) -> bytes | None:
        """An object as bytes; `ValueError` for a key with a NUL. Of objects that consist of fields, read those with `field`."""
        return _bytes_at(self._read, self._prefix + _part("filter state", key))

    def field(self, key: str, field: str) -> bytes | None:
        """A field of an object that has such: text as it is, a number as 8 bytes, little-endian."""
        return _bytes_at(self._read, self._prefix + _part("filter state", key) + b"\0" + _part("filter state", field))


class Properties(Group):
    """The properties of the context that the proxy is working on; see docs/properties.md."""

    __slots__ = (
        "_hostcalls",
        "connection",
        "destination",
        "downstream_peer",
        "filter_state",
        "node",
        "plugin",
        "request",
        "response",
        "source",
        "upstream",
        "upstream_filter_state",
        "upstream_peer",
        "workload",
        "xds",
    )

    metadata = Attribute("metadata", values.metadata, STREAM)
    """The stream's dynamic metadata, by namespace."""

    def __init__(self, hostcalls: Hostcalls) -> None:
        read = hostcalls.get_property
        super().__init__(read)
        self._hostcalls = hostcalls
        self.request = Request(read, "request")
        self.response = Response(read, "response")
        self.source = Source(read, "source")
        self.destination = Destination(read, "destination")
        self.connection = Connection(read, "connection")
        self.upstream = Upstream(read, "upstream")
        self.xds = Xds(read, "xds")
        self.node = Node(read, "xds", "node")
        self.workload = Workload(read, "xds", "node", "metadata")
        self.downstream_peer = Peer(read, "filter_state", "downstream_peer")
        self.upstream_peer = Peer(read, "filter_state", "upstream_peer")
        self.plugin = Plugin(read)
        self.filter_state = FilterState(read, "filter_state")
        self.upstream_filter_state = FilterState(read, "upstream_filter_state")

    def get(self, name: str) -> bytes | None:
        """What a filter set as property `name` on this stream, or on its connection; `None` where none did.

        Raises `ValueError` for a name that `set` does not take.
        """
        return _bytes_at(self._read, _own_name(name))

    def set(self, name: str, value: Data) -> None:
        """Set a property of the stream, for `get` in this and other filters; text as UTF-8.

        In Envoy it becomes the filter state `wasm.NAME`, which access logs and other filters can read, until the stream ends
        (unless `declare_property` said otherwise). Raises `ValueError` for a name that is empty, holds a NUL or is one of the
        proxy's own, and for a property that was declared read-only and is set already; `PhaseError` where there is no stream.
        """
        path = _own_name(name)
        try:
            self._hostcalls.set_property(path, octets(value))
        except HostError as error:
            if error.status is Status.NOT_FOUND:
                msg = f"property {name!r}: it needs a stream to belong to; set it in a callback of one"
                raise PhaseError(msg) from None
            if error.status is Status.BAD_ARGUMENT:
                msg = f"property {name!r}: it was declared read-only, or as another type than that of the value"
                raise ValueError(msg) from None
            raise


def _bytes_at(read: Read, path: bytes) -> bytes | None:
    try:
        return read(path)
    except HostError as error:
        return none_if_null(error)


_TAKEN = frozenset(
    b"request response connection upstream source destination metadata filter_state upstream_filter_state xds "
    b"plugin_name plugin_root_id plugin_vm_id connection_id".split()
)
"""The first parts of the paths of the proxy's own properties, which hide what is set under the same name."""


def _own_name(name: str) -> bytes:
    path = _part("property", name)
    if path in _TAKEN:
        msg = f"property {name!r}: the name is one of the proxy's own; choose another"
        raise ValueError(msg)
    return path


def _part(what: str, name: str) -> bytes:
    octets = name.encode("utf-8", "surrogateescape")
    if not octets or b"\0" in octets:
        msg = f"{what} {name!r}: a name is not empty, and holds no NUL"
        raise ValueError(msg)
    return octets
