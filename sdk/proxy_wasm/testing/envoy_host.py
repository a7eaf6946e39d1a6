"""A real Envoy as a host: its exchanges, logs and errors in the words of the emulator."""

import time
from collections import Counter
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Literal

from proxy_wasm.emulator import (
    ConfigurationRejected,
    EmulatorError,
    Exchange,
    LogRecord,
    ModuleRefused,
    Request,
    StreamPaused,
    UpstreamRequest,
    VmFailed,
)
from proxy_wasm.emulator.clusters import Closing, Silent
from proxy_wasm.emulator.exchange import Disconnect
from proxy_wasm.emulator.header_map import HeaderMap
from proxy_wasm.envoy import (
    FilteredConnection,
    FilteringEnvoy,
    FilterRefused,
    LogLine,
    Message,
    NoResponse,
    Outcome,
    RunningFilter,
    WasmFilter,
    encode_request_in_pieces,
)
from proxy_wasm.envoy.client import Wire
from proxy_wasm.envoy.clusters import FRAMING, encoded, upstream_request
from proxy_wasm.envoy.tcp import End
from proxy_wasm.envoy.upstream import Pieces, Respond, Response
from proxy_wasm.testing.extension import Extension
from proxy_wasm.testing.hosts import PluginSettings, TcpUpstream, Upstream

_CLOCK_STEP = 5
"""How many seconds a `date` may lie behind and still be Envoy's."""
_CONNECTION_TIMEOUT = 30.0
"""Seconds until something awaited on a connection must have come."""
_CLOSING_TIME = 0.3
"""Seconds within which a connection that is being closed is noticed to be."""


class EnvoyPlugin:
    """A plugin in a real Envoy."""

    def __init__(self, running: RunningFilter, own_envoy: FilteringEnvoy | None) -> None:
        self._running = running
        self._own_envoy = own_envoy

    @property
    def pid(self) -> int:
        """The id of the Envoy process."""
        return self._running.pid

    def exchange(self, request: Request, upstream: Upstream, timeout: float) -> Exchange:
        """See `RunningPlugin`."""

        def converse(wire: Wire, answer: Respond) -> Outcome:
            return self._running.exchange(wire, answer, method=request.method, timeout=timeout)

        return self._converse(request, upstream, converse)

    def abandon(self, request: Request, upstream: Upstream, disconnect: Disconnect, timeout: float) -> Exchange:
        """See `RunningPlugin`."""
        running, method = self._running, request.method

        def converse(wire: Wire, answer: Respond) -> Outcome:
            if disconnect.after_sending is not None:
                begin = wire[: 1 + disconnect.after_sending] if not isinstance(wire, bytes) else (wire,)
                return running.abandon_sending(begin, answer, method=method)
            if disconnect.after_receiving is not None:
                size = disconnect.after_receiving
                return running.abandon_receiving(wire, answer, size, method=method, timeout=timeout)
            return running.abandon(wire, answer, method=method, after=disconnect.after or 0.0)

        return self._converse(request, upstream, converse)

    def _converse(self, request: Request, upstream: Upstream, converse: Callable[[Wire, Respond], Outcome]) -> Exchange:
        answered_date = False

        def answer(message: Message) -> Response:
            nonlocal answered_date
            response = upstream(_upstream_request(request, message))
            if isinstance(response, Closing):
                return None
            if isinstance(response, Silent):
                return Pieces((), "wait")
            answered_date = "date" in response.headers
            return encoded(response, message)

        host = (b"host", request.authority.encode("utf-8", "surrogateescape"))
        pieces = encode_request_in_pieces(
            request.method,
            request.path,
            [host, *request.headers.raw],
            request.pieces or (request.body,),
            request.trailers.raw,
        )
        try:
            outcome = converse(pieces if request.pieces else b"".join(pieces), answer)
        except NoResponse as error:
            raise StreamPaused(str(error)) from error
        return self._exchange(request, outcome, answered_date=answered_date)

    def _exchange(self, request: Request, outcome: Outcome, *, answered_date: bool) -> Exchange:
        reached = None if outcome.upstream is None else _upstream_request(request, outcome.upstream)
        logs = tuple(self._record(line) for line in outcome.log)
        response = outcome.response
        if response is None:
            return Exchange(0, upstream=reached, details=outcome.access.details, logs=logs, reset=True)
        headers = HeaderMap(response.headers).without(*FRAMING)
        if not answered_date and _is_now(headers.get("date", "")):
            del headers["date"]
        return Exchange(
            int(response.start[1]),
            headers,
            response.body,
            HeaderMap(response.trailers),
            reached,
            outcome.access.details,
            logs,
            reset=not outcome.whole,
        )

    def connect(self, upstream: TcpUpstream) -> "EnvoyConnection":
        """See `RunningPlugin`."""
        return EnvoyConnection(self._running.connect(upstream), self._record)

    def advance(self, seconds: float) -> None:
        """See `RunningPlugin`."""
        time.sleep(seconds)
        self._running.raise_failures()

    def _record(self, line: LogLine) -> LogRecord:
        return _record(line, self._running.config.root_id)

    def logs(self) -> list[LogRecord]:
        """See `RunningPlugin`.

        Envoy keeps the plugin in its main thread too, where it ticks as in the worker: of what it logs there the messages are left out
        that it also logs in the worker.
        """
        self._running.refresh_log()
        said = Counter(line.message for line in self._running.log)
        alone: list[LogLine] = []
        for line in self._running.main_log:
            if said[line.message]:
                said[line.message] -= 1
            else:
                alone.append(line)
        return [self._record(line) for line in sorted([*self._running.log, *alone], key=lambda line: line.time)]

    def metrics(self) -> dict[str, int]:
        return self._running.metrics()

    def stop(self) -> None:
        self._running.remove()
        if self._own_envoy is not None:
            self._own_envoy.stop()


class EnvoyConnection:
    """`proxy_wasm.testing.hosts.Connection` through a real Envoy."""

    def __init__(self, connection: FilteredConnection, record: Callable[[LogLine], LogRecord]) -> None:
        self._connection = connection
        self._record = record
        self._taken = 0

    @property
    def received(self) -> bytes:
        """See `Connection`."""
        return self._connection.client.received

    @property
    def upstream_received(self) -> bytes:
        """See `Connection`."""
        return self._connection.server.received

    @property
    def closed(self) -> bool:
        """See `Connection`."""
        return self._connection.record(_CLOSING_TIME) is not None

    def send(self, data: bytes, *, end_of_stream: bool = False) -> None:
        """See `Connection`."""
        self._connection.send(data, end_of_stream=end_of_stream)

    def receive(self, size: int, *, timeout: float = _CONNECTION_TIMEOUT) -> bytes:
        """See `Connection`."""
        client = self._connection.client
        wanted = self._taken + size
        self._wait(client, lambda: len(client.received) >= wanted, timeout)
        there = client.received[self._taken : wanted]
        if len(there) < size:
            why = "before the connection's end" if client.ended else f"within {timeout:g} seconds"
            msg = f"{len(there)} of {size} bytes came {why}"
            raise StreamPaused(msg)
        self._taken = wanted
        return there

    def receive_all(self, *, timeout: float = _CONNECTION_TIMEOUT) -> bytes:
        """See `Connection`."""
        client = self._connection.client
        self._wait(client, lambda: client.ended, timeout)
        if not client.ended:
            msg = f"the connection did not end within {timeout:g} seconds"
            raise StreamPaused(msg)
        there = client.received[self._taken :]
        self._taken += len(there)
        return there

    def wait_for_upstream(self, size: int, *, timeout: float = _CONNECTION_TIMEOUT) -> bytes:
        """See `Connection`."""
        server = self._connection.server
        self._wait(server, lambda: len(server.received) >= size, timeout)
        if len(server.received) < size:
            why = "before the connection's end" if server.ended else f"within {timeout:g} seconds"
            msg = f"{len(server.received)} of {size} bytes reached the upstream {why}"
            raise StreamPaused(msg)
        return server.received

    def close(self, *, timeout: float = _CONNECTION_TIMEOUT) -> None:
        """See `Connection`."""
        self._connection.send(b"", end_of_stream=True)
        self._wait_for_end(timeout)

    def reset(self) -> None:
        """See `Connection`."""
        self._connection.reset()
        self._wait_for_end(_CONNECTION_TIMEOUT)

    def close_upstream(self) -> None:
        """See `Connection`."""
        try:
            self._connection.end_upstream(_CONNECTION_TIMEOUT)
        except NoResponse as error:
            raise StreamPaused(str(error)) from error

    def _wait(self, end: End, condition: Callable[[], bool], timeout: float) -> None:
        """Wait until `condition`, the end's own end, or an error of the upstream, which is raised."""
        end.wait_until(lambda: condition() or end.ended or bool(self._connection.failures), timeout)
        self._raise_failures()

    def _wait_for_end(self, timeout: float) -> None:
        if self._connection.record(timeout) is None:
            msg = f"Envoy did not close the connection within {timeout:g} seconds"
            raise StreamPaused(msg)
        self._raise_failures()

    def logs(self) -> list[LogRecord]:
        """See `Connection`."""
        return [self._record(line) for line in self._connection.log()]

    def _raise_failures(self) -> None:
        if self._connection.failures:
            raise self._connection.failures.pop(0)


class EnvoyHost:
    """One Envoy for all plugins but the isolated ones, started with the first of them."""

    def __init__(self) -> None:
        self._shared: FilteringEnvoy | None = None

    @property
    def name(self) -> Literal["envoy"]:
        return "envoy"

    def start(self, extension: Extension, settings: PluginSettings) -> EnvoyPlugin:
        config = WasmFilter(
            extension.module(),
            settings.configuration,
            settings.vm_configuration,
            settings.root_id,
            vm_id=settings.vm_id,
            environment=settings.environment,
            allow_on_headers_stop_iteration=settings.allow_on_headers_stop_iteration,
        )
        envoy = self._own() if settings.isolated else self._common()
        try:
            running = envoy.add(config, clusters=settings.clusters, network=settings.network)
        except BaseException as error:
            if settings.isolated:
                envoy.stop()
            if isinstance(error, FilterRefused):
                raise _translated(error, config) from error
            raise
        return EnvoyPlugin(running, envoy if settings.isolated else None)

    def _common(self) -> FilteringEnvoy:
        if self._shared is not None and not self._shared.process.is_running:
            self.close()  # a test that harmed it has failed; the next one shall not fail with it
        if self._shared is None:
            self._shared = self._own()
        return self._shared

    def _own(self) -> FilteringEnvoy:
        envoy = FilteringEnvoy()
        envoy.start()
        return envoy

    def close(self) -> None:
        if self._shared is not None:
            self._shared.stop()
            self._shared = None


def _upstream_request(sent: Request, message: Message) -> UpstreamRequest:
    """What reached the upstream, without what Envoy adds of its own accord."""
    forwarded = message.header(b"x-forwarded-proto")
    adds = "x-forwarded-proto" not in sent.headers and forwarded == sent.scheme.encode()
    return upstream_request(message, ("x-forwarded-proto",) if adds else (), sent.scheme)


def _is_now(date: str) -> bool:
    """Whether a `date` header is the one that Envoy adds to responses without any."""
    try:
        seconds = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return False
    return abs(time.time() - seconds) < _CLOCK_STEP


def _record(line: LogLine, root_id: str) -> LogRecord:
    said = line.wasm
    if said is None:
        return LogRecord(line.level, line.message, root_id, from_host=True)
    return LogRecord(line.level, said.message, root_id)


def _translated(refused: FilterRefused, config: WasmFilter) -> EmulatorError:
    """Envoy's refusal as the emulator's error for the same thing."""
    records = [_record(line, config.root_id) for line in refused.log if line.wasm is not None]
    traps = [LogRecord(line.level, line.message, from_host=True) for line in refused.log if _is_trap(line)]
    name = f"plugin {config.root_id!r}"
    if traps:
        return VmFailed(f"{name}: the VM failed while it started", [*records, *traps])
    for error, callback in _REFUSALS.items():
        if any(line.endswith(error) for line in refused.errors):
            return ConfigurationRejected(f"{name}: {callback} refused the configuration", records)
    return ModuleRefused(str(refused))


_REFUSALS = {
    "Failed to start base Wasm": "on_vm_start",
    "Failed to configure base Wasm plugin": "on_configure",
}
"""How Envoy's errors end where a callback returned false (cpp-host, src/wasm.cc), and which callback it was."""


def _is_trap(line: LogLine) -> bool:
    return line.logger == "wasm" and line.wasm is None and line.message.startswith("Function: ")
