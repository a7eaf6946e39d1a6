"""A VM: one guest, its contexts, and every entry into it.

Theory of operation
-------------------
All calls into the guest go through `Vm.call`. It makes the context that the callback is for the current one, so that
hostcalls act on it; hostcalls that must not act while the guest runs (local responses, continuing a stream) are kept
(`after_call`) and done when it has returned. Nothing re-enters the guest meanwhile.

A guest that traps fails its VM for good: nothing enters it again, and streams find `failed` set. Its shared data, queues
and metrics live on, they are the host's.
"""

from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.emulator.call_ids import CallIds
from proxy_wasm.emulator.clock import Clock, Timer
from proxy_wasm.emulator.clusters import Cluster, Clusters
from proxy_wasm.emulator.context import Context
from proxy_wasm.emulator.foreign_functions import ForeignFunction, envoy_functions
from proxy_wasm.emulator.guest import GuestFactory, GuestFailed, GuestHost
from proxy_wasm.emulator.header_map import to_bytes
from proxy_wasm.emulator.hostcalls import VmHostcalls
from proxy_wasm.emulator.log import Log
from proxy_wasm.emulator.metrics import MetricIds
from proxy_wasm.emulator.observer import Observer
from proxy_wasm.emulator.shared_state import SharedState

_MILLISECOND = 1_000_000
_MOST_NESTED = 24
"""How deep callbacks may follow from one another; Envoy's stack, which ends the process, holds more."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a host gives to a VM."""

    log: Log
    clock: Clock
    shared: SharedState
    foreign_functions: Mapping[str, ForeignFunction]
    clusters: Clusters
    observers: Sequence[Observer] = ()
    capabilities: Container[str] | None = None


class Vm:
    """One VM and the guest inside."""

    def __init__(
        self,
        guest_factory: GuestFactory,
        surroundings: Surroundings,
        *,
        vm_id: str,
        configuration: bytes,
        environment: Mapping[str, str],
        thread: str = "",
    ) -> None:
        self.vm_id = vm_id
        self.thread = thread
        """Which thread of the proxy it belongs to."""
        self.configuration = configuration
        self.log = surroundings.log
        self.clock = surroundings.clock
        self.shared = surroundings.shared
        self.read_only_properties: set[tuple[int, bytes]] = set()
        """Names that plugins, by context id, have declared to be set only once."""
        self.foreign_functions = {**envoy_functions(self), **surroundings.foreign_functions}
        self._clusters = surroundings.clusters
        self.metrics = MetricIds(surroundings.shared.metrics)
        self.calls = CallIds()
        self.contexts: dict[int, Context] = {}
        self.failed = ""
        """How the guest trapped; empty while all is well."""
        self.crashed = False
        """Whether the guest did what crashes a real proxy."""
        self.stop_iteration = False
        """Whether the running callback sent a local response."""
        self._after_call: deque[Callable[[], None]] = deque()
        self._nested = 0
        self._vm_context = Context(self, 0)
        self._current: Context = self._vm_context
        self._effective: Context | None = None
        self._last_context_id = 0
        self._ticks: dict[int, Timer] = {}
        self._observers = surroundings.observers
        self._hostcalls = VmHostcalls(self)
        host = GuestHost(
            self._hostcalls,
            surroundings.clock,
            environment,
            write=self._hostcalls.log,
            report=self._report,
            fail=self._fail,
            as_vm=self._as_vm,
            observers=surroundings.observers,
            capabilities=surroundings.capabilities,
        )
        self.guest = guest_factory(host)
        self._enter(self._vm_context, "_initialize", self.guest.start)

    @property
    def context(self) -> Context:
        """The context that hostcalls act on."""
        return self._current if self._effective is None else self._effective

    def set_effective_context(self, context_id: int) -> bool:
        """Make another context the one that hostcalls act on, until the callback returns; false where there is none."""
        context = self.contexts.get(context_id, self._vm_context if context_id == 0 else None)
        if context is None:
            return False
        self._effective = None if context_id == 0 else context
        return True

    def cluster(self, name: str) -> Cluster | None:
        """The cluster of that name; `None` where the proxy has none."""
        return self._clusters.get(name)

    def new_context_id(self) -> int:
        """An id that this VM has not used yet."""
        self._last_context_id += 1
        return self._last_context_id

    def call(self, context: Context, callback: str, *arguments: int, absent: int = 0) -> int:
        """What the guest's callback returns; `absent` where it has no such callback, the VM has failed, or fails now."""
        returned, _ = self._call(context, callback, arguments, absent)
        return returned

    def call_filter(self, context: Context, callback: str, *arguments: int, absent: int = 0) -> int | None:
        """As `call`, but `None` where the callback sent a local response: its HTTP stream stops, whatever it returned."""
        returned, stopped = self._call(context, callback, arguments, absent)
        return None if stopped else returned

    def _call(self, context: Context, callback: str, arguments: tuple[int, ...], absent: int) -> tuple[int, bool]:
        """What the callback returns, and whether it sent a local response."""
        if self.failed or not self.guest.has(callback):
            return absent, False
        returned, stopped = absent, False

        def enter() -> None:
            nonlocal returned, stopped
            returned = (
                self._observed_call(callback, arguments) if self._observers else self.guest.call(callback, *arguments)
            )
            stopped = self.stop_iteration

        self._enter(context, f"proxy_{callback}", enter)
        return returned, stopped

    def _observed_call(self, callback: str, arguments: tuple[int, ...]) -> int:
        for observer in self._observers:
            observer.entered(callback, arguments)
        try:
            returned = self.guest.call(callback, *arguments)
        except BaseException:
            for observer in self._observers:
                observer.left(callback, None)
            raise
        for observer in self._observers:
            observer.left(callback, returned)
        return returned

    def after_call(self, action: Callable[[], None]) -> None:
        """Do `action` once the guest has returned."""
        self._after_call.append(action)

    def crash(self, hostcall: str, why: str = "the stream has ended") -> None:
        """The guest does what crashes a real proxy, such as answering an ended stream."""
        self.crashed = True
        self.failed = f"{hostcall}: {why}; a real Envoy crashes here"
        self._report(LogLevel.CRITICAL, self.failed)

    def _report(self, level: LogLevel, message: str) -> None:
        self.log.write(level, to_bytes(message), from_host=True, thread=self.thread)

    def _fail(self, function: str, how: str) -> None:
        self.failed = f"Function: {function} failed: {how}"
        self._report(LogLevel.ERROR, self.failed)

    def _as_vm(self, call: Callable[[], int]) -> int:
        outer = self._current, self._effective
        self._current, self._effective = self._vm_context, None
        try:
            return call()
        finally:
            self._current, self._effective = outer

    def set_tick_period(self, context: Context, milliseconds: int) -> None:
        """Tick every so often; never, if 0."""
        timer = self._ticks.pop(context.context_id, None)
        if timer is not None:
            timer.cancel()
        if milliseconds:
            self._schedule_tick(context, milliseconds)

    def _schedule_tick(self, context: Context, milliseconds: int) -> None:
        def tick() -> None:
            self._schedule_tick(context, milliseconds)
            self.call(context, "on_tick", context.context_id)
            self.shared.run_posted()

        self._ticks[context.context_id] = self.clock.call_later(milliseconds * _MILLISECOND, tick)

    def _enter(self, context: Context, function: str, run: Callable[[], None]) -> None:
        outer = self._current, self._effective, self.stop_iteration
        self._current, self._effective = context, None
        self.stop_iteration = False
        try:
            run()
        except GuestFailed as failure:
            self._fail(failure.function or function, str(failure))
            self._after_call.clear()
        finally:
            self._current, self._effective, self.stop_iteration = outer
        self._do_after_call(function)

    def _do_after_call(self, function: str) -> None:
        self._nested += 1
        try:
            if self._nested > _MOST_NESTED:
                self._after_call.clear()
                self.crash(function, "what follows from it calls it again, without end")
            while self._after_call:
                self._after_call.popleft()()
        finally:
            self._nested -= 1
