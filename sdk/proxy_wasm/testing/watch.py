"""What crosses the boundary between host and guest, kept as what a test asks for: contexts that live, callouts under way, faults.

A `Watch` observes one plugin, in the emulator or through the log of an Envoy, and so says the same on every host. What counts as a fault, and
is what strict mode fails a test for:

* a hostcall that returned an error, whatever the filter made of it. Looking for what is not there is none: `LOOKUPS`;
* a second local response to one stream;
* continuing what is not paused, or was answered;
* a plugin that asked for time when its configuration went (`on_done`), and never said that it was `done`;
* a callout without a timeout that was never answered;
* a context that a host has to give up without `on_delete`.

To these a host adds what it finds itself (`LogRecord.from_host`): traps, and messages whose `content-length` no longer fits.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum

from proxy_wasm.abi.enums import BufferType, LogLevel, MapType, MetricType, Status, StreamType
from proxy_wasm.abi.header_map import decode_pairs
from proxy_wasm.abi.signatures import HOSTCALLS
from proxy_wasm.emulator.call_ids import CALL_KIND_BITS, GRPC_CALL, GRPC_STREAM, HTTP_CALL
from proxy_wasm.emulator.observer import Arguments, Results, Unseen

LOOKUPS = {
    Status.NOT_FOUND: frozenset(
        {
            "get_property",
            "get_header_map_value",
            "get_buffer_bytes",
            "get_buffer_status",
            "get_shared_data",
            "resolve_shared_queue",
            "grpc_cancel",  # it is over already, which a filter need not know
            "grpc_close",
        }
    ),
    Status.EMPTY: frozenset({"dequeue_shared_queue"}),
    Status.CAS_MISMATCH: frozenset({"set_shared_data"}),
    Status.SERIALIZATION_FAILURE: frozenset({"get_property"}),  # a null of Envoy's
    Status.BAD_ARGUMENT: frozenset({"set_effective_context"}),  # the stream is gone: there is no other way to ask
}
"""Which hostcalls may find nothing, by the status that says so."""

_MAX_SHOWN = 100
_ENUMS: dict[str, type[IntEnum]] = {
    "map_type": MapType,
    "buffer_type": BufferType,
    "stream_type": StreamType,
    "metric_type": MetricType,
    "level": LogLevel,
}
_PAIRS = frozenset({"headers", "trailers", "pairs", "initial_metadata"})
_DIRECTIONS = {
    "on_request_headers": StreamType.HTTP_REQUEST,
    "on_request_body": StreamType.HTTP_REQUEST,
    "on_request_trailers": StreamType.HTTP_REQUEST,
    "on_response_headers": StreamType.HTTP_RESPONSE,
    "on_response_body": StreamType.HTTP_RESPONSE,
    "on_response_trailers": StreamType.HTTP_RESPONSE,
    "on_new_connection": StreamType.DOWNSTREAM,
    "on_downstream_data": StreamType.DOWNSTREAM,
}
"""What each callback's action pauses or continues."""
_STARTS = {"http_call": HTTP_CALL, "grpc_call": GRPC_CALL, "grpc_stream": GRPC_STREAM}
_ENDS = {"on_http_call_response": HTTP_CALL, "on_grpc_receive": GRPC_CALL, "on_grpc_close": None}
"""The callbacks that end a callout: one of that kind, or of any."""
LAST_CALLBACKS = ("on_delete", "on_done", "on_log")
"""The callbacks of a context's end, the last one first."""


class NotOnThisHost(Exception):  # noqa: N818 - says what is the matter
    """What a test asks for, the host that it runs on cannot show or bring about."""


@dataclass(frozen=True, slots=True)
class LiveContexts:
    """How many contexts of a plugin live in its VM: its own, and those of its streams."""

    plugins: int = 0
    streams: int = 0
    """HTTP streams."""
    connections: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """What a plugin did that no plugin should."""

    problem: str
    callback: str = ""
    """In which callback; empty where it was in none."""
    hostcall: str = ""
    """Which hostcall, without `proxy_`; empty where it is about none."""
    status: Status | None = None
    """What that returned, where it returned an error."""
    plugin_id: int = 0
    """The id of the plugin context that it is about; 0 where that is unknown."""

    def __str__(self) -> str:
        return f"{self.callback}: {self.problem}" if self.callback else self.problem


@dataclass(slots=True)
class _Context:
    parent: int
    is_connection: bool = False
    paused: set[StreamType] = field(default_factory=set[StreamType])
    is_answered: bool = False
    is_ending: bool = False
    """Whether the callbacks of its end have begun."""
    asked_for_time: bool = False


@dataclass(slots=True)
class _Frame:
    """A callback that runs."""

    callback: str
    context_id: int
    """The context that it is for."""
    effective: int
    """The context that hostcalls are about."""
    call: tuple[str, Arguments] | None = None
    """The hostcall that is under way."""


@dataclass(frozen=True, slots=True)
class _Callout:
    shown: str
    plugin_id: int
    has_timeout: bool


class Watch:
    """Observes a plugin, or the plugins of one VM. See the module.

    A context is over with the last of `LAST_CALLBACKS` that the guest has. Of one that has none of them contexts only come.
    """

    def __init__(self) -> None:
        self._last_callback = LAST_CALLBACKS[0]
        self.faults: list[Fault] = []
        """What went wrong so far, oldest first."""
        self._contexts: dict[int, _Context] = {}
        self._callouts: dict[int, _Callout] = {}
        self._last_ids = {kind: kind for kind in _STARTS.values()}
        self._frames: list[_Frame] = []

    def expect(self, has: Callable[[str], bool]) -> None:
        """Learn from `has` which callbacks the guest has."""
        self._last_callback = next((name for name in LAST_CALLBACKS if has(name)), "")

    # What a test asks for.

    def live_contexts(self, plugin_id: int | None = None) -> LiveContexts:
        """The contexts of one plugin, or of all; `NotOnThisHost` where the guest does not hear of their end."""
        if not self._last_callback:
            msg = f"live_contexts: the module has none of {', '.join(LAST_CALLBACKS)}, so that no context's end is seen"
            raise NotOnThisHost(msg)
        found = [
            context for context_id, context in self._contexts.items() if plugin_id in (None, context_id, context.parent)
        ]
        plugins = sum(not context.parent for context in found)
        connections = sum(context.is_connection for context in found)
        return LiveContexts(plugins, len(found) - plugins - connections, connections)

    def pending_callouts(self, plugin_id: int | None = None) -> int:
        """How many callouts, of one plugin or of all, are under way: calls not answered, gRPC streams not closed."""
        return sum(plugin_id in (None, callout.plugin_id) for callout in self._callouts.values())

    def finish(self, plugin_id: int | None = None, *, was_waited_for: bool = True) -> None:
        """A plugin, or all of them, is gone from its proxy: whatever is left of it is a fault.

        `was_waited_for` says whether one that asked for more time has had it.
        """
        for context_id, context in list(self._contexts.items()):
            of_plugin = context.parent or context_id
            if plugin_id not in (None, of_plugin):
                continue
            del self._contexts[context_id]
            if context.asked_for_time and not was_waited_for:
                continue
            what = f"the context of a stream ({context_id})" if context.parent else "the plugin context"
            why = "on_done asked for more time, and proxy_done was never called" if context.asked_for_time else ""
            problem = f"{what} is left: {why or f'{self._last_callback} never came'}"
            self.faults.append(Fault(problem, plugin_id=of_plugin))
        for caller in {callout.plugin_id for callout in self._callouts.values()}:
            if plugin_id in (None, caller):
                self._give_up_callouts(caller)

    def restart(self) -> None:
        """Forget what lives: the VM has failed, and everything in it is gone."""
        self._contexts.clear()
        self._callouts.clear()
        self._frames.clear()

    # What crosses the boundary.

    def entered(self, callback: str, arguments: tuple[int, ...]) -> None:
        """See `Observer`."""
        context_id = arguments[0] if arguments else 0
        context = self._contexts.get(context_id)
        if callback == "on_context_create":
            self._contexts[context_id] = _Context(arguments[1])
        elif callback in _ENDS:
            if _ENDS[callback] in (arguments[1] & CALL_KIND_BITS, None):
                self._callouts.pop(arguments[1], None)
        elif context is not None:
            context.is_connection = context.is_connection or callback == "on_new_connection"
            context.is_ending = context.is_ending or callback in ("on_log", "on_done")
        self._frames.append(_Frame(callback, context_id, context_id))

    def left(self, callback: str, returned: int | None) -> None:
        """See `Observer`; `returned` is `None` too where a trap is known without its callback."""
        while self._frames and self._frames[-1].callback != callback:
            self._frames.pop()  # a trap ended it, and the hostcall within
        context_id = self._frames.pop().context_id if self._frames else 0
        context = self._contexts.get(context_id)
        if returned is None:
            self.restart()
        elif context is None:
            return
        elif callback in _DIRECTIONS:
            (context.paused.add if returned else context.paused.discard)(_DIRECTIONS[callback])
        elif callback == "on_done" and not returned and not context.parent:
            context.asked_for_time = True
        elif callback == self._last_callback:
            del self._contexts[context_id]
            if not context.parent:
                self._give_up_callouts(context_id)

    def called(self, hostcall: str, arguments: Arguments) -> None:
        """See `Observer`."""
        if self._frames:
            self._frames[-1].call = (hostcall, arguments)

    def answered(self, hostcall: str, status: int, results: Results) -> None:
        """See `Observer`."""
        frame = self._frames[-1] if self._frames else _Frame("", 0, 0)
        arguments = frame.call[1] if frame.call is not None and frame.call[0] == hostcall else ()
        frame.call = None
        known = Status(status) if status in _STATUSES else None
        if status != Status.OK and (known is None or hostcall not in LOOKUPS.get(known, ())):
            said = f"unknown status {status}" if known is None else known.name
            self._fault(frame, hostcall, f"{shown(hostcall, arguments)} returned {said}", known)
        if hostcall in _STARTS:
            self._start_callout(frame, hostcall, arguments, status, results)
        elif status == Status.OK and arguments:
            self._apply(frame, hostcall, arguments)

    def _apply(self, frame: _Frame, hostcall: str, arguments: Arguments) -> None:
        """What a hostcall that succeeded changes."""
        subject = arguments[0]
        context = self._contexts.get(frame.effective)
        if hostcall == "set_effective_context" and isinstance(subject, int):
            frame.effective = subject or frame.context_id
        elif hostcall == "grpc_cancel" or (hostcall == "grpc_close" and _is_unary(subject)):
            self._callouts.pop(subject if isinstance(subject, int) else 0, None)
        elif context is None or context.is_ending:
            return
        elif hostcall == "send_local_response":
            self._answer(frame, context, shown(hostcall, arguments))
        elif hostcall == "continue_stream" and isinstance(subject, int):
            self._continue(frame, context, StreamType(subject), shown(hostcall, arguments))

    def _answer(self, frame: _Frame, context: _Context, call: str) -> None:
        if not context.parent:
            self._fault(frame, "send_local_response", f"{call} without a stream to answer")
        elif context.is_answered:
            self._fault(frame, "send_local_response", f"{call} for a stream that was answered before")
        context.is_answered = True

    def _continue(self, frame: _Frame, context: _Context, half: StreamType, call: str) -> None:
        if not context.parent:
            self._fault(frame, "continue_stream", f"{call} without a stream to continue")
        elif context.is_answered:
            self._fault(frame, "continue_stream", f"{call} for a stream that was answered")
        elif half not in context.paused:
            self._fault(frame, "continue_stream", f"{call} for a stream that is not paused")
        context.paused.discard(half)

    def _start_callout(self, frame: _Frame, hostcall: str, arguments: Arguments, status: int, results: Results) -> None:
        """Know a callout by its id, which hosts give out one after the other (`call_ids`) where they do not tell it."""
        kind = _STARTS[hostcall]
        if status in (Status.OK, Status.INTERNAL_FAILURE):
            self._last_ids[kind] += _ID_STEP
        if isinstance(results, int):
            self._last_ids[kind] = results
        if status == Status.OK:
            has_timeout = kind != HTTP_CALL or not arguments or bool(arguments[-1])
            callout = _Callout(shown(hostcall, arguments), self._plugin_of(frame), has_timeout)
            self._callouts[self._last_ids[kind]] = callout

    def _give_up_callouts(self, plugin_id: int) -> None:
        for call_id, callout in list(self._callouts.items()):
            if callout.plugin_id == plugin_id:
                del self._callouts[call_id]
                if not callout.has_timeout:
                    problem = f"{callout.shown} was never answered, and has no timeout"
                    self.faults.append(Fault(problem, hostcall="http_call", plugin_id=plugin_id))

    def _fault(self, frame: _Frame, hostcall: str, problem: str, status: Status | None = None) -> None:
        self.faults.append(Fault(problem, frame.callback, hostcall, status, self._plugin_of(frame)))

    def _plugin_of(self, frame: _Frame) -> int:
        context = self._contexts.get(frame.context_id)
        return 0 if context is None else context.parent or frame.context_id


_STATUSES = frozenset(int(status) for status in Status)
_ID_STEP = 4


def _is_unary(call_id: object) -> bool:
    return isinstance(call_id, int) and call_id & CALL_KIND_BITS == GRPC_CALL


def shown(hostcall: str, arguments: Arguments) -> str:
    """A hostcall with its arguments, for people."""
    names = [name for name, _ in HOSTCALLS[hostcall].parameters] if hostcall in HOSTCALLS else []
    texts = [f"{name}={_shown(name, value)}" for name, value in zip(names, arguments, strict=False)]
    return f"proxy_{hostcall}({', '.join(texts)})"


def _shown(name: str, value: int | bytes | Unseen) -> str:
    if isinstance(value, Unseen):
        return f"<{value.size} bytes>"
    if isinstance(value, int):
        kind = _ENUMS.get(name)
        return kind(value).name if kind is not None and value in list(kind) else str(value)
    if name in _PAIRS:
        with suppress(ValueError):
            value = b", ".join(b"%b: %b" % pair for pair in decode_pairs(value))
    text = repr(value[:_MAX_SHOWN])[1:]
    return f"{text}... ({len(value)} bytes)" if len(value) > _MAX_SHOWN else text
