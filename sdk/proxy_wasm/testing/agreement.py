"""Whether a test saw the same on two hosts: everything that crossed the boundary, and everything that the client and the upstream got.

Assertions compare what their author thought of. With `--proxy-compare` each test that ran natively is compared with its run on the built
module: each exchange and connection, each hostcall with its arguments, its status and its results, each callback, each line that was logged, when all
that happened by the proxy's clock, and what was left at the end. What differs fails the test.

Left out is what says nothing of the filter: callbacks in which nothing happened (the module does not even export those that no class overrides),
reads of a map that was read as a whole in the same callback, real times and moments of the wall clock, and the frames of tracebacks: two versions of Python word them differently. What a test draws at random, such as
keys and signatures, it has to mark: `@pytest.mark.differs_between_hosts("keys are drawn anew")`.
"""

import difflib
import itertools
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields

from proxy_wasm.abi.enums import Status
from proxy_wasm.emulator import Exchange, LogRecord, Request
from proxy_wasm.emulator.exchange import Disconnect
from proxy_wasm.emulator.header_map import HeaderMap
from proxy_wasm.emulator.properties import Properties
from proxy_wasm.guest.built_in import LEAVES_MAPS
from proxy_wasm.testing.extension import Extension
from proxy_wasm.testing.hosts import (
    Connection,
    Host,
    HostName,
    PluginSettings,
    RunningPlugin,
    TcpUpstream,
    Upstream,
)
from proxy_wasm.testing.watch import Fault, LiveContexts, NotOnThisHost
from proxy_wasm.tracing import Event, Symbol, Trace, TracedCallback, TracedHostcall, TracedLog
from proxy_wasm.tracing.text import call_text, clock_time

COMPARED: tuple[HostName, HostName] = ("native", "wasm")
"""The hosts that see everything."""

_LONGEST = 60
"""How many lines of a difference are told."""
_FRAMES = re.compile(r"(?m)^(?:  .*|Traceback \(most recent call last\):)\n")
_UNSEEN = frozenset({"get_log_level", "get_current_time_nanoseconds"})
"""Hostcalls that say nothing of the filter: the SDK asks for the first before it logs, natively in each callback; Python makes the second where it has no clock."""
_MOMENT = re.compile(
    r"0x[0-9a-f]{16} = 1[789]\d{17}|\b1[789]\d{8}(?:\.\d+|\d{3}|\d{6}|\d{9})?\b|\b20\d\d-\d\d-\d\d[T ]\d\d:[\d:.]+(?:\+00:00|Z)?"
    r"|\b[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} 20\d\d \d\d:\d\d:\d\d GMT"
)
"""A moment of the wall clock, which is another one when the other host runs: nanoseconds of a property, a number since 1970, ISO 8601, a header's date."""
_GOOD = frozenset({"on_vm_start", "on_configure", "validate_configuration", "on_done"})
"""The callbacks in which a filter that has nothing to say returns 1."""


class Observations:
    """What tests saw, host by host."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, HostName], list[str]] = defaultdict(list)
        self._starts: dict[str, float] = {}
        self._test = ""

    def begin(self, test: str, host: HostName) -> None:
        """A test begins; it is called the same on each host."""
        self._test = test
        self._lines.pop((test, host), None)

    def clock_start(self) -> float:
        """When the proxy's clock starts in the test that runs, in seconds since 1970: at the same moment on each host."""
        return self._starts.setdefault(self._test, time.time())

    def note(self, host: HostName, line: str) -> None:
        """Something was seen."""
        self._lines[self._test, host].append(_MOMENT.sub("<moment>", line))

    def difference(self, test: str) -> str:
        """How what the compared hosts saw of a test differs; empty where it does not, or where the test did not run on both.

        What they saw is forgotten then: a run has thousands of tests, some with bodies of megabytes.
        """
        first, second = (self._lines.pop((test, host), None) for host in COMPARED)
        self._starts.pop(test, None)
        if first is None or second is None or first == second:
            return ""
        lines = difflib.unified_diff(first, second, *COMPARED, lineterm="", n=8)
        return "\n".join(itertools.islice(lines, _LONGEST))


class ObservingHost:
    """A host whose plugins note what is seen of them."""

    def __init__(self, host: Host, observations: Observations) -> None:
        self._host = host
        self._observations = observations

    @property
    def name(self) -> HostName:
        return self._host.name

    def start(self, extension: Extension, settings: PluginSettings) -> RunningPlugin:
        def note(line: str) -> None:
            self._observations.note(self.name, line)

        note(f"start: root_id {settings.root_id!r}, configuration {settings.configuration!r}")
        try:
            plugin = self._host.start(extension, settings)
        except Exception as error:
            note(f"refused: {type(error).__name__}: {_without_frames(str(error))}")
            raise
        return ObservingPlugin(plugin, note)

    def close(self) -> None:
        self._host.close()


class ObservingPlugin:
    """A plugin of which all that is seen is noted."""

    def __init__(self, plugin: RunningPlugin, note: Callable[[str], None]) -> None:
        self._plugin = plugin
        self._note = note
        self._connections: list[Connection] = []

    def _note_trace(self) -> None:
        """What crossed the boundary since the last exchange or connection began; afterwards, it is forgotten."""
        for line in _trace_lines(self._plugin.trace("").events):
            self._note(line)

    def _note_exchange(self, what: str, request: Request, run: Callable[[], Exchange]) -> Exchange:
        self._note_trace()
        self._note(f"{what} {request.method} {request.path}")
        try:
            exchange = run()
        except Exception as error:
            self._note(f"{type(error).__name__}: {_without_frames(str(error))}")
            raise
        for line in _exchange_lines(exchange):
            self._note(line)
        return exchange

    def exchange(self, request: Request, upstream: Upstream, timeout: float) -> Exchange:
        return self._note_exchange("request", request, lambda: self._plugin.exchange(request, upstream, timeout))

    def abandon(self, request: Request, upstream: Upstream, disconnect: Disconnect, timeout: float) -> Exchange:
        return self._note_exchange(
            f"abandoned {disconnect}",
            request,
            lambda: self._plugin.abandon(request, upstream, disconnect, timeout),
        )

    def connect(self, upstream: TcpUpstream, properties: Properties | None = None) -> Connection:
        self._note_trace()
        self._note("connection")
        self._connections.append(self._plugin.connect(upstream, properties))
        return self._connections[-1]

    def stop(self) -> None:
        for connection in self._connections:
            self._note(
                f"client got {connection.received!r}, upstream {connection.upstream_received!r}, closed {connection.closed}"
            )
        self._note(f"metrics {sorted(self._plugin.metrics().items())}")
        with suppress(NotOnThisHost):
            self._note(f"left {self._plugin.live_contexts()}, callouts {self._plugin.pending_callouts()}")
        self._plugin.stop()
        self._note_trace()
        for fault in self._plugin.faults():
            self._note(f"fault {_without_frames(str(fault))}")

    def advance(self, seconds: float) -> None:
        self._plugin.advance(seconds)

    def logs(self) -> list[LogRecord]:
        return self._plugin.logs()

    def trace(self, title: str) -> Trace:
        return self._plugin.trace(title)

    def metrics(self) -> dict[str, int]:
        return self._plugin.metrics()

    def live_contexts(self) -> LiveContexts:
        return self._plugin.live_contexts()

    def pending_callouts(self) -> int:
        return self._plugin.pending_callouts()

    def memory_size(self) -> int:
        return self._plugin.memory_size()

    def shared_data(self, key: str) -> bytes | None:
        return self._plugin.shared_data(key)

    def set_shared_data(self, key: str, value: bytes) -> None:
        self._plugin.set_shared_data(key, value)

    def faults(self) -> list[Fault]:
        return self._plugin.faults()


def _exchange_lines(exchange: Exchange) -> Iterator[str]:
    for field in fields(exchange):
        seen = getattr(exchange, field.name)
        if field.name == "logs":
            continue  # they are in the trace
        if field.name == "upstream" and seen is not None:
            for part in fields(seen):
                yield f"  upstream {part.name}: {_shown(getattr(seen, part.name))}"
            continue
        yield f"  {field.name}: {_shown(seen)}"


def _shown(value: object) -> str:
    return repr(value.raw) if isinstance(value, HeaderMap) else repr(value)


def _trace_lines(events: tuple[Event, ...], depth: int = 1) -> Iterator[str]:
    for event in _asked(events):
        at = f"{'  ' * depth}{clock_time(event.at.clock)}"
        if isinstance(event, TracedLog):
            yield f"{at} {event.level.name.lower()}: {_without_frames(event.message)!r}"
            continue
        inner = list(_trace_lines(event.inner, depth + 1))
        is_silent = isinstance(event, TracedCallback) and not inner and not event.trapped and _is_default(event)
        if not is_silent and event.name not in _UNSEEN:
            yield f"{at} {call_text(event)}"
            yield from inner


def _asked(events: tuple[Event, ...]) -> Iterator[Event]:
    """The events without reads of a map that was read as a whole before: a module has it then, and need not ask for what is in it."""
    held: object = None
    for event in events:
        if isinstance(event, TracedHostcall):
            map_type = dict(event.arguments).get("map_type")
            found = isinstance(event.status, Symbol) and event.status.number == Status.OK
            is_whole = event.name == "get_header_map_pairs"
            if found and held is not None and held == map_type and (is_whole or event.name == "get_header_map_value"):
                continue
            if is_whole:
                held = map_type if found else None
            elif event.name not in LEAVES_MAPS:
                held = None
        elif isinstance(event, TracedCallback):
            held = None
        yield event


def _is_default(event: TracedCallback) -> bool:
    returned = event.returned.number if isinstance(event.returned, Symbol) else event.returned
    return returned in (None, int(event.name in _GOOD))


def _without_frames(text: str) -> str:
    return _FRAMES.sub("", text + "\n").rstrip("\n")
