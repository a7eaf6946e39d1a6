from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm import Body, HostError, PhaseError
from proxy_wasm.abi import BufferType

if TYPE_CHECKING:
    from conftest import MemoryHost


@pytest.fixture
def body(host: "MemoryHost") -> Body:
    host.side.buffers[BufferType.HTTP_REQUEST_BODY] = bytearray(b"hello")
    return Body(host.hostcalls, BufferType.HTTP_REQUEST_BODY)


@pytest.fixture
def elsewhere(host: "MemoryHost") -> Body:
    return Body(host.hostcalls, BufferType.HTTP_RESPONSE_BODY)


def test_a_body_is_read_whole_or_in_part(body: Body) -> None:
    assert bytes(body) == body.read() == b"hello"
    assert body.read(1, 3) == b"ell"
    assert body.read(3) == b"lo"
    assert body.read(9) == body.read(0, 0) == body.read(1 << 40) == b""
    assert body.read(0, 1 << 40) == b"hello"
    assert len(body) == 5
    assert body


def test_a_body_can_grow_at_both_ends_and_be_replaced(body: Body) -> None:
    body.append(b"!")
    body.prepend("né ")
    assert bytes(body) == "né hello!".encode()
    body.replace(bytearray(b"new"))
    assert bytes(body) == b"new"
    body.replace(b"")
    assert not body
    body.append("\udcff")
    assert bytes(body) == b"\xff"


def test_positions_count_from_the_front(body: Body) -> None:
    with pytest.raises(ValueError, match=r"read\(-1, None\)"):
        body.read(-1)
    with pytest.raises(ValueError, match=r"read\(0, -2\)"):
        body.read(0, -2)


def test_what_is_neither_text_nor_bytes_is_refused(body: Body) -> None:
    data: Any = {"a": 1}
    with pytest.raises(TypeError, match="bytes or str are needed, not dict"):
        body.replace(data)


def test_outside_of_its_callback_a_body_is_empty_and_cannot_be_changed(elsewhere: Body) -> None:
    assert elsewhere.read() == b""
    assert len(elsewhere) == 0
    with pytest.raises(PhaseError, match="no response body to change here: the proxy offers it in on_response_body"):
        elsewhere.append(b"x")


def test_another_refusal_of_the_host_is_passed_on(body: Body, host: "MemoryHost") -> None:
    host.refused = {"get_buffer_bytes", "get_buffer_status", "set_buffer_bytes"}
    for use in (body.read, body.__len__, lambda: body.append(b"x")):
        with pytest.raises(HostError, match="INTERNAL_FAILURE"):
            use()


def test_the_representation_shows_no_content(body: Body) -> None:
    assert repr(body) == "<request body>"
