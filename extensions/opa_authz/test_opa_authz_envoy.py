"""Requests at once in a real Envoy: equal ones ask once, and a client that leaves takes no answer from the others."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from proxy_wasm.emulator import UpstreamRequest, UpstreamResponse
from proxy_wasm.envoy import FilteringEnvoy, WasmFilter
from proxy_wasm.envoy.filters import RunningFilter
from proxy_wasm.metrics import full_name
from proxy_wasm.testing import Extension, respond

CONFIGURATION = {"opa_cluster": "opa", "timeout_ms": 60_000, "cache": {"ttl_seconds": 600, "key": ["path"]}}
PATIENCE = 30
"""Seconds after which what is waited for will not come."""


class HeldBack:
    """An OPA that denies everything, once it is let."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let = threading.Event()

    def __call__(self, request: UpstreamRequest) -> UpstreamResponse:
        self.asked.append(json.loads(request.body)["input"]["attributes"]["request"]["http"]["path"])
        self.let.wait(PATIENCE)
        return respond(200, body='{"result": false}')


@pytest.fixture
def opa_that_waits() -> HeldBack:
    return HeldBack()


@pytest.fixture
def running(opa_that_waits: HeldBack) -> Iterator[RunningFilter]:
    module = Extension(Path(__file__).parent).module()
    with FilteringEnvoy() as envoy:
        config = WasmFilter(module, json.dumps(CONFIGURATION).encode())
        yield envoy.add(config, clusters={"opa": opa_that_waits})
        opa_that_waits.let.set()


def send(address: tuple[str, int], path: str) -> socket.socket:
    client = socket.create_connection(address, PATIENCE)
    client.sendall(f"GET {path} HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n".encode())
    return client


def received(client: socket.socket) -> bytes:
    data = b""
    while chunk := client.recv(65536):
        data += chunk
    return data


def wait_until_counted(running: RunningFilter, result: str, count: int) -> None:
    name = full_name("opa_authz_cache", {"result": result})
    deadline = time.monotonic() + PATIENCE
    while running.metrics().get(name, 0) != count:
        assert time.monotonic() < deadline, running.metrics()
        time.sleep(0.02)


def test_equal_requests_at_once_ask_once_though_the_first_client_leaves(
    running: RunningFilter, opa_that_waits: HeldBack
) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(send(running.address, "/a"))
        wait_until_counted(running, "miss", 1)
        others = [stack.enter_context(send(running.address, "/a")) for _ in range(7)]
        another = stack.enter_context(send(running.address, "/b"))
        wait_until_counted(running, "merged", 7)
        wait_until_counted(running, "miss", 2)
        first.close()
        opa_that_waits.let.set()
        for client in (*others, another):
            assert received(client).startswith(b"HTTP/1.1 403 ")
        assert sorted(opa_that_waits.asked) == ["/a", "/b"]
        with send(running.address, "/a") as late:
            assert received(late).startswith(b"HTTP/1.1 403 ")
        wait_until_counted(running, "hit", 1)
