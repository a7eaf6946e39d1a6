"""A property, and those with a common beginning of their paths."""

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.hostcalls import HostError

T = TypeVar("T")
Read = Callable[[bytes], bytes | None]
"""The hostcall: from a path, its parts separated by NUL, to the value or `None`."""

# When the proxy has a value.

ANYWHERE = "anywhere, in plugin contexts too"
STREAM = "in every callback of a stream"
REQUEST = "in `on_request_headers` and `on_log`"
ROUTED = "in every callback of a stream that has a route"
HOST = "once an upstream host was chosen: at the latest in `on_response_headers`"
CONNECTED = "once there is an upstream connection: at the latest in `on_response_headers`"
TLS = "where the connection is TLS; of the upstream's at the latest in `on_response_headers`"
RESPONSE = "from `on_response_headers` on"
RESPONSE_HEADERS = "in `on_response_headers` and `on_log`"
RESPONSE_TRAILERS = "in `on_response_trailers` and `on_log`"
END = "once the response has arrived whole: at the latest in `on_log`"
FAILURE = "in `on_log`, where it failed"
PEER = "in every callback of a stream in Istio, where the other end is known"


class Attribute(Generic[T]):
    """A property: on a group its value, on the group's class this description.

    Reading it raises `ValueError` where the value has not the form that Envoy gives it, and `HostError` where the proxy
    refuses, which Envoy does to filters whose capabilities are restricted.
    """

    __slots__ = ("available", "decode", "path")

    path: bytes
    """Its path within the group, parts separated by NUL; empty for the group's own."""
    decode: Callable[[bytes | None], T]
    available: str
    """When the proxy has a value."""

    def __init__(self, path: str, decode: Callable[[bytes | None], T], available: str) -> None:
        self.path = path.replace(".", "\0").encode()
        self.decode = decode
        self.available = available

    @overload
    def __get__(self, group: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, group: "Group", owner: type[Any]) -> T: ...
    def __get__(self, group: "Group | None", owner: type[Any]) -> Self | T:
        if group is None:
            return self
        try:
            return self.decode(group.read(self))
        except HostError as error:
            return self.decode(none_if_null(error))
        except ValueError as error:
            msg = f"property {dotted(group.prefix + self.path)}: {error}"
            raise ValueError(msg) from error


class Group:
    """Properties with a common beginning of their paths."""

    __slots__ = ("_read", "prefix")

    prefix: bytes
    """What all paths of the group begin with, the last NUL included."""

    def __init__(self, read: Read, *path: str) -> None:
        self._read = read
        self.prefix = "".join([f"{part}\0" for part in path]).encode()

    def __repr__(self) -> str:
        return f"<properties {dotted(self.prefix)}>"

    def read(self, attribute: Attribute[Any]) -> bytes | None:
        """The bytes of one of the group's properties; `None` where there is none."""
        return self._read(self.prefix + attribute.path if attribute.path else self.prefix[:-1])


def none_if_null(error: HostError) -> None:
    """Raise `error` again, unless it stands for a null.

    Envoy cannot serialize one, and says so: the metadata of an endpoint that was given none is such a null.
    """
    if error.status is not Status.SERIALIZATION_FAILURE:
        raise error


def attributes(group: Group) -> dict[str, Attribute[Any]]:
    """The group's properties by the names that they have in Python, in the order in which they are written down."""
    found: dict[str, Attribute[Any]] = {}
    for owner in type(group).__mro__:
        found |= {name: value for name, value in vars(owner).items() if isinstance(value, Attribute)}
    return found


def dotted(path: bytes) -> str:
    """A path as Envoy's documentation writes it."""
    return path.rstrip(b"\0").replace(b"\0", b".").decode()
