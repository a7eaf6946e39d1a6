"""Both ends of TCP connections through a proxy: the client, and the upstream behind it.

Which client a connection at the upstream belongs to is told by the PROXY protocol (version 1), in whose line the proxy names the client's port;
the filters do not see that line.
"""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self, TypeAlias

from proxy_wasm.envoy.errors import EnvoyFailed, NoResponse

Answer: TypeAlias = Callable[[bytes], bytes | None]
"""From a piece of what arrives at the upstream to what it sends back, if anything."""

_PIECE = 1 << 16
RESET_WHEN_CLOSED = struct.pack("ii", 1, 0)
"""For `SO_LINGER`: closing resets the connection."""
_LINE = 107
"""The longest line of the PROXY protocol, version 1."""


class End:
    """One end of a connection: what has arrived there, and its socket once there is one."""

    def __init__(self) -> None:
        self.received = b""
        self.ended = False
        """Whether nothing more will arrive."""
        self.reset = False
        """Whether the connection broke, rather than being closed."""
        self.socket: socket.socket | None = None
        self._changed = threading.Condition()

    def open(self, connection: socket.socket, answer: Answer | None = None) -> None:
        """Read from `connection` until it ends, in the calling thread."""
        with self._changed:
            self.socket = connection
            self._changed.notify_all()
        try:
            while piece := connection.recv(_PIECE):
                with self._changed:
                    self.received += piece
                    self._changed.notify_all()
                if answer is not None and (sent_back := answer(piece)):
                    connection.sendall(sent_back)
        except OSError:
            self.reset = True
        finally:
            with self._changed:
                self.ended = True
                self._changed.notify_all()

    def wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Whether `condition`, which may speak of what arrives here, comes true within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def wake(self) -> None:
        """Have whoever waits look at its condition again."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


class TcpConnection:
    """A client's connection through the proxy at `address`, and the one that the proxy makes to the upstream for it."""

    def __init__(self, upstream: "TcpUpstream", address: tuple[str, int], answer: Answer) -> None:
        self.client = End()
        self.server = End()
        self.failures: list[Exception] = []
        """What `answer` raised and nobody has been told yet."""
        self._upstream = upstream
        self._answer = answer
        connection = socket.socket()
        connection.bind(("127.0.0.1", 0))
        self.port: int = connection.getsockname()[1]
        """The client's port, by which the access log knows the connection."""
        upstream.expect(self)
        try:
            _connect(connection, address)
        except BaseException:
            upstream.forget(self)
            connection.close()
            raise
        self._socket = connection
        threading.Thread(target=self.client.open, args=(connection,), name="TCP client", daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        """Be the upstream at `connection`, until the proxy ends its side."""
        self.server.open(connection, self._answered)

    def _answered(self, piece: bytes) -> bytes | None:
        try:
            return self._answer(piece)
        except Exception as error:  # noqa: BLE001 - raised again in the test's thread
            self.failures.append(error)
            self.client.wake()
            self.server.wake()
            return None

    def send(self, data: bytes, *, end_of_stream: bool = False) -> None:
        """Send `data`, and with `end_of_stream` close the client's side."""
        with suppress(OSError):  # whoever closed it, what the test looks at says so
            self._socket.sendall(data)
            if end_of_stream:
                self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """The client's connection breaks."""
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_WHEN_CLOSED)
            self._socket.shutdown(socket.SHUT_RD)  # the reading thread holds the socket until it is woken up
        self._socket.close()

    def end_upstream(self, timeout: float) -> None:
        """The upstream closes its side; raises `NoResponse` where it has no connection within `timeout` seconds."""
        server = self.server
        if not server.wait_until(lambda: server.socket is not None, timeout) or server.socket is None:
            msg = f"no connection to the upstream within {timeout:g} seconds"
            raise NoResponse(msg)
        with suppress(OSError):
            server.socket.shutdown(socket.SHUT_WR)

    def end(self) -> None:
        """Close both ends."""
        self._upstream.forget(self)
        self.client.close()
        self.server.close()


class TcpUpstream:
    """A server for the proxy's connections to the upstream; a context manager."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address: tuple[str, int] = self._listener.getsockname()
        self._expected: dict[int, TcpConnection] = {}
        self._acceptor = threading.Thread(target=self._accept, name="TCP upstream", daemon=True)
        self._acceptor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def expect(self, connection: TcpConnection) -> None:
        """The next connection that the proxy makes for the client at `connection.port` is the upstream's end of `connection`."""
        self._expected[connection.port] = connection

    def forget(self, connection: TcpConnection) -> None:
        """Expect it no more."""
        if self._expected.get(connection.port) is connection:
            del self._expected[connection.port]

    def stop(self) -> None:
        """Close the port; connections are closed by those whose they are."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), name="TCP upstream", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            expected = self._expected.pop(_client_port(connection), None)
            if expected is not None:
                expected.serve(connection)


def _client_port(connection: socket.socket) -> int:
    """The port in `PROXY TCP4 SOURCE DESTINATION PORT PORT`, the line that `connection` begins with; 0 without such a line."""
    line = b""
    while not line.endswith(b"\r\n") and len(line) < _LINE and (byte := connection.recv(1)):
        line += byte
    match line.split():
        case [b"PROXY", _, _, _, port, _]:
            return int(port)
        case _:
            return 0


def _connect(connection: socket.socket, address: tuple[str, int]) -> None:
    try:
        connection.connect(address)
    except ConnectionRefusedError:
        msg = f"nothing accepts connections on {address[0]}:{address[1]}"
        raise EnvoyFailed(msg) from None
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
