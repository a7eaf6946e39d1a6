"""A real Envoy as a host: its exchanges, logs and errors in the words of the emulator."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.abi.signatures import CALLBACKS
from proxy_wasm.build.wasm.binary import MalformedError
from proxy_wasm.build.wasm.module import Kind, read_module
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
from proxy_wasm.emulator.properties import Properties
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
from proxy_wasm.testing.shared_data import SharedDataProbe
from proxy_wasm.testing.watch import Fault, LiveContexts, NotOnThisHost, Watch
from proxy_wasm.tracing import Trace
from proxy_wasm.tracing.envoy import read as read_trace

_CLOCK_STEP = 5
"""How many seconds a `date` may lie behind and still be Envoy's."""
_CONNECTION_TIMEOUT = 30.0
"""Seconds until something awaited on a connection must have come."""
_CLOSING_TIME = 0.3
"""Seconds within which a connection that is being closed is noticed to be."""
_PROPERTY = "property "
_SIZES = {
    "request wire": "%UPSTREAM_WIRE_BYTES_SENT%",
    "request fields": "%UPSTREAM_HEADER_BYTES_SENT%",
    "response body": "%BYTES_SENT%",
}
"""How large the messages were that Envoy sent on; the fields are those of the head, without its first line."""


class EnvoyPlugin:
    """A plugin in a real Envoy."""

    def __init__(
        self,
        running: RunningFilter,
        envoy: FilteringEnvoy,
        settings: PluginSettings,
        watches: "_Watches",
        probe: SharedDataProbe | None,
    ) -> None:
        self._running = running
        self._envoy = envoy
        self._settings = settings
        self._watches = watches
        self._probe = probe
        self._misframed: list[Fault] = []

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
        _refuse(request.properties)
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
        self._misframed += _misframed(outcome, request.method)
        properties = _ObservedProperties(outcome.access.further)
        reached = None if outcome.upstream is None else _upstream_request(request, outcome.upstream)
        logs = tuple(self._record(line) for line in outcome.log)
        response = outcome.response
        if response is None:
            details = outcome.access.details
            return Exchange(0, upstream=reached, details=details, logs=logs, reset=True, properties=properties)
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
            properties=properties,
        )

    def connect(self, upstream: TcpUpstream, properties: Properties | None = None) -> "EnvoyConnection":
        """See `RunningPlugin`."""
        _refuse(properties or {})
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

    def trace(self, title: str) -> Trace:
        """See `RunningPlugin`."""
        self._running.refresh_log()
        return read_trace(self._running.boundary, title=title)

    def metrics(self) -> dict[str, int]:
        return self._running.metrics()

    def live_contexts(self) -> LiveContexts:
        """See `RunningPlugin`; those in the worker."""
        self._running.refresh_log()
        return self._watches.worker.live_contexts()

    def pending_callouts(self) -> int:
        """See `RunningPlugin`; those of the worker."""
        self._running.refresh_log()
        return self._watches.worker.pending_callouts()

    def memory_size(self) -> int:
        """See `RunningPlugin`."""
        msg = (
            "memory: Envoy does not tell that of a VM; mark the test: @pytest.mark.hosts('wasm'), where it is the same, "
            "or look at that of the whole process: start_proxy(isolated=True)"
        )
        raise NotOnThisHost(msg)

    def shared_data(self, key: str) -> bytes | None:
        """See `RunningPlugin`."""
        return self._shared().get(key)

    def set_shared_data(self, key: str, value: bytes) -> None:
        """See `RunningPlugin`."""
        self._shared().set(key, value)

    def _shared(self) -> SharedDataProbe:
        if self._probe is None:
            self._probe = SharedDataProbe(self._envoy, self._running.config.vm_id)
        return self._probe

    def faults(self) -> list[Fault]:
        """See `RunningPlugin`. What happens in Envoy's main thread as in the worker is told once."""
        said = [Fault(record.message) for record in self.logs() if record.from_host and record.level >= LogLevel.WARN]
        return [*self._watches.faults(), *said, *self._misframed]

    def stop(self) -> None:
        self._running.remove()
        # Envoy drops a VM whose last plugin asks for more time.
        self._watches.worker.finish(was_waited_for=False)
        if self._probe is not None:
            self._probe.stop()
        if self._settings.isolated:
            self._envoy.stop()


class _Watches:
    """What is seen of a plugin in the worker, and of the same one in Envoy's main thread."""

    def __init__(self, module: Path) -> None:
        self.worker = Watch()
        self.main = Watch()
        self.worker.expect(_callbacks_of(module).__contains__)

    def faults(self) -> list[Fault]:
        alone = Counter(self.main.faults) - Counter(self.worker.faults)
        return [*self.worker.faults, *alone.elements()]


def _callbacks_of(module: Path) -> frozenset[str]:
    """Which callbacks a module has; all, where Envoy is to say what is wrong with it."""
    exported = {callback.export_name: name for name, callback in CALLBACKS.items()}
    try:
        exports = read_module(module.read_bytes()).exports
    except (OSError, MalformedError):
        return frozenset(CALLBACKS)
    return frozenset(exported[item.name] for item in exports if item.kind is Kind.FUNCTION and item.name in exported)


class _ObservedProperties(Mapping[str, bytes]):
    """The properties that the plugin set, of those that Envoy was told to show."""

    def __init__(self, access_fields: Mapping[str, object]) -> None:
        self._fields = {
            name.removeprefix(_PROPERTY): value for name, value in access_fields.items() if name.startswith(_PROPERTY)
        }

    def __getitem__(self, name: str) -> bytes:
        if name not in self._fields:
            msg = (
                f"property {name!r}: Envoy shows a property only where it was told its name before: "
                f"start_proxy(observed_properties=[{name!r}])"
            )
            raise NotOnThisHost(msg)
        value = self._fields[name]
        if value is None:
            raise KeyError(name)
        return str(value).encode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        if not self._fields:
            msg = (
                "properties: Envoy shows only those that it was told of before: start_proxy(observed_properties=[...])"
            )
            raise NotOnThisHost(msg)
        return (name for name, value in self._fields.items() if value is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _misframed(outcome: Outcome, method: str) -> Iterator[Fault]:
    """Messages that Envoy sent on with another length than they announced."""
    sizes = {
        name: int(str(size)) for name, size in outcome.access.further.items() if name in _SIZES and size is not None
    }
    sent, answer = outcome.upstream, outcome.response if outcome.whole and method != "HEAD" else None
    bodies: list[tuple[str, Message, int]] = []
    if sent is not None and {"request wire", "request fields"} <= sizes.keys():
        first_line = len(b" ".join(sent.start))
        bodies.append(
            ("request", sent, sizes["request wire"] - sizes["request fields"] - first_line - 2 * len(b"\r\n"))
        )
    if answer is not None and "response body" in sizes:
        bodies.append(("response", answer, sizes["response body"]))
    for what, message, size in bodies:
        length = message.header(b"content-length")
        if length is not None and size != int(length):
            yield Fault(
                f"the {what}'s content-length is {int(length)}, its body has {size} bytes: on the wire it breaks; "
                f"a filter that changes the body removes content-length in on_{what}_headers"
            )


def _refuse(properties: Properties) -> None:
    if properties:
        msg = (
            "properties: in Envoy they are those of the real connection and configuration; "
            "mark the test: @pytest.mark.hosts('native', 'wasm')"
        )
        raise NotOnThisHost(msg)


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
        self._numbers = itertools.count(1)

    @property
    def name(self) -> Literal["envoy"]:
        return "envoy"

    def start(self, extension: Extension, settings: PluginSettings) -> EnvoyPlugin:
        _refuse(settings.properties)
        vm_id = settings.vm_id or (f"shared-{next(self._numbers)}" if settings.shared_data else "")
        config = WasmFilter(
            extension.module(),
            settings.configuration,
            settings.vm_configuration,
            settings.root_id,
            vm_id=vm_id,
            environment=settings.environment,
            allow_on_headers_stop_iteration=settings.allow_on_headers_stop_iteration,
            failure_policy=settings.failure_policy,
            capabilities=settings.capabilities,
        )
        envoy = self._own() if settings.isolated else self._common()
        watches = _Watches(config.module)
        probe: SharedDataProbe | None = None
        try:
            if settings.shared_data:
                probe = SharedDataProbe(envoy, vm_id)
                for key, value in settings.shared_data.items():
                    probe.set(key, value)
            running = envoy.add(
                config,
                clusters=settings.clusters,
                network=settings.network,
                access_log_fields={} if settings.network else _access_fields(settings),
                observer=watches.worker,
                main_observer=watches.main,
            )
        except BaseException as error:
            if probe is not None:
                probe.stop()
            if settings.isolated:
                envoy.stop()
            if isinstance(error, FilterRefused):
                raise _translated(error, config) from error
            raise
        return EnvoyPlugin(running, envoy, settings, watches, probe)

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


def _access_fields(settings: PluginSettings) -> dict[str, str]:
    """What a plugin's access log says besides: the sizes of messages, and the properties to be observed."""
    return {
        **_SIZES,
        **{_PROPERTY + name: f"%FILTER_STATE(wasm.{name}:PLAIN)%" for name in settings.observed_properties},
    }


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
