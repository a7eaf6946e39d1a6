"""`proxy-wasm run`: a process of its own, which ends at Ctrl-C and SIGTERM and takes Envoy with it."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from wasmtime import wat2wasm

from proxy_wasm.envoy import Message, Upstream, encode_response


class Running:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.stdout = process.stdout
        self.banner = self.stdout.readline()
        found = re.match(r"http://127\.0\.0\.1:\d+", self.banner)
        self.url = found[0] if found else ""

    def get(self, path: str, **headers: str) -> str:
        request = Request(self.url + path, headers={name.replace("_", "-"): value for name, value in headers.items()})  # noqa: S310 - http
        with urlopen(request, timeout=10) as response:  # noqa: S310
            return response.read().decode()

    def end(self, how: signal.Signals) -> tuple[int, str, str]:
        self.process.send_signal(how)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@contextmanager
def running(*arguments: str) -> Generator[Running]:
    command = [sys.executable, "-m", "proxy_wasm.cli", "run", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield Running(process)
    finally:
        process.terminate()  # not kill: its Envoy would stay
        process.communicate(timeout=20)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_shows_requests_and_the_log_until_it_is_interrupted(how: signal.Signals, module: Path) -> None:
    with running(str(module)) as command:
        echoed = command.get("/path?query", X_Log="hello")
        assert echoed.startswith("GET /path?query HTTP/1.1\n")
        assert "x-seen: yes\n" in echoed
        envoys = children(command.process.pid)
        shown = sorted(command.stdout.readline() for _ in range(2))
        assert shown[0] == "  warn      hello\n"
        assert re.fullmatch(r"GET /path\?query -> 200 \d+ ms\n", shown[1])
        assert command.end(how) == (0, "", "")
        assert envoys
        assert not any(Path(f"/proc/{pid}").exists() for pid in envoys)


def test_a_filter_of_connections_runs_in_front_of_a_server_that_sends_back_what_it_gets(tmp_path: Path) -> None:
    connections = tmp_path / "connections.wasm"
    connections.write_bytes(wat2wasm((Path(__file__).parents[1] / "envoy" / "connections.wat").read_text()))
    with running(str(connections), "--network", "--log-level", "warning") as command:
        found = re.match(
            r"(127\.0\.0\.1):(\d+) passes through the filter to 127\.0\.0\.1:\d+; Ctrl-C ends\n", command.banner
        )
        assert found is not None
        with socket.create_connection((found[1], int(found[2])), timeout=10) as client:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            received = b"".join(iter(lambda: client.recv(100), b""))
        assert received.endswith(b"hello")
        line = next(line for line in command.stdout if line.startswith("connection"))
        assert re.fullmatch(r"connection: 5 bytes from the client, \d+ to it, \d+ ms\n", line)
        assert command.end(signal.SIGTERM)[0] == 0


def test_it_passes_requests_to_an_upstream_of_the_users(module: Path) -> None:
    def respond(request: Message) -> bytes:
        return encode_response(200, [], b"mine: " + request.start[1])

    with (
        Upstream(respond) as upstream,
        running(str(module), "--upstream", f"localhost:{upstream.address[1]}") as command,
    ):
        assert command.get("/x") == "mine: /x"


def test_the_configuration_comes_from_a_file(module: Path, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("first\nsecond")
    with running(str(module), "--config", str(tmp_path / "config")) as command:
        assert command.stdout.readline() + command.stdout.readline() == "  info      first\n            second\n"
        assert command.end(signal.SIGTERM)[0] == 0


def test_the_log_level_decides_what_is_shown(module: Path) -> None:
    with running(str(module), "--log-level", "debug") as command:
        command.get("/")
        shown = [command.stdout.readline() for _ in range(2)]
        assert shown == ["  debug     on_log\n", "  debug     on_done\n"]


def test_a_refused_configuration_ends_it_with_the_filters_words(module: Path, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("!realm: must be text")
    with running(str(module), "--config", str(tmp_path / "config")) as command:
        _, err = command.process.communicate(timeout=20)
        assert (command.process.returncode, err) == (1, "error: !realm: must be text\n")


def test_a_port_that_is_taken_is_named(module: Path) -> None:
    with Upstream(lambda _: b"") as other, running(str(module), "--port", str(other.address[1])) as command:
        _, err = command.process.communicate(timeout=20)
        assert command.process.returncode == 1
        assert err == f"error: cannot bind '127.0.0.1:{other.address[1]}': Address already in use\n"


def test_it_ends_when_envoy_does(module: Path) -> None:
    with running(str(module)) as command:
        for pid in children(command.process.pid):
            os.kill(pid, signal.SIGKILL)
        _, err = command.process.communicate(timeout=20)
        assert (command.process.returncode, err) == (1, "error: Envoy ended by itself\n")


def test_it_lets_the_filter_call_servers_of_the_users() -> None:
    def respond(request: Message) -> bytes:
        return encode_response(200, [], b"asked " + request.start[1])

    waiting = Path(__file__).parents[1] / "capabilities" / "waiting"
    with (
        Upstream(respond) as server,
        running(str(waiting), "--cluster", f"answers=localhost:{server.address[1]}") as run,
    ):
        assert "x-answer: asked /\n" in run.get("/", do="call and edit in request headers")


SERVING = """
import sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"the program's")

server = HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"127.0.0.1:{server.server_address[1]}", flush=True)
print("serving", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def calling(tmp_path: Path) -> Path:
    """An extension that calls the cluster `answers`, which a program of its folder serves."""
    folder = tmp_path / "calling"
    shutil.copytree(Path(__file__).parents[1] / "capabilities" / "waiting", folder)
    (folder / "servers").mkdir()
    (folder / "servers" / "answers.py").write_text(SERVING)
    with (folder / "pyproject.toml").open("a") as settings:
        settings.write('\n[tool.proxy-wasm.run.clusters]\nanswers = "servers/answers.py"\n')
    return folder


def test_it_starts_the_programs_that_the_extension_brings_and_ends_them(calling: Path) -> None:
    with running(str(calling)) as run:
        assert run.stdout.readline() == "answers: serving\n"
        assert "x-answer: the program's\n" in run.get("/", do="call and edit in request headers")
        programs = children(run.process.pid)
        assert any("answers.py" in Path(f"/proc/{pid}/cmdline").read_text() for pid in programs)
        assert run.end(signal.SIGTERM)[0] == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in programs)


def test_a_server_of_the_users_comes_before_the_extensions_own(calling: Path) -> None:
    with (
        Upstream(lambda _: encode_response(200, [], b"the user's")) as server,
        running(str(calling), "--cluster", f"answers=localhost:{server.address[1]}") as run,
    ):
        assert "x-answer: the user's\n" in run.get("/", do="call and edit in request headers")


@pytest.mark.parametrize(("program", "said"), [("print('hello')", "it said 'hello'"), ("", "or ended")])
def test_a_program_that_does_not_say_where_it_serves_is_named(calling: Path, program: str, said: str) -> None:
    (calling / "servers" / "answers.py").write_text(program)
    with running(str(calling)) as run:
        _, err = run.process.communicate(timeout=20)
        assert run.process.returncode == 1
        assert "answers.py: its first line of output has to be the HOST:PORT" in err
        assert said in err
