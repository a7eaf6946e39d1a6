"""Coroutines on the host's callbacks: what awaits, what fails, what is cancelled."""

import gc
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from proxy_wasm import (
    Action,
    Cancelled,
    Future,
    GoneError,
    Headers,
    HttpContext,
    PluginContext,
    Task,
    gather,
    sleep,
    timeout,
)
from proxy_wasm.abi import LogLevel
from proxy_wasm.emulator import Emulator, HttpStream, native_guest

GET = [(":method", "GET"), (":path", "/"), (":authority", "test")]
Nothing = Coroutine[Any, Any, object]


class Working(PluginContext):
    """A plugin whose coroutine begins with its configuration, and notes what it comes to."""

    work: "PluginWork"
    noted: list[object]

    def on_configure(self) -> None:
        self.create_task(type(self).work(self))

    def note(self, what: object) -> None:
        self.noted.append(what)


PluginWork = Callable[[Working], Nothing]


class Runner:
    """A plugin at work."""

    def __init__(self, work: PluginWork) -> None:
        self.noted: list[object] = []
        plugin = type("Working", (Working,), {"work": staticmethod(work), "noted": self.noted})
        self.emulator = Emulator(native_guest({"": plugin}))
        self.emulator.start_plugin()

    def errors(self) -> list[str]:
        return [record.message for record in self.emulator.log if record.level is LogLevel.ERROR]


def noted(work: PluginWork, seconds: float = 1) -> list[object]:
    runner = Runner(work)
    runner.emulator.clock.advance(seconds)
    assert runner.errors() == []
    return runner.noted


def errors(work: PluginWork, seconds: float = 1) -> list[str]:
    runner = Runner(work)
    runner.emulator.clock.advance(seconds)
    return [error.rpartition("\n")[2] for error in runner.errors()]


def test_gather_gives_results_in_the_order_of_what_it_was_given() -> None:
    async def work(plugin: Working) -> None:
        async def slept(seconds: float) -> float:
            await sleep(seconds)
            return seconds

        plugin.note(await gather() == ())
        plugin.note(await gather(slept(0.3), plugin.create_task(slept(0.1)), slept(0)))

    assert noted(work) == [True, (0.3, 0.1, 0)]


def test_what_gather_has_no_use_for_any_more_is_cancelled() -> None:
    async def work(plugin: Working) -> None:
        async def never() -> None:
            try:
                await sleep(60)
            finally:
                plugin.note("cancelled")

        async def fail() -> None:
            await sleep(0.1)
            raise LookupError("first")

        try:
            await gather(never(), fail(), never())
        except LookupError as error:
            plugin.note(str(error))

    assert sorted(map(str, noted(work))) == ["cancelled", "cancelled", "first"]


def test_exceptions_stand_among_the_results_where_they_are_asked_for() -> None:
    async def work(plugin: Working) -> None:
        async def fail() -> None:
            raise LookupError("one")

        results = await gather(fail(), sleep(0.1), return_exceptions=True)
        plugin.note([type(result) for result in results])

    assert noted(work) == [[LookupError, type(None)]]


def test_the_inner_timeout_is_told_from_the_outer_one() -> None:
    async def work(plugin: Working) -> None:
        try:
            async with timeout(0.2):
                try:
                    async with timeout(0.1):
                        await sleep(60)
                except TimeoutError:
                    plugin.note("inner")
                await sleep(60)
        except TimeoutError:
            plugin.note("outer")

    assert noted(work) == ["inner", "outer"]


def test_an_outer_timeout_ends_inner_ones() -> None:
    async def work(plugin: Working) -> None:
        try:
            async with timeout(0.1), timeout(60):
                await sleep(60)
        except TimeoutError as error:
            plugin.note(str(error))

    assert noted(work) == ["not done within 0.1 s"]


def test_a_block_that_is_done_in_time_leaves_nothing_behind() -> None:
    async def work(plugin: Working) -> None:
        async with timeout(0.1):
            pass
        await sleep(0.5)
        plugin.note("undisturbed")

    assert noted(work) == ["undisturbed"]


def test_a_task_that_is_cancelled_raises_where_it_is_awaited() -> None:
    async def work(plugin: Working) -> None:
        task = plugin.create_task(sleep(60))
        await sleep(0.1)
        plugin.note(task.cancel())
        try:
            await task
        except Cancelled:
            plugin.note((task.done(), task.cancelled(), task.cancel()))

    assert noted(work) == [True, (True, True, False)]


def test_a_task_that_is_cancelled_before_it_began_never_begins() -> None:
    async def work(plugin: Working) -> None:
        async def begin() -> None:
            plugin.note("began")

        task = plugin.create_task(begin())
        task.cancel()
        await sleep(0.1)
        plugin.note(task.cancelled())

    assert noted(work) == [True]


def test_a_task_may_refuse_to_be_cancelled() -> None:
    async def work(plugin: Working) -> None:
        async def stubborn() -> str:
            try:
                await sleep(60)
            except Cancelled:
                await sleep(0.1)
            return "done anyway"

        task = plugin.create_task(stubborn())
        await sleep(0.1)
        task.cancel()
        plugin.note(await task)

    assert noted(work) == ["done anyway"]


def test_a_task_that_cancels_itself_ends_at_its_next_await() -> None:
    async def work(plugin: Working) -> None:
        tasks: list[Task[None]] = []

        async def itself() -> None:
            tasks[0].cancel()
            plugin.note("still here")
            await sleep(0.1)
            plugin.note("never")

        tasks.append(plugin.create_task(itself()))
        await sleep(0.5)
        plugin.note(tasks[0].cancelled())

    assert noted(work) == ["still here", True]


def test_one_future_serves_all_that_await_it() -> None:
    async def work(plugin: Working) -> None:
        future: Future[int] = Future(plugin)

        async def wait() -> int:
            return await future

        plugin.call_later(0.1, lambda: future.set_result(7))
        plugin.note(await gather(wait(), wait(), future))
        future.set_result(8)  # it is done
        plugin.note(await future)

    assert noted(work) == [(7, 7, 7), 7]


def test_a_future_that_is_not_done_has_no_result() -> None:
    async def work(plugin: Working) -> None:
        future: Future[int] = Future(plugin)
        for ask in (future.result, future.exception):
            try:
                ask()
            except RuntimeError as error:
                plugin.note(str(error))
        future.set_exception(LookupError("x"))
        plugin.note(repr(future.exception()))

    assert noted(work) == [
        "Future: not done yet; await it, or ask from a callback given to add_done_callback",
        "Future: not done yet; await it, or ask from a callback given to add_done_callback",
        "LookupError('x')",
    ]


@pytest.mark.parametrize("order", ["await, callback, await", "callback, await, await", "await, await, callback"])
def test_whoever_waits_for_a_future_goes_on_in_the_order_in_which_he_began(order: str) -> None:
    async def work(plugin: Working) -> None:
        future: Future[int] = Future(plugin)

        async def wait(number: int) -> None:
            plugin.note(f"{number}: await {await future}")

        for number, kind in enumerate(order.split(", ")):
            if kind == "await":
                plugin.create_task(wait(number))
                await sleep(0)  # it waits now
            else:
                future.add_done_callback(lambda done, number=number: plugin.note(f"{number}: callback {done.result()}"))
        future.set_result(7)

    assert noted(work) == [f"{number}: {kind} 7" for number, kind in enumerate(order.split(", "))]


def test_a_callback_is_called_whether_it_was_given_before_or_after() -> None:
    async def work(plugin: Working) -> None:
        future: Future[int] = Future(plugin)

        async def later(done: Future[int]) -> None:
            await sleep(0.1)
            plugin.note(("async", done.result()))

        future.add_done_callback(lambda done: plugin.note(("before", done.result())))
        future.add_done_callback(later)
        future.set_result(1)
        plugin.note("set")
        await sleep(0.01)
        future.add_done_callback(lambda done: plugin.note(("after", done.result())))

    assert noted(work) == ["set", ("before", 1), ("after", 1), ("async", 1)]


@pytest.mark.parametrize("waits", [False, True])
def test_a_failure_that_nobody_sees_is_logged_at_once_with_its_traceback(waits: bool) -> None:
    async def work(plugin: Working) -> None:
        async def fail() -> None:
            if waits:
                await sleep(0.1)
            raise LookupError("unseen")

        plugin.create_task(fail())
        await sleep(60)

    gc.disable()  # nothing may depend on when it runs
    try:
        runner = Runner(work)
        runner.emulator.clock.advance(0.2)
        (error,) = runner.errors()
    finally:
        gc.enable()
    assert error.startswith("exception in Working: ")
    assert "test_tasks.py" in error
    assert "proxy_wasm/tasks.py" not in error.replace("\\", "/"), "nobody is interested in our own frames"
    assert error.endswith("LookupError: unseen")


def test_a_failure_that_somebody_sees_is_not_logged() -> None:
    async def work(plugin: Working) -> None:
        async def fail() -> None:
            raise LookupError("seen")

        task = plugin.create_task(fail())
        try:
            await task
        except LookupError:
            plugin.note("seen")
        asked = plugin.create_task(fail())
        await sleep(0.1)
        plugin.note(repr(asked.exception()))

    assert noted(work) == ["seen", "LookupError('seen')"]


def test_a_failure_is_free_memory_as_soon_as_it_was_seen() -> None:
    async def work(plugin: Working) -> None:
        async def fail() -> None:
            await sleep(0.001)
            raise LookupError

        def tasks() -> int:
            # not isinstance: it asks a weak proxy for its class, and other tests' proxies may refer to nothing any more
            return sum(issubclass(type(kept), Task) for kept in gc.get_objects())

        before = tasks()  # other tests may have left some
        for _ in range(50):
            with suppress(LookupError):
                await plugin.create_task(fail())
        plugin.note(tasks() - before <= 2)

    gc.collect()
    gc.disable()
    try:
        assert noted(work) == [True]
    finally:
        gc.enable()


def test_an_exception_in_a_callback_of_a_future_is_logged() -> None:
    async def work(plugin: Working) -> None:
        future: Future[int] = Future(plugin)

        def fail(_: Future[int]) -> None:
            raise LookupError("in a callback")

        future.add_done_callback(fail)
        future.set_result(1)

    assert errors(work) == ["LookupError: in a callback"]


def test_only_coroutines_become_tasks() -> None:
    async def work(plugin: Working) -> None:
        plugin.create_task(sleep)  # pyright: ignore[reportArgumentType]

    assert errors(work) == [
        "TypeError: create_task takes a coroutine, what calling an `async def` returns; not function"
    ]


def test_waiting_needs_a_task() -> None:
    class Plain(PluginContext):
        def on_configure(self) -> None:
            coroutine = sleep(1)
            try:
                coroutine.send(None)
            except RuntimeError as error:
                raised.append(str(error))

    raised: list[str] = []
    Emulator(native_guest({"": Plain})).start_plugin()
    assert raised == ["sleep: only inside an async callback, or a task made by create_task"]


# Streams


class WorkingStream(HttpContext["StreamPlugin"]):
    """A stream that works on its request's headers."""

    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Any:  # noqa: ANN401 - as `work` has it
        return await self.plugin.work(self)

    def note(self, what: object) -> None:
        self.plugin.noted.append(what)


StreamWork = Callable[[WorkingStream], Nothing]


class StreamPlugin(PluginContext):
    work: StreamWork
    noted: list[object]
    streams: list[WorkingStream]

    def http_context(self) -> HttpContext[Any]:
        self.streams.append(WorkingStream(self))
        return self.streams[-1]


class StreamRunner:
    """One stream at work."""

    def __init__(self, work: StreamWork) -> None:
        self.noted: list[object] = []
        self.streams: list[WorkingStream] = []
        attributes = {"work": staticmethod(work), "noted": self.noted, "streams": self.streams}
        self.emulator = Emulator(native_guest({"": type("Working", (StreamPlugin,), attributes)}))
        self.plugin = self.emulator.start_plugin()
        self.stream: HttpStream = self.plugin.http_stream()
        self.stream.request_headers(GET, end_of_stream=True)

    def errors(self) -> list[str]:
        return [record.message for record in self.emulator.log if record.level is LogLevel.ERROR]


def test_a_stream_that_ends_leaves_what_others_wait_for_too() -> None:
    """The first that waits for a task of the plugin ends; the second, and the one that comes then, get its result."""
    shared: list[Future[int]] = []

    async def work(stream: WorkingStream) -> None:
        if not shared:
            shared.append(Future(stream.plugin))
            stream.plugin.call_later(0.1, lambda: shared[0].set_result(7))
        try:
            stream.note(await shared[0])
        except Cancelled:
            stream.note("cancelled")
            raise

    ran = StreamRunner(work)
    plugin = ran.plugin
    second, third = plugin.http_stream(), plugin.http_stream()
    second.request_headers(GET, end_of_stream=True)
    ran.stream.close()
    third.request_headers(GET, end_of_stream=True)
    ran.emulator.clock.advance(1)
    assert (ran.noted, ran.errors()) == (["cancelled", 7, 7], [])


def test_all_that_a_stream_is_at_ends_with_it_and_finally_blocks_run() -> None:
    async def work(stream: WorkingStream) -> None:
        async def beside() -> None:
            try:
                await sleep(60)
            finally:
                stream.note("beside")

        stream.create_task(beside())
        try:
            await gather(sleep(60), beside())
        finally:
            stream.note("callback")

    ran = StreamRunner(work)
    ran.emulator.clock.advance(0.1)
    ran.stream.close()
    assert sorted(map(str, ran.noted)) == ["beside", "beside", "callback"]
    ran.emulator.clock.advance(100)
    assert (ran.errors(), len(ran.noted)) == ([], 3)


def test_a_finally_block_that_waits_is_cut_off() -> None:
    async def work(stream: WorkingStream) -> None:
        try:
            await sleep(60)
        finally:
            stream.note("begins")
            await sleep(0)
            stream.note("never")

    ran = StreamRunner(work)
    ran.stream.close()
    ran.emulator.clock.advance(1)
    assert ran.noted == ["begins"]
    assert ran.errors() == []


def test_a_finally_block_that_fails_is_logged_at_once() -> None:
    async def work(stream: WorkingStream) -> None:
        stream.create_task(fail(stream))
        await sleep(60)

    async def fail(_: WorkingStream) -> None:
        try:
            await sleep(60)
        finally:
            raise LookupError("cleaning up")

    gc.disable()
    try:
        ran = StreamRunner(work)
        ran.stream.close()
        (error,) = ran.errors()
    finally:
        gc.enable()
    assert error.endswith("LookupError: cleaning up")


def test_no_task_begins_for_a_stream_that_is_gone() -> None:
    async def work(stream: WorkingStream) -> None:
        stream.note("worked")

    ran = StreamRunner(work)
    ran.stream.close()
    assert ran.noted == ["worked"]
    with pytest.raises(GoneError, match="the proxy has dropped it"):
        ran.streams[0].create_task(work(ran.streams[0]))
    assert ran.noted == ["worked"]


def test_a_callback_that_has_answered_ends_with_its_stream() -> None:
    async def work(stream: WorkingStream) -> Action:
        action = stream.send_local_response(403)
        await sleep(0.1)
        stream.note("never")
        return action

    ran = StreamRunner(work)
    assert ran.stream.response_code == 403
    ran.emulator.clock.advance(0.2)
    assert (ran.errors(), ran.noted) == ([], [])
