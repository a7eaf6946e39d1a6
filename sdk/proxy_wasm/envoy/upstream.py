"""An HTTP/1.1 server behind the proxy: it hands every request to a function, byte for byte, and sends what that returns."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self, TypeAlias

from proxy_wasm.envoy.http1 import MalformedMessage, Message, read_request

Respond: TypeAlias = Callable[[Message], bytes | None]
"""From a request to the bytes of its response; `None` closes the connection instead."""


class Upstream:
    """A server on a port of 127.0.0.1 that the system chose; a context manager.

    `respond` may be replaced at any time; it is called in the thread of a connection.
    """

    def __init__(self, respond: Respond) -> None:
        self.respond = respond
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
                response = self.respond(request)
                if response is None:
                    break
                connection.sendall(response)
        with self._lock:
            self._connections.discard(connection)
