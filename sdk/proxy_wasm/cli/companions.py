"""Programs that serve what a filter calls, started beside Envoy by `proxy-wasm run`.

Such a program is a Python file that the extension's settings name (`[tool.proxy-wasm.run.clusters]`). It runs on the Python that runs the command, in the extension's
folder. Its first line of output is the address that it listens at, `HOST:PORT`; what it prints after that is shown. It ends when its standard input
does, so that none is left behind, however the command ends.
"""

import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue

from proxy_wasm.cli.addresses import UserCluster
from proxy_wasm.cli.errors import CommandError

_START_SECONDS = 60
_END_SECONDS = 5
_MAX_PORT = 65535


class Companions:
    """The programs that run, and what they print."""

    def __init__(self, clusters: list[UserCluster], lines: "SimpleQueue[str]") -> None:
        self.clusters = clusters
        """Where they listen."""
        self._lines = lines

    def new_lines(self) -> list[str]:
        """What they have printed since the last time, each line with the name of its cluster."""
        lines: list[str] = []
        while True:
            try:
                lines.append(self._lines.get_nowait())
            except Empty:
                return lines


@contextmanager
def companions(programs: Mapping[str, Path], folder: Path) -> Generator[Companions]:
    """Run the programs, by the names of the clusters that they serve; raises `CommandError` where one does not say where it listens."""
    lines: SimpleQueue[str] = SimpleQueue()
    with ExitStack() as stack:
        clusters = [stack.enter_context(_companion(name, program, folder, lines)) for name, program in programs.items()]
        yield Companions(clusters, lines)


@contextmanager
def _companion(name: str, program: Path, folder: Path, lines: "SimpleQueue[str]") -> Generator[UserCluster]:
    process = subprocess.Popen(
        [sys.executable, str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        start_new_session=True,  # Ctrl-C is for the command, which then ends it
    )
    addresses: SimpleQueue[str] = SimpleQueue()
    reader = threading.Thread(target=_read, args=(process, name, addresses, lines), daemon=True)
    reader.start()
    try:
        yield _cluster(name, program, _first(addresses))
    finally:
        _end(process)
        reader.join(_END_SECONDS)


def _read(
    process: "subprocess.Popen[str]", name: str, addresses: "SimpleQueue[str]", lines: "SimpleQueue[str]"
) -> None:
    if process.stdout is not None:
        addresses.put(process.stdout.readline())
        for line in process.stdout:
            lines.put(f"{name}: {line.rstrip()}")


def _first(addresses: "SimpleQueue[str]") -> str:
    try:
        return addresses.get(timeout=_START_SECONDS).strip()
    except Empty:
        return ""


def _cluster(name: str, program: Path, address: str) -> UserCluster:
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) <= _MAX_PORT):
        said = f"said {address!r}" if address else f"said nothing within {_START_SECONDS} seconds, or ended"
        raise CommandError(
            f"{program}: its first line of output has to be the HOST:PORT that it serves cluster {name!r} at; it {said}"
        )
    return UserCluster(name, host.removeprefix("[").removesuffix("]"), int(port), http2=False)


def _end(process: "subprocess.Popen[str]") -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
