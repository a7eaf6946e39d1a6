"""An HTTP/1.1 server behind the proxy: it hands every request to a function, byte for byte, and sends what that returns."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

from proxy_wasm.envoy.http1 import MalformedMessage, Message, read_request
from proxy_wasm.envoy.tcp import RESET_WHEN_CLOSED


@dataclass(frozen=True, slots=True)
class Pieces:
    """A response that is written in pieces, and what becomes of its connection then."""

    pieces: tuple[bytes, ...]
    then: Literal["keep", "close", "reset", "wait"] = "keep"
    """`wait`: until the proxy closes it."""


Response: TypeAlias = bytes | Pieces | None
"""The bytes of a response; `None` closes the connection instead."""
Respond: TypeAlias = Callable[[Message], Response]
"""From a request to its response."""


class Upstream:
    """A server on a port of 127.0.0.1 that the system chose; a context manager.

    `respond` may be replaced at any time; it is called in the thread of a connection, as is `between` after each of several pieces.
    """

    def __init__(self, respond: Respond) -> None:
        self.respond = respond
        self.between: Callable[[], None] = _nothing
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address: tuple[str, int] = self._listener.getsockname()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopped = False
        self._acceptor = threading.Thread(target=self._accept, name="upstream", daemon=True)
        self._acceptor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the port and every connection."""
        with self._lock:
            self._stopped = True
            open_connections = list(self._connections)
        for endpoint in (self._listener, *open_connections):
            with suppress(OSError):
                endpoint.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._stopped:
                    connection.close()
                    return
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), name="upstream connection", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, suppress(OSError, MalformedMessage), connection.makefile("rb") as stream:
            while (request := read_request(stream)) is not None:
                if not self._send(connection, self.respond(request)):
                    break
        with self._lock:
            self._connections.discard(connection)

    def _send(self, connection: socket.socket, response: Response) -> bool:
        """Whether the connection stays open for another request."""
        if response is None:
            return False
        if isinstance(response, bytes):
            connection.sendall(response)
            return True
        for piece in response.pieces:
            connection.sendall(piece)
            self.between()
        if response.then == "wait":
            connection.recv(1)
        elif response.then == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_WHEN_CLOSED)
        return response.then == "keep"


def _nothing() -> None:
    """Pieces of a response follow each other at once."""
