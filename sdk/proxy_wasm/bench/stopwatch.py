"""The time that a guest itself takes: the clock runs while the guest does, and stands while the host answers it.

Theory of operation
-------------------
A `Stopwatch` is put around a guest (`measured`), inside all that the emulator does. It starts when a callback enters the guest, stops when the
callback returns, and stands between the moment at which a hostcall has reached the host and the moment at which its answer is ready. So memory
that a guest allocates for a hostcall's results counts as the host's.

What remains in the measured time is the way over the boundary, in and out of wasmtime for each callback and each hostcall. It is as long as
those calls of the guest that matter most, so it is measured itself (`crossing`) and subtracted.

Streams are told apart by their ids, which grow: whatever comes up to the first callback of the next stream belongs to the last one, be it a
tick or a callout's answer. So one stream must be over before the next begins.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter_ns

from proxy_wasm.abi.signatures import CALLBACKS, HOSTCALLS
from proxy_wasm.emulator.guest import Guest, GuestFactory, GuestHost
from proxy_wasm.emulator.observer import Arguments, Observer, Results

OF_PLUGINS = frozenset(
    {"on_vm_start", "on_configure", "validate_configuration", "on_tick", "on_queue_ready", "on_foreign_function"}
)
"""Callbacks that a plugin's context gets and a stream's never does."""
_ENDS = frozenset({"on_done", "on_log", "on_delete"})
_RETURNING = frozenset(name for name, callback in CALLBACKS.items() if callback.returns)
_CORES = {name: len(hostcall.core.parameters) for name, hostcall in HOSTCALLS.items()}


@dataclass(frozen=True, slots=True)
class Crossing:
    """What the boundary costs, in nanoseconds."""

    callback: float
    """To enter the guest and to return."""
    callback_argument: float
    """Each number that a callback is given."""
    callback_result: float
    """What a callback returns, if anything."""
    hostcall: float
    """To reach the host and to return."""
    hostcall_argument: float
    """Each number that a hostcall is given."""

    def of(self, callback: str, arguments: int, hostcalls: int, hostcall_arguments: int) -> float:
        """What a callback costs with so many numbers, in which so many hostcalls are made with so many numbers in all."""
        entry = self.callback + arguments * self.callback_argument + (callback in _RETURNING) * self.callback_result
        return entry + hostcalls * self.hostcall + hostcall_arguments * self.hostcall_argument


FREE = Crossing(0.0, 0.0, 0.0, 0.0, 0.0)
"""Nothing is subtracted."""


def low(times: Iterable[float]) -> float:
    """The time that one of ten stays below: what it takes where nothing disturbs.

    The median would not do: what is subtracted, and what it is subtracted from, must be disturbed alike, and short and long callbacks are not.
    """
    ordered = sorted(times)
    return ordered[len(ordered) // 10]


@dataclass(frozen=True, slots=True)
class Call:
    """One callback."""

    name: str
    nanoseconds: float
    hostcalls: int


@dataclass(slots=True)
class Stream:
    """What belongs to one stream; to the plugin's start, where it comes before the first one."""

    memory_before: int
    """Bytes of the guest's memory when it began."""
    calls: list[Call] = field(default_factory=list[Call])

    @property
    def nanoseconds(self) -> float:
        """All its callbacks together."""
        return sum(call.nanoseconds for call in self.calls)

    @property
    def hostcalls(self) -> int:
        """How many hostcalls were made."""
        return sum(call.hostcalls for call in self.calls)


@dataclass(slots=True)
class Life:
    """What one guest did, from its start on."""

    start: Stream = field(default_factory=lambda: Stream(0))
    streams: list[Stream] = field(default_factory=list[Stream])
    memory_at_end: int = 0


class Stopwatch:
    """Measures the guests around which it is put, one after the other: `measured`."""

    def __init__(self) -> None:
        self.lives: list[Life] = []
        """One for each guest, in the order in which they were made."""
        self.crossing = FREE
        """What is subtracted from now on."""
        self._plugins: set[int] = set()
        self._highest = 0
        self._depth = 0
        self._begun = 0
        self._elapsed = 0
        self._hostcalls = 0
        self._arguments = 0

    def begin_life(self) -> None:
        """Another guest comes."""
        self.lives.append(Life())
        self._plugins.clear()
        self._highest = 0

    def run(self, guest: Guest, callback: str, arguments: Sequence[int]) -> int:
        """Call the guest, and keep how long it took; what it returns."""
        if self._depth:  # the host calls back from within a hostcall: the outer callback goes on meanwhile
            return guest.call(callback, *arguments)
        stream = self._stream(guest, callback, arguments)
        self._depth += 1
        self._elapsed = self._hostcalls = self._arguments = 0
        self._begun = perf_counter_ns()
        try:
            return guest.call(callback, *arguments)
        finally:
            took = self._elapsed + perf_counter_ns() - self._begun
            self._depth -= 1
            net = max(0.0, took - self.crossing.of(callback, len(arguments), self._hostcalls, self._arguments))
            stream.calls.append(Call(callback, net, self._hostcalls))
            self.lives[-1].memory_at_end = guest.memory_size()

    def stand(self, hostcall: str) -> None:
        """The host answers."""
        if self._depth:
            self._elapsed += perf_counter_ns() - self._begun
            self._hostcalls += 1
            self._arguments += _CORES.get(hostcall, 0)

    def go_on(self) -> None:
        """The guest goes on."""
        self._begun = perf_counter_ns()

    def _stream(self, guest: Guest, callback: str, arguments: Sequence[int]) -> Stream:
        """What the callback belongs to."""
        life = self.lives[-1]
        context_id = arguments[0] if arguments else 0
        if context_id > self._highest:
            self._highest = context_id
            if not life.streams and not life.start.calls:
                life.start.memory_before = guest.memory_size()
            if callback in OF_PLUGINS or (callback == "on_context_create" and not arguments[1]):
                self._plugins.add(context_id)
            else:
                life.streams.append(Stream(guest.memory_size()))
        if context_id in self._plugins and callback in _ENDS:
            return Stream(0)  # the plugin's own end is no stream's
        return life.streams[-1] if life.streams else life.start


class _Edge(Observer):
    """One of two observers, around all others."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch

    def entered(self, callback: str, arguments: tuple[int, ...]) -> None: ...

    def left(self, callback: str, returned: int | None) -> None: ...

    def called(self, hostcall: str, arguments: Arguments) -> None: ...

    def answered(self, hostcall: str, status: int, results: Results) -> None: ...


class _First(_Edge):
    """Hears first that a hostcall has reached the host."""

    def called(self, hostcall: str, arguments: Arguments) -> None:  # noqa: ARG002 - an observer's
        self._stopwatch.stand(hostcall)


class _Last(_Edge):
    """Hears last of an answer: nothing but the way back is left to do."""

    def answered(self, hostcall: str, status: int, results: Results) -> None:  # noqa: ARG002 - an observer's
        self._stopwatch.go_on()


class MeasuredGuest(Guest):
    """A guest with a stopwatch around it."""

    def __init__(self, make: Callable[[], Guest], stopwatch: Stopwatch) -> None:
        stopwatch.begin_life()
        self._guest = make()
        self._stopwatch = stopwatch

    def start(self) -> None:
        self._guest.start()

    def has(self, callback: str) -> bool:
        return self._guest.has(callback)

    def call(self, callback: str, *arguments: int) -> int:
        return self._stopwatch.run(self._guest, callback, arguments)

    def memory_size(self) -> int:
        return self._guest.memory_size()


def measured(factory: GuestFactory, stopwatch: Stopwatch) -> GuestFactory:
    """The same guests, measured by `stopwatch`."""

    def make(host: GuestHost) -> Guest:
        observers = (_First(stopwatch), *host.observers, _Last(stopwatch))
        return MeasuredGuest(lambda: factory(replace(host, observers=observers)), stopwatch)

    return make
