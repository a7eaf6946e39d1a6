"""The two directions of an HTTP stream while an async callback is at work.

Theory of operation
-------------------

A callback that is `async` pauses its direction until the coroutine has ended, and what arrives meanwhile is held by the proxy: the callbacks of one
direction are called one after another. For the proxy that means:

- the callback returns PAUSE, so that the proxy keeps the body and adds what follows. When the coroutine ends, with `CONTINUE`, what it has
  seen is *released*: its author is done with it, and sees it no more. But the proxy's buffer is one; so as long as something follows that no
  callback has seen yet, the callback for that is called next, with a body that hides what was released (`before`), and only then does the stream go on.
- what arrives while a coroutine waits is hidden from it at the end of the body (`after`), so that replacing the body it knows does not
  lose what it does not know;
- a callback that returns PAUSE itself sees everything so far next time, as without coroutines;
- trailers are held likewise.

Mostly nothing arrives meanwhile. So as long as a callback for headers is all that there is of a direction, its task (`CallbackTask`) stands for it; the
`Direction` is made where something has to be noted in it (`HttpContext._direction`).

The stream goes on by what the callback at hand returns where that is a callback of the same direction, and by a hostcall everywhere else.

Envoy (1.40) loses a body in one case: its headers were paused, and when they go on a body callback holds the body, and the callback for the trailers,
in the same turn of the event loop, lets all of it go. So the trailers are held too then, and all of it goes on with the next tick.
"""

# This module and the classes that it works for are one machine.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

from collections.abc import Callable, Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from proxy_wasm.abi.enums import Action, StreamType
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.context import Context
from proxy_wasm.contexts import (
    ANSWERED,
    GONE,
    OVER,
    REQUEST_HELD,
    REQUEST_PAUSED,
    REQUEST_WAITED,
    RESET,
    RESPONSE_HEADERS_HELD,
    RESPONSE_HELD,
    RESPONSE_PAUSED,
    RESPONSE_WAITED,
    HttpContext,
)
from proxy_wasm.host import (
    REQUEST_BODY,
    REQUEST_HEADERS,
    REQUEST_TRAILERS,
    RESPONSE_BODY,
    RESPONSE_HEADERS,
    RESPONSE_TRAILERS,
    Host,
)
from proxy_wasm.tasks import DONE, CallbackTask, Future, is_coroutine
from proxy_wasm.whole_bodies import too_large

if TYPE_CHECKING:
    from proxy_wasm.body import Body
    from proxy_wasm.headers import Headers

Stream = HttpContext[Any]

CONTINUE, PAUSE = int(Action.CONTINUE), int(Action.PAUSE)
_LAST_ACTION = 4
"""The largest number that Envoy's filter statuses have."""
_PARTS = {
    REQUEST_BODY: ("on_request_body",),
    REQUEST_TRAILERS: ("on_request_body", "on_request_trailers"),
    RESPONSE_BODY: ("on_response_body",),
    RESPONSE_TRAILERS: ("on_response_body", "on_response_trailers"),
}
"""The callbacks that can let go of what was paused before."""
_OF_HEADERS = (REQUEST_HEADERS, RESPONSE_HEADERS)
_REQUEST = REQUEST_PAUSED | REQUEST_HELD
_RESPONSE = RESPONSE_PAUSED | RESPONSE_HELD
_HELD = (0, _REQUEST, _REQUEST, _REQUEST, _RESPONSE | RESPONSE_HEADERS_HELD, _RESPONSE, _RESPONSE)
"""By phase, the state of a stream whose callback waits."""


def action_number(action: object) -> int:
    """The action that a callback returned, as a number; `TypeError` where it is none."""
    if action is None:
        return CONTINUE
    if not isinstance(action, int) or isinstance(action, bool) or not 0 <= action <= _LAST_ACTION:
        msg = f"returned {type(action).__name__}, {action!r:.100}; a callback returns Action.CONTINUE, Action.PAUSE or None"
        raise TypeError(msg)
    return int(action)


def leaves_alone(stream: Stream, phase: int) -> bool:
    """Whether the stream's class says nothing to this part of a message: what was paused before it then stays so."""
    return phase in _PARTS and all(getattr(type(stream), name) is getattr(HttpContext, name) for name in _PARTS[phase])


def loses_body(state: int, stream_type: StreamType) -> bool:
    """Whether trailers must not let a paused body go at once; see the module."""
    lossy = (
        REQUEST_PAUSED | REQUEST_WAITED if stream_type is StreamType.HTTP_REQUEST else RESPONSE_PAUSED | RESPONSE_WAITED
    )
    return state & lossy == lossy


class Direction:
    """One direction of a stream, from the moment on at which one of its callbacks first had to wait."""

    __slots__ = (
        "answer",
        "arrived",
        "before",
        "body",
        "ended",
        "follows",
        "headers",
        "is_response",
        "limit",
        "peeks",
        "size",
        "stream",
        "task",
        "trailers",
        "unseen",
        "whole",
    )

    def __init__(self, stream: Stream, *, is_response: bool) -> None:
        host = stream._host
        self.stream = stream
        self.is_response = is_response
        self.body: Body = host.response_body if is_response else host.request_body
        self.headers: Headers = host.response_headers if is_response else host.request_headers
        self.answer = stream._state & ANSWERED != 0
        """Whether it is the stream's own local response, and not what that has put an end to."""
        self.task: CallbackTask | None = None
        """The coroutine of the callback at work."""
        self.size = 0
        """Bytes that the proxy held when a callback last looked."""
        self.unseen = 0
        """Bytes at the end that no callback has seen."""
        self.before = 0
        """Bytes at the front that were released, and are still held."""
        self.arrived = False
        """Whether a callback for the body is due."""
        self.ended = False
        """Whether `end_of_stream` has come."""
        self.trailers = False
        """Whether a callback for trailers is due."""
        self.whole: Future[bytes] | None = None
        """Waits for the whole body."""
        self.limit = 0
        self.peeks = False
        """Whether its first `limit` bytes are enough, and leave it for the next callback."""
        self.follows = False
        """Whether the headers wait for the body, and its length can still be told."""

    @property
    def at_work(self) -> bool:
        """Whether an async callback has not ended yet."""
        return self.task is not None

    @property
    def over(self) -> bool:
        """Whether nothing of it goes on any more."""
        state = self.stream._state
        return state & (RESET | GONE) != 0 or (state & ANSWERED != 0 and not self.answer)

    @property
    def stream_type(self) -> StreamType:
        return StreamType.HTTP_RESPONSE if self.is_response else StreamType.HTTP_REQUEST

    def wait_for_whole(self, whole: Future[bytes]) -> None:
        """Complete `whole` with the whole body, now or later."""
        self.whole = whole
        self.size = self.body._held()
        self.feed()

    def feed(self) -> None:
        """Complete the future of whoever waits for the whole body, if it is there, or too large."""
        whole = self.whole
        if whole is None or whole.done():
            return
        if self.peeks:
            held = self.size - self.before
            if held >= self.limit or self.ended or self.trailers:
                self.whole = None
                wanted = min(held, self.limit)
                whole.set_result(self.body._read(self.before, wanted) if wanted > 0 else b"")
            return
        if self.size - self.before > self.limit:
            self.whole = None
            whole.set_exception(too_large(self))
        elif self.ended or self.trailers:
            self.whole = None
            self.arrived = False
            self.unseen = self.body._after = 0
            whole.set_result(self.body_so_far())

    def body_so_far(self) -> bytes:
        """Everything that the proxy holds and that was not released."""
        return self.body._read(self.before, self.size - self.before) if self.size > self.before else b""


class Directions:
    """Carries on the callbacks that wait, for one VM.

    `fail(stream, phase, error, inside)` ends a stream, or lets it pass: then it returns CONTINUE.
    """

    def __init__(self, host: Host, fail: Callable[[Stream, int, BaseException, StreamType | None], int]) -> None:
        host.directions = self
        self._host = host
        self._fail = fail
        self._entered: Direction | None = None
        """The direction whose callback the proxy is in."""
        self.exports: Callable[[], Collection[str]] = tuple
        """Gives the names of the callbacks that the module exports."""
        self._checked: tuple[set[type], set[type]] = set(), set()
        """Classes of which it is known that they can hold the request's body back, and the response's."""
        self._entered_trailers = False
        """Whether that is the callback for its trailers."""
        self._released = False
        """Whether that callback is to let it go on."""

    # Callbacks

    def begin(self, stream: Stream, coroutine: Any, phase: int, *, ended: bool) -> int:  # noqa: ANN401 - as authors write them
        """What an async callback returns to the proxy; what it raises at once is raised."""
        if phase not in _OF_HEADERS:
            return self._begin_with(self._direction(stream, phase), coroutine, phase, ended=ended)
        is_response = phase == RESPONSE_HEADERS
        if type(stream) not in self._checked[is_response]:
            self._check_exports(stream, coroutine, phase)
        if stream._state & ANSWERED or (stream._directions is not None and stream._directions[is_response] is not None):
            return self._begin_with(self._direction(stream, phase), coroutine, phase, ended=ended)
        task = CallbackTask(stream, coroutine, phase, ended)
        if stream._tasks is None:
            stream._tasks = {task: None}
            self._host.ends_matter = True
        else:
            stream._keep(task)
        task.run()
        direction = task.direction
        if task._state:
            if direction is not None:
                direction.task = None
                self._forget(direction)
            return action_number(task.result())
        task.has_waited = True
        if direction is None:
            if not self._host.ready:
                stream._state |= _HELD[phase]
                return PAUSE
            direction = self.direction_behind(task)
        self._enter_callback(direction, phase)
        try:
            return self._pause(direction, phase)
        finally:
            self._entered = None

    def _begin_with(self, direction: Direction, coroutine: Any, phase: int, *, ended: bool) -> int:  # noqa: ANN401 - as above
        """`begin` where there may be more to the direction than this callback."""
        direction.ended = ended
        if phase not in _OF_HEADERS:
            direction.size = direction.body._held()
        self._enter_callback(direction, phase)
        try:
            action = self._carry_out(direction, phase, coroutine)
            if action is not None:
                self._forget(direction)
                return action
            return self._pause(direction, phase)
        finally:
            self._entered = None

    def _pause(self, direction: Direction, phase: int) -> int:
        """What a callback returns that waits, unless what else was woken ends it."""
        direction.stream._state |= _HELD[phase]
        self._suspend(direction, phase)
        self.run(direction.stream)
        return CONTINUE if self._released else PAUSE

    def arrived(self, stream: Stream, phase: int, size: int, *, ended: bool) -> int:
        """What the callback returns for a body of `size` bytes, or trailers, that came while the direction is held."""
        direction = self._direction(stream, phase)
        if phase in (REQUEST_TRAILERS, RESPONSE_TRAILERS):
            direction.trailers = True
        else:
            direction.unseen += max(size - direction.size, 0)
            direction.size = size
            direction.arrived = True
            direction.ended = direction.ended or ended
        self._enter_callback(direction, phase)
        try:
            direction.feed()
            if direction.task is None:
                self._guard(direction, phase, lambda: self._proceed(direction, PAUSE))
            self.run(stream)
            return CONTINUE if self._released else PAUSE
        finally:
            self._entered = None
            self._unwindow(direction)

    def _check_exports(self, stream: Stream, coroutine: Any, phase: int) -> None:  # noqa: ANN401 - as above
        """Raise `TypeError` where the body would pass a module that does not export the callback for it, and take the headers along."""
        part = "request" if phase == REQUEST_HEADERS else "response"
        if f"on_{part}_body" not in self.exports():
            coroutine.close()
            msg = (
                f"returned a coroutine, but is no `async def`: so the module was built without on_{part}_body, and the {part} could go on "
                f"with its body before the coroutine has ended; write `async def on_{part}_headers`"
            )
            raise TypeError(msg)
        self._checked[phase == RESPONSE_HEADERS].add(type(stream))

    def _enter_callback(self, direction: Direction, phase: int) -> None:
        self._entered, self._released = direction, False
        self._entered_trailers = phase in (REQUEST_TRAILERS, RESPONSE_TRAILERS)

    def _direction(self, stream: Stream, phase: int) -> Direction:
        is_response = phase >= RESPONSE_HEADERS
        return stream._direction(is_response=is_response) or self._made(stream, is_response=is_response)

    def _made(self, stream: Stream, *, is_response: bool) -> Direction:
        if stream._directions is None:
            stream._directions = [None, None]
        direction = stream._directions[is_response] = Direction(stream, is_response=is_response)
        return direction

    def direction_behind(self, task: CallbackTask) -> Direction:
        """The direction that a callback for headers pauses, now that there is more to it than its task."""
        direction = self._made(cast("Stream", task.context), is_response=task.phase >= RESPONSE_HEADERS)
        direction.task, task.direction = task, direction
        direction.ended = task.ended
        direction.answer = False
        return direction

    def _forget(self, direction: Direction) -> None:
        directions = direction.stream._directions
        if directions is not None and directions[direction.is_response] is direction:
            directions[direction.is_response] = None

    # The machine

    def _carry_out(self, direction: Direction, phase: int, result: object) -> int | None:
        """The action that a callback returned, `None` where its coroutine waits; what it raises is raised."""
        if not is_coroutine(result):
            return action_number(result)
        stream = direction.stream
        task = CallbackTask(stream, result, phase, direction.ended)
        stream._keep(task)
        direction.task, task.direction = task, direction
        task.run()
        if task._state:
            direction.task = None
            return action_number(task.result())
        task.has_waited = True
        return None

    def _suspend(self, direction: Direction, phase: int) -> None:
        """A callback waits, or has ended: note how much of the body is there to be known."""
        if direction.task is not None and phase in (REQUEST_BODY, RESPONSE_BODY):
            direction.size = direction.body._held()

    def ended(self, task: CallbackTask) -> None:
        """A callback that has waited is over."""
        stream: Any = task.context
        direction, state, phase = task.direction, stream._state, task.phase
        if direction is not None:
            direction.task = None
            direction.whole = None
            if not state & (OVER | GONE):
                self._guard(direction, phase, lambda: self._proceed(direction, action_number(task.result())))
            return
        if state & (OVER | GONE):
            return
        action = task._outcome
        if task._state != DONE or (action is not None and action is not Action.CONTINUE):
            try:
                action = action_number(task.result())
            except BaseException as error:  # noqa: BLE001 - what an author's callback raised
                self._fail(stream, phase, error, None)
                return
        if state & (ANSWERED | RESET):
            return
        if action:
            stream._state = state & ~(REQUEST_HELD if phase < RESPONSE_HEADERS else RESPONSE_HELD)
            return
        stream._state = state & ~_HELD[phase]
        try:  # noqa: SIM105 - what every callback passes that has waited
            self._host.hostcalls.continue_stream(0 if phase < RESPONSE_HEADERS else 1)
        except HostError:
            pass  # it may be gone

    def _guard(self, direction: Direction, phase: int, step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException as error:  # noqa: BLE001 - what an author's callback raised
            inside = direction.stream_type if self._entered is direction else None
            if self._fail(direction.stream, phase, error, inside) == CONTINUE:
                self._released = self._released or inside is not None

    def _proceed(self, direction: Direction, action: int) -> None:
        """A callback has ended with `action`: call the next one for what is held, or let the stream go on."""
        stream, host = direction.stream, self._host
        while not direction.over:
            if direction.arrived:
                phase = RESPONSE_BODY if direction.is_response else REQUEST_BODY
                direction.size = direction.body._held()
                if action == CONTINUE:
                    direction.before = max(direction.size - direction.unseen, 0)
                direction.arrived = False
                direction.unseen = 0
                direction.follows = False
            elif direction.trailers:
                phase = RESPONSE_TRAILERS if direction.is_response else REQUEST_TRAILERS
                direction.trailers = False
            else:
                self._rest(direction, action)
                return
            if leaves_alone(stream, phase):
                continue
            host.phase = phase
            self._window(direction)
            try:
                carried_out = self._carry_out(direction, phase, self._call(direction, phase))
            except BaseException as error:  # noqa: BLE001 - what an author's callback raised
                self._guard(direction, phase, lambda error=error: _raise(error))
                return
            if carried_out is None:
                self._suspend(direction, phase)
                return
            action = carried_out
            direction.size = direction.body._held()

    def _call(self, direction: Direction, phase: int) -> object:
        stream, host = direction.stream, self._host
        if phase == REQUEST_BODY:
            return stream.on_request_body(host.request_body, direction.ended)
        if phase == RESPONSE_BODY:
            return stream.on_response_body(host.response_body, direction.ended)
        if phase == REQUEST_TRAILERS:
            return stream.on_request_trailers(host.request_trailers)
        return stream.on_response_trailers(host.response_trailers)

    def _rest(self, direction: Direction, action: int) -> None:
        """Nothing is due: the stream goes on, or stays paused because its author said so."""
        stream = direction.stream
        if action == CONTINUE:
            self._forget(direction)
            inside = self._entered is direction
            if inside and self._entered_trailers and loses_body(stream._state, direction.stream_type):
                stream._state &= ~(RESPONSE_HELD if direction.is_response else REQUEST_HELD)
                self.let_go_soon(stream, direction.stream_type)
                return
            stream._state &= ~_HELD[RESPONSE_HEADERS if direction.is_response else REQUEST_HEADERS]
            if inside:
                self._released = True
            else:
                with suppress(HostError):  # it may be gone
                    stream._host.hostcalls.continue_stream(int(direction.stream_type))
        elif not direction.before:
            self._forget(direction)
            stream._state &= ~(RESPONSE_HELD if direction.is_response else REQUEST_HELD)

    def let_go_soon(self, stream: Stream, stream_type: StreamType) -> int:
        """Let a paused stream go on with the next tick, unless its author does so before; what the callback returns until then."""
        paused = _HELD[REQUEST_HEADERS if stream_type is StreamType.HTTP_REQUEST else RESPONSE_HEADERS]

        def is_paused() -> bool:
            state = stream._state
            if not state & paused or state & (ANSWERED | RESET | OVER | GONE):
                return False
            stream._state = state & ~paused
            return True

        return self.continue_soon(stream, stream_type, is_paused)

    def continue_soon(self, stream: Stream, stream_type: StreamType, is_paused: Callable[[], bool]) -> int:
        """As `let_go_soon`, as long as `is_paused` says so."""

        def go_on() -> None:
            if is_paused():
                with suppress(HostError):  # it may be gone
                    self._host.call_for(stream.context_id, self._host.hostcalls.continue_stream, int(stream_type))

        stream._timers().call_later(0, go_on)
        return PAUSE

    # Whatever was woken

    def run(self, only: Context | None = None) -> None:
        """Run what was woken; in a callback of a stream `only` what belongs to it, for it alone can be answered there."""
        host = self._host
        ready = host.ready
        others: list[Any] | None = None
        while ready:
            job = ready.popleft()
            context: Any = job.context
            if only is not None and context is not only:
                others = [] if others is None else others
                others.append(job)
            elif self._enter(context, job.phase):
                host.resumed = only is None
                try:
                    job.run()
                except BaseException as error:  # noqa: BLE001 - what an author's function raised
                    self._job_failed(context, job.phase, error)
                host.resumed = False
                if context._directions is not None:
                    self._leave(context)
            del job  # a failure's traceback holds this frame
        if others is not None:
            ready.extend(others)
            for context in {job.context._plugin_context for job in others}:
                context._timers().call_later(0, _nothing)

    def _job_failed(self, context: Any, phase: int, error: BaseException) -> None:  # noqa: ANN401 - of any kind
        if isinstance(context, HttpContext):
            stream = cast("Stream", context)
            entered = self._entered
            inside = entered.stream_type if entered is not None and entered.stream is stream else None
            if self._fail(stream, phase, error, inside) == CONTINUE:
                self._released = self._released or inside is not None
        else:
            context._report_unseen("callback", error)

    def _enter(self, context: Any, phase: int) -> bool:  # noqa: ANN401 - of any kind
        """Make `context` the one that hostcalls act on; false where it is gone."""
        host = self._host
        if (context._state & (OVER | GONE)) if isinstance(context, HttpContext) else context.gone:
            return False
        context_id = context.context_id
        if host.context_id != context_id:
            try:
                host.hostcalls.set_effective_context(context_id)
            except HostError:
                return False
            host.context_id = context_id
        host.phase = phase
        if context._directions is not None:
            for direction in context._directions:
                if direction is not None:
                    self._window(direction)
        return True

    def _leave(self, context: Stream) -> None:
        for direction in context._directions or ():
            if direction is not None and direction.size and not context.gone:
                direction.size = direction.body._held()
        host = self._host
        for body in (host.request_body, host.response_body):
            body._before = body._after = 0
            body._headers = None

    def _window(self, direction: Direction) -> None:
        body = direction.body
        body._before = direction.before
        body._after = direction.unseen
        body._headers = direction.headers if direction.follows else None

    def _unwindow(self, direction: Direction) -> None:
        body = direction.body
        body._before = body._after = 0
        body._headers = None


def _raise(error: BaseException) -> None:
    raise error


def _nothing() -> None: ...
