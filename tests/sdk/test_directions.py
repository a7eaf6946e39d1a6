"""Callbacks that wait while their stream goes on arriving, in every order: all of it is seen once, in order, and nothing hangs.

A script says when pieces of a message arrive and when time passes, and what each callback does: wait or not, return
`Action.CONTINUE` or `Action.PAUSE`, change the body. A model knows what each callback has to see, and what has to come out.
"""

# What goes on for a stream is nobody else's business.
# pyright: reportPrivateUsage=false
# ruff: noqa: ANN401 - callbacks that are coroutines or not

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from random import Random
from typing import Any

import pytest

from proxy_wasm import Action, Body, Headers, HttpContext, PhaseError, PluginContext, sleep, timeout
from proxy_wasm.abi import LogLevel
from proxy_wasm.emulator import Emulator, HttpStream, native_guest
from proxy_wasm.emulator.half_stream import HalfStream

STEP = 0.01
"""Seconds: the unit of all waiting."""
RESCUE = 1.0
"""Seconds after which what is still paused is let go, again and again."""
ALL = bytes(range(256))
"""Every byte of a body is another one."""


@dataclass(frozen=True)
class Act:
    """What one callback does."""

    waits: tuple[int, ...] = ()
    """How many steps it sleeps, one sleep after the other; an `async` callback even if there is none, unless `plain`."""
    plain: bool = False
    pause: bool = False
    edit: str = ""
    """`append`, `prepend` or `replace`, if it changes the body."""
    continued_after: int = 0
    """After how many steps another task lets the stream go on, if it is paused then; 0 for never."""
    beside: int = 0
    """After how many steps a task of the stream looks at the body."""
    whole: bool = False
    """Whether it waits for the whole body; in headers only where they can wait alone."""
    fails: bool = False
    """Whether it raises an exception in the end."""


@dataclass(frozen=True)
class Piece:
    """Bytes of the body that arrive."""

    size: int


@dataclass
class Script:
    headers: Act
    bodies: Iterator[Act]
    trailers: Act


@dataclass
class Model:
    """What the callbacks have seen, and what must have gone on."""

    shown: int = 0
    """How many bytes of the body callbacks have seen."""
    kept: bytes = b""
    """What the last one saw and has paused."""
    out: bytes = b""
    at_work: bool = False
    edits: int = 0
    failed: bool = False
    errors: list[str] = field(default_factory=list[str])

    def enter(self, seen: bytes) -> None:
        """A body callback begins."""
        if self.at_work:
            self.errors.append("two callbacks of one direction at once")
        self.at_work = True
        new = seen[len(self.kept) :]
        if not seen.startswith(self.kept) or new != ALL[self.shown : self.shown + len(new)]:
            self.errors.append(f"saw {seen!r} after keeping {self.kept!r} and seeing {self.shown}")
        self.shown += len(new)

    def read(self, seen: bytes, whole: bytes) -> None:
        """A callback that saw the first part of a body has read all of it."""
        new = whole[len(seen) :]
        if not whole.startswith(seen) or new != ALL[self.shown : self.shown + len(new)]:
            self.errors.append(f"read {whole!r} after {seen!r}")
        self.shown += len(new)

    def leave(self, left: bytes, *, pause: bool) -> None:
        """It ends, and the body is as it leaves it."""
        self.at_work = False
        if pause:
            self.kept = left
        else:
            self.out += left
            self.kept = b""

    def let_go(self) -> None:
        """What was paused goes on."""
        self.out += self.kept
        self.kept = b""


class Scripted(PluginContext):
    script: Script
    model: Model
    is_response: bool
    fails_open: bool
    stream: "ScriptedStream"

    def on_configure(self) -> None:
        self.fail_open = self.fails_open
        self.every(RESCUE, self.rescue)

    def rescue(self) -> None:
        self.stream.let_go()

    def http_context(self) -> HttpContext[Any]:
        Scripted.stream = ScriptedStream(self)
        return self.stream


class ScriptedStream(HttpContext[Scripted]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Any:
        return None if self.plugin.is_response else self.act(self.plugin.script.headers, None)

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> Any:
        return self.act(self.plugin.script.headers, None) if self.plugin.is_response else None

    def on_request_body(self, body: Body, end_of_stream: bool) -> Any:
        return None if self.plugin.is_response else self.act(next(self.plugin.script.bodies), body)

    def on_response_body(self, body: Body, end_of_stream: bool) -> Any:
        return self.act(next(self.plugin.script.bodies), body) if self.plugin.is_response else None

    def on_request_trailers(self, trailers: Headers) -> Any:
        return None if self.plugin.is_response else self.act(self.plugin.script.trailers, None, trailers)

    def on_response_trailers(self, trailers: Headers) -> Any:
        return self.act(self.plugin.script.trailers, None, trailers) if self.plugin.is_response else None

    def act(self, act: Act, body: Body | None, trailers: Headers | None = None) -> Any:
        if act.continued_after:
            self.plugin.call_later(act.continued_after * STEP, self.let_go)
        if act.beside:
            self.create_task(self.look(act.beside))
        if act.plain:
            seen = self.begin(body)
            return self.end(act, body, seen, trailers)
        return self.wait(act, body, trailers)

    async def wait(self, act: Act, body: Body | None, trailers: Headers | None) -> Action | None:
        seen = self.begin(body)
        headers = body is None
        for steps in act.waits:
            await sleep(steps * STEP)
            if body is not None and (bytes(body), len(body)) != (seen, len(seen)):
                self.plugin.model.errors.append(f"{seen!r} became {bytes(body)!r} while its callback waited")
        if act.whole:
            body = self.response_body if self.plugin.is_response else self.request_body
            whole = await (self.read_response_body() if self.plugin.is_response else self.read_request_body())
            self.plugin.model.read(seen, whole)
            seen = whole
            if headers and not whole:
                body = None  # a message without a body gets none
        return self.end(act, body, seen, trailers)

    def begin(self, body: Body | None) -> bytes:
        model = self.plugin.model
        if body is None:
            if model.at_work:
                model.errors.append("headers or trailers during a body's callback")
            model.at_work = True
            return b""
        seen = bytes(body)
        model.enter(seen)
        return seen

    def end(self, act: Act, body: Body | None, seen: bytes, trailers: Headers | None) -> Action | None:
        model = self.plugin.model
        if act.fails:
            model.failed = True
            raise LookupError("as the script says")
        if body is not None:
            left = self.edit(body, seen, act.edit)
            if bytes(body) != left:
                model.errors.append(f"{left!r} was left, {bytes(body)!r} is there")
            model.leave(left, pause=act.pause)
        else:
            model.at_work = False
            if trailers is not None:
                trailers["x-seen"] = str(model.shown)
            if not act.pause:
                model.let_go()
        return Action.PAUSE if act.pause else None

    def edit(self, body: Body, seen: bytes, how: str) -> bytes:
        if not how:
            return seen
        model = self.plugin.model
        model.edits += 1
        mark = f"<{model.edits}>".encode()
        if how == "append":
            body.append(mark)
            return seen + mark
        if how == "prepend":
            body.prepend(mark)
            return mark + seen
        body.replace(mark + seen + mark)
        return mark + seen + mark

    async def look(self, steps: int) -> None:
        """Look at the body beside its callback: it is the one of the callback at work."""
        await sleep(steps * STEP)
        body = self.response_body if self.plugin.is_response else self.request_body
        if len(body) != len(bytes(body)):
            self.plugin.model.errors.append("the length of a body is not that of its bytes")

    def let_go(self) -> None:
        if self.gone:
            return
        try:
            if self.plugin.is_response:
                self.continue_response()
            else:
                self.continue_request()
        except PhaseError:
            return
        self.plugin.model.let_go()


class Run:
    """One message through the filter."""

    def __init__(self, case: "Case") -> None:
        self.is_response = case.is_response
        self.model = Scripted.model = Model()
        Scripted.script = Script(case.headers, chain(case.bodies, repeat(case.bodies[-1])), case.trailers)
        Scripted.is_response = case.is_response
        Scripted.fails_open = case.fails_open
        self.emulator = Emulator(native_guest({"": Scripted}))
        self.plugin = self.emulator.start_plugin(allow_on_headers_stop_iteration=case.headers_alone)
        self.stream: HttpStream = self.plugin.http_stream()
        self.sent = 0
        """How many bytes of the body have arrived."""

    @property
    def half(self) -> HalfStream:
        return self.stream.response if self.is_response else self.stream.request

    def send_headers(self, *, end_of_stream: bool) -> None:
        request = [(":method", "POST"), (":path", "/"), (":authority", "test")]
        if self.is_response:
            self.stream.request_headers(request, end_of_stream=True)
            self.stream.response_headers([(":status", "200")], end_of_stream=end_of_stream)
        else:
            self.stream.request_headers(request, end_of_stream=end_of_stream)

    def send_body(self, data: bytes, *, end_of_stream: bool) -> None:
        (self.stream.response_body if self.is_response else self.stream.request_body)(data, end_of_stream)

    def send_trailers(self) -> None:
        (self.stream.response_trailers if self.is_response else self.stream.request_trailers)([("x-t", "1")])

    def errors(self) -> list[str]:
        return [record.message for record in self.emulator.log if record.level is LogLevel.ERROR]

    def let_go(self) -> None:
        """Let the stream go on until nothing of it is held."""
        self.emulator.clock.advance(20 * RESCUE)


@dataclass(frozen=True)
class Case:
    """A script, and when what arrives."""

    headers: Act
    bodies: tuple[Act, ...]
    trailers: Act
    events: tuple[Piece | None, ...]
    """`None` is time that passes."""
    has_trailers: bool = False
    is_response: bool = False
    headers_alone: bool = False
    fails_open: bool = False


def random_act(random: Random) -> Act:
    kind = random.randrange(4)
    return Act(
        waits=() if kind == 0 else tuple(random.choices(range(4), k=random.randint(0, 2))),
        plain=kind == 0 or (kind == 1 and random.random() < 0.5),
        pause=kind == 1 or random.random() < 0.15,
        edit=random.choice(["", "", "append", "prepend", "replace"]),
        continued_after=random.choice([0, 1, 2, 3]),
        beside=random.choice([0, 0, 0, 1, 3]),
        whole=kind == 2 and random.random() < 0.4,
    )


def random_case(random: Random) -> Case:
    events = [Piece(random.randrange(4)) if random.random() < 0.5 else None for _ in range(random.randint(0, 14))]
    has_trailers, is_response, headers_alone = (random.random() < 0.3 for _ in range(3))
    headers = random_act(random) if random.random() < 0.5 else Act(plain=True)
    if not headers_alone:
        headers = replace(headers, whole=False)
    return Case(
        headers,
        tuple(random_act(random) for _ in range(random.randint(1, 6))),
        replace(random_act(random), whole=False),
        tuple(events),
        has_trailers,
        is_response,
        headers_alone,
    )


def run(case: Case) -> Run:
    """Let a message arrive, and wait until nothing is paused any more."""
    started = Run(case)
    left = sum(event is not None for event in case.events)
    started.send_headers(end_of_stream=not left and not case.has_trailers)
    for event in case.events:
        if event is None:
            started.emulator.clock.advance(STEP)
            continue
        left -= 1
        started.send_body(ALL[started.sent :][: event.size], end_of_stream=not left and not case.has_trailers)
        started.sent += event.size
    if case.has_trailers:
        started.send_trailers()
    started.emulator.clock.advance(20 * RESCUE)
    return started


def check(case: Case) -> None:
    ran = run(case)
    sent = ran.half.sent
    assert ran.errors() == [], case
    assert ran.model.errors == [], case
    assert sent.ended, f"it hangs: {case}"
    assert ran.model.shown == ran.sent, case
    assert sent.body == ran.model.out, case
    if case.has_trailers:
        assert sent.trailers is not None, case
        assert sent.trailers["x-seen"] == str(ran.sent), case


def check_failing(case: Case) -> None:
    """Of a callback that fails."""
    ran = run(case)
    assert ran.model.errors == [], case
    assert len(ran.errors()) == ran.model.failed, case
    if not ran.model.failed or case.fails_open:
        assert ran.half.sent.ended, f"it hangs: {case}"
        assert re.sub(rb"<\d+>", b"", ran.half.sent.body) == ALL[: ran.sent], case
    else:
        assert ran.stream.closed, f"it hangs: {case}"
        assert ran.stream.reset or ran.stream.response_code == 500, case
        if not ran.is_response:
            assert not ran.half.sent.ended, case
            assert ran.model.out.startswith(ran.half.sent.body), case
    assert not Scripted.stream._tasks, case


def check_leaving(case: Case, after: int) -> None:
    """Of a client that leaves after so many events."""
    shorter = replace(case, events=(*case.events[:after], Piece(1)), has_trailers=True)
    ran = Run(shorter)
    ran.send_headers(end_of_stream=False)
    for event in shorter.events:
        if event is None:
            ran.emulator.clock.advance(STEP)
        else:
            ran.send_body(ALL[ran.sent :][: event.size], end_of_stream=False)
            ran.sent += event.size
    ran.stream.close()
    seen = ran.model.shown
    ran.emulator.clock.advance(20 * RESCUE)
    assert ran.errors() == [], case
    assert ran.model.errors == [], case
    assert (Scripted.stream.gone, ran.model.shown) == (True, seen), case
    assert not Scripted.stream._tasks, case


HUNDREDS = pytest.mark.parametrize("hundred", range(8))


@HUNDREDS
def test_every_byte_is_seen_once_in_order_and_nothing_hangs(hundred: int) -> None:
    for seed in range(hundred * 100, hundred * 100 + 100):
        check(random_case(Random(seed)))


@HUNDREDS
@pytest.mark.parametrize("fails_open", [False, True])
def test_a_callback_that_fails_ends_its_stream_or_lets_all_of_it_pass(hundred: int, fails_open: bool) -> None:
    for seed in range(hundred * 100, hundred * 100 + 100):
        random = Random(seed)
        case = random_case(random)
        bodies = list(case.bodies)
        where = random.randrange(-2, len(bodies))
        if where == -2:
            case = replace(case, headers=replace(case.headers, fails=True))
        elif where == -1:
            case = replace(case, trailers=replace(case.trailers, fails=True))
        else:
            bodies[where] = replace(bodies[where], fails=True)
        check_failing(replace(case, bodies=tuple(bodies), fails_open=fails_open))


@HUNDREDS
def test_nothing_goes_on_for_a_stream_whose_client_has_left(hundred: int) -> None:
    for seed in range(hundred * 100, hundred * 100 + 100):
        random = Random(seed)
        case = random_case(random)
        check_leaving(case, random.randint(0, len(case.events)))


def test_what_was_let_go_by_another_task_hides_nothing_that_follows() -> None:
    waiting = Act(waits=(1,))
    paused = Act(plain=True, pause=True, continued_after=1)
    events = (Piece(2), Piece(2), None, None, None, Piece(2), None, Piece(3))
    check(Case(Act(plain=True), (waiting, paused, waiting), Act(plain=True), events))


class Impatient(PluginContext):
    """Gives up waiting for a body, and waits for it again."""

    def http_context(self) -> HttpContext[Any]:
        return ImpatientStream(self)


class ImpatientStream(HttpContext[Impatient]):
    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        waiting = self.read_request_body()
        try:
            self.read_request_body()
        except PhaseError as error:
            headers["x-twice"] = str(error)
        try:
            async with timeout(STEP):
                await waiting
        except TimeoutError as error:
            headers["x-first"] = str(error)
        headers["x-body"] = (await self.read_request_body()).decode()


def test_a_body_is_waited_for_again_after_giving_up() -> None:
    emulator = Emulator(native_guest({"": Impatient}))
    stream = emulator.start_plugin(allow_on_headers_stop_iteration=True).http_stream()
    stream.request_headers([(":method", "POST"), (":path", "/")])
    stream.request_body(b"one,")
    emulator.clock.advance(2 * STEP)
    stream.request_body(b"two", end_of_stream=True)
    headers = stream.request.sent.headers
    assert headers is not None
    assert headers["x-twice"] == "read_request_body: the body is waited for already"
    assert (headers["x-first"], headers["x-body"]) == ("not done within 0.01 s", "one,two")
    assert stream.request.sent.body == b"one,two"


class Peeking(PluginContext):
    """Looks at the beginning of a body while its headers wait."""

    def http_context(self) -> HttpContext[Any]:
        return PeekingStream(self)


class PeekingStream(HttpContext[Peeking]):
    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        headers["x-start"] = await self.peek_request_body(5)


class PeekingAndSeeing(Peeking):
    """Has its body callback called with all that it has looked at."""

    def http_context(self) -> HttpContext[Any]:
        return PeekingAndSeeingStream(self)


class PeekingAndSeeingStream(PeekingStream):
    def on_request_body(self, body: Body, end_of_stream: bool) -> Action | None:
        if not end_of_stream:
            return Action.PAUSE
        body.replace(bytes(body).upper())
        return None


@pytest.mark.parametrize("pieces", [("one", "two", "three"), ("onetwothree",), ("onetw", "othree"), ("o", "n")])
@pytest.mark.parametrize("plugin", [Peeking, PeekingAndSeeing])
def test_the_beginning_of_a_body_can_be_looked_at_and_all_of_it_follows(
    plugin: type[PluginContext], pieces: tuple[str, ...]
) -> None:
    emulator = Emulator(native_guest({"": plugin}))
    stream = emulator.start_plugin(allow_on_headers_stop_iteration=True).http_stream()
    stream.request_headers([(":method", "POST"), (":path", "/")])
    for piece in pieces:
        stream.request_body(piece.encode())
    stream.request_body(b"", end_of_stream=True)
    whole = "".join(pieces)
    headers = stream.request.sent.headers
    assert headers is not None
    assert headers["x-start"] == whole[:5]
    assert stream.request.sent.body.decode() == (whole if plugin is Peeking else whole.upper())


def test_a_request_without_a_body_has_an_empty_beginning() -> None:
    stream = Emulator(native_guest({"": Peeking})).start_plugin().http_stream()
    stream.request_headers([(":method", "GET"), (":path", "/")], end_of_stream=True)
    headers = stream.request.sent.headers
    assert headers is not None
    assert headers["x-start"] == ""
