"""What no HTTP client can bring about, on the emulated proxy: requests without pseudo-headers, plugins that share a VM."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy_wasm.emulator import ConfigurationRejected, Emulator, Plugin, native_guest, wasm_guest
from proxy_wasm.testing import Extension

EXTENSION = Extension(Path(__file__).parent)
WHOLE = {":method": "GET", ":path": "/admin", ":authority": "example.com", ":scheme": "http"}
AUTHORIZATION = {"authorization": "Basic YWxpY2U6c2VjcmV0"}


@pytest.fixture(params=["native", "wasm"])
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    if request.param == "native":
        guest = native_guest(EXTENSION.plugins())
    else:
        guest = wasm_guest(EXTENSION.module().read_bytes())
    with Emulator(guest) as emulator:
        yield emulator


def configuration(prefix: str, **fields: object) -> bytes:
    rule = {"prefix": prefix, "request_methods": ["GET"], "credentials": ["alice:secret"], **fields}
    return json.dumps({"basic_auth_rules": [rule]}).encode()


def passes(plugin: Plugin, headers: dict[str, str]) -> bool:
    stream = plugin.http_stream()
    stream.request_headers(headers, end_of_stream=True)
    answer = stream.local_response
    assert answer is None or answer.status == 401
    stream.close()
    return answer is None


@pytest.mark.parametrize("missing", [":method", ":path", ":authority"])
def test_a_request_without_a_pseudo_header_that_matters_is_denied(emulator: Emulator, missing: str) -> None:
    plugin = emulator.start_plugin(configuration("/admin", hosts=["example.com"]))
    headers = {name: value for name, value in WHOLE.items() if name != missing}
    assert passes(plugin, WHOLE | AUTHORIZATION)
    assert not passes(plugin, headers)
    assert not passes(plugin, headers | AUTHORIZATION)


@pytest.mark.parametrize(
    "path", ["/admin#x", "/x#/../admin", "/admin?#x", "*", "http://example.com/x", "", "/x\x00/admin", "/ admin"]
)
def test_a_path_that_envoy_would_not_let_in_is_denied_too(emulator: Emulator, path: str) -> None:
    assert not passes(emulator.start_plugin(configuration("/admin")), WHOLE | {":path": path})


def test_a_refused_configuration_changes_nothing_for_plugins_that_run(emulator: Emulator) -> None:
    plugin = emulator.start_plugin(configuration("/admin"))
    with pytest.raises(ConfigurationRejected, match=r"basic_auth_rules\[0\]\.credentials: needs at least one entry"):
        emulator.start_plugin(configuration("/", credentials=[]))
    assert not passes(plugin, WHOLE)
    assert passes(plugin, WHOLE | {":path": "/public"})


def test_plugins_in_one_vm_have_their_own_rules(emulator: Emulator) -> None:
    admin, public = emulator.start_plugin(configuration("/admin")), emulator.start_plugin(configuration("/public"))
    assert not passes(admin, WHOLE)
    assert passes(public, WHOLE)
    assert passes(admin, WHOLE | {":path": "/public"})
    assert not passes(public, WHOLE | {":path": "/public"})
