"""What all contexts of one VM share: the hostcalls, the maps and bodies of the current stream, and which callback runs."""

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from proxy_wasm.abi.enums import BufferType, MapType
from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.body import Body
from proxy_wasm.headers import Headers
from proxy_wasm.properties import Properties
from proxy_wasm.shared_data import SharedData

if TYPE_CHECKING:
    from proxy_wasm.context import Context
    from proxy_wasm.directions import Directions

P = ParamSpec("P")
R = TypeVar("R")

PLUGIN = 0
"""The phase of a callback that belongs to no stream; those of a stream follow, in the order of a stream's life."""
REQUEST_HEADERS = 1
REQUEST_BODY = 2
REQUEST_TRAILERS = 3
RESPONSE_HEADERS = 4
RESPONSE_BODY = 5
RESPONSE_TRAILERS = 6
END = 7
"""The phase of a stream's creation, `on_log` and `on_done`: there is nothing left, or nothing yet, to answer."""
NEW_CONNECTION = 8
"""The phases of a TCP connection; its closing belongs to `END`."""
DOWNSTREAM_DATA = 9
UPSTREAM_DATA = 10

CALLBACK_OF_PHASE = (
    "",
    "on_request_headers",
    "on_request_body",
    "on_request_trailers",
    "on_response_headers",
    "on_response_body",
    "on_response_trailers",
    "",
)


class Job(Protocol):
    """Something to be run on behalf of a context, before the callback at hand returns to the host."""

    @property
    def context(self) -> "Context": ...
    @property
    def phase(self) -> int: ...
    def run(self) -> None: ...


class Host:
    """The host as seen from one VM.

    Maps and bodies are those of the *effective* context, the one whose callback runs, so one object of each kind serves
    every stream.
    """

    __slots__ = (
        "context_id",
        "directions",
        "downstream_data",
        "ends_matter",
        "hostcalls",
        "may_be_nested",
        "monotonic",
        "phase",
        "properties",
        "ready",
        "request_body",
        "request_headers",
        "request_trailers",
        "response_body",
        "response_headers",
        "response_trailers",
        "resumed",
        "shared_data",
        "upstream_data",
    )

    def __init__(self, hostcalls: Hostcalls, monotonic: Callable[[], int] = time.monotonic_ns) -> None:
        self.hostcalls = hostcalls
        self.monotonic = monotonic
        """The host's monotonic clock, in nanoseconds."""
        self.ready: deque[Job] = deque()
        """What was woken and waits for the dispatcher."""
        self.directions: Directions
        """Carries on callbacks that wait; set by the dispatcher."""
        self.context_id = 0
        self.phase = PLUGIN
        self.ends_matter = False
        """Whether something may have to be done when a stream ends: once anything went on for a context behind its callbacks, or a class of streams was seen that a
        compiled guest cannot serve by itself."""
        self.resumed = False
        """Whether what runs belongs to an earlier callback of its context than the one that the host is in."""
        self.may_be_nested = False
        """Whether a hostcall is under way in which the host may call back."""
        self.properties = Properties(hostcalls)
        self.shared_data = SharedData(hostcalls)
        self.request_headers = Headers(hostcalls, MapType.HTTP_REQUEST_HEADERS)
        self.request_trailers = Headers(hostcalls, MapType.HTTP_REQUEST_TRAILERS)
        self.response_headers = Headers(hostcalls, MapType.HTTP_RESPONSE_HEADERS)
        self.response_trailers = Headers(hostcalls, MapType.HTTP_RESPONSE_TRAILERS)
        self.request_body = Body(hostcalls, BufferType.HTTP_REQUEST_BODY)
        self.response_body = Body(hostcalls, BufferType.HTTP_RESPONSE_BODY)
        self.downstream_data = Body(hostcalls, BufferType.DOWNSTREAM_DATA)
        self.upstream_data = Body(hostcalls, BufferType.UPSTREAM_DATA)

    def call_for(self, context_id: int, hostcall: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Make a hostcall on behalf of a context, whichever callback runs."""
        if context_id == self.context_id:
            return hostcall(*args, **kwargs)
        self.hostcalls.set_effective_context(context_id)
        try:
            return hostcall(*args, **kwargs)
        finally:
            self.hostcalls.set_effective_context(self.context_id)
