"""gRPC callouts with one message each way, and what all gRPC callouts have in common.

Whom a callout goes to is always told in a message `envoy.config.core.v3.GrpcService`. Envoy also takes the bare name of a cluster, but ends
with its whole process where that name happens to be readable as such a message, as "users" is (seen in 1.40).

What Envoy tells of a call (seen in 1.36 to 1.40):

- of one that succeeds the message, and neither metadata nor status; of one that fails the status, and no metadata;
- with a status its text in the form `message{details}`, where either may be missing: the message percent-encoded as the service sent it, the
  details those of the HTTP response (`via_upstream` where the service itself answered);
- of a timeout, `UNAVAILABLE` or `INTERNAL` with the details `response_timeout`, depending on how far the answer was; or `DEADLINE_EXCEEDED` where
  the service, which is told the timeout, was faster;
- of one that it cannot even start: the hostcall fails with `INTERNAL_FAILURE`, and the reason is told right after the running callback, with a
  number that was never handed out.
"""

# A callout is made by the contexts and completed by the dispatcher.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

import binascii
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn, ParamSpec, Protocol, TypeVar

from proxy_wasm.abi.enums import BufferType, GrpcStatus, MapType, Status
from proxy_wasm.abi.header_map import Pair, decode_pairs, encode_pairs
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.callouts import cluster_name, refused, timeout_milliseconds, visible
from proxy_wasm.errors import (
    CalloutArgumentError,
    CalloutError,
    GrpcConnectionError,
    GrpcError,
    GrpcResetError,
    GrpcTimeoutError,
    UnknownClusterError,
)
from proxy_wasm.headers import MAX_PAIRS, MAX_SERIALIZED_SIZE, HeaderPairs, Headers, ReceivedHeaders, pairs_of
from proxy_wasm.protobuf import encode
from proxy_wasm.tasks import Future

if TYPE_CHECKING:
    from proxy_wasm.context import Context

P = ParamSpec("P")
R = TypeVar("R")

_FOR_EVER = 0x7FFF_FFFF
"""Milliseconds. 0 would be a deadline that has passed."""
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
"""Characters of the names of services, methods and metadata (gRPC over HTTP/2, "Requests")."""
_BINARY = b"-bin"
_RESERVED = frozenset({b"content-type", b"te", b"host", b"content-length", b"transfer-encoding", b"connection"})
_RESERVED_PREFIX = b"grpc-"
_NO_METADATA = frozenset({b"content-type", b"x-envoy-upstream-service-time"})
_STATUS_DETAILS = b"grpc-status-details-bin"
"""What the proxy does not take for its own of what begins as gRPC's names do: details of an error, by convention."""
_BY_SERVICE = "via_upstream"
_TIMED_OUT = "response_timeout"
_NO_CLUSTER = "Cluster not available"
_NOT_CONNECTED = ("remote connection failure", "local connection failure", "connection timeout", "overflow")
_RESET = ("upstream connect error or disconnect", "upstream_reset", "stream_reset")
_NO_HOST = "no healthy upstream"


class Receiver(Protocol):
    """What the dispatcher finds under the number of a call: a call, or a stream."""

    def _on_initial_metadata(self, num_elements: int) -> None: ...
    def _on_message(self, message_size: int) -> None: ...
    def _on_trailing_metadata(self, num_elements: int) -> None: ...
    def _on_close(self, status_code: int) -> None: ...
    def set_exception(self, error: BaseException) -> None: ...


class Target:
    """A method of a service of a cluster, in words and as the proxy takes it."""

    __slots__ = ("arguments", "cluster", "context", "method")

    def __init__(
        self,
        context: "Context",
        cluster: str,
        service: str,
        method: str,
        metadata: HeaderPairs | None,
        authority: str | None,
    ) -> None:
        name = cluster_name(cluster)
        host = None if authority is None else visible("authority", authority)
        self.context = context
        self.cluster = cluster
        self.method = f"{service}/{method}"
        self.arguments = (
            encode((1, encode((1, name), (2, host)))),
            _name_of("service", service, "pkg.Users"),
            _name_of("method", method, "Get"),
            _own_metadata(metadata),
        )
        """The first arguments of both hostcalls that begin a call."""

    def __str__(self) -> str:
        return f"{self.method} of cluster {self.cluster!r}"

    def call_for(self, hostcall: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Make a hostcall on behalf of the plugin that the call belongs to, whichever callback runs.

        Envoy may tell of the call within the hostcall.
        """
        context = self.context
        host = context._host
        own = host.context_id == context.context_id
        outer, host.may_be_nested = host.may_be_nested, True
        try:
            return host.call_for(
                context.context_id if own else context._plugin_context.context_id, hostcall, *args, **kwargs
            )
        finally:
            host.may_be_nested = outer

    def register(self, receiver: Receiver, call_id: int) -> None:
        """Let the dispatcher find `receiver` under the number of its call."""
        self.context._plugin_context._grpc_calls[call_id] = receiver

    def forget(self, receiver: Receiver, call_id: int) -> bool:
        """The opposite of `register`; false where the dispatcher does not know the call any more."""
        calls = self.context._plugin_context._grpc_calls
        if calls.get(call_id) is not receiver:
            return False
        del calls[call_id]
        return True

    def wait_for_reason(self, receiver: Receiver, error: HostError) -> None:
        """The proxy could not start the call: have `receiver` told why."""
        if error.status is not Status.INTERNAL_FAILURE:
            receiver.set_exception(refused(self.cluster, error))
            return
        calls = self.context._plugin_context._grpc_calls
        number = min([0, *calls]) - 1
        calls[number] = receiver

        def give_up() -> None:  # where the proxy forbids such callouts it does not say so
            if self.forget(receiver, number):
                receiver.set_exception(refused(self.cluster, error))

        self.context._timers().call_later(0, give_up)

    def failure(self, status_code: int, text: str, trailing_metadata: Headers | None = None) -> CalloutError:
        """What a status other than OK means, and the text that Envoy gives with it."""
        message, details = _parts(text)
        status = _status(status_code)
        if message == _NO_CLUSTER and not details:
            return UnknownClusterError(refused(self.cluster, _UNKNOWN_CLUSTER).args[0], self.cluster)
        kind: type[GrpcError] = GrpcError
        if details == _TIMED_OUT or (status is GrpcStatus.DEADLINE_EXCEEDED):
            kind, status = GrpcTimeoutError, GrpcStatus.DEADLINE_EXCEEDED
            message = message if details == _BY_SERVICE else ""
        elif details != _BY_SERVICE:
            if message.startswith(_NO_HOST) or any(reason in text for reason in _NOT_CONNECTED):
                kind = GrpcConnectionError
            elif any(reason in text for reason in _RESET):
                kind = GrpcResetError
        said = message or ("" if details == _BY_SERVICE else details)
        return kind(
            f"callout to {self}: {status.name}" + (f": {said}" if said else ""),
            self.cluster,
            status,
            message,
            ReceivedHeaders([]) if trailing_metadata is None else trailing_metadata,
        )

    def told_failure(self, status_code: int, trailing_metadata: Headers | None = None) -> CalloutError:
        """The same with the text that the proxy has during `on_grpc_close`."""
        _, text = self.context.hostcalls.get_status()
        return self.failure(status_code, text.decode("utf-8", "replace"), trailing_metadata)


_UNKNOWN_CLUSTER = HostError("grpc_call", Status.BAD_ARGUMENT)


class GrpcCall(Future[bytes]):
    """A call under way; made by `grpc_call`, and awaited for the message of the answer."""

    __slots__ = ("_id", "_target")

    def __init__(self, target: Target) -> None:
        super().__init__(target.context)
        self._target = target
        self._id = 0

    def _name(self) -> str:
        return f"callout to {self._target}"

    def cancel(self) -> bool:
        """Give the call up: the service is told, and whoever waits gets `Cancelled`. False where it was done before."""
        if not super().cancel():
            return False
        if self._id and self._target.forget(self, self._id):
            with suppress(HostError):
                self._target.call_for(self.context.hostcalls.grpc_cancel, self._id)
        return True

    def start(self, message: bytes, timeout_milliseconds: int) -> None:
        """Have the proxy make the call."""
        target = self._target
        try:
            self._id = target.call_for(
                self.context.hostcalls.grpc_call, *target.arguments, message, timeout_milliseconds
            )
        except HostError as error:
            target.wait_for_reason(self, error)
        else:
            target.register(self, self._id)

    def _on_initial_metadata(self, num_elements: int) -> None:
        """Envoy does not tell it."""

    def _on_message(self, message_size: int) -> None:
        """Take the answer that the proxy offers during `on_grpc_receive`."""
        self._target.forget(self, self._id)
        self.set_result(received_message(self.context, message_size))

    def _on_trailing_metadata(self, num_elements: int) -> None:
        """Envoy does not tell it."""

    def _on_close(self, status_code: int) -> None:
        """The call has failed."""
        self.set_exception(self._target.told_failure(status_code or GrpcStatus.INTERNAL))


def call(target: Target, message: bytes, timeout: float | None) -> GrpcCall:
    """Make the call; see `Context.grpc_call`."""
    octets = own_message(message)
    milliseconds = timeout_milliseconds(timeout) or _FOR_EVER
    started = GrpcCall(target)
    started.start(octets, milliseconds)
    return started


def unstarted(calls: dict[int, Receiver]) -> Receiver | None:
    """Whoever waits longest to be told why its call could not start; taken out of `calls`."""
    numbers = [number for number in calls if number < 0]
    return calls.pop(max(numbers)) if numbers else None


# What is sent


def own_message(message: object) -> bytes:
    """A message as the proxy takes it; `CalloutArgumentError` where it is none."""
    if isinstance(message, (bytes, bytearray)):
        return bytes(message)
    raise CalloutArgumentError(
        f"message: bytes, as SerializeToString of a protobuf message returns, not {type(message).__name__}"
    )


def _name_of(argument: str, name: object, example: str) -> bytes:
    if isinstance(name, str) and name and _NAME.issuperset(name):
        return name.encode()
    raise CalloutArgumentError(f"{argument} {name!r}: a name such as {example}, without a slash")


def _own_metadata(metadata: HeaderPairs | None) -> bytes:
    """Metadata, checked, as the proxy takes it: what ends in `-bin` may be any bytes, and is encoded by Envoy."""
    if not metadata:
        return b""
    pairs: list[Pair] = []
    for name, value in pairs_of(metadata):
        octets_name = _metadata_name(name)
        octets_value = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        if not isinstance(octets_value, bytes):
            _refuse(name, f"its value is to be str or bytes, not {type(value).__name__}")
        if octets_name.endswith(_BINARY):
            if any(octets_name == other for other, _ in pairs):
                _refuse(name, "can be given once only: Envoy sends the first")
        elif not octets_value.isascii() or not octets_value.decode().isprintable():
            _refuse(name, "a value has printable ASCII only; other bytes go under a name that ends in -bin")
        pairs.append((octets_name, octets_value))
    serialized = encode_pairs(pairs)
    if len(pairs) > MAX_PAIRS or len(serialized) > MAX_SERIALIZED_SIZE:
        raise CalloutArgumentError(
            f"metadata: {len(pairs)} entries of {len(serialized)} bytes: a proxy takes at most {MAX_PAIRS} of 1 MiB together"
        )
    return serialized


def _metadata_name(name: object) -> bytes:
    text = name.decode("latin-1") if isinstance(name, bytes) else name
    if not isinstance(text, str) or not text or not _NAME.issuperset(text):
        _refuse(name, "a name has letters, digits, dots, underscores and hyphens")
    octets = text.lower().encode()
    if octets in _RESERVED or octets.startswith(_RESERVED_PREFIX):
        _refuse(name, "is the protocol's own")
    return octets


def _refuse(name: object, why: str) -> NoReturn:
    raise CalloutArgumentError(f"metadata: {name!r}: {why}")


# What is received


def received_message(context: "Context", size: int) -> bytes:
    """The message that the proxy offers during `on_grpc_receive`."""
    return context.hostcalls.get_buffer_bytes(int(BufferType.GRPC_CALL_MESSAGE), 0, size) if size else b""


def received_metadata(context: "Context", map_type: MapType, num_elements: int) -> Headers:
    """The metadata that the proxy offers, without what is the protocol's own; values of names in `-bin` decoded."""
    if not num_elements:
        return ReceivedHeaders([])
    return ReceivedHeaders(
        [
            (name, _decoded(value) if name.endswith(_BINARY) else value)
            for name, value in decode_pairs(context.hostcalls.get_header_map_pairs(int(map_type)))
            if name == _STATUS_DETAILS or not (name.startswith((b":", _RESERVED_PREFIX)) or name in _NO_METADATA)
        ]
    )


def _decoded(value: bytes) -> bytes:
    """Base64, padded or not; of several values that were joined the first, anything else as it is."""
    first = value.partition(b",")[0].strip().rstrip(b"=")
    try:
        return binascii.a2b_base64(first + b"=" * (-len(first) % 4))
    except binascii.Error:
        return value


def _status(code: int) -> GrpcStatus:
    return GrpcStatus(code) if 0 <= code <= GrpcStatus.UNAUTHENTICATED else GrpcStatus.UNKNOWN


def _parts(text: str) -> tuple[str, str]:
    """Message and details of a status' text."""
    by_service = "{" + _BY_SERVICE + "}"
    if text.endswith(by_service):
        return _unescaped(text[: -len(by_service)]), _BY_SERVICE
    message, brace, details = text.partition("{")
    if " " not in message and "_" in message:  # details alone, which may have braces of their own
        return "", text
    return _unescaped(message), details[:-1] if brace else ""


def _unescaped(text: str) -> str:
    """A `grpc-message` without its percent-encoding; what is no such encoding stays."""
    if "%" not in text:
        return text
    first, *rest = text.encode("utf-8", "replace").split(b"%")
    octets = bytearray(first)
    for part in rest:
        code = part[:2]
        if len(code) == 2 and all(digit in b"0123456789abcdefABCDEF" for digit in code):  # noqa: PLR2004 - hexadecimal digits of a byte
            octets.append(int(code, 16))
            octets += part[2:]
        else:
            octets += b"%" + part
    return octets.decode("utf-8", "replace")
