"""The CPU time that a filter adds to a real Envoy.

Theory of operation
-------------------
Two Envoys with one worker each are alike but for the filter, and both pass requests on to a third, which answers at once. In every round both
are loaded for the same time, one right after the other, the first one being another each time. What is compared is the CPU time of the process
for each request that it answered (`/proc/PID/stat`); this depends little on how fast the load comes, and on what else the machine does.

Each case has a listener of its own, so that several are measured by the same processes.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.bench import load
from proxy_wasm.bench.errors import BenchError
from proxy_wasm.bench.load import Wire
from proxy_wasm.bench.report import Figure, Report, machine
from proxy_wasm.bench.traffic import Traffic
from proxy_wasm.envoy import EnvoyProcess, WasmFilter, bootstrap, cluster, encode_request, listener, send
from proxy_wasm.envoy.configuration import Json
from proxy_wasm.testing.cases.model import Answer, Case, RequestStep
from proxy_wasm.testing.extension import Extension

Progress = Callable[[str], None]

CONNECTIONS = 16
"""How many the load comes over: enough to keep one worker busy."""

MAX_BODY = 1 << 20
"""Bytes that the upstream takes of a request."""

_WARM = 500
"""Requests before the first round."""

_STAT_UTIME = 11
"""Where the user's time stands in `/proc/PID/stat` behind the program's name; the system's follows it (proc(5))."""


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process and its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()
    ticks = int(fields[_STAT_UTIME]) + int(fields[_STAT_UTIME + 1])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """The memory that a process has in use."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class _Round:
    """What one round brought, of one Envoy."""

    cpu: float
    """Seconds for each request."""
    rate: float
    """Requests a second."""
    requests: int
    refused: int
    """Answers with a status of 400 or above."""


@dataclass(slots=True)
class _Planned:
    """A case as an Envoy gets it."""

    case: Case
    name: str
    """What its listeners are called."""
    wires: list[Wire]
    answer: Answer
    without: list[_Round] = field(default_factory=list[_Round])
    behind_filter: list[_Round] = field(default_factory=list[_Round])


def measure(extension: Extension, traffic: Traffic, *, rounds: int, seconds: float, progress: Progress) -> Report:
    """A report of `rounds` rounds, in each of which each Envoy is loaded for `seconds`.

    Raises `BenchError` where nothing can be measured or answers are not what they were, an `EnvoyError` where Envoy does not run with the
    filter, a `BuildError` where the extension cannot be built.
    """
    if not Path("/proc/self/stat").exists():
        raise BenchError("--host envoy: the CPU time of a process is read from /proc, which only Linux has")
    planned, notes = _plan(traffic)
    module = extension.module()
    with ExitStack() as stack:
        progress("starting three Envoys")
        upstream = stack.enter_context(EnvoyProcess(bootstrap(listeners=_answering(planned))))
        addresses = upstream.admin.listeners()
        without = stack.enter_context(_envoy(planned, addresses, None))
        behind_filter = stack.enter_context(_envoy(planned, addresses, module))
        for each in planned:
            _check(each, without, behind_filter)
        memory: list[tuple[int, int]] = []
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            for each in planned:
                _measure_round(each, without, behind_filter, seconds, swapped=number % 2 == 1)
            memory.append((resident_bytes(without.pid), resident_bytes(behind_filter.pid)))
    figures = [
        Figure("", "module size", "B", (module.stat().st_size,)),
        Figure("", "resident memory, without", "B", tuple(before for before, _ in memory)),
        Figure("", "resident memory, with", "B", tuple(after for _, after in memory)),
    ]
    for each in planned:
        figures += _figures(each)
    title = f"{traffic.title}; {CONNECTIONS} connections of {load.generator()}, one worker"
    notes += tuple(note for each in planned for note in _refusals(each))
    return Report(extension.path.resolve().name, "envoy", title, machine(), tuple(figures), notes=notes)


def _plan(traffic: Traffic) -> tuple[list[_Planned], tuple[str, ...]]:
    planned: list[_Planned] = []
    left_out = list(traffic.skipped)
    for case in traffic.cases:
        problem = _unfit(case)
        if problem:
            left_out.append(f"left out: {case.name}: {problem}")
            continue
        steps = [step for step in case.steps if isinstance(step, RequestStep)]
        answer = steps[0].upstream_answer
        given = answer if isinstance(answer, Answer) else Answer()
        planned.append(_Planned(case, f"case-{len(planned)}", [_wire(step) for step in steps], given))
    if not planned:
        why = "".join(f"\n{line}" for line in left_out)
        raise BenchError(f"--host envoy: none of the cases can be sent by a load generator:{why}")
    return planned, tuple(left_out)


def _unfit(case: Case) -> str:
    """Why a load generator cannot send a case's traffic."""
    steps = [step for step in case.steps if isinstance(step, RequestStep)]
    if len(steps) != len(case.steps):
        return "has other steps than requests"
    if case.clusters:
        return "has clusters, which would be measured too"
    if any(step.response == "none" or step.request.disconnect_after is not None for step in steps):
        return "has requests that are not answered"
    if any(isinstance(step.upstream_answer, str) for step in steps):
        return "has an upstream that does not answer"
    if any(step.upstream_answer != steps[0].upstream_answer for step in steps):
        return "has several answers of the upstream"
    return ""


def _wire(step: RequestStep) -> Wire:
    request = step.request
    headers = [(b"host", (request.authority or "localhost").encode()), *request.headers.without("host").raw]
    body = request.body if isinstance(request.body, bytes) else b"".join(request.body)
    return Wire(encode_request(request.method, request.path, headers, body, request.trailers.raw))


# What the Envoys are.


def _answering(planned: Sequence[_Planned]) -> list[Json]:
    """Listeners of the upstream: each takes whole requests and answers them itself."""
    return [_answering_listener(each.name, each.answer) for each in planned]


def _answering_listener(name: str, answer: Answer) -> Json:
    configured = listener(name, [])
    manager = configured["filter_chains"][0]["filters"][0]["typed_config"]
    # A response in the middle of the request would end the connection.
    extensions = "type.googleapis.com/envoy.extensions.filters.http"
    buffering = {"@type": f"{extensions}.buffer.v3.Buffer", "max_request_bytes": MAX_BODY}
    manager["http_filters"].insert(0, {"name": "envoy.filters.http.buffer", "typed_config": buffering})
    body = answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)
    response: Json = {"status": answer.status}
    if body:
        response["body"] = {"inline_string": body.decode("utf-8", "replace")}
    (host,) = manager["route_config"]["virtual_hosts"]
    host["routes"] = [
        {"match": {"prefix": "/"}, "direct_response": response, "response_headers_to_add": _added(answer)}
    ]
    return configured


def _added(answer: Answer) -> list[Json]:
    return [
        {
            "header": {"key": name.decode("latin-1"), "value": value.decode("latin-1").replace("%", "%%")},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }
        for name, value in answer.headers.raw
        if name.lower() != b"content-length"
    ]


def _envoy(planned: Sequence[_Planned], addresses: dict[str, tuple[str, int]], module: Path | None) -> EnvoyProcess:
    listeners = [
        listener(each.name, [] if module is None else [_filter(each.case, module)], cluster=each.name)
        for each in planned
    ]
    clusters = [cluster(*addresses[each.name], name=each.name) for each in planned]
    return EnvoyProcess(bootstrap(clusters=clusters, listeners=listeners), wasm_log_level="warning")


def _filter(case: Case, module: Path) -> WasmFilter:
    plugin = case.plugin
    return WasmFilter(
        module,
        plugin.configuration,
        root_id=plugin.root_id or "",
        vm_id=plugin.vm_id or "",
        vm_configuration=plugin.vm_configuration,
        environment=plugin.environment or {},
        allow_on_headers_stop_iteration=bool(plugin.allow_on_headers_stop_iteration),
    )


# Measuring.


def _check(planned: _Planned, without: EnvoyProcess, behind_filter: EnvoyProcess) -> None:
    """Send each request once, and then some more, so that all is warm; raises `BenchError` where one is not answered."""
    for envoy in (without, behind_filter):
        address = envoy.admin.listeners()[planned.name]
        for wire in planned.wires:
            reply = send(address, wire.data, method="HEAD" if wire.is_head else "GET")
            if reply.message is None or not reply.whole:
                raise BenchError(f"{planned.case.name}: {_first_line(wire)} got no whole answer{_because(envoy)}")
        load.counted(address, planned.wires, _WARM)
        _check_log(planned, envoy)


def _measure_round(
    planned: _Planned, without: EnvoyProcess, behind_filter: EnvoyProcess, seconds: float, *, swapped: bool
) -> None:
    pairs = [(without, planned.without), (behind_filter, planned.behind_filter)]
    for envoy, rounds in reversed(pairs) if swapped else pairs:
        before = cpu_seconds(envoy.pid)
        done = load.timed(envoy.admin.listeners()[planned.name], planned.wires, seconds, connections=CONNECTIONS)
        cpu = cpu_seconds(envoy.pid) - before
        if not done.requests:
            raise BenchError(
                f"{planned.case.name}: no request was answered within {seconds:g} seconds{_because(envoy)}"
            )
        rounds.append(_Round(cpu / done.requests, done.requests / done.seconds, done.requests, done.refused))
        _check_log(planned, envoy)


def _check_log(planned: _Planned, envoy: EnvoyProcess) -> None:
    """Raise where the VM has failed: its answers are none of the filter's."""
    if problem := _because(envoy):
        raise BenchError(f"{planned.case.name}{problem}")


def _because(envoy: EnvoyProcess) -> str:
    """What Envoy itself says against the filter's VM."""
    lines = (line for line in envoy.new_log_lines() if line.logger == "wasm" and line.wasm is None)
    said = [line.message for line in lines if line.level >= LogLevel.ERROR]
    return f": {said[0].splitlines()[0]}" if said else ""


def _first_line(wire: Wire) -> str:
    return wire.data.partition(b" HTTP/")[0].decode("utf-8", "replace")


def _figures(planned: _Planned) -> Iterator[Figure]:
    name = planned.case.name
    pairs = list(zip(planned.without, planned.behind_filter, strict=True))
    yield Figure(name, "CPU per request, without", "s", tuple(before.cpu for before, _ in pairs))
    yield Figure(name, "CPU per request, with", "s", tuple(after.cpu for _, after in pairs))
    yield Figure(name, "added CPU per request", "s", tuple(after.cpu - before.cpu for before, after in pairs))
    yield Figure(name, "CPU ratio", "1", tuple(after.cpu / before.cpu for before, after in pairs))
    yield Figure(name, "requests per second, without", "1/s", tuple(before.rate for before, _ in pairs))
    yield Figure(name, "requests per second, with", "1/s", tuple(after.rate for _, after in pairs))


def _refusals(planned: _Planned) -> Iterator[str]:
    """What a reader should know of the answers."""
    for where, rounds in (("without the filter", planned.without), ("behind the filter", planned.behind_filter)):
        refused, requests = sum(each.refused for each in rounds), sum(each.requests for each in rounds)
        if refused:
            yield f"{planned.case.name}: {where} {refused:,} of {requests:,} answers had a status of 400 or above"
