"""TCP connections, for plugins that run as network filters."""

# The classes of contexts are halves of one another.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from proxy_wasm.abi.enums import Action, PeerType, StreamType
from proxy_wasm.body import Body, Data, octets
from proxy_wasm.context import Context, property_path
from proxy_wasm.errors import PhaseError
from proxy_wasm.foreign_functions import StreamForeignFunctions
from proxy_wasm.host import DOWNSTREAM_DATA, NEW_CONNECTION
from proxy_wasm.properties import Properties

if TYPE_CHECKING:
    from proxy_wasm.contexts import PluginContext

_logger = logging.getLogger("proxy_wasm")

PluginT = TypeVar("PluginT", bound="PluginContext")

# What has become of a connection, as bits of `TcpContext._state`.
PAUSED = 1
CLOSED = 2
GONE = 4
AT_WORK = 8


class TcpContext(Context, Generic[PluginT]):
    """One TCP connection, from the client (downstream) to the upstream.

    Derive from it as `TcpContext[YourPlugin]` and override the callbacks of interest; what is not overridden is not called. An exception that
    leaves a callback closes this connection alone, or lets it go on unfiltered where the plugin says `fail_open`.
    """

    __slots__ = ("_state", "plugin")

    plugin: PluginT
    """The plugin context that the connection belongs to."""

    def __init__(self, plugin: PluginT) -> None:
        self.plugin = plugin
        self._host = plugin._host
        self.context_id = self._host.context_id
        self._tasks = None
        self._state = 0

    # Callbacks

    def on_new_connection(self) -> Action | int | Coroutine[Any, Any, Action | int | None] | None:
        """A client has connected. `Action.PAUSE` holds its data back until `continue_downstream`; so does an `async` callback until it ends."""

    def on_downstream_data(self, data: Body, end_of_stream: bool, /) -> Action | int | None:
        """Data from the client has arrived; with `end_of_stream` it sends no more. `Action.PAUSE` has the proxy keep it and add what follows.

        It cannot be `async`, since data that arrives meanwhile would pass unseen: await in `on_new_connection`, before there is any; or
        return `Action.PAUSE`, and let a task (`create_task`) look at `downstream_data` and call `continue_downstream`.
        """

    def on_upstream_data(self, data: Body, end_of_stream: bool, /) -> Action | int | None:
        """Data from the upstream has arrived; as `on_downstream_data`.

        Envoy (1.40) cannot continue this direction from elsewhere: what a callback paused moves when more arrives, and a callback returns `Action.CONTINUE`.
        """

    def on_downstream_connection_close(self, peer_type: PeerType, /) -> None:
        """The client's connection is closed; by which side, `peer_type` says."""

    def on_upstream_connection_close(self, peer_type: PeerType, /) -> None:
        """The upstream's connection is closed; by which side, `peer_type` says."""

    def on_log(self) -> None:
        """The connection is over."""

    def on_done(self) -> None:
        """The connection is over."""

    # What the proxy holds

    @property
    def _plugin_context(self) -> "PluginContext":
        return self.plugin

    @property
    def gone(self) -> bool:
        """Whether the connection is over, and the proxy has dropped it."""
        return self._state & GONE != 0

    @property
    def downstream_data(self) -> Body:
        """The client's data that the proxy holds: in `on_downstream_data`, and as long as that has paused."""
        return self._here().downstream_data

    @property
    def upstream_data(self) -> Body:
        """The upstream's data that the proxy holds: in `on_upstream_data`, and as long as that has paused."""
        return self._here().upstream_data

    @property
    def properties(self) -> Properties:
        """The connection's properties with Python's types: `self.properties.source.address`; in its own callbacks and tasks."""
        return self._here().properties

    @property
    def foreign_functions(self) -> StreamForeignFunctions:
        """What the proxy offers beyond the specification: signatures, compression, filter state."""
        self._check_living()
        return StreamForeignFunctions(self._host, self.context_id)

    def set_property(self, *path: str | bytes, value: Data) -> None:
        """Set a property of the connection, which other filters and access logs can read (in Envoy as filter state `wasm.PATH`)."""
        serialized = property_path(path)
        self._check_living()
        self._host.call_for(self.context_id, self.hostcalls.set_property, serialized, octets(value))

    # What the connection can be told

    def continue_downstream(self) -> None:
        """Let the client's data go on, from a later callback than the one that paused it. All that has arrived meanwhile goes with it.

        Raises `PhaseError` where the connection is not paused, `GoneError` once it is gone.
        """
        self._check_living()
        if self._state & CLOSED:
            _logger.warning("the connection does not go on: it was closed")
            return
        if not self._state & PAUSED:
            raise PhaseError(
                "the connection is not paused: it pauses when on_new_connection or on_downstream_data returns Action.PAUSE"
            )
        host = self._host
        if self._state & AT_WORK or (
            not host.resumed and host.context_id == self.context_id and host.phase in (NEW_CONNECTION, DOWNSTREAM_DATA)
        ):
            raise PhaseError("a callback lets its connection go on by returning Action.CONTINUE")
        host.call_for(self.context_id, host.hostcalls.continue_stream, int(StreamType.DOWNSTREAM))
        self._state &= ~PAUSED

    def close(self) -> None:
        """Close the client's connection, and with it the upstream's; nothing happens where it was closed before.

        What was passed on before is still sent; what the proxy holds is lost, and so is what the running callback lets pass. Raises `GoneError` once it is gone.
        """
        self._check_living()
        if self._state & CLOSED:
            return
        self._state |= CLOSED
        host = self._host
        host.call_for(self.context_id, host.hostcalls.close_stream, int(StreamType.DOWNSTREAM))
