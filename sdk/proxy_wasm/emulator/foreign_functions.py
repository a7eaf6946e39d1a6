"""Envoy's foreign functions (source/extensions/common/wasm/foreign.cc), as far as they can be had here.

There are no CEL expressions, and no `verify_signature` and `sign` where the package `cryptography` is not installed: such a name is
`NOT_FOUND`, as in a proxy that was built without the function.
"""

import zlib
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.emulator.guest import MAX_MEMORY
from proxy_wasm.emulator.properties import FilterState
from proxy_wasm.protobuf import Message, encode

if TYPE_CHECKING:
    from proxy_wasm.emulator.vm import Vm

ForeignFunction = Callable[[bytes], bytes]


def envoy_functions(vm: "Vm") -> dict[str, ForeignFunction]:
    """The functions by name; those that act on a stream act on the one that `vm` is working on."""
    functions = _OfVm(vm)
    found: dict[str, ForeignFunction] = {
        "compress": zlib.compress,
        "uncompress": _uncompress,
        "clear_route_cache": _clear_route_cache,
        "set_envoy_filter_state": functions.set_envoy_filter_state,
        "declare_property": functions.declare_property,
    }
    if find_spec("cryptography") is not None:
        found |= {"verify_signature": _verify_signature, "sign": _sign}
    return found


def _refuse(status: Status) -> HostError:
    return HostError("call_foreign_function", status)


def _message(arguments: bytes) -> Message:
    try:
        return Message(arguments)
    except ValueError:
        raise _refuse(Status.BAD_ARGUMENT) from None


def _text(message: Message, number: int) -> str:
    """A field of type `string`: a message in which it is no UTF-8 cannot be parsed."""
    try:
        return message.octets(number).decode()
    except UnicodeDecodeError:
        raise _refuse(Status.BAD_ARGUMENT) from None


def _uncompress(arguments: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        data = decompressor.decompress(arguments, MAX_MEMORY)
    except zlib.error:
        raise _refuse(Status.SERIALIZATION_FAILURE) from None
    if not decompressor.eof and not decompressor.unconsumed_tail:
        raise _refuse(Status.SERIALIZATION_FAILURE)
    if not decompressor.eof:  # more than the guest could take
        raise _refuse(Status.INVALID_MEMORY_ACCESS)
    return data


def _clear_route_cache(_: bytes) -> bytes:
    """There is one route."""
    return b""


class _OfVm:
    """The functions that need to know who calls."""

    def __init__(self, vm: "Vm") -> None:
        self._vm = vm
        self._declared: set[tuple[int, bytes]] = set()

    def set_envoy_filter_state(self, arguments: bytes) -> bytes:
        message = _message(arguments)
        key, value = _text(message, 1), _text(message, 2)
        takes = FILTER_STATE_OBJECTS.get(key)
        if takes is None:
            raise _refuse(Status.NOT_FOUND)
        if not takes(value):
            raise _refuse(Status.BAD_ARGUMENT)
        state = getattr(self._vm.context, "state", None)
        if not isinstance(state, FilterState):
            raise _refuse(Status.NOT_FOUND)
        state.set_object(key.encode(), value.encode())
        return b""

    def declare_property(self, arguments: bytes) -> bytes:
        """Envoy keeps declarations with the context that makes them, and heeds those of plugin contexts."""
        message = _message(arguments)
        declaration = (self._vm.context.context_id, _text(message, 1).encode())
        if declaration in self._declared:
            raise _refuse(Status.BAD_ARGUMENT)
        self._declared.add(declaration)
        if message.flag(2):
            self._vm.read_only_properties.add(declaration)
        return b""


def _any(_: str) -> bool:
    return True


def _is_number(value: str) -> bool:
    return value.isascii() and value.isdecimal()


def _is_address(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return True


def _is_socket_address(value: str) -> bool:
    host, _, port = value.rpartition(":")
    return _is_address(host.removeprefix("[").removesuffix("]")) and _is_number(port) and int(port) < 1 << 16


FILTER_STATE_OBJECTS: Mapping[str, Callable[[str], bool]] = {
    "envoy.network.upstream_server_name": _any,
    "envoy.network.application_protocols": _any,
    "envoy.network.upstream_subject_alt_names": _any,
    "envoy.network.ip": _is_address,
    "envoy.tcp_proxy.cluster": _any,
    "envoy.udp_proxy.cluster": _any,
    "envoy.network.transport_socket.original_dst_address": _is_socket_address,
    "envoy.ratelimit.hits_addend": _is_number,
    "envoy.string": _any,
}
"""What `set_envoy_filter_state` can set, and whether it takes a value (Envoy, "Well Known Filter State Objects"; a selection)."""


def _verify_signature(arguments: bytes) -> bytes:
    from proxy_wasm.emulator.signatures import verify  # noqa: PLC0415 - a package that need not be there

    message = _message(arguments)
    key, pem = message.octets(2), message.octets(5)
    if bool(key) == bool(pem):
        raise _refuse(Status.BAD_ARGUMENT)
    error = verify(message.text(1), key or pem, message.octets(3), message.octets(4))
    return encode((1, True)) if error is None else encode((2, error))


def _sign(arguments: bytes) -> bytes:
    from proxy_wasm.emulator.signatures import sign  # noqa: PLC0415 - a package that need not be there

    message = _message(arguments)
    key, pem = message.octets(2), message.octets(4)
    if bool(key) == bool(pem):
        raise _refuse(Status.BAD_ARGUMENT)
    signature, error = sign(message.text(1), key or pem, message.octets(3))
    return encode((1, True), (2, signature)) if error is None else encode((3, error))
