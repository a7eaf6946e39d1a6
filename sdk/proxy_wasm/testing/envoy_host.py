"""A real Envoy as a host: its exchanges, logs and errors in the words of the emulator."""

import time
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
from proxy_wasm.emulator.header_map import HeaderMap, to_text
from proxy_wasm.envoy import (
    FilteringEnvoy,
    FilterRefused,
    LogLine,
    Message,
    NoResponse,
    Outcome,
    RunningFilter,
    WasmFilter,
    encode_request,
    encode_response,
)
from proxy_wasm.testing.extension import Extension
from proxy_wasm.testing.hosts import PluginSettings, Upstream

_FRAMING = ("transfer-encoding", "connection")
_CLOCK_STEP = 5
"""How many seconds a `date` may lie behind and still be Envoy's."""


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
        answered_date = False

        def answer(message: Message) -> bytes:
            nonlocal answered_date
            method = to_text(message.start[0])
            response = upstream(_upstream_request(request, message))
            answered_date = "date" in response.headers
            return encode_response(
                response.status, response.headers.raw, response.body, response.trailers.raw, method=method
            )

        host = (b"host", request.authority.encode("utf-8", "surrogateescape"))
        wire = encode_request(
            request.method, request.path, [host, *request.headers.raw], request.body, request.trailers.raw
        )
        try:
            outcome = self._running.exchange(wire, answer, method=request.method, timeout=timeout)
        except NoResponse as error:
            raise StreamPaused(str(error)) from error
        return self._exchange(request, outcome, answered_date=answered_date)

    def _exchange(self, request: Request, outcome: Outcome, *, answered_date: bool) -> Exchange:
        reached = None if outcome.upstream is None else _upstream_request(request, outcome.upstream)
        logs = tuple(self._record(line) for line in outcome.log)
        response = outcome.response
        if response is None:
            return Exchange(0, upstream=reached, details=outcome.access.details, logs=logs, reset=True)
        headers = HeaderMap(response.headers).without(*_FRAMING)
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

    def _record(self, line: LogLine) -> LogRecord:
        return _record(line, self._running.config.root_id)

    def logs(self) -> list[LogRecord]:
        self._running.refresh_log()
        return [self._record(line) for line in self._running.log]

    def metrics(self) -> dict[str, int]:
        return self._running.metrics()

    def stop(self) -> None:
        self._running.remove()
        if self._own_envoy is not None:
            self._own_envoy.stop()


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
            environment=settings.environment,
        )
        envoy = self._own() if settings.isolated else self._common()
        try:
            running = envoy.add(config)
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
    headers = HeaderMap(message.headers)
    authority = headers.get("host", "")
    added = ["host", *_FRAMING]
    if "x-forwarded-proto" not in sent.headers and headers.get("x-forwarded-proto") == sent.scheme:
        added.append("x-forwarded-proto")
    return UpstreamRequest(
        to_text(message.start[0]),
        to_text(message.start[1]),
        authority,
        headers.without(*added),
        message.body,
        HeaderMap(message.trailers),
        sent.scheme,
    )


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
