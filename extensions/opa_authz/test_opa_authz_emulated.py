"""What no client of the other tests can bring about, on the emulated proxy: requests without an end."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy_wasm.emulator import Emulator, HttpStream, native_guest, wasm_guest
from proxy_wasm.testing import Extension, respond

EXTENSION = Extension(Path(__file__).parent)
CONFIGURATION = {"opa_cluster": "opa", "with_request_body": {"max_request_bytes": 100}}
HEAD = {":method": "GET", ":path": "/", ":authority": "example.com", ":scheme": "http"}


@pytest.fixture(params=["native", "wasm"])
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    guest = (
        native_guest(EXTENSION.plugins()) if request.param == "native" else wasm_guest(EXTENSION.module().read_bytes())
    )
    with Emulator(guest, clusters={"opa": respond(200, body='{"result": false}')}) as emulator:
        yield emulator


def begin(emulator: Emulator, headers: dict[str, str]) -> HttpStream:
    """A request whose headers are not the end of it."""
    plugin = emulator.start_plugin(json.dumps(CONFIGURATION).encode(), allow_on_headers_stop_iteration=True)
    stream = plugin.http_stream()
    stream.request_headers(HEAD | headers)
    return stream


@pytest.mark.parametrize(
    "headers",
    [
        {"connection": "Upgrade", "upgrade": "websocket"},
        {"connection": "keep-alive, upgrade", "upgrade": "WebSocket"},
        {":method": "CONNECT", ":protocol": "websocket"},
        {":method": "CONNECT"},
    ],
)
def test_what_opens_a_tunnel_is_judged_before_anything_follows(emulator: Emulator, headers: dict[str, str]) -> None:
    answer = begin(emulator, headers).local_response
    assert answer is not None
    assert answer.status == 403


@pytest.mark.parametrize(
    "headers", [{}, {"upgrade": "websocket"}, {"connection": "upgrade", "upgrade": "h2c"}, {"connection": "upgrades"}]
)
def test_the_body_of_any_other_request_is_waited_for(emulator: Emulator, headers: dict[str, str]) -> None:
    stream = begin(emulator, headers)
    assert stream.local_response is None
    assert stream.request.sent.headers is None
    stream.request_body(b"body", end_of_stream=True)
    assert stream.local_response is not None
