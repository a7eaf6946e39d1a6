"""HTTP/2 METADATA reaches filters, in Envoy between a client and an upstream that speak as much HTTP/2 as that takes.

METADATA is Envoy's extension of HTTP/2 (`envoy/docs/root/intro/arch_overview/advanced/metadata_frame` in its documentation): frames of type
0x4d on a stream, whose payload is an HPACK block of pairs. Both sides have to allow it (`allow_metadata`).
"""

import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm.emulator import Emulator, native_guest, wasm_guest
from proxy_wasm.envoy import EnvoyProcess, WasmFilter, bootstrap, cluster, listener
from proxy_wasm.testing import HostName
from proxy_wasm.testing.extension import Extension

if TYPE_CHECKING:
    from conftest import Build

TIMEOUT = 20
REQUEST = {":method": "POST", ":path": "/", ":scheme": "http", ":authority": "test"}
SAID = ["request metadata: 2", "response metadata: 1"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, METADATA = 0, 1, 4, 0x4D
ACK = END_STREAM = 1
END_HEADERS = END_METADATA = 4
FRAME_HEADER = 9


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def block(pairs: Mapping[str, str]) -> bytes:
    """Short pairs in HPACK, each a literal that is not indexed, without Huffman coding (RFC 7541, 6.2.2)."""
    fields = ((name.encode(), value.encode()) for name, value in pairs.items())
    return b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields)


def message(headers: Mapping[str, str], metadata: Mapping[str, str]) -> bytes:
    """A message on stream 1, with METADATA after its headers."""
    return b"".join(
        [
            frame(HEADERS, END_HEADERS, 1, block(headers)),
            frame(METADATA, END_METADATA, 1, block(metadata)),
            frame(DATA, END_STREAM, 1, b"body"),
        ]
    )


class Http2Connection:
    """One side of a connection: sends frames as they are, and answers SETTINGS."""

    def __init__(self, connection: socket.socket, *, is_client: bool) -> None:
        connection.settimeout(TIMEOUT)
        self._socket = connection
        self._stream = connection.makefile("rb")
        if not is_client:
            assert self._stream.read(len(PREFACE)) == PREFACE
        self.send((PREFACE if is_client else b"") + frame(SETTINGS, 0, 0))

    def send(self, frames: bytes) -> None:
        self._socket.sendall(frames)

    def receive_message(self) -> list[int]:
        """The types of the frames of stream 1 until its end."""
        kinds: list[int] = []
        while True:
            length, kind, flags, stream = struct.unpack(">IBBI", b"\0" + self._stream.read(FRAME_HEADER))
            self._stream.read(length)
            if kind == SETTINGS and not flags & ACK:
                self.send(frame(SETTINGS, ACK, 0))
            if stream == 1:
                kinds.append(kind)
                if kind in (DATA, HEADERS) and flags & END_STREAM:
                    return kinds


@pytest.fixture
def upstream() -> Iterator[tuple[str, int]]:
    """The address of a server that answers one request, with METADATA."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            with suppress(OSError):  # the end of a test that has failed
                accepted = server.accept()[0]
                with closing(accepted):
                    connection = Http2Connection(accepted, is_client=False)
                    connection.receive_message()
                    connection.send(message({":status": "200"}, {"c": "3"}))
                    accepted.recv(1)  # until Envoy closes

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        thread.join()


def allowing_metadata(module: Path, upstream: tuple[str, int]) -> dict[str, Any]:
    allowed = {"allow_metadata": True}
    behind = cluster(*upstream, http2=True)
    for options in behind["typed_extension_protocol_options"].values():
        options["explicit_http_config"]["http2_protocol_options"] = allowed
    before = listener("metadata", [WasmFilter(module)])
    manager = before["filter_chains"][0]["filters"][0]["typed_config"]
    manager |= {"codec_type": "HTTP2", "http2_protocol_options": allowed}
    return bootstrap(clusters=[behind], listeners=[before])


def test_filters_in_envoy_hear_of_metadata_both_ways(built: "Build", upstream: tuple[str, int]) -> None:
    config = allowing_metadata(built("raw_abi"), upstream)
    with EnvoyProcess(config, wasm_log_level="trace") as envoy:
        with closing(socket.create_connection(envoy.admin.listeners()["metadata"])) as client:
            connection = Http2Connection(client, is_client=True)
            connection.send(message(REQUEST, {"a": "1", "b": "2"}))
            kinds = connection.receive_message()
        assert kinds == [HEADERS, METADATA, DATA]
        assert [line.wasm.message for line in envoy.new_log_lines() if line.wasm is not None] == SAID


@pytest.mark.parametrize("proxy_host", ["native", "wasm"])
def test_filters_in_the_emulator_hear_of_metadata_both_ways(proxy_host: HostName) -> None:
    project = Extension(Path(__file__).parent / "raw_abi")
    guest = native_guest(project.plugins()) if proxy_host == "native" else wasm_guest(project.module().read_bytes())
    with Emulator(guest) as emulator:
        stream = emulator.start_plugin().http_stream()
        stream.request_headers(list(REQUEST.items()))
        stream.request_metadata({"a": "1", "b": "2"})
        stream.request_body(b"body", end_of_stream=True)
        stream.response_headers([(":status", "200")])
        stream.response_metadata({"c": "3"})
        stream.response_body(b"body", end_of_stream=True)
        assert [record.message for record in emulator.log] == SAID
