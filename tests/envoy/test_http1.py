"""HTTP/1.1 messages, byte for byte."""

from io import BytesIO

import pytest

from proxy_wasm.envoy.http1 import MalformedMessage, encode_request, encode_response, read_request, read_response


def test_a_request_survives_its_encoding_with_odd_bytes_order_and_duplicates() -> None:
    headers = ((b"X-B", b"\xff\x80"), (b"x-a", b""), (b"X-b", b"inner  spaces"))
    message = read_request(BytesIO(encode_request("GET", "/\udcff?q", headers)))
    assert message is not None
    assert message.start == (b"GET", b"/\xff?q", b"HTTP/1.1")
    assert message.headers == headers
    assert message.body == b""


@pytest.mark.parametrize("trailers", [(), ((b"x-end", b"1"), (b"x-end", b""))])
@pytest.mark.parametrize("body", [b"", b"body\r\n0\r\n\r\n"])
def test_body_and_trailers_survive(body: bytes, trailers: tuple[tuple[bytes, bytes], ...]) -> None:
    response = read_response(BytesIO(encode_response(200, [], body, trailers)))
    assert (response.body, response.trailers) == (body, trailers)


def test_a_frame_that_the_headers_have_already_is_kept() -> None:
    assert encode_request("POST", "/", [(b"Content-Length", b"2")], b"ab").count(b"ength") == 1
    chunked = encode_request("POST", "/", [(b"Transfer-Encoding", b"chunked")], b"ab")
    assert chunked.endswith(b"\r\n\r\n2\r\nab\r\n0\r\n\r\n")


def test_several_messages_follow_one_another_on_a_connection() -> None:
    one = encode_request("POST", "/1", [], b"abc")
    stream = BytesIO(one + encode_request("GET", "/2", []))
    targets: list[bytes] = []
    while (message := read_request(stream)) is not None:
        targets.append(message.start[1])
    assert targets == [b"/1", b"/2"]


def test_interim_responses_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    response = read_response(BytesIO(interim + encode_response(200, [], b"body")))
    assert (response.start[1], response.body) == (b"200", b"body")


def test_without_a_frame_a_response_lasts_until_the_connection_ends() -> None:
    assert read_response(BytesIO(b"HTTP/1.0 200 OK\r\n\r\nall of it")).body == b"all of it"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_some_responses_have_no_body_whatever_their_headers_say(method: str, status: int) -> None:
    wire = encode_response(status, [(b"content-length", b"5")], b"never", method=method)
    assert wire.endswith(b"\r\n\r\n")
    assert read_response(BytesIO(wire), method=method).body == b""


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (b"", "closed before a response"),
        (b"HTTP/1.1 200", "inside a line"),
        (b"nonsense\r\n\r\n", "no start line"),
        (b"HTTP/1.1 200 OK\r\nx: y\r\n", "inside the headers"),
        (b"HTTP/1.1 200 OK\r\nno field\r\n\r\n", "no header field"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", "2 of 5 bytes"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", "no size"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "between chunks"),
    ],
)
def test_what_is_no_whole_message_is_refused_with_the_reason(wire: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage, match=reason):
        read_response(BytesIO(wire))
