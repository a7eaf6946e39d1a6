"""One request over one connection of its own."""

import socket
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO

from proxy_wasm.envoy.errors import EnvoyFailed, NoResponse
from proxy_wasm.envoy.http1 import MalformedMessage, Message, read_response


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back on a connection."""

    message: Message | None
    """`None` where the connection was closed without a response; the head alone where it was closed inside the body."""
    whole: bool
    """Whether the response came to its end."""
    port: int
    """The client's port, by which the access log knows the request."""


def send(address: tuple[str, int], request: bytes, *, method: str = "GET", timeout: float = 30) -> Reply:
    """Send an encoded request and read its response.

    The request is written while the response is read: a proxy may answer, or echo, before it has everything. Raises
    `NoResponse` where no response is complete within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    with _connect(address, deadline) as connection, _writing(connection, request):
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


def abandon(address: tuple[str, int], request: bytes, *, method: str = "GET", after: float) -> Reply:
    """Send an encoded request, and disconnect `after` that many seconds; what has come back by then."""
    deadline = time.monotonic() + after
    with _connect(address, deadline) as connection, _writing(connection, request):
        port = connection.getsockname()[1]
        received = b"".join(_pieces(connection, deadline))
    try:
        return Reply(read_response(BytesIO(received), method=method), whole=True, port=port)
    except MalformedMessage as error:
        return Reply(error.partial, whole=False, port=port)


def _pieces(connection: socket.socket, deadline: float) -> Iterator[bytes]:
    """What arrives until the `deadline`, which is awaited even where nothing more can come."""
    with suppress(OSError):
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not (piece := connection.recv(1 << 16)):
                break
            yield piece
    time.sleep(max(0, deadline - time.monotonic()))


@contextmanager
def _writing(connection: socket.socket, request: bytes) -> Generator[None]:
    """The request is written meanwhile; at the end the connection is shut down."""
    writer = threading.Thread(target=_write, args=(connection, request), daemon=True)
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


def _write(connection: socket.socket, request: bytes) -> None:
    with suppress(OSError):  # whoever answers early may close early; the response says what happened
        connection.sendall(request)
