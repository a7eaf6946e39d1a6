"""Requests at full speed over several connections: Python's own client, which looks at every answer, and wrk where there is one."""

import itertools
import json
import re
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy_wasm.bench.errors import BenchError

CONNECTIONS = 64
PIPELINED = 2
"""Requests that are under way on each connection: with more answers in its buffer Envoy closes a connection."""

SILENCE = 30
"""Seconds after which an answer is missing."""

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_LENGTH = re.compile(rb"(?i)\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n")
_CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n")
_END = b"\r\n\r\n"
_BODILESS = (204, 304)


class LoadFailed(BenchError):  # noqa: N818 - says what happened
    """The server closed a connection, or did not answer in time."""


def response_end(data: bytes | bytearray, start: int, *, bodiless: bool = False) -> tuple[int, int] | None:
    """The status of the response that begins at `start`, and where it ends; `None` while it is not whole.

    `bodiless`: it answers HEAD. Raises `ValueError` where no response begins there, or its end cannot be told.
    """
    head_end = data.find(_END, start)
    if head_end < 0:
        return None
    status = _STATUS.match(data, start)
    if status is None:
        raise ValueError(bytes(data[start : start + 40]))
    code = int(status[1])
    body = head_end + len(_END)
    if bodiless or code in _BODILESS:
        return code, body
    if length := _LENGTH.search(data, start, head_end + 2):
        end = body + int(length[1])
    elif _CHUNKED.search(data, start, head_end + 2):
        end = _chunks_end(data, body)
    else:
        raise ValueError(bytes(data[start : start + 40]))
    return (code, end) if 0 <= end <= len(data) else None


def _chunks_end(data: bytes | bytearray, position: int) -> int:
    """Where a chunked body ends, -1 while it does not."""
    while (line_end := data.find(b"\r\n", position)) >= 0:
        size = int(bytes(data[position:line_end]).partition(b";")[0], 16)
        if not size:
            # Trailers may follow, and an empty line after them.
            end = data.find(_END, line_end)
            return end + len(_END) if end >= 0 else -1
        position = line_end + 2 + size + 2
    return -1


@dataclass(frozen=True, slots=True)
class Wire:
    """A request as bytes."""

    data: bytes
    due: int | None = None
    """The status with which it should be answered, where that matters."""

    @property
    def is_head(self) -> bool:
        """Whether its answer has no body."""
        return self.data.startswith(b"HEAD ")


@dataclass(slots=True)
class _Connection:
    """One client with a batch of requests under way."""

    socket: socket.socket
    batch: tuple[Wire, ...] = ()
    received: bytearray = field(default_factory=bytearray)

    def statuses(self) -> list[int] | None:
        """The statuses of a whole batch of answers; `None` while some are missing."""
        position = 0
        found: list[int] = []
        for wire in self.batch:
            whole = response_end(self.received, position, bodiless=wire.is_head)
            if whole is None:
                return None
            status, position = whole
            found.append(status)
        del self.received[:position]
        return found


def send_all(
    address: tuple[str, int], batches: Iterator[tuple[Wire, ...]], *, connections: int = CONNECTIONS
) -> Counter[tuple[int | None, int]]:
    """Send every batch, and wait for all answers; how often each pair of due and actual status came.

    Raises `LoadFailed` where answers do not come.
    """
    outcomes = Counter[tuple[int | None, int]]()
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for _ in range(connections):
            connection = _Connection(stack.enter_context(socket.create_connection(address, SILENCE)))
            if _send(connection, batches):
                selector.register(connection.socket, selectors.EVENT_READ, connection)
        while selector.get_map():
            ready = selector.select(SILENCE)
            if not ready:
                raise LoadFailed(f"no answer for {SILENCE} seconds; so far: {dict(outcomes)}")
            for key, _ in ready:
                connection: _Connection = key.data
                if not _take(connection, outcomes):
                    continue
                if not _send(connection, batches):
                    selector.unregister(connection.socket)
    return outcomes


def _take(connection: _Connection, outcomes: Counter[tuple[int | None, int]]) -> bool:
    """Receive what is there; whether that ends the batch."""
    try:
        data = connection.socket.recv(1 << 18)
    except ConnectionError:
        data = b""
    if not data:
        raise LoadFailed(f"the proxy closed a connection; so far: {dict(outcomes)}")
    connection.received += data
    try:
        statuses = connection.statuses()
    except ValueError as error:
        raise LoadFailed(f"an answer that cannot be understood: {error}; so far: {dict(outcomes)}") from error
    if statuses is None:
        return False
    outcomes.update(zip([wire.due for wire in connection.batch], statuses, strict=True))
    return True


def _send(connection: _Connection, batches: Iterator[tuple[Wire, ...]]) -> bool:
    """Send the next batch, if there is one."""
    for batch in batches:
        connection.batch = batch
        connection.socket.sendall(b"".join(wire.data for wire in batch))
        return True
    return False


def batches_of(wires: Sequence[Wire], pipelined: int = PIPELINED) -> Iterator[tuple[Wire, ...]]:
    """The requests again and again, `pipelined` of them at a time."""
    cut = [tuple(wires[start : start + pipelined]) for start in range(0, len(wires), pipelined)]
    return itertools.cycle(cut)


def counted(address: tuple[str, int], wires: Sequence[Wire], count: int) -> Counter[tuple[int | None, int]]:
    """Send at least `count` requests; see `send_all`."""
    return send_all(address, itertools.islice(batches_of(wires), -(-count // PIPELINED)))


@dataclass(frozen=True, slots=True)
class Load:
    """What came of some seconds of load."""

    requests: int
    seconds: float
    refused: int
    """Answers with a status of 400 or above."""


def timed(address: tuple[str, int], wires: Sequence[Wire], seconds: float, *, connections: int) -> Load:
    """Send requests for so many seconds; with wrk, where that is on the PATH, since it takes less of the machine."""
    wrk = shutil.which("wrk")
    if wrk is not None and seconds >= 1:
        return _wrk(wrk, address, wires, seconds, connections)
    return _own(address, wires, seconds, connections)


def generator() -> str:
    """The name of what `timed` sends with."""
    return "wrk" if shutil.which("wrk") else "the bundled client"


_BAD = 400


def _own(address: tuple[str, int], wires: Sequence[Wire], seconds: float, connections: int) -> Load:
    start = time.perf_counter()
    deadline = start + seconds
    batches = itertools.takewhile(lambda _: time.perf_counter() < deadline, batches_of(wires, 1))
    outcomes = send_all(address, batches, connections=connections)
    refused = sum(count for (_, status), count in outcomes.items() if status >= _BAD)
    return Load(outcomes.total(), time.perf_counter() - start, refused)


_SCRIPT = """
local requests = {%s}
local number = 0
request = function()
  number = number %% #requests + 1
  return requests[number]
end
done = function(summary)
  local errors = summary.errors
  io.write(string.format(
    '\\n{"requests": %%d, "microseconds": %%d, "refused": %%d, "connect": %%d, "read": %%d, "write": %%d, "timeout": %%d}\\n',
    summary.requests, summary.duration, errors.status, errors.connect, errors.read, errors.write, errors.timeout))
end
"""


def _wrk(program: str, address: tuple[str, int], wires: Sequence[Wire], seconds: float, connections: int) -> Load:
    with tempfile.TemporaryDirectory(prefix="proxy-wasm-bench-") as folder:
        script = Path(folder) / "load.lua"
        script.write_text(_SCRIPT % ", ".join(_lua(wire.data) for wire in wires), "ascii")
        command = [program, "-t1", f"-c{connections}", f"-d{round(seconds)}s", "-s", str(script)]
        done = subprocess.run(
            [*command, f"http://{address[0]}:{address[1]}/"],
            capture_output=True,
            text=True,
            timeout=seconds + SILENCE,
            check=False,
        )
    last = done.stdout.strip().rpartition("\n")[2]
    if done.returncode or not last.startswith("{"):
        raise LoadFailed(f"wrk: {(done.stderr or done.stdout).strip()}")
    found: dict[str, Any] = json.loads(last)
    if failed := {name: found[name] for name in ("connect", "read", "write", "timeout") if found[name]}:
        raise LoadFailed(f"wrk: connections failed: {failed}")
    return Load(found["requests"], found["microseconds"] / 1e6, found["refused"])


def _lua(data: bytes) -> str:
    """Bytes as a literal of Lua."""
    return '"' + "".join(f"\\{byte:03d}" for byte in data) + '"'
