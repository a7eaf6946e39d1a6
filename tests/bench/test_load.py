"""The bundled client: every kind of answer that a proxy gives, and servers that misbehave."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from proxy_wasm.bench.load import LoadFailed, Wire, counted, response_end, timed
from proxy_wasm.envoy import Message, Upstream, encode_request, encode_response

REQUEST = encode_request("GET", "/", [(b"host", b"x")])


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", False),
        (b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\ncontent-le", False),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nx-trailer: 1\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-trailer: 1\r\n", False),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", False),
    ],
)
def test_the_end_of_an_answer_is_found_in_each_framing(data: bytes, whole: bool) -> None:
    assert response_end(data, 0) == ((int(data[9:12]), len(data)) if whole else None)
    if whole:
        assert response_end(b"xyz" + data + b"HTTP/1.1 500", 3) == (int(data[9:12]), 3 + len(data))


def test_an_answer_to_head_ends_with_its_headers() -> None:
    data = b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n"
    assert response_end(data, 0, bodiless=True) == (200, len(data))


def test_pairs_of_due_and_actual_statuses_are_counted() -> None:
    def respond(request: Message) -> bytes:
        return encode_response(200 if request.start[1] == b"/" else 404, [], b"x")

    other = encode_request("GET", "/other", [(b"host", b"x")])
    with Upstream(respond) as upstream:
        outcomes = counted(upstream.address, [Wire(REQUEST, 200), Wire(other, 200)], 400)
    assert outcomes == {(200, 200): 200, (200, 404): 200}


def test_timed_load_counts_requests_and_answers_that_are_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with Upstream(lambda _: encode_response(403, [], b"no")) as upstream:
        load = timed(upstream.address, [Wire(REQUEST)], 0.2, connections=2)
    assert load.requests == load.refused > 0
    assert load.seconds >= 0.2


@contextmanager
def server(answer: bytes) -> Generator[tuple[str, int]]:
    """Sends `answer` to each connection once it has got something, and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "closed a connection"),
        (b"SSH-2.0-x\r\n\r\n", "cannot be understood"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "cannot be understood"),
    ],
)
def test_a_server_that_does_not_answer_ends_the_load_with_what_happened(answer: bytes, message: str) -> None:
    with server(answer) as address, pytest.raises(LoadFailed, match=message):
        counted(address, [Wire(REQUEST, 200)], 10)
