"""Coroutines that the host drives: futures, tasks, and what authors compose them with.

Theory of operation
-------------------

There is no event loop here, and no asyncio: the proxy is the loop. It calls into the module; whatever that call brings (a callout's answer, a
tick, a body's end) completes a `Future`, which wakes the tasks that wait for it; before the call returns, the dispatcher runs what was woken.

A `Task` belongs to a context, a stream's or the plugin's. Whenever it runs, that context is the one that hostcalls act on, whichever
callback the proxy called, so that headers, bodies and properties are those of its own stream. When the stream is over, its tasks are
cancelled at once: `Cancelled` is raised where they wait, their `finally` blocks run, and nothing that arrives later reaches them.
Cancelling a task cancels what it waits for, as far as that is its own context's: a task of the plugin that many streams wait for outlives each of them.

What wakes a task does not run it: it goes to the end of a queue (`Host.ready`). So nothing that an author calls runs another of his coroutines underneath.
"""

# Futures, tasks and what waits for them are one machine.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Generic, TypeGuard, TypeVar, cast, overload

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from proxy_wasm.context import Context
    from proxy_wasm.directions import Direction
    from proxy_wasm.timers import Timer

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")

_PENDING, DONE, _FAILED, _CANCELLED = range(4)

_current: "Task[Any] | None" = None
"""The task that runs. One interpreter runs one thing at a time, whatever number of VMs a test has in it."""


class Cancelled(BaseException):
    """Raised where a task waits, when it is cancelled or its stream is over. Clean up in `finally`, and let it pass."""


class Future(Generic[T]):
    """Something that will be there later, such as a callout's response: `await` it, once or more, or let it call back.

    Belongs to the context that it was made by, and never completes once that is gone.
    """

    __slots__ = ("_callbacks", "_outcome", "_phase", "_state", "_unseen", "_waiter", "context")

    context: "Context"
    """The context it was made for."""

    def __init__(self, context: "Context") -> None:
        self.context = context
        self._phase = context._host.phase
        self._state = _PENDING
        self._outcome: Any = None
        self._waiter: Task[Any] | None = None
        """The task that waits for it, where that was the first to be told."""
        self._callbacks: list[Callable[[Future[T]], object]] | None = None
        """Who else is to be told, in order."""
        self._unseen: _Unseen | None = None
        """The failure, or `_SEEN` where somebody takes care of it."""

    def __await__(self) -> Generator["Future[Any]", None, T]:
        if self._state == _PENDING:
            yield self
        if self._state == DONE:
            return self._outcome
        try:
            return self.result()
        finally:
            del self  # or a failure's traceback would hold what holds the failure

    def _name(self) -> str:
        return type(self).__name__

    def done(self) -> bool:
        """Whether there is a result, a failure, or a cancellation."""
        return self._state != _PENDING

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._state == _CANCELLED

    def result(self) -> T:
        """The result; raises the failure, `Cancelled`, or `RuntimeError` where it is not done yet."""
        if self._state == DONE:
            return self._outcome
        if self._state == _FAILED:
            self._see()
            try:
                raise self._outcome
            finally:
                del self  # as above
        if self._state == _CANCELLED:
            raise Cancelled
        msg = f"{self._name()}: not done yet; await it, or ask from a callback given to add_done_callback"
        raise RuntimeError(msg)

    def exception(self) -> BaseException | None:
        """The failure, if it is one; raises as `result` where it was cancelled or is not done yet."""
        if self._state == _FAILED:
            self._see()
            return self._outcome
        self.result()
        return None

    def add_done_callback(self, function: "Callable[[Future[T]], object]") -> None:
        """Call `function` with this future when it is done, at once where it is, on behalf of the context that it belongs to.

        The function may be `async`. An exception that leaves it is handled as one that leaves a callback of the context.
        Nothing is called once the context is gone.
        """

        def later(future: "Future[T]") -> None:
            self.context._host.ready.append(_DoneCallback(future, function))

        self._watch(later)

    def cancel(self) -> bool:
        """Wait no longer; whoever waits gets `Cancelled`. False where it was done before."""
        if self._state != _PENDING:
            return False
        self._settle(_CANCELLED, None)
        return True

    def set_result(self, result: T) -> None:
        """Complete it, unless it is done or was cancelled."""
        if self._state == _PENDING:
            self._settle(DONE, result)

    def set_exception(self, error: BaseException) -> None:
        """Fail it, unless it is done or was cancelled."""
        if self._state == _PENDING:
            self._settle_failed(error)

    def _settle_failed(self, error: BaseException) -> None:
        if self._unseen is not _SEEN:
            self._unseen = _Unseen(self.context, self._name(), error)
        self._settle(_FAILED, error)

    def _see(self) -> None:
        """Somebody takes care of the failure, now or when it comes."""
        if self._unseen is not None:
            self._unseen.error = None
        self._unseen = _SEEN

    def _settle(self, state: int, outcome: object) -> None:
        self._state = state
        self._outcome = outcome
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            waiter._wake(self)
        callbacks = self._callbacks
        if callbacks is not None:
            self._callbacks = None
            for callback in callbacks:
                callback(self)

    def _watch(self, callback: "Callable[[Future[T]], object]") -> None:
        """Call `callback` at the very moment; it must do no more than note it."""
        if self._state != _PENDING:
            callback(self)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def _unwatch(self, callback: "Callable[[Future[T]], object]") -> None:
        if self._callbacks and callback in self._callbacks:
            self._callbacks.remove(callback)


class _Unseen:
    """A failure that nobody has asked for yet; when its future goes, it is logged."""

    __slots__ = ("_context", "_name", "error")

    def __init__(self, context: "Context | None" = None, name: str = "", error: BaseException | None = None) -> None:
        self._context = context
        self._name = name
        self.error = error

    def __del__(self) -> None:
        if self.error is not None and self._context is not None:
            self._context._report_unseen(self._name, self.error)


_SEEN = _Unseen()


class _DoneCallback(Generic[T]):
    """A future's callback, to be run for the future's context."""

    __slots__ = ("_function", "_future", "context", "phase")

    def __init__(self, future: Future[T], function: Callable[[Future[T]], object]) -> None:
        self.context = future.context
        self.phase = future._phase
        self._future = future
        self._function = function

    def run(self) -> None:
        result = self._function(self._future)
        if is_coroutine(result):
            start(self.context, result, self.phase)


class Task(Future[T]):
    """A coroutine at work for a context; made by `create_task` and by every callback that is `async`."""

    __slots__ = ("_coroutine", "_queued", "_thrown", "_waits_for", "phase")

    def __init__(self, context: "Context", coroutine: Coroutine[Any, Any, T], phase: int) -> None:
        self.context = context
        self._phase = context._host.phase
        self._state = _PENDING
        self._outcome = None
        self._waiter = None
        self._callbacks = None
        self._unseen = None
        self.phase = phase
        self._coroutine = coroutine
        self._queued = False
        self._thrown: BaseException | None = None
        self._waits_for: Future[Any] | None = None

    def __repr__(self) -> str:
        return f"<task {self._name()}>"

    def _name(self) -> str:
        return getattr(self._coroutine, "__qualname__", type(self._coroutine).__name__)

    def cancel(self) -> bool:
        """Raise `Cancelled` where the coroutine waits, or at its next `await`. False where it was done before."""
        if self._state != _PENDING:
            return False
        if not self._stop_waiting(self._waits_for):
            self._thrown = Cancelled()
            if self is not _current:
                self._enqueue()
        return True

    def _stop_waiting(self, future: Future[Any] | None) -> bool:
        """Cancel what the task waits for, or only leave it where it is another context's; whether it was cancelled."""
        if future is None:
            return False
        if future.context is self.context:
            return future.cancel()
        if future._waiter is self:
            future._waiter = None
        else:
            future._unwatch(self._wake)
        return False

    def _enqueue(self) -> None:
        if not self._queued:
            self._queued = True
            self.context._host.ready.append(self)

    def _wake(self, future: Future[Any]) -> None:
        if self._waits_for is future and self._state == _PENDING:
            self._waits_for = None
            if not self._queued:
                self._queued = True
                self.context._host.ready.append(self)

    def _settle(self, state: int, outcome: object) -> None:
        context = self.context
        tasks = context._tasks
        if tasks:
            tasks.pop(self, None)
            if not tasks:
                context._tasks = None
        super()._settle(state, outcome)

    def run(self) -> None:
        """Go on until the coroutine waits for something, or ends."""
        global _current  # noqa: PLW0603 - what runs is a fact about the interpreter
        self._queued = False
        if self._state != _PENDING:
            return
        outer, _current = _current, self
        thrown = self._thrown
        self._waits_for = None
        try:
            if thrown is None:
                awaited = self._coroutine.send(None)
            else:
                self._thrown = None
                awaited = self._coroutine.throw(thrown)
        except StopIteration as stop:
            _current = outer
            self._settle(DONE, stop.value)
        except Cancelled:
            _current = outer
            self._settle(_CANCELLED, None)
        except BaseException as error:  # noqa: BLE001 - kept for whoever awaits the task
            _current = outer
            error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next  # without this frame
            self._settle_failed(error)
            del self  # as in `Future.result`
        else:
            _current = outer
            self._wait_for(awaited)

    def _wait_for(self, awaited: object) -> None:
        if isinstance(awaited, Future):
            future = cast("Future[Any]", awaited)
            if self._thrown is not None:
                self._stop_waiting(future)  # it was cancelled while it ran
                self._enqueue()
                return
            self._waits_for = future
            if future._waiter is None and future._callbacks is None and future._state == _PENDING:
                future._waiter = self
            else:
                future._watch(self._wake)
        else:
            what = f"{self._name()}: awaited {awaited!r:.100}"
            self._thrown = TypeError(
                f"{what}; only what proxy_wasm offers can be awaited in a proxy, asyncio is not there"
            )
            self._enqueue()

    def end(self) -> None:
        """Cancel the coroutine here and now, because its context is over."""
        if self._state != _PENDING:
            return
        waits_for, self._waits_for = self._waits_for, None
        self._thrown = Cancelled()
        self.run()
        self._stop_waiting(waits_for)
        if self._state == _FAILED and self._unseen is not _SEEN:
            self._see()
            self.context._report_unseen(self._name(), self._outcome)
        if self._state == _PENDING:  # its `finally` awaits something
            self._state = _CANCELLED
            self._stop_waiting(self._waits_for)
            try:
                self._coroutine.close()
            except BaseException as error:  # noqa: BLE001 - the author's cleaning up
                self.context._report_unseen(self._name(), error)


class CallbackTask(Task[Any]):
    """The coroutine of a callback of a stream, which pauses one direction of it (`proxy_wasm.directions`)."""

    __slots__ = ("direction", "ended", "has_waited")

    def __init__(self, stream: "Context", coroutine: Coroutine[Any, Any, Any], phase: int, ended: bool) -> None:
        self.context = stream
        self._phase = self.phase = phase
        self._state = _PENDING
        self._outcome = None
        self._waiter = self._callbacks = self._unseen = self._thrown = self._waits_for = self.direction = None
        self._coroutine = coroutine
        self._queued = self.has_waited = False
        self.ended = ended

    direction: "Direction | None"
    """The direction, where there is more to it than this task."""
    ended: bool
    """Whether what the callback was called for is the last part of its message."""
    has_waited: bool
    """Whether the direction is paused, and to be told when the coroutine ends."""

    def _settle(self, state: int, outcome: object) -> None:
        if not self.has_waited:
            super()._settle(state, outcome)
            return
        self._state = state
        self._outcome = outcome
        context = self.context
        tasks = context._tasks
        if tasks:
            tasks.pop(self, None)
            if not tasks:
                context._tasks = None
        context._host.directions.ended(self)


def start(context: "Context", coroutine: Coroutine[Any, Any, T], phase: int) -> Task[T]:
    """A task for `context`, queued to run; it is ended with its context."""
    task = Task(context, coroutine, phase)
    context._adopt(task)
    task._enqueue()
    return task


def is_coroutine(result: object) -> TypeGuard[Coroutine[Any, Any, Any]]:
    """Whether `result` is what an `async def` returns."""
    if type(result) is CoroutineType:
        return True
    return hasattr(result, "send") and hasattr(result, "throw") and hasattr(result, "close")


def _running(what: str) -> Task[Any]:
    if _current is None:
        msg = f"{what}: only inside an async callback, or a task made by create_task"
        raise RuntimeError(msg)
    return _current


async def sleep(seconds: float) -> None:
    """Wait that many seconds; the proxy's timers count in milliseconds."""
    context = _running("sleep").context
    waking: Future[None] = Future(context)
    timer = context._timers().call_later(seconds, lambda: waking.set_result(None))
    try:
        await waking
    finally:
        timer.cancel()


class timeout:  # noqa: N801 - reads as the function it is used as, like asyncio's
    """`async with timeout(seconds):` gives up on what is awaited inside once the time is over, and raises `TimeoutError`."""

    __slots__ = ("_expired", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._expired = False
        self._task: Task[Any] | None = None
        self._timer: Timer | None = None

    async def __aenter__(self) -> "Self":
        self._task = _running("timeout")
        self._timer = self._task.context._timers().call_later(self._seconds, self._expire)
        return self

    def _expire(self) -> None:
        if self._task is not None:
            self._expired = True
            self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: "TracebackType | None"
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._expired and kind is not None and issubclass(kind, Cancelled) and not self._task_is_over():
            msg = f"not done within {self._seconds:g} s"
            raise TimeoutError(msg) from None

    def _task_is_over(self) -> bool:
        return self._task is None or self._task.context.gone


@overload
async def gather(first: Awaitable[T1], /, *, return_exceptions: bool = False) -> tuple[T1]: ...
@overload
async def gather(
    first: Awaitable[T1], second: Awaitable[T2], /, *, return_exceptions: bool = False
) -> tuple[T1, T2]: ...
@overload
async def gather(
    first: Awaitable[T1], second: Awaitable[T2], third: Awaitable[T3], /, *, return_exceptions: bool = False
) -> tuple[T1, T2, T3]: ...
@overload
async def gather(*awaitables: Awaitable[T], return_exceptions: bool = False) -> tuple[T, ...]: ...
async def gather(*awaitables: Awaitable[Any], return_exceptions: bool = False) -> tuple[Any, ...]:
    """Wait for all of them at once, coroutines and callouts alike, and give their results in order.

    The first that fails fails all: the others are cancelled, and its exception is raised. With `return_exceptions` every one is waited
    for, and exceptions stand among the results.
    """
    task = _running("gather")
    futures = [
        each if isinstance(each, Future) else start(task.context, _coroutine(each), task.phase) for each in awaitables
    ]
    over: Future[None] = Future(task.context)
    remaining = len(futures)
    failed: list[Future[Any]] = []

    def note(future: Future[Any]) -> None:
        nonlocal remaining
        remaining -= 1
        if future._state != DONE and not return_exceptions:
            failed.append(future)
            over.set_result(None)
        if not remaining:
            over.set_result(None)

    for future in futures:
        future._watch(note)
    try:
        if futures:
            await over
    finally:
        for future in futures:
            future._unwatch(note)
            task._stop_waiting(future)
            future._see()
    if failed:
        failed[0].result()
    return tuple(future._outcome for future in futures)


async def _coroutine(awaitable: Awaitable[T]) -> T:
    return await awaitable
