"""Runs a case on a host: starts the plugin, takes the steps, and says where something else came than was expected."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import singledispatchmethod
from typing import Any, Literal

from proxy_wasm.emulator import Exchange, FailurePolicy, LogRecord, ModuleRefused, StreamPaused
from proxy_wasm.emulator.clusters import Closing, Silent
from proxy_wasm.emulator.errors import StartRefused
from proxy_wasm.emulator.http1 import Answer as UpstreamAnswer
from proxy_wasm.testing.cases.clusters import Clusters, NoAnswer, response
from proxy_wasm.testing.cases.comparison import (
    Difference,
    calls_differences,
    exchange_differences,
    is_logged,
    log_differences,
    metric_differences,
    shared_data_differences,
)
from proxy_wasm.testing.cases.matching import Equals, text_of
from proxy_wasm.testing.cases.model import (
    AdvanceStep,
    Answer,
    Case,
    Check,
    ClosedStep,
    CloseStep,
    ConnectStep,
    LogLine,
    ReceiveStep,
    RequestStep,
    SendStep,
    Step,
    TcpUpstream,
)
from proxy_wasm.testing.extension import Extension
from proxy_wasm.testing.hosts import Connection, Host, HostName, PluginSettings, Upstream
from proxy_wasm.testing.hosts import TcpUpstream as AnswerPiece
from proxy_wasm.testing.proxy import TIMEOUT, Proxy, default_upstream, echo
from proxy_wasm.testing.strict import PluginFault

UNANSWERED_TIMEOUT = 2.0
"""Seconds until a request that must not be answered has not been, unless the case says otherwise."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Where and why a case failed."""

    step: str
    """What was being done."""
    differences: tuple[Difference, ...] = ()
    problem: str = ""
    """What went wrong, where that is no difference."""
    exchange: Exchange | None = None
    """What came of the step's request."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a case on a host."""

    case: Case
    host: HostName
    failure: Failure | None
    logs: tuple[LogRecord, ...]
    """All that the plugin logged."""
    seconds: float


def run_case(case: Case, host: Host, extension: Extension) -> Result:
    """Run a case; raises a `BuildError`, or what the extension raises, where there is no plugin to run."""
    begun = time.monotonic()
    clusters = Clusters(case.clusters)
    logs: Sequence[LogRecord] = ()
    try:
        proxy = Proxy.start(host, extension, _settings(case, clusters))
    except (StartRefused, ModuleRefused) as error:
        logs = error.logs if isinstance(error, StartRefused) else ()
        failure = _refusal(case, error)
    except PluginFault as fault:
        failure = Failure("start", problem=str(fault))
    else:
        try:
            failure = _Run(proxy, clusters).failure(case)
            logs = proxy.logs
        finally:
            left = _stopped(proxy)
        failure = failure or left
    return Result(case, host.name, failure, tuple(logs), time.monotonic() - begun)


def _stopped(proxy: Proxy) -> Failure | None:
    """Take the plugin out of its host; the failure where strict mode finds something then."""
    try:
        proxy.stop()
    except PluginFault as fault:
        return Failure("end", problem=str(fault))
    return None


def _settings(case: Case, clusters: Clusters) -> PluginSettings:
    plugin = case.plugin
    return PluginSettings(
        plugin.configuration,
        plugin.vm_configuration,
        plugin.root_id or "",
        plugin.environment or {},
        clusters=clusters.served,
        vm_id=plugin.vm_id or "",
        allow_on_headers_stop_iteration=bool(plugin.allow_on_headers_stop_iteration),
        network=case.network,
        failure_policy=plugin.failure_policy or FailurePolicy.CLOSED,
        capabilities=plugin.capabilities or (),
        properties=plugin.properties or {},
        shared_data=plugin.shared_data or {},
        strict=bool(plugin.strict),
        allowed_faults=plugin.allowed_faults or (),
    )


def _refusal(case: Case, error: StartRefused | ModuleRefused) -> Failure | None:
    if case.refused is True:
        return None
    if not isinstance(case.refused, LogLine):
        return Failure("start", problem=str(error))
    logs = error.logs if isinstance(error, StartRefused) else ()
    if any(is_logged(case.refused, record) for record in logs):
        return None
    return Failure("start", (Difference("refused", str(case.refused), str(error)),))


class _StepFailed(Exception):  # noqa: N818 - says what happened
    def __init__(self, differences: Iterable[Difference], exchange: Exchange | None = None) -> None:
        super().__init__()
        self.differences = tuple(differences)
        self.exchange = exchange


@dataclass(slots=True)
class _Opened:
    """A connection, and how much of what its upstream got was looked at."""

    connection: Connection
    seen: int = 0


@dataclass(slots=True)
class _Run:
    """The steps of a case, taken one after the other."""

    proxy: Proxy
    clusters: Clusters
    connections: dict[str, _Opened] = field(default_factory=dict[str, _Opened])
    last: str = ""
    """The name of the connection that was opened last."""

    def failure(self, case: Case) -> Failure | None:
        """The first failure, if there is any."""
        if case.refused:
            expected = "a refusal" if case.refused is True else str(case.refused)
            return Failure("start", (Difference("refused", expected, "the plugin accepted its configuration"),))
        is_single = sum(not isinstance(step, Check) for step in case.steps) == 1
        for number, step in enumerate(case.steps, start=1):
            label = str(step) if is_single else f"step {number}: {step}"
            try:
                self.take(step)
            except _StepFailed as failed:
                return Failure(label, failed.differences, exchange=failed.exchange)
            except (StreamPaused, NoAnswer, PluginFault) as error:
                return Failure(label, problem=str(error))
        return None

    def _check(self, differences: Iterable[Difference], exchange: Exchange | None = None) -> None:
        if found := tuple(differences):
            raise _StepFailed(found, exchange)

    @singledispatchmethod
    def take(self, step: Step) -> None:
        """Take one step; raises `_StepFailed` where something else came, `StreamPaused` where something did not come."""
        raise NotImplementedError(step)

    @take.register
    def _(self, step: RequestStep) -> None:
        request = step.request
        sent: dict[str, Any] = {
            "headers": request.headers,
            "body": request.body,
            "trailers": request.trailers,
            "authority": request.authority,
            "upstream": _answer(step.upstream_answer),
        }
        if request.disconnect_after is not None:
            leaves = request.disconnect_after
            exchange = self.proxy.abandon(
                request.method,
                request.path,
                after=leaves.after,
                after_sending=leaves.after_sending,
                after_receiving=leaves.after_receiving,
                timeout=TIMEOUT if request.timeout is None else request.timeout,
                **sent,
            )
        else:
            default = UNANSWERED_TIMEOUT if step.response == "none" else TIMEOUT
            timeout = default if request.timeout is None else request.timeout
            try:
                exchange = self.proxy.request(request.method, request.path, timeout=timeout, **sent)
            except StreamPaused:
                if step.response == "none":
                    return
                raise
        self._check(exchange_differences(step, exchange), exchange)

    @take.register
    def _(self, step: AdvanceStep) -> None:
        self.proxy.advance(step.seconds)

    @take.register
    def _(self, step: Check) -> None:
        if step.logs is not None:
            self._check(log_differences(step.logs, self.proxy.logs))
        if step.metrics:
            self._check(metric_differences(step.metrics, self.proxy.metrics()))
        if step.shared_data:
            self._check(shared_data_differences(step.shared_data, self.proxy.shared_data))
        for cluster, expected in step.calls.items():
            self._check(calls_differences(cluster, expected, self.clusters.requests(cluster)))

    @take.register
    def _(self, step: ConnectStep) -> None:
        self.connections[step.name] = _Opened(self.proxy.connect(_upstream(step.upstream)))
        self.last = step.name

    def _opened(self, name: str | None) -> _Opened:
        return self.connections[self.last if name is None else name]

    @take.register
    def _(self, step: SendStep) -> None:
        self._opened(step.connection).connection.send(step.data, end_of_stream=step.end)

    @take.register
    def _(self, step: ReceiveStep) -> None:
        opened = self._opened(step.connection)
        if not isinstance(step.data, bytes):
            came = opened.connection.receive_all()
            if not step.data.matches(came):
                raise _StepFailed([Difference("receive_all", str(step.data), text_of(came))])
        elif step.by == "client":
            self._receive(opened.connection, step.data)
        else:
            self._upstream_receives(opened, step.data)

    def _receive(self, connection: Connection, expected: bytes) -> None:
        try:
            came = connection.receive(len(expected))
        except StreamPaused as error:
            came = f"{error}; so far: {text_of(connection.received)}"
            raise _StepFailed([Difference("receive", str(Equals(expected)), came)]) from error
        if came != expected:
            raise _StepFailed([Difference("receive", str(Equals(expected)), text_of(came))])

    def _upstream_receives(self, opened: _Opened, expected: bytes) -> None:
        try:
            got = opened.connection.wait_for_upstream(opened.seen + len(expected))
        except StreamPaused as error:
            came = f"{error}; so far: {text_of(opened.connection.upstream_received)}"
            raise _StepFailed([Difference("upstream_receives", str(Equals(expected)), came)]) from error
        came_bytes = got[opened.seen : opened.seen + len(expected)]
        opened.seen += len(expected)
        if came_bytes != expected:
            raise _StepFailed([Difference("upstream_receives", str(Equals(expected)), text_of(came_bytes))])

    @take.register
    def _(self, step: CloseStep) -> None:
        connection = self._opened(step.connection).connection
        ends = {"client": connection.close, "upstream": connection.close_upstream, "reset": connection.reset}
        ends[step.by]()

    @take.register
    def _(self, step: ClosedStep) -> None:
        closed = self._opened(step.connection).connection.closed
        if closed != step.closed:
            raise _StepFailed([Difference("closed", str(step.closed).lower(), str(closed).lower())])


def _answer(answer: Answer | Literal["silent", "closing"] | None) -> UpstreamAnswer | Upstream:
    if answer is None:
        return default_upstream
    if isinstance(answer, Answer):
        return response(answer)
    return Silent() if answer == "silent" else Closing()


def _upstream(upstream: TcpUpstream) -> AnswerPiece:
    if upstream.answers is None:
        return echo
    answers = iter(upstream.answers)
    return lambda _: next(answers, None)
