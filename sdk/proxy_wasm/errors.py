"""The exceptions of the author's API.

Exception
├── ConfigurationError            raised by authors: the configuration is refused
├── PluginReferenceError          a plugin's "module:Class" leads nowhere
├── RuntimeError
│   └── PhaseError                something was used outside the callbacks in which the proxy offers it
│       └── GoneError             a context was used after the proxy dropped it
├── BodyTooLargeError             a body is larger than the limit given for it
├── CalloutError                  a callout brought no answer
│   ├── CalloutArgumentError      it could not be sent as it was given; also a ValueError
│   ├── UnknownClusterError       the proxy has no cluster of that name
│   ├── ConnectionFailedError     there was no connection to any host of the cluster
│   ├── CalloutTimeoutError       the answer was not there in time; also a TimeoutError
│   ├── CalloutResetError         the connection ended before the answer was whole
│   └── GrpcError                 a gRPC service, or the proxy in its place, answered with a status other than OK
└── HostError                     the proxy refused a hostcall otherwise (`proxy_wasm.abi.hostcalls`)

BaseException
└── Cancelled                     raised where a cancelled task waits (`proxy_wasm.tasks`)
"""


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
