"""What no HTTP client can bring about, on the emulated proxy: requests without pseudo-headers, plugins that share a VM."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy_wasm.emulator import Emulator, Plugin, native_guest, wasm_guest
from proxy_wasm.testing import Extension

if TYPE_CHECKING:
    from conftest import Issuer

EXTENSION = Extension(Path(__file__).parent)
WHOLE = {":method": "GET", ":path": "/admin", ":authority": "example.com", ":scheme": "http"}


@pytest.fixture(params=["native", "wasm"])
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    if request.param == "native":
        guest = native_guest(EXTENSION.plugins())
    else:
        guest = wasm_guest(EXTENSION.module().read_bytes())
    with Emulator(guest) as emulator:
        yield emulator


def configuration(issuer: "Issuer", *kids: str, prefix: str = "/") -> bytes:
    provider = {"local_jwks": issuer.jwks(*kids), "claim_to_headers": [{"claim": "sub", "header": "x-jwt-sub"}]}
    document = {"providers": {"a": provider}, "rules": [{"prefix": prefix, "requires": "a"}]}
    return json.dumps(document).encode()


def status(plugin: Plugin, headers: dict[str, str]) -> int:
    """That of the local response, or 200 where the request goes on."""
    stream = plugin.http_stream()
    stream.request_headers(headers, end_of_stream=True)
    answer = stream.local_response
    stream.close()
    return 200 if answer is None else answer.status


def test_a_request_without_a_path_is_denied(emulator: Emulator, issuer: "Issuer") -> None:
    plugin = emulator.start_plugin(configuration(issuer, "rsa", prefix="/admin"))
    token = {"authorization": f"Bearer {issuer.token()}"}
    assert status(plugin, WHOLE | token) == 200
    assert status(plugin, {name: value for name, value in WHOLE.items() if name != ":path"} | token) == 400


@pytest.mark.parametrize("path", ["/x#/../admin", "*", "http://example.com/x", "", "/x\x00/admin", "/ admin"])
def test_a_path_that_envoy_would_not_let_in_is_denied_too(emulator: Emulator, issuer: "Issuer", path: str) -> None:
    assert status(emulator.start_plugin(configuration(issuer, "rsa", prefix="/admin")), WHOLE | {":path": path}) == 400


def test_plugins_in_one_vm_have_their_own_keys_and_tokens(emulator: Emulator, issuer: "Issuer") -> None:
    rsa, ec = (emulator.start_plugin(configuration(issuer, kid)) for kid in ("rsa", "ec"))
    for token, plugin, other in ((issuer.token(), rsa, ec), (issuer.token("ec", "ES256"), ec, rsa)):
        headers = WHOLE | {"authorization": f"Bearer {token}"}
        assert [status(plugin, headers), status(other, headers), status(plugin, headers)] == [200, 401, 200]
