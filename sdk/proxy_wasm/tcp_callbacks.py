"""The callbacks of TCP connections, and what becomes of one whose callback failed."""

# As `http_callbacks`.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001, ARG002

from collections.abc import Callable, Coroutine
from typing import Any

from proxy_wasm.abi.enums import PeerType, StreamType
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.directions import CONTINUE, PAUSE, action_number
from proxy_wasm.failed_streams import ClosedConnection, NotMadeError, PassedConnection
from proxy_wasm.host import DOWNSTREAM_DATA, END, NEW_CONNECTION, UPSTREAM_DATA
from proxy_wasm.tasks import Task, is_coroutine
from proxy_wasm.tcp import AT_WORK, CLOSED, GONE, PAUSED
from proxy_wasm.vm_state import Connection, VmState, expect_none

_INSTEAD_OF_AWAIT = {
    DOWNSTREAM_DATA: "return Action.PAUSE, and let a task (create_task) look at downstream_data and call continue_downstream",
    UPSTREAM_DATA: "return Action.PAUSE until enough is there to decide on, for the proxy can continue this direction only with more data",
}


class TcpCallbacks(VmState):
    """The callbacks of TCP connections."""

    def on_new_connection(self, context_id: int) -> int:
        return self._connection_callback(context_id, NEW_CONNECTION, "on_new_connection")

    def on_downstream_data(self, context_id: int, data_size: int, end_of_stream: int) -> int:
        data = (self._host.downstream_data, end_of_stream != 0)
        return self._connection_callback(context_id, DOWNSTREAM_DATA, "on_downstream_data", *data)

    def on_upstream_data(self, context_id: int, data_size: int, end_of_stream: int) -> int:
        data = (self._host.upstream_data, end_of_stream != 0)
        return self._connection_callback(context_id, UPSTREAM_DATA, "on_upstream_data", *data)

    def on_downstream_connection_close(self, context_id: int, peer_type: int) -> None:
        self._connection_closed(context_id, "on_downstream_connection_close", peer_type)

    def on_upstream_connection_close(self, context_id: int, peer_type: int) -> None:
        self._connection_closed(context_id, "on_upstream_connection_close", peer_type)

    def _enter_connection(self, context_id: int, phase: int) -> Connection:
        self._host.context_id = context_id
        self._host.phase = phase
        connection = self._connections.get(context_id)
        return self._make_connection(context_id, None) if connection is None else connection

    def _connection_callback(self, context_id: int, phase: int, name: str, *arguments: object) -> int:
        connection = self._enter_connection(context_id, phase)
        try:
            callback: Callable[..., object] = getattr(connection, name)
            result = callback(*arguments)
            if is_coroutine(result):
                number = self._begin(connection, phase, result)
            else:
                number = action_number(result)
                connection._state = connection._state | PAUSED if number else connection._state & ~PAUSED
            if self._ready:
                self._directions.run(connection)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            return self._fail_connection(connection, name, error)
        else:
            return number

    def _begin(self, connection: Connection, phase: int, coroutine: Coroutine[Any, Any, Any]) -> int:
        if phase != NEW_CONNECTION:
            coroutine.close()
            raise TypeError(
                f"returned a coroutine: what arrives meanwhile would pass unseen; {_INSTEAD_OF_AWAIT[phase]}"
            )
        task: Task[Any] = Task(connection, coroutine, phase)
        connection._adopt(task)
        task.run()
        if task.done():
            return action_number(task.result())
        connection._state |= PAUSED | AT_WORK
        task._watch(lambda _: self._ended(connection, task))
        return PAUSE

    def _ended(self, connection: Connection, task: Task[Any]) -> None:
        """The coroutine of `on_new_connection` has ended."""
        connection._state &= ~AT_WORK
        if connection._state & (GONE | CLOSED) or self._connections.get(connection.context_id) is not connection:
            return
        try:
            if action_number(task.result()) == CONTINUE:
                connection._state &= ~PAUSED
                self._hostcalls.continue_stream(int(StreamType.DOWNSTREAM))
        except BaseException as error:  # noqa: BLE001 - what an author's callback raised
            if self._fail_connection(connection, "on_new_connection", error) == CONTINUE:
                self._hostcalls.continue_stream(int(StreamType.DOWNSTREAM))

    def _connection_closed(self, context_id: int, name: str, peer_type: int) -> None:
        connection = self._enter_connection(context_id, END)
        connection._state |= CLOSED if name == "on_downstream_connection_close" else 0
        try:
            peer = PeerType(peer_type) if 0 <= peer_type <= PeerType.REMOTE else PeerType.UNKNOWN
            callback: Callable[..., object] = getattr(connection, name)
            expect_none(callback(peer))
            if self._ready:
                self._directions.run(connection)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            if not isinstance(error, NotMadeError):
                self._report(f"{type(connection).__name__}.{name}", error)

    def _fail_connection(self, connection: Connection, name: str, error: BaseException) -> int:
        """Close a connection whose callback failed, or let it pass; the action that the callback returns."""
        context_id = connection.context_id
        if not isinstance(error, NotMadeError):
            self._report(f"{type(connection).__name__}.{name}", error)
        stand_in = PassedConnection if connection.plugin.fail_open else ClosedConnection
        replaced = stand_in(connection.plugin)
        replaced.context_id = context_id
        self._connections[context_id] = replaced
        if connection.plugin.fail_open:
            return CONTINUE
        if not connection._state & CLOSED:
            try:
                self._hostcalls.close_stream(int(StreamType.DOWNSTREAM))
            except HostError as refused:
                self._report(f"{type(connection).__name__}.{name}", refused)
        return PAUSE
