"""What one filter sets with a stream, in Envoy: read by the next filter, by later requests, by the route and by an access log."""

import http.client
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm.envoy import WasmFilter

if TYPE_CHECKING:
    from conftest import Build, RunningEnvoy, StartEnvoy

SERVER_NAME = "envoy.network.upstream_server_name"
FIELDS = {
    "user": "%FILTER_STATE(wasm.user:PLAIN)%",
    "tenant": "%FILTER_STATE(wasm.tenant:PLAIN)%",
    "server_name": f"%FILTER_STATE({SERVER_NAME}:PLAIN)%",
}
DECLARED = {
    "properties": {
        "user": ["STRING", "DOWNSTREAM_REQUEST", False],
        "tenant": ["STRING", "DOWNSTREAM_CONNECTION", False],
        "tier": ["STRING", "FILTER_CHAIN", False],
    }
}


@pytest.fixture(scope="module")
def access_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("access") / "access.log"


@pytest.fixture(scope="module")
def envoy(start_envoy: "StartEnvoy", built: "Build", access_log: Path) -> "RunningEnvoy":
    """Two filters in a chain, then routes of which one is for streams with the property `tier` "gold"."""
    module = built("foreign_functions")
    first = WasmFilter(module, json.dumps({"prefix": "first-", **DECLARED}).encode(), name="first", vm_id="first")
    second = WasmFilter(module, b'{"prefix": "second-"}', name="second", vm_id="second")

    def adapt(config: dict[str, Any]) -> None:
        manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        manager["access_log"] = [
            {
                "name": "file",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": str(access_log),
                    "log_format": {"json_format": FIELDS},
                },
            }
        ]
        gold = {"key": "wasm.tier", "string_match": {"exact": "gold"}}
        manager["route_config"]["virtual_hosts"][0]["routes"] = [
            {"match": {"prefix": "/", "filter_state": [gold]}, "direct_response": answer("gold")},
            {"match": {"prefix": "/"}, "direct_response": answer("plain")},
        ]

    return start_envoy({"chain": [first, second]}, adapt=adapt)


def answer(text: str) -> dict[str, Any]:
    return {"status": 200, "body": {"inline_string": json.dumps(text)}}


def calls(filter_name: str, call: str, *arguments: str) -> dict[str, str]:
    """Headers by which one of the filters makes a call; the first lets the request go on."""
    words = {f"{filter_name}-call": call, f"{filter_name}-arguments": json.dumps(arguments)}
    return words if filter_name == "second" else {**words, "first-goes-on": "silently"}


def last_record(envoy: "RunningEnvoy", access_log: Path, records: int) -> dict[str, Any]:
    """The last record of the access log, once there are so many more than there were."""
    envoy.process.wait_for(lambda: len(lines(access_log)) >= records, "write its access log", 10)
    return json.loads(lines(access_log)[-1])


def lines(access_log: Path) -> list[str]:
    return access_log.read_text().splitlines()


def test_a_property_reaches_the_next_filter_and_the_access_log(envoy: "RunningEnvoy", access_log: Path) -> None:
    before = len(lines(access_log))
    seen = envoy.ask("chain", calls("first", "set_property", "user", "alice") | calls("second", "get_property", "user"))
    assert bytes.fromhex(seen["hex"]) == b"alice"
    assert last_record(envoy, access_log, before + 1)["user"] == "alice"


def test_envoys_own_filter_state_reaches_the_next_filter_and_the_access_log(
    envoy: "RunningEnvoy", access_log: Path
) -> None:
    before = len(lines(access_log))
    first = calls("first", "set_envoy_filter_state", SERVER_NAME, "example.com")
    seen = envoy.ask("chain", first | calls("second", "get_property", "filter_state", SERVER_NAME))
    assert bytes.fromhex(seen["hex"]) == b"example.com"
    assert last_record(envoy, access_log, before + 1)["server_name"] == "example.com"


def test_a_property_can_live_as_long_as_the_connection(envoy: "RunningEnvoy") -> None:
    connection = http.client.HTTPConnection(*envoy.listeners["chain"])
    try:
        connection.request("GET", "/", headers=calls("first", "set_property", "tenant", "acme"))
        assert connection.getresponse().read() == b'"plain"'
        connection.request("GET", "/", headers=calls("second", "get_property", "tenant"))
        assert bytes.fromhex(json.loads(connection.getresponse().read())["hex"]) == b"acme"
    finally:
        connection.close()
    assert envoy.ask("chain", calls("second", "get_property", "tenant")) is None


def test_the_route_is_chosen_anew_by_what_the_filter_set(envoy: "RunningEnvoy") -> None:
    assert envoy.ask("chain", calls("first", "set_property", "tier", "gold")) == "plain"
    assert envoy.ask("chain", calls("first", "route_by_property", "tier", "gold")) == "gold"
    assert envoy.ask("chain", calls("first", "route_by_property", "tier", "iron")) == "plain"
