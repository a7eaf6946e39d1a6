"""The upstreams that `run` offers: they answer with what arrived."""

import socketserver
import threading
from typing import Self

from proxy_wasm.envoy import Message, encode_response

_PIECE = 1 << 16


def echo(request: Message) -> bytes:
    """200 with the request's first line, headers, body and trailers as text."""
    lines = [b" ".join(request.start), *(b"%b: %b" % pair for pair in request.headers), b""]
    text = b"".join(line + b"\n" for line in lines) + request.body
    if request.trailers:
        text += b"".join(b"\n%b: %b" % pair for pair in request.trailers) + b"\n"
    method = request.start[0].decode("latin-1")
    return encode_response(200, [(b"content-type", b"text/plain; charset=utf-8")], text, method=method)


class _Echoing(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while piece := self.request.recv(_PIECE):
            self.request.sendall(piece)


class _EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False  # a client that stays connected must not keep the command from ending

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that breaks is the client's affair."""


class TcpEcho:
    """A server on 127.0.0.1 that sends back what it gets over each connection, as it comes."""

    def __init__(self) -> None:
        self._server = _EchoServer(("127.0.0.1", 0), _Echoing)
        host, port = self._server.server_address[:2]
        self.address = (str(host), int(port))
        threading.Thread(target=self._server.serve_forever, name="TCP echo", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
