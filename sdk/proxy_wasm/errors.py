"""The exceptions of the author's API.

Exception
├── ConfigurationError            raised by authors: the configuration is refused
├── PluginReferenceError          a plugin's "module:Class" leads nowhere
├── LookupError
│   ├── UnknownForeignFunctionError    the proxy has no foreign function of that name
│   └── UnknownQueueError         nobody has registered a shared queue of that name
├── RuntimeError
│   ├── PhaseError                something was used outside the callbacks in which the proxy offers it
│   │   └── GoneError             a context was used after the proxy dropped it
│   └── UpdateConflictError       shared data was changed by others in every attempt to update it
├── ValueError
│   └── ExpressionError           a CEL expression cannot be compiled, or has no value here
├── BodyTooLargeError             a body is larger than the limit given for it
├── CalloutError                  a callout brought no answer
│   ├── CalloutArgumentError      it could not be sent as it was given; also a ValueError
│   ├── UnknownClusterError       the proxy has no cluster of that name
│   ├── ConnectionFailedError     there was no connection to any host of the cluster
│   ├── CalloutTimeoutError       the answer was not there in time; also a TimeoutError
│   ├── CalloutResetError         the connection ended before the answer was whole
│   └── GrpcError                 a gRPC service, or the proxy in its place, answered with a status other than OK
│       ├── GrpcTimeoutError      DEADLINE_EXCEEDED; also a CalloutTimeoutError
│       ├── GrpcConnectionError   there was no connection to any host; also a ConnectionFailedError
│       └── GrpcResetError        the connection ended before the status came; also a CalloutResetError
└── HostError                     the proxy refused a hostcall otherwise (`proxy_wasm.abi.hostcalls`)

BaseException
└── Cancelled                     raised where a cancelled task waits (`proxy_wasm.tasks`)
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy_wasm.abi.enums import GrpcStatus
    from proxy_wasm.headers import Headers


class ConfigurationError(Exception):
    """The configuration is refused; the message says which field, what is wrong, and what would be right.

    Raised in `on_configure` or `on_vm_start` it makes the proxy reject the configuration; the message is written to the
    proxy's log as it is, without a traceback.
    """


class PluginReferenceError(Exception):
    """A plugin's reference, "module:Class", names no plugin class."""


class PhaseError(RuntimeError):
    """A map, a buffer or an action was used outside of the callbacks in which the proxy offers it."""


class GoneError(PhaseError):
    """A context was used after the proxy had dropped it: its stream is over, or its plugin was replaced."""


class BodyTooLargeError(Exception):
    """A body is larger than the limit that was given for it; `limit` in bytes.

    A request whose callback lets it pass is answered with 413, a response with 502; neither is logged as an exception.
    """

    def __init__(self, what: str, limit: int) -> None:
        self.limit = limit
        super().__init__(f"the {what} is larger than {limit} bytes")


class CalloutError(Exception):
    """A callout brought no answer; `cluster` says which cluster it went to."""

    def __init__(self, message: str, cluster: str = "") -> None:
        self.cluster = cluster
        super().__init__(message)


class CalloutArgumentError(CalloutError, ValueError):
    """A callout could not be sent as it was given; the message names the argument. Raised by the call, before any `await`."""


class UnknownClusterError(CalloutError):
    """The proxy has no cluster of that name."""


class ConnectionFailedError(CalloutError):
    """There was no connection to any host of the cluster."""


class CalloutTimeoutError(CalloutError, TimeoutError):
    """The answer was not there, or not whole, within the callout's timeout."""


class CalloutResetError(CalloutError):
    """The connection ended, or made no sense, before the answer was whole."""


class GrpcError(CalloutError):
    """A gRPC call ended with a status other than OK: the service's own, or one that the proxy gives in its place."""

    def __init__(
        self, text: str, cluster: str, status: "GrpcStatus", message: str, trailing_metadata: "Headers"
    ) -> None:
        self.status = status
        self.message = message
        """What the service says, empty where it says nothing."""
        self.trailing_metadata = trailing_metadata
        """What came with the status of a stream; always empty for `grpc_call`, whose metadata no proxy passes on."""
        super().__init__(text, cluster)


class GrpcTimeoutError(GrpcError, CalloutTimeoutError):
    """The answer was not there within the timeout, or the service says so: `DEADLINE_EXCEEDED`."""


class GrpcConnectionError(GrpcError, ConnectionFailedError):
    """There was no connection to any host of the cluster: `UNAVAILABLE`."""


class GrpcResetError(GrpcError, CalloutResetError):
    """The connection ended, or made no sense, before the status had come."""


class UnknownForeignFunctionError(LookupError):
    """The proxy has no foreign function `name`: its version is older than the function, or it is another proxy than Envoy."""

    def __init__(self, name: str, advice: str = "") -> None:
        self.name = name
        self._advice = advice
        super().__init__(name)

    def __str__(self) -> str:
        return f"the proxy has no foreign function {self.name!r}" + (f": {self._advice}" if self._advice else "")


class UnknownQueueError(LookupError):
    """No VM with `vm_id` (this VM's own, if `None`) has registered the shared queue `name`, or all that did are gone."""

    def __init__(self, name: str, vm_id: str | None) -> None:
        self.name = name
        self.vm_id = vm_id
        super().__init__(name, vm_id)

    def __str__(self) -> str:
        whose = "this VM's own vm_id" if self.vm_id is None else f"vm_id {self.vm_id!r}"
        return (
            f"no shared queue {self.name!r} of {whose}: the plugin that consumes it has to call shared_queue({self.name!r}) "
            "before, in on_configure, in a VM with that vm_id"
        )


class UpdateConflictError(RuntimeError):
    """Other VMs changed the value at `key` in each of `attempts` attempts to update it."""

    def __init__(self, key: bytes, attempts: int) -> None:
        self.key = key
        self.attempts = attempts
        super().__init__(key, attempts)

    def __str__(self) -> str:
        return (
            f"shared data {self.key!r}: changed by others in each of {self.attempts} attempts to update it; allow more attempts, "
            "or have fewer writers per key (one key per worker, summed by the reader)"
        )


class ExpressionError(ValueError):
    """A CEL expression cannot be compiled, or has no value in this callback."""
