"""An Open Policy Agent of one's own: the real `opa` where it is on the PATH, else the embedded server; policies are loaded with opa-python-client in both cases."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from opa_client.opa import OpaClient

POLICIES = Path(__file__).parents[1] / "policies"
_START_SECONDS = 20
_REQUEST_SECONDS = 10


@dataclass(frozen=True, slots=True)
class OpaServer:
    """A server that runs."""

    host: str
    port: int
    name: str
    """What it is, with its version."""
    pid: int
    """Its process."""

    def client(self) -> OpaClient:
        """A client, to be used in a `with` statement."""
        return OpaClient(host=self.host, port=self.port, timeout=_REQUEST_SECONDS)

    def load(self, folder: Path) -> None:
        """Load the policies of a folder, and the data beside them, in place of what it has of the same names."""
        with self.client() as client:
            for path in sorted(folder.glob("*.rego")):
                if not path.stem.endswith("_test"):
                    client.update_policy_from_string(path.read_text("utf-8"), path.stem, rego_compat=False)
            for name, value in json.loads((folder / "data.json").read_text("utf-8")).items():
                client.update_or_create_data(value, name)


@contextmanager
def running_opa(*, embedded: bool = False) -> Generator[OpaServer]:
    """A server without policies; with `embedded` the embedded one, though there may be an `opa`."""
    program = None if embedded else shutil.which("opa")
    with _embedded() if program is None else _real(program) as server:
        yield server


@contextmanager
def _real(program: str) -> Generator[OpaServer]:
    version = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    name = f"opa {version.removeprefix('Version: ')} ({program})"
    port = _free_port()
    address = f"127.0.0.1:{port}"
    command = [program, "run", "--server", "--addr", address, "--log-level", "error", "--skip-version-check"]
    with _process(command) as process:
        server = OpaServer("127.0.0.1", port, name, process.pid)
        _wait(process, server)
        yield server


@contextmanager
def _embedded() -> Generator[OpaServer]:
    command = [sys.executable, str(Path(__file__).with_name("opa_embedded.py"))]
    with _process(command) as process:
        line = process.stdout.readline() if process.stdout else ""
        host, _, port = line.strip().rpartition(":")
        if not host:
            raise RuntimeError("the embedded OPA did not start: is regopy installed?")
        name = f"embedded server over regopy {metadata.version('regopy')}"
        yield OpaServer(host, int(port), name, process.pid)


@contextmanager
def _process(command: list[str]) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(process: subprocess.Popen[str], server: OpaServer) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with server.client() as client:
        while not client.check_health():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{server.name} did not start on port {server.port}")
            time.sleep(0.05)
