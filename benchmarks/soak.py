"""Many requests through one Envoy worker at full speed: whether every answer is right, and memory stays the same.

    python benchmarks/soak.py                        # 100,000 requests, then 200,000 more
    python benchmarks/soak.py --first 5000 --further 15000

Requests that basic_auth denies, accepts and does not mind are mixed, on several connections at once and pipelined on each. Every status is
compared with the one that is due. What Envoy's memory grows by in the second part is printed; status 1 where a status was wrong or the growth is
above the target. Envoy answers the accepted requests itself, so that no upstream slows it down.
"""

import argparse
import base64
import itertools
import json
import re
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from proxy_wasm.build import build
from proxy_wasm.envoy import EnvoyProcess, WasmFilter, bootstrap, encode_request, listener

EXTENSION = Path(__file__).parents[1] / "extensions" / "basic_auth"
CONFIGURATION = {
    "basic_auth_rules": [{"prefix": "/admin", "request_methods": ["GET", "POST"], "credentials": ["alice:secret"]}],
    "forward_username_header": "x-authenticated-user",
    "remove_authorization_header": True,
}
TARGET = 3.0
"""MB that Envoy's memory may grow by in the second part."""

CONNECTIONS = 64
PIPELINED = 2
"""Requests that are under way on each connection: with more answers in its buffer Envoy closes a connection."""

SILENCE = 30
"""Seconds after which an answer is missing."""

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_LAST_LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)\r\n")


def _request(method: str, path: str, credentials: str | None = None) -> bytes:
    headers = [(b"host", b"example.com"), (b"user-agent", b"soak"), (b"accept", b"*/*")]
    if credentials is not None:
        headers.append((b"authorization", b"Basic " + base64.b64encode(credentials.encode())))
    return encode_request(method, path, headers)


MIX = [
    (_request("GET", "/admin/users"), 401),
    (_request("GET", "/admin/users", "alice:secret"), 200),
    (_request("GET", "/public"), 200),
    (_request("POST", "/admin", "alice:secret"), 200),
    (_request("GET", "/admin/users", "alice:wrong"), 401),
    (_request("GET", "/admin/users?a=b", "mallory:" + "x" * 200), 401),
    (_request("PUT", "/admin", "alice:wrong"), 200),
    (_request("GET", "//admin/%75sers"), 401),
]
"""Requests, and the status that is due for each."""


@dataclass(slots=True)
class Connection:
    """One client with a batch of requests under way."""

    socket: socket.socket
    due: list[int] = field(default_factory=list[int])
    received: bytearray = field(default_factory=bytearray)

    def statuses(self) -> list[int] | None:
        """The statuses of a whole batch of answers; `None` while some are missing."""
        if self.received.count(b"HTTP/1.1 ") < PIPELINED:
            return None
        last = self.received.rindex(b"HTTP/1.1 ")
        end = self.received.find(b"\r\n\r\n", last)
        if end < 0:
            return None
        length = _LAST_LENGTH.search(self.received, last, end + 2)
        if len(self.received) < end + 4 + (int(length[1]) if length else 0):
            return None
        found = [int(status) for status in _STATUS.findall(self.received)]
        self.received.clear()
        return found


def soak(address: tuple[str, int], count: int, mix: Sequence[tuple[bytes, int]]) -> Counter[tuple[int, int]]:
    """Send at least `count` requests of `mix`; how often each pair of due and actual status came."""
    cut = [mix[start : start + PIPELINED] for start in range(0, len(mix), PIPELINED)]
    prepared = [(b"".join(wire for wire, _ in batch), [status for _, status in batch]) for batch in cut]
    batches = itertools.islice(itertools.cycle(prepared), -(-count // PIPELINED))
    outcomes = Counter[tuple[int, int]]()
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for _ in range(CONNECTIONS):
            connection = Connection(stack.enter_context(socket.create_connection(address, SILENCE)))
            if _send(connection, batches):
                selector.register(connection.socket, selectors.EVENT_READ, connection)
        while selector.get_map():
            ready = selector.select(SILENCE)
            if not ready:
                raise SystemExit(f"Envoy has not answered for {SILENCE} seconds; so far: {dict(outcomes)}")
            for key, _ in ready:
                connection: Connection = key.data
                data = connection.socket.recv(1 << 18)
                if not data:
                    raise SystemExit(f"Envoy closed a connection; so far: {dict(outcomes)}")
                connection.received += data
                statuses = connection.statuses()
                if statuses is not None:
                    outcomes.update(zip(connection.due, statuses, strict=True))
                    if not _send(connection, batches):
                        selector.unregister(connection.socket)
    return outcomes


def _send(connection: Connection, batches: Iterator[tuple[bytes, list[int]]]) -> bool:
    """Send the next batch, if there is one."""
    for batch, due in batches:
        connection.due = due
        connection.socket.sendall(batch)
        return True
    return False


def resident_megabytes(pid: int) -> float:
    """The memory that a process has in use."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    (kilobytes,) = re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kilobytes) * 1024 / 1e6


def proxy(module: Path) -> EnvoyProcess:
    """An Envoy with one worker and basic_auth in it that answers accepted requests itself."""
    configured = listener("soak", [WasmFilter(module, json.dumps(CONFIGURATION).encode())])
    manager = configured["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    answer = {"status": 200, "body": {"inline_string": "ok\n"}}
    host["routes"] = [{"match": {"prefix": "/"}, "direct_response": answer}]
    return EnvoyProcess(bootstrap(listeners=[configured]), wasm_log_level="warning")


def report(
    outcomes: Counter[tuple[int, int]], seconds: list[float], resident: list[float], target: float, *, workers: int
) -> bool:
    """Print what came out; whether a status was wrong or the growth above the target."""
    total = outcomes.total()
    print(
        f"{total:,} requests in {sum(seconds):.1f} s, {total / sum(seconds):,.0f} a second, "
        f"on {workers} worker{'s' if workers > 1 else ''} with {CONNECTIONS} connections"
    )
    for (due, actual), count in sorted(outcomes.items()):
        print(f"  {count:>9,} answered with {actual}" + ("" if due == actual else f" instead of {due}"))
    growth = resident[1] - resident[0]
    missed = any(due != actual for due, actual in outcomes) or growth > target
    print(f"memory after the first part: {resident[0]:.1f} MB; after all: {resident[1]:.1f} MB")
    print(f"growth {growth:+.1f} MB, target {target:.1f}: {'MISSED' if missed else 'met'}")
    return missed


def main() -> int:
    """Measure, print, and return 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=100_000, help="requests before memory is measured")
    parser.add_argument("--further", type=int, default=200_000, help="requests in which it must not grow")
    parser.add_argument("--target", type=float, default=TARGET, help="MB that it may grow by")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    module = build(EXTENSION).path
    with proxy(module) as envoy:
        address = envoy.admin.listeners()["soak"]
        outcomes = Counter[tuple[int, int]]()
        resident: list[float] = []
        seconds: list[float] = []
        for count in (arguments.first, arguments.further):
            start = time.perf_counter()
            outcomes += soak(address, count, MIX)
            seconds.append(time.perf_counter() - start)
            resident.append(resident_megabytes(envoy.pid))
    missed = report(outcomes, seconds, resident, arguments.target, workers=1)
    if arguments.json:
        wrong = sum(count for (due, actual), count in outcomes.items() if due != actual)
        figures = {
            "requests": outcomes.total(),
            "wrong": wrong,
            "seconds": seconds,
            "resident_megabytes": resident,
        }
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
