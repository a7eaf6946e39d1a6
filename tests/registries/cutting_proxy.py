"""A TCP proxy on 127.0.0.1 that ends connections early."""

import socket
import threading
from contextlib import suppress
from typing import Self


class CuttingProxy:
    """Passes connections on to `port`; each of the first `cuts` is reset after `limit` bytes of answers."""

    def __init__(self, port: int, *, cuts: int, limit: int) -> None:
        self._port = port
        self._cuts = cuts
        self._limit = limit
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.cut = 0
        """How many connections were ended so far."""

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", self._port)) as server:
            threading.Thread(target=_pass_on, args=(client, server), daemon=True).start()
            passed = 0
            while data := server.recv(1 << 14):
                if self.cut < self._cuts and passed + len(data) > self._limit:
                    client.sendall(data[: self._limit - passed])
                    self.cut += 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)
                passed += len(data)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 14):
            target.sendall(data)
