"""A TCP connection: its context in the VM, both directions, and how it ends.

A test plays the client and the upstream: it feeds `new_connection`, `downstream_data` and `upstream_data`, and looks at `upstream` (what the
upstream got), `downstream` (what the client got), `paused` and `closed`.

How a connection goes (Envoy 1.40: source/extensions/common/wasm/context.cc; the filter before `envoy.filters.network.tcp_proxy`):

* Pausing in `on_new_connection` keeps the upstream from being connected, and nothing is read from the client before that.
* Pausing in `on_downstream_data` or `on_upstream_data` holds the bytes; those that follow are appended, and the callback sees all. What it
  lets pass is all of it, too.
* `continue_stream` passes what is held of the client's data, without another callback. Of the upstream's it is `UNIMPLEMENTED`: that moves
  when more of it comes.
* `close_stream` closes the client's connection; what is held, and what the running callback was called for, is lost.
* The upstream's end is told as data with `end_of_stream`, and then by `on_upstream_connection_close`, whose peer is always unknown.
* A connection is over once both sides have ended, or one breaks off: `on_downstream_connection_close`, then `on_done`, `on_log` and
  `on_delete`, in this order, which is not that of HTTP streams.
* Where the VM has failed, or fails in a callback, the connection is closed, unless the plugin fails open.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy_wasm.abi.enums import BufferType, MapType, PeerType, Status, StreamType
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.emulator import properties
from proxy_wasm.emulator.buffers import BodyBuffer, ConstantBuffer, ReadableBuffer
from proxy_wasm.emulator.context import Context
from proxy_wasm.emulator.header_map import HeaderMap
from proxy_wasm.emulator.stream_attributes import connection_attributes

if TYPE_CHECKING:
    from proxy_wasm.emulator.plugin import Plugin


@dataclass(slots=True)
class Direction:
    """One direction of a connection."""

    passed: bytes = b""
    """What went on so far."""
    ended: bool = False
    """Whether the end went on."""
    held: BodyBuffer = field(default_factory=BodyBuffer)
    paused: bool = False
    visible: bool = False
    """Whether hostcalls reach what is held: from a callback on until one returns that all of it passes."""
    finished: bool = False
    """Whether the sender has ended it."""


class TcpStream(Context):
    """One TCP connection. Made by `Plugin.tcp_stream`; see the module."""

    def __init__(self, plugin: "Plugin", *, attributes: properties.Tree) -> None:
        super().__init__(plugin.vm, plugin.vm.new_context_id())
        self._plugin = plugin
        self._created = False
        self.upstream = Direction()
        """What the client sends; `passed` is what the upstream got."""
        self.downstream = Direction()
        """What the upstream sends; `passed` is what the client got."""
        self.connected = False
        """Whether the upstream is connected: not before the filter has let the connection pass."""
        self.closed = False
        self.closed_by = PeerType.UNKNOWN
        """Who ended the client's connection: the proxy (`LOCAL`) or the client (`REMOTE`)."""
        self.state = properties.FilterState()
        self.attributes = attributes
        self._unread: list[tuple[bytes, bool]] = []
        self._filtering = ""
        """The callback about data that runs."""
        self._broken = False
        """Whether the client's connection broke without the proxy having noticed."""

    @property
    def paused(self) -> bool:
        """Whether the filter holds the connection, or a part of what passes over it."""
        return not self.closed and (not self.connected or self.upstream.paused or self.downstream.paused)

    # What the client does.

    def new_connection(self) -> None:
        """The client connects."""
        self.vm.contexts[self.context_id] = self
        self._created = not self.vm.failed
        if self._created:
            self.vm.call(self, "on_context_create", self.context_id, self.plugin.context_id)
        if not self._filter("on_new_connection"):
            self._connect()
        self.vm.shared.run_posted()

    def downstream_data(self, data: bytes, end_of_stream: bool = False) -> None:
        """The client sends bytes, perhaps none with the end of its side."""
        if self.connected:
            self._read(data, end_of_stream=end_of_stream)
        else:
            self._unread.append((data, end_of_stream))
        self.vm.shared.run_posted()

    def close(self) -> None:
        """The client's connection breaks.

        The proxy notices once it reads from it, which is not before the filter has let the connection pass; or once it writes to it, where it has read to
        its end.
        """
        if self.connected and not self.upstream.finished:
            self._close(PeerType.REMOTE)
        else:
            self._broken = True
        self.vm.shared.run_posted()

    # What the upstream does.

    def upstream_data(self, data: bytes, end_of_stream: bool = False) -> None:
        """The upstream sends bytes, perhaps none with the end of its side."""
        side = self.downstream
        if self.closed or side.finished:
            return
        self._filter_data("on_upstream_data", side, data, end_of_stream=end_of_stream)
        if end_of_stream:
            self.vm.call(self, "on_upstream_connection_close", self.context_id, PeerType.UNKNOWN)
        self._close_if_over(PeerType.LOCAL)
        self.vm.shared.run_posted()

    def refuse(self) -> None:
        """The upstream can't be connected, or its connection breaks: the client's is closed."""
        self._close(PeerType.LOCAL)
        self.vm.shared.run_posted()

    # What the guest reaches.

    @property
    def plugin(self) -> "Plugin":
        return self._plugin

    def readable_map(self, map_type: MapType) -> HeaderMap | None:
        return self.plugin.readable_map(map_type)

    def buffer(self, buffer_type: BufferType) -> ReadableBuffer | None:
        if buffer_type == BufferType.DOWNSTREAM_DATA:
            return self.upstream.held if self.upstream.visible else ConstantBuffer()
        if buffer_type == BufferType.UPSTREAM_DATA:
            return self.downstream.held if self.downstream.visible else ConstantBuffer()
        return self.plugin.buffer(buffer_type)

    def get_property(self, path: bytes) -> bytes | None:
        roots = [self.attributes, self.plugin.attributes, connection_attributes(self), self.plugin.wasm_attributes]
        return properties.look_up(path, roots, self.state)

    def set_property(self, path: bytes, value: bytes) -> None:
        self.state.set(path, value)

    def continue_stream(self, stream_type: int) -> None:
        if stream_type == StreamType.UPSTREAM:
            raise HostError("continue_stream", Status.UNIMPLEMENTED)
        if stream_type == StreamType.DOWNSTREAM:
            self.vm.after_call(self._resume)

    def close_stream(self, stream_type: int) -> None:
        if stream_type in (StreamType.DOWNSTREAM, StreamType.UPSTREAM):
            self.vm.after_call(lambda: self._close(PeerType.LOCAL))

    # How it goes on.

    def _resume(self) -> None:
        if self.closed:
            return
        if not self.connected:
            self._connect()
            return
        if self.upstream.paused or self._filtering == "on_downstream_data":
            self._pass(self.upstream)
        if not self._filtering:  # otherwise that callback's end comes first
            self._close_if_over(PeerType.LOCAL)

    def _connect(self) -> None:
        if self.connected or self.closed:
            return
        self.connected = True
        unread, self._unread = self._unread, []
        if unread:  # what has piled up is read at once
            self._read(b"".join(data for data, _ in unread), end_of_stream=unread[-1][1])
        if self._broken and not self.upstream.finished:
            self.upstream.passed = b""  # it was still on its way
            self._close(PeerType.REMOTE)

    def _read(self, data: bytes, *, end_of_stream: bool) -> None:
        side = self.upstream
        if self.closed or side.finished:
            return
        self._filter_data("on_downstream_data", side, data, end_of_stream=end_of_stream)
        self._close_if_over(PeerType.REMOTE)

    def _filter_data(self, callback: str, side: Direction, data: bytes, *, end_of_stream: bool) -> None:
        side.held.append(data)
        side.finished = side.finished or end_of_stream
        side.visible = True
        self._filtering = callback
        side.paused = side.visible = self._filter(callback, len(side.held), int(end_of_stream))
        self._filtering = ""
        if not side.paused and not self.closed:
            self._pass(side)

    def _pass(self, side: Direction) -> None:
        side.paused = False
        data = side.held.take()
        if data and side is self.downstream and self._broken:
            self._close(PeerType.REMOTE)
            return
        side.passed += data
        side.ended = side.ended or side.finished

    def _close_if_over(self, last: PeerType) -> None:
        """Close once both ends have said theirs; `last` is who did so just now."""
        if self.downstream.ended and self.upstream.finished:
            self._close(last)
        elif self.upstream.ended and self.downstream.finished:
            self._close(PeerType.LOCAL)

    def _filter(self, callback: str, *arguments: int) -> bool:
        """Whether the filter stops what the callback is for."""
        paused = False
        if not self.vm.failed and self._created:
            paused = self.vm.call(self, callback, self.context_id, *arguments) != 0
        if self.vm.failed:
            paused = not self.plugin.passes_unfiltered(new=not self._created)
            if paused:
                self._close(PeerType.LOCAL)
        return paused

    def _close(self, peer: PeerType) -> None:
        if self.closed:
            return
        self.closed = True
        self.closed_by = peer
        if not self._created:
            return
        self.vm.call(self, "on_downstream_connection_close", self.context_id, peer)
        self.vm.call(self, "on_done", self.context_id, absent=1)
        self.vm.call(self, "on_log", self.context_id)
        self.vm.call(self, "on_delete", self.context_id)
        # Until the event is over the proxy keeps what it had of the connection.
        self.vm.shared.post_first(self._forget)

    def _forget(self) -> None:
        self.vm.contexts.pop(self.context_id, None)
