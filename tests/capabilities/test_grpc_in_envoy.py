"""What of gRPC callouts only a real Envoy shows: connections that break, and what is left of streams that were given up."""

import json
import socket
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy_wasm import LogLevel
from proxy_wasm.emulator.clusters import GrpcCall, GrpcServer
from proxy_wasm.envoy import EnvoyProcess, WasmFilter, bootstrap, cluster, encode_request, listener, send
from proxy_wasm.envoy.clusters import serve

if TYPE_CHECKING:
    from conftest import Build

    from proxy_wasm.envoy.configuration import Json

# HTTP/2 by hand: frames are a length of 3 bytes, a type, flags and the number of a stream.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, RST_STREAM = 0, 1, 4, 3
END_HEADERS, ACK = 4, 1
OK_GRPC = b"\x88\x00" + bytes([12]) + b"content-type" + bytes([16]) + b"application/grpc"
"""`:status: 200` from the static table, and a header spelled out (HPACK)."""


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


Frame = tuple[int, bytes, int]
"""Its type, payload and flags."""
BEGUN: Frame = HEADERS, OK_GRPC, END_HEADERS
MESSAGE: Frame = DATA, b"\0\0\0\0\3one", 0
RESET: Frame = RST_STREAM, b"\0\0\0\10", 0


class BreakingServer:
    """Begins the answer to each call with `frames`, and breaks off: closes the connection, unless the last one resets the stream."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._frames = frames
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, suppress(OSError):
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as received:
            assert received.read(len(PREFACE)) == PREFACE
            connection.sendall(frame(SETTINGS) + frame(SETTINGS, flags=ACK))
            while True:
                head = received.read(9)
                if not head:
                    return
                received.read(int.from_bytes(head[:3], "big"))
                if head[3] == DATA:
                    stream = int.from_bytes(head[5:], "big")
                    for kind, payload, flags in self._frames:
                        connection.sendall(frame(kind, payload, flags=flags, stream=stream))
                    if RESET not in self._frames:
                        return

    def close(self) -> None:
        self._listener.close()


class Running:
    def __init__(self, process: EnvoyProcess) -> None:
        self._process = process
        self._address = process.admin.listeners()["grpc"]

    def ask(self, name: str, *arguments: object) -> Any:  # noqa: ANN401 - whatever the filter answers with
        response = send(self._address, self._request(name, *arguments)).message
        assert response is not None
        assert response.start[1] == b"200", response
        return json.loads(response.body)

    def abandon(self, name: str, *arguments: object, after: float) -> None:
        """Ask, and disconnect after that many seconds."""
        with socket.create_connection(self._address) as client:
            client.sendall(self._request(name, *arguments))
            client.settimeout(after)
            with suppress(TimeoutError):
                assert client.recv(1) == b""

    def _request(self, name: str, *arguments: object) -> bytes:
        act = json.dumps([name, *arguments]).encode()
        return encode_request("GET", "/", [(b"host", b"test"), (b"act", act)])

    def stat(self, name: str) -> int:
        status, body = self._process.admin.get(f"/stats?format=json&filter=^{name}$")
        assert status == 200
        (stat,) = json.loads(body)["stats"]
        return stat["value"]

    def errors(self) -> list[str]:
        return [line.message for line in self._process.new_log_lines() if line.level >= LogLevel.ERROR]


@contextmanager
def running(module: Path, *upstreams: "Json") -> Generator[Running]:
    config = bootstrap(
        clusters=[cluster("127.0.0.1", 1), *upstreams], listeners=[listener("grpc", [WasmFilter(module)])]
    )
    with EnvoyProcess(config) as process:
        yield Running(process)


BREAKING: dict[str, tuple[list[Frame], str]] = {
    "closed": ([], "UNAVAILABLE"),
    "reset": ([RESET], "UNAVAILABLE"),
    "closed after headers": ([BEGUN], "INTERNAL"),
    "closed after a message": ([BEGUN, MESSAGE], "INTERNAL"),
    "reset after headers": ([BEGUN, RESET], "INTERNAL"),
}


def test_a_connection_that_breaks_is_told_however_far_it_came(built: "Build") -> None:
    with ExitStack() as stack:
        upstreams: list[Json] = []
        for name, (frames, _) in BREAKING.items():
            server = BreakingServer(frames)
            stack.callback(server.close)
            upstreams.append(cluster("127.0.0.1", server.port, name=name, http2=True))
        envoy = stack.enter_context(running(built("grpc_calls"), *upstreams))
        for name, (_, status) in BREAKING.items():
            for error in (envoy.ask("call", name, "Echo", "hello"), envoy.ask("read", name)):
                assert error["kinds"] == ["GrpcError", "CalloutResetError"], error
                assert error["status"] == status, error
        assert envoy.errors() == []


class Chatty(GrpcServer):
    """Answers each message with a hundred, and never ends."""

    def on_message(self, call: GrpcCall, message: bytes) -> None:
        for _ in range(100):
            call.send(message)


def test_a_hundred_clients_that_leave_with_streams_open_leave_nothing_behind(built: "Build") -> None:
    with ExitStack() as stack:
        served = serve(Chatty())
        stack.callback(served.stop)
        envoy = stack.enter_context(running(built("grpc_calls"), served.to_json("greeter")))
        with ThreadPoolExecutor(10) as clients:
            gone = [clients.submit(envoy.abandon, "hold", "Chat", after=0.1) for _ in range(100)]
            for client in gone:
                client.result()
        for _ in range(100):
            if envoy.stat("cluster.greeter.upstream_rq_active") == 0:
                break
            time.sleep(0.05)
        assert envoy.stat("cluster.greeter.upstream_rq_active") == 0
        assert envoy.errors() == []
