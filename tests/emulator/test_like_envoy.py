"""The emulator does what Envoy does: the same scripts of hostcalls, the same outcome, on each host.

A case in `like_envoy.json` is a script (see `script_filter`), a request, perhaps the upstream's response, and the outcome that
Envoy 1.40 gave. To add one, leave its outcome out: the test on Envoy prints it. Text stands for bytes as Latin-1.
"""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from proxy_wasm.emulator import Exchange, HeaderMap, LogRecord
from proxy_wasm.emulator.header_map import to_bytes
from proxy_wasm.testing import Proxy, StartProxy, respond

CASES: dict[str, Any] = json.loads(Path(__file__).with_name("like_envoy.json").read_text())
DEFAULT_RESPONSE = {"status": 200, "headers": [["content-type", "text/plain"]], "body": "upstream"}
LOG_TIMEOUT = 5.0


def latin(data: bytes) -> str:
    return data.decode("latin-1")


def pairs_of(fields: list[list[str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]


def fields_of(headers: HeaderMap) -> list[list[str]]:
    return sorted([latin(name), latin(value)] for name, value in headers.raw)


def outcome(exchange: Exchange, said: list[Any]) -> dict[str, Any]:
    upstream = exchange.upstream
    return {
        "status": exchange.status,
        "headers": fields_of(exchange.headers),
        "body": latin(exchange.body),
        "trailers": fields_of(exchange.trailers),
        "details": exchange.details,
        "reset": exchange.reset,
        "upstream": None
        if upstream is None
        else {
            "start": [upstream.method, upstream.path, upstream.authority],
            "headers": fields_of(upstream.headers),
            "body": latin(upstream.body),
            "trailers": fields_of(upstream.trailers),
        },
        "script": said,
    }


def script_lines(records: list[LogRecord]) -> list[Any]:
    messages = [to_bytes(record.message) for record in records]
    return [json.loads(message.removeprefix(b"script ")) for message in messages if message.startswith(b"script ")]


def run(proxy: Proxy, case: dict[str, Any]) -> dict[str, Any]:
    request = case["request"]
    upstream = case.get("upstream", DEFAULT_RESPONSE)
    logged = len(script_lines(proxy.logs))
    exchange = proxy.request(
        request.get("method", "GET"),
        request["path"],
        headers=pairs_of(request.get("headers", [])),
        body=request.get("body", "").encode("latin-1"),
        trailers=pairs_of(request.get("trailers", [])),
        upstream=respond(
            upstream["status"],
            pairs_of(upstream.get("headers", [])),
            upstream.get("body", "").encode("latin-1"),
            pairs_of(upstream.get("trailers", [])),
        ),
    )
    said: list[Any] = []
    deadline = time.monotonic() + LOG_TIMEOUT
    # Envoy's log follows its response.
    while not (said and said[-1][0] == "on_done") and time.monotonic() < deadline:
        said = script_lines(proxy.logs)[logged:]
    return outcome(exchange, said)


@pytest.mark.differs_between_hosts("arguments that no native filter can pass are refused before they are seen")
def test_scripts_of_hostcalls_have_the_outcome_they_have_in_envoy(start_proxy: StartProxy) -> None:
    scripts = {name: case["script"] for name, case in CASES.items()}
    proxy = start_proxy(Path(__file__).parent / "script_filter", configuration=scripts)
    differing: dict[str, Any] = {}
    for name, case in CASES.items():
        seen = run(proxy, case)
        if seen != case.get("outcome"):
            differing[name] = seen
    assert not differing, json.dumps(differing, indent=1)
