"""How long answers take to requests that are sent at fixed times, whether or not earlier ones were answered (an open loop).

The time counts from when a request was due, not from when it could be sent: a proxy that stands still makes all the requests wait that were due
meanwhile, and each of them tells.
"""

import ctypes
import math
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from proxy_wasm.bench.load import SILENCE, LoadFailed, Wire, response_end

IDLE = 16
"""Connections that are open from the beginning."""
MOST = 512
"""Connections at most; select(2) cannot watch more than 1,024 files."""
_SET_TIMER_SLACK = 29
"""PR_SET_TIMERSLACK of prctl(2)."""


@dataclass(slots=True, eq=False)
class _Client:
    """A connection, with at most one request under way."""

    socket: socket.socket
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytearray = field(default_factory=bytearray)
    due: float = 0.0

    def fileno(self) -> int:
        """For select(2)."""
        return self.socket.fileno()

    def send(self) -> None:
        """Write what the connection takes."""
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            return


def latencies(address: tuple[str, int], wire: Wire, rate: float, seconds: float) -> list[float]:
    """The seconds that each of `rate * seconds` requests took; raises `LoadFailed` where one is not answered as it is due."""
    _wake_in_time()
    with ExitStack() as stack:
        load = _Load(address, wire, stack)
        start = time.perf_counter() + 1 / rate
        return load.run([start + number / rate for number in range(max(1, round(rate * seconds)))])


class _Load:
    def __init__(self, address: tuple[str, int], wire: Wire, stack: ExitStack) -> None:
        self._address = address
        self._wire = wire
        self._stack = stack
        self._idle = [self._connect() for _ in range(IDLE)]
        self._busy: list[_Client] = []
        self._count = IDLE

    def _connect(self) -> _Client:
        connection = self._stack.enter_context(socket.create_connection(self._address, SILENCE))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(0)
        return _Client(connection)

    def run(self, times: Sequence[float]) -> list[float]:
        """Send a request at each time; how long each took."""
        waiting = deque(times)
        found: list[float] = []
        silent_since = time.perf_counter()
        while len(found) < len(times):
            now = time.perf_counter()
            while waiting and waiting[0] <= now and (self._idle or self._count < MOST):
                self._begin(waiting.popleft())
            pause = max(0.0, waiting[0] - time.perf_counter()) if waiting else SILENCE
            writing = [client for client in self._busy if client.unsent]
            readable, writable, _ = select.select(self._busy, writing, (), pause)
            for client in writable:
                client.send()
            for client in readable:
                if self._receive(client):
                    found.append(time.perf_counter() - client.due)
                silent_since = time.perf_counter()
            if self._busy and time.perf_counter() - silent_since > SILENCE:
                raise LoadFailed(f"no answer for {SILENCE} seconds")
        return found

    def _begin(self, due: float) -> None:
        if not self._idle:
            self._idle.append(self._connect())
            self._count += 1
        client = self._idle.pop()
        client.due, client.unsent = due, memoryview(self._wire.data)
        client.send()
        self._busy.append(client)

    def _receive(self, client: _Client) -> bool:
        """Take what has arrived; whether that is the whole answer."""
        data = client.socket.recv(1 << 16)
        if not data:
            raise LoadFailed("the proxy closed a connection")
        client.received += data
        end = response_end(client.received, 0, bodiless=self._wire.is_head)
        if end is None:
            return False
        if end[0] != self._wire.due:
            raise LoadFailed(f"a request was answered with {end[0]}, {self._wire.due} is due")
        client.received.clear()
        self._busy.remove(client)
        self._idle.append(client)
        return True


def _wake_in_time() -> None:
    """Have Linux wake this thread when it asked to be woken; by default that may be 50 microseconds later."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_TIMER_SLACK, 1, 0, 0, 0)


def percentile(values: Sequence[float], share: float) -> float:
    """The least of the values that `share` of them are not above."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
