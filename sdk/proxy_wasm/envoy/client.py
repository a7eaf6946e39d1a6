"""One request over one connection of its own."""

import select
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from typing import TypeAlias

from proxy_wasm.envoy.errors import EnvoyFailed, NoResponse
from proxy_wasm.envoy.http1 import MalformedMessage, Message, read_response

_PIECE = 1 << 16
_LOOK_SECONDS = 0.05
"""How long a client may not notice that another thread has found its response complete."""

Wire: TypeAlias = bytes | Sequence[bytes]
"""An encoded request: at once, or in pieces that are written one by one."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back on a connection."""

    message: Message | None
    """`None` where the connection was closed without a response; what came of it where it was closed inside the body."""
    whole: bool
    """Whether the response came to its end."""
    port: int
    """The client's port, by which the access log knows the request."""


def _nothing() -> None:
    """Pieces follow each other at once."""


def send(
    address: tuple[str, int],
    request: Wire,
    *,
    method: str = "GET",
    timeout: float = 30,
    between: Callable[[], None] = _nothing,
) -> Reply:
    """Send an encoded request and read its response; `between` is called after each of several pieces.

    The request is written while the response is read: a proxy may answer, or echo, before it has everything. Raises
    `NoResponse` where no response is complete within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    with _connect(address, deadline) as connection, _writing(connection, request, between):
        connection.settimeout(timeout)
        port = connection.getsockname()[1]
        whole = True
        try:
            with connection.makefile("rb") as stream:
                message = read_response(stream, method=method)
        except TimeoutError:
            msg = f"no complete response within {timeout:g} seconds"
            raise NoResponse(msg) from None
        except (MalformedMessage, ConnectionError) as error:
            message = error.partial if isinstance(error, MalformedMessage) else None
            whole = False
    return Reply(message, whole, port)


def abandon(address: tuple[str, int], request: Wire, *, method: str = "GET", after: float) -> Reply:
    """Send an encoded request, and disconnect `after` that many seconds; what has come back by then."""
    deadline = time.monotonic() + after
    with _connect(address, deadline) as connection, _writing(connection, request, _nothing):
        port = connection.getsockname()[1]
        received = b"".join(_pieces(connection, deadline))
    return _reply(received, method, port)


class LeavingClient:
    """A client that disconnects when it has sent, or received, so much of a body.

    `look` takes what has arrived and disconnects where that is enough. It may be called from any thread: an upstream that answers in pieces
    calls it after each one, so that none follows which the client was not to get.
    """

    def __init__(self, address: tuple[str, int], method: str, timeout: float) -> None:
        self._method = method
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._connection = _connect(address, self._deadline)
        self._port: int = self._connection.getsockname()[1]
        self._received = b""
        self._wanted: int | None = None
        self._is_over = False
        self._lock = threading.Lock()

    def leave_after_sending(self, pieces: Sequence[bytes], between: Callable[[], None]) -> Reply:
        """Write `pieces`, and `between` after each one, and disconnect; what has come back by then."""
        with self._connection:
            with suppress(OSError):
                for piece in pieces:
                    self._connection.sendall(piece)
                    between()
            self.look()
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
        return _reply(self._received, self._method, self._port)

    def leave_after_receiving(self, request: Wire, wanted: int, between: Callable[[], None]) -> Reply:
        """Send a request and disconnect once the response's headers and `wanted` bytes of its body are there.

        What has come back by then, which is less where the response ends before. Raises `NoResponse` where it takes longer than the
        client's timeout.
        """
        self._wanted = wanted
        with self._connection, _writing(self._connection, request, between):
            self.look()
            while not self._is_over:
                left = self._deadline - time.monotonic()
                if left <= 0:
                    msg = (
                        f"the client got less than {wanted} bytes of a response's body within {self._timeout:g} seconds"
                    )
                    raise NoResponse(msg)
                select.select([self._connection], [], [], min(left, _LOOK_SECONDS))
                self.look()
        return _reply(self._received, self._method, self._port)

    def look(self) -> None:
        """See the class."""
        with self._lock:
            if self._is_over:
                return
            self._take_what_is_there()
            reply = _reply(self._received, self._method, self._port)
            came = -1 if reply.message is None else len(reply.message.body)
            if reply.whole or (self._wanted is not None and came >= self._wanted):
                self._is_over = True
                with suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)

    def _take_what_is_there(self) -> None:
        try:
            while not self._is_over and select.select([self._connection], [], [], 0)[0]:
                piece = self._connection.recv(_PIECE)
                self._received += piece
                self._is_over = not piece  # the proxy has closed the connection
        except OSError:
            self._is_over = True


def _reply(received: bytes, method: str, port: int) -> Reply:
    try:
        return Reply(read_response(BytesIO(received), method=method), whole=True, port=port)
    except MalformedMessage as error:
        return Reply(error.partial, whole=False, port=port)


def _pieces(connection: socket.socket, deadline: float) -> Iterator[bytes]:
    """What arrives until the `deadline`, which is awaited even where nothing more can come."""
    with suppress(OSError):
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not (piece := connection.recv(_PIECE)):
                break
            yield piece
    time.sleep(max(0, deadline - time.monotonic()))


@contextmanager
def _writing(connection: socket.socket, request: Wire, between: Callable[[], None]) -> Generator[None]:
    """The request is written meanwhile; at the end the connection is shut down."""
    pieces = [request] if isinstance(request, bytes) else request
    writer = threading.Thread(target=_write, args=(connection, pieces, between), daemon=True)
    writer.start()
    try:
        yield
    finally:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        writer.join()


def _connect(address: tuple[str, int], deadline: float) -> socket.socket:
    """A connection; one that is refused is tried again, since a worker starts listening a moment after it was told to."""
    while True:
        try:
            connection = socket.create_connection(address, timeout=max(0.1, deadline - time.monotonic()))
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                msg = f"nothing accepts connections on {address[0]}:{address[1]}"
                raise EnvoyFailed(msg) from None
            time.sleep(0.01)
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection


def _write(connection: socket.socket, pieces: Sequence[bytes], between: Callable[[], None]) -> None:
    with suppress(OSError):  # whoever answers early may close early; the response says what happened
        for piece in pieces:
            connection.sendall(piece)
            if len(pieces) > 1:
                between()
