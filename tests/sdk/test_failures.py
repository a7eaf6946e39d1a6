"""What an exception in an author's code does to its stream, and to nothing else."""

import traceback
from bdb import BdbQuit
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import pytest

from proxy_wasm import Action, Body, Headers, HttpContext, LogLevel, PluginContext
from proxy_wasm.abi import StreamType

if TYPE_CHECKING:
    from conftest import MakeProxy, Proxy, StartProxy, Stream

CALLBACKS = (
    "request_headers",
    "request_body",
    "request_trailers",
    "response_headers",
    "response_body",
    "response_trailers",
)


class Failing(PluginContext):
    """Fails where it is told to, and counts the callbacks that reach its streams."""

    fail_in = ""
    error: type[BaseException] = LookupError
    count = 0

    def http_context(self) -> "FailingStream":
        return FailingStream(self)


class FailingStream(HttpContext[Failing]):
    held = False

    def step(self, callback: str) -> Action | None:
        self.plugin.count += 1
        if callback == self.plugin.fail_in:
            raise self.plugin.error("boom")
        return Action.PAUSE if self.held else None

    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        return self.step("request_headers")

    def on_request_body(self, body: Body, end_of_stream: bool) -> Action | None:
        return self.step("request_body")

    def on_request_trailers(self, trailers: Headers) -> Action | None:
        return self.step("request_trailers")

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        return self.step("response_headers")

    def on_response_body(self, body: Body, end_of_stream: bool) -> Action | None:
        return self.step("response_body")

    def on_response_trailers(self, trailers: Headers) -> Action | None:
        return self.step("response_trailers")

    def on_log(self) -> None:
        self.step("log")

    def on_done(self) -> None:
        self.step("done")


def failing(start: "StartProxy", fail_in: str, **attributes: object) -> "Proxy":
    return start(type("Plugin", (Failing,), {"fail_in": fail_in, **attributes}))


def steps(stream: "Stream", *callbacks: str) -> list[int]:
    return [getattr(stream, callback)() for callback in callbacks]


@pytest.mark.parametrize("callback", CALLBACKS[:4])
def test_a_failing_callback_is_answered_with_500_as_long_as_nothing_was_sent(
    start: "StartProxy", callback: str
) -> None:
    proxy = failing(start, callback)
    stream = proxy.stream()
    before = CALLBACKS[: CALLBACKS.index(callback)]
    assert steps(stream, *before) == [Action.CONTINUE] * len(before)
    assert steps(stream, callback) == [Action.PAUSE]
    response = stream.local_response
    assert (response.status, response.details, response.body) == (500, "python_exception", b"")
    (message,) = proxy.host.messages(LogLevel.ERROR)
    assert message.startswith(f"exception in FailingStream.on_{callback}\nTraceback (most recent call last):\n")
    assert message.endswith("LookupError: boom")
    assert "dispatcher.py" not in message


@pytest.mark.parametrize("callback", CALLBACKS[4:])
def test_a_response_on_its_way_to_the_client_is_cut_off(start: "StartProxy", callback: str) -> None:
    stream = failing(start, callback).stream()
    assert steps(stream, "request_headers", "response_headers", callback) == [0, 0, Action.PAUSE]
    assert stream.side.closed == [StreamType.HTTP_RESPONSE]
    assert not stream.side.local_responses
    assert steps(stream, *CALLBACKS) == [Action.PAUSE] * 6


def test_a_response_whose_headers_are_held_can_still_be_answered(start: "StartProxy") -> None:
    stream = failing(start, "response_body").stream()
    FailingStream.held = True
    try:
        assert steps(stream, "response_headers", "response_body") == [Action.PAUSE, Action.PAUSE]
    finally:
        FailingStream.held = False
    assert stream.local_response.status == 500
    assert not stream.side.closed


def test_a_failed_stream_hears_no_more_and_lets_nothing_but_its_answer_pass(start: "StartProxy") -> None:
    proxy = failing(start, "request_headers")
    stream = proxy.stream()
    assert steps(stream, *CALLBACKS) == [1, 1, 1, 0, 0, 0]
    stream.log()
    stream.end()
    assert cast("Failing", proxy.plugin_context()).count == 1
    assert len(stream.side.local_responses) == len(proxy.host.messages(LogLevel.ERROR)) == 1


def test_other_streams_go_on(start: "StartProxy") -> None:
    class Choosy(HttpContext[PluginContext]):
        def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
            headers["x-new"] = headers["x-old"]

    class Plugin(PluginContext):
        def http_context(self) -> Choosy:
            return Choosy(self)

    proxy = start(Plugin)
    broken, fine = proxy.stream(), proxy.stream()
    assert broken.request_headers([]) == Action.PAUSE
    pairs = [(b"x-old", b"1")]
    assert fine.request_headers(pairs) == Action.CONTINUE
    assert pairs == [(b"x-old", b"1"), (b"x-new", b"1")]
    assert not fine.side.local_responses


@pytest.mark.parametrize("callback", CALLBACKS)
def test_a_plugin_that_fails_open_lets_the_stream_pass_unfiltered(start: "StartProxy", callback: str) -> None:
    proxy = failing(start, callback, fail_open=True)
    stream = proxy.stream()
    assert steps(stream, *CALLBACKS) == [Action.CONTINUE] * 6
    stream.log()
    stream.end()
    assert not stream.side.local_responses
    assert not stream.side.closed
    assert cast("Failing", proxy.plugin_context()).count == CALLBACKS.index(callback) + 1
    assert len(proxy.host.messages(LogLevel.ERROR)) == 1


@pytest.mark.parametrize(
    ("paused", "callback", "stream_type"),
    [
        ("request_headers", "response_headers", StreamType.HTTP_REQUEST),
        ("response_headers", "request_body", StreamType.HTTP_RESPONSE),
    ],
)
def test_failing_open_releases_the_half_that_was_paused(
    start: "StartProxy", paused: str, callback: str, stream_type: StreamType
) -> None:
    stream = failing(start, callback, fail_open=True).stream()
    FailingStream.held = True
    try:
        assert steps(stream, paused, callback) == [Action.PAUSE, Action.CONTINUE]
    finally:
        FailingStream.held = False
    assert stream.side.continued == [stream_type]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError, RecursionError])
def test_in_wasm_every_exception_is_caught(proxy_in_wasm: "MakeProxy", error: type[BaseException]) -> None:
    proxy = proxy_in_wasm({"": type("Plugin", (Failing,), {"fail_in": "request_headers", "error": error})})
    proxy.plugin()
    stream = proxy.stream()
    assert stream.request_headers() == Action.PAUSE
    assert stream.local_response.status == 500
    assert proxy.host.messages(LogLevel.ERROR)[0].endswith(f"{error.__name__}: boom")


@pytest.mark.parametrize("error", [KeyboardInterrupt, BdbQuit, pytest.fail.Exception, pytest.exit.Exception])
def test_in_a_native_test_only_what_is_meant_for_the_test_run_passes(
    start: "StartProxy", error: type[BaseException]
) -> None:
    assert failing(start, "request_headers", error=SystemExit).stream().request_headers() == Action.PAUSE
    with pytest.raises(error):
        failing(start, "request_headers", error=error).stream().request_headers()
    with pytest.raises(error):
        failing(start, "log", error=error).stream().log()


@pytest.mark.parametrize("callback", ["log", "done"])
def test_a_failure_at_the_end_of_a_stream_is_logged_and_no_more(start: "StartProxy", callback: str) -> None:
    proxy = failing(start, callback)
    stream = proxy.stream()
    stream.request_headers()
    stream.log()
    stream.end()
    assert not stream.side.local_responses
    assert f"exception in FailingStream.on_{callback}" in proxy.host.messages(LogLevel.ERROR)[0]


@pytest.mark.parametrize("callback", ["request_headers", "response_headers"])
@pytest.mark.parametrize(("fail_open", "actions"), [(False, [1, 1]), (True, [0, 0])])
def test_a_stream_whose_object_cannot_be_made_fails_at_its_first_callback(
    start: "StartProxy", callback: str, fail_open: bool, actions: list[int]
) -> None:
    class Plugin(PluginContext):
        def http_context(self) -> HttpContext[Any]:
            raise LookupError("no context")

    Plugin.fail_open = fail_open
    proxy = start(Plugin)
    stream = proxy.stream()
    assert not stream.side.local_responses
    assert steps(stream, callback, "request_body") == actions
    assert len(stream.side.local_responses) == (0 if fail_open else 1)
    (message,) = proxy.host.messages(LogLevel.ERROR)
    assert message.startswith("exception in Plugin.http_context\n")


@pytest.mark.parametrize("callback", CALLBACKS[4:])
def test_a_stream_without_object_whose_response_is_under_way_is_cut_off(start: "StartProxy", callback: str) -> None:
    class Plugin(PluginContext):
        def http_context(self) -> HttpContext[Any]:
            raise LookupError("no context")

    stream = start(Plugin).stream()
    assert steps(stream, callback) == [Action.PAUSE]
    assert stream.side.closed == [StreamType.HTTP_RESPONSE]


def forgetful(plugin: PluginContext) -> HttpContext[Any]:
    class Forgetful(HttpContext[PluginContext]):
        def __init__(self, plugin: PluginContext) -> None:
            del plugin

    return Forgetful(plugin)


def nothing(_: PluginContext) -> None: ...


def a_class(_: PluginContext) -> object:
    return HttpContext


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (nothing, "TypeError: returned NoneType, None; a callback returns an HttpContext"),
        (a_class, "a callback returns an HttpContext"),
        (forgetful, r"Plugin.http_context(): Forgetful.__init__ must call super().__init__(plugin)"),
    ],
)
def test_a_wrong_stream_object_is_explained(
    start: "StartProxy", make: Callable[[PluginContext], HttpContext[Any]], message: str
) -> None:
    class Plugin(PluginContext):
        def http_context(self) -> HttpContext[Any]:
            return make(self)

    proxy = start(Plugin)
    stream = proxy.stream()
    assert stream.request_headers() == Action.PAUSE
    assert message in proxy.host.messages(LogLevel.ERROR)[0]


def test_one_object_for_two_streams_is_explained(start: "StartProxy") -> None:
    class Plugin(PluginContext):
        only: HttpContext[Any] | None = None

        def http_context(self) -> HttpContext[Any]:
            self.only = self.only or HttpContext(self)
            return self.only

    proxy = start(Plugin)
    first, second = proxy.stream(), proxy.stream()
    assert first.request_headers() == Action.CONTINUE
    assert second.request_headers() == Action.PAUSE
    assert "returned the object of stream 2 for stream 3; every stream needs its own" in proxy.host.logged[0][1]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (True, "TypeError: returned bool, True; a callback returns Action.CONTINUE, Action.PAUSE or None"),
        ("continue", "TypeError: returned str, 'continue'; a callback returns Action"),
        (5, "TypeError: returned int, 5; a callback returns Action"),
        (-1, "TypeError: returned int, -1; a callback returns Action"),
    ],
)
def test_what_is_no_action_fails_the_stream(start: "StartProxy", result: object, message: str) -> None:
    class Confused(HttpContext[PluginContext]):
        def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action:
            return cast("Action", result)

    class Plugin(PluginContext):
        def http_context(self) -> Confused:
            return Confused(self)

    proxy = start(Plugin)
    stream = proxy.stream()
    assert stream.request_headers() == Action.PAUSE
    assert stream.local_response.status == 500
    assert message in proxy.host.messages(LogLevel.ERROR)[0]


def test_a_callback_that_the_proxy_waits_for_cannot_be_async(
    start: "StartProxy", recwarn: pytest.WarningsRecorder
) -> None:
    async def on_log(_: object) -> None: ...

    stream_class = type("Stream", (HttpContext,), {"on_log": on_log})

    class Plugin(PluginContext):
        def http_context(self) -> HttpContext[Any]:
            return stream_class(self)

    proxy = start(Plugin)
    proxy.stream().log()
    (message,) = proxy.host.messages(LogLevel.ERROR)
    assert message.endswith(
        "TypeError: returned a coroutine: the proxy waits for this callback; write `def`, "
        "and hand work that takes longer to create_task"
    )
    assert not recwarn.list, "the coroutine was closed"


class Answering(FailingStream):
    """Answers in `on_request_headers` before it fails anywhere."""

    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        self.send_local_response(403)
        return self.step("request_headers")


class AnsweringPlugin(Failing):
    def http_context(self) -> Answering:
        return Answering(self)


@pytest.mark.parametrize("fail_open", [False, True])
def test_an_answer_given_before_the_failure_stands(start: "StartProxy", fail_open: bool) -> None:
    attributes = {"fail_in": "request_headers", "fail_open": fail_open}
    stream = start(type("Plugin", (AnsweringPlugin,), attributes)).stream()
    assert steps(stream, "request_headers", "response_headers") == [Action.PAUSE, Action.CONTINUE]
    assert stream.local_response.status == 403
    assert not stream.side.closed


def test_a_stream_that_fails_on_its_own_answer_is_closed(start: "StartProxy") -> None:
    stream = start(type("Plugin", (AnsweringPlugin,), {"fail_in": "response_headers"})).stream()
    assert steps(stream, "request_headers", "response_headers") == [Action.PAUSE, Action.PAUSE]
    assert stream.local_response.status == 403
    assert stream.side.closed == [StreamType.HTTP_RESPONSE]


def test_an_answer_passes_where_the_plugin_fails_open_on_it(start: "StartProxy") -> None:
    attributes = {"fail_in": "response_headers", "fail_open": True}
    stream = start(type("Plugin", (AnsweringPlugin,), attributes)).stream()
    assert steps(stream, "request_headers", "response_headers") == [Action.PAUSE, Action.CONTINUE]
    assert not stream.side.closed


def test_a_stream_is_closed_where_the_host_refuses_the_answer(start: "StartProxy") -> None:
    proxy = failing(start, "request_headers")
    proxy.host.refused = {"send_local_response"}
    stream = proxy.stream()
    assert stream.request_headers() == Action.PAUSE
    assert stream.side.closed == [StreamType.HTTP_REQUEST]


def test_a_stream_never_passes_even_where_the_host_refuses_everything(start: "StartProxy") -> None:
    proxy = failing(start, "request_headers")
    proxy.host.refused = {"send_local_response", "close_stream", "log"}
    stream = proxy.stream()
    assert steps(stream, "request_headers", "request_body") == [Action.PAUSE, Action.PAUSE]


def test_what_an_allocation_without_end_holds_is_freed_before_the_report(start: "StartProxy") -> None:
    freed: list[str] = []

    class Large:
        def __del__(self) -> None:
            freed.append("freed")

    class Greedy(HttpContext[PluginContext]):
        def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
            large = Large()
            raise MemoryError(id(large))

    class Plugin(PluginContext):
        def http_context(self) -> Greedy:
            return Greedy(self)

    proxy = start(Plugin)
    proxy.host.log = lambda level, message: freed.append(message.decode().splitlines()[0])
    proxy.stream().request_headers()
    assert freed == ["freed", "exception in Greedy.on_request_headers"]


def test_a_report_for_which_there_is_no_memory_is_a_constant(
    start: "StartProxy", monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    proxy = failing(start, "request_headers", error=MemoryError)
    monkeypatch.setattr(traceback, "format_exception", exhausted)
    stream = proxy.stream()
    assert stream.request_headers() == Action.PAUSE
    assert proxy.host.messages(LogLevel.ERROR) == [
        "an exception left a callback, and another its report (out of memory, most likely)"
    ]
    assert stream.local_response.status == 500


@pytest.mark.parametrize("error", [LookupError, MemoryError])
@pytest.mark.parametrize("lacking", [0, 1, 2])
def test_an_answer_for_which_memory_is_lacking_is_tried_again(
    start: "StartProxy", error: type[BaseException], lacking: int
) -> None:
    proxy = failing(start, "request_headers", error=error)
    stream = proxy.stream()
    answer = proxy.host.send_local_response
    failures = iter([MemoryError] * lacking)

    def short_of_memory(*arguments: Any, **named: Any) -> None:  # noqa: ANN401 - as the hostcall
        for failure in failures:
            raise failure
        answer(*arguments, **named)

    proxy.host.send_local_response = short_of_memory
    assert stream.request_headers() == Action.PAUSE
    tries = 1 if error is MemoryError else 2  # after the first lack of memory there is a reserve
    assert len(stream.side.local_responses) == (1 if lacking < tries else 0)
    assert proxy.stream().request_headers() == Action.PAUSE


def test_a_long_report_keeps_its_beginning_and_its_end(start: "StartProxy") -> None:
    def exception(depth: int) -> Exception:
        error = LookupError(f"at depth {depth} " + "x" * 200)
        if depth:
            error.__cause__ = exception(depth - 1)
        return error

    class Chained(HttpContext[PluginContext]):
        def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
            raise exception(200)

    class Plugin(PluginContext):
        def http_context(self) -> Chained:
            return Chained(self)

    proxy = start(Plugin)
    proxy.stream().request_headers()
    (message,) = proxy.host.messages(LogLevel.ERROR)
    assert len(message) < 16_500
    assert message.startswith("exception in Chained.on_request_headers\nLookupError: at depth 0 x")
    assert "\n  ...\n" in message
    assert "LookupError: at depth 200 x" in message.splitlines()[-1]


def test_deep_recursion_is_reported_in_few_lines(start: "StartProxy") -> None:
    class Endless(HttpContext[PluginContext]):
        def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
            self.on_request_headers(headers, end_of_stream)

    class Plugin(PluginContext):
        def http_context(self) -> Endless:
            return Endless(self)

    proxy = start(Plugin)
    stream = proxy.stream()
    assert stream.request_headers() == Action.PAUSE
    (message,) = proxy.host.messages(LogLevel.ERROR)
    assert "[Previous line repeated" in message
    assert "RecursionError: maximum recursion depth exceeded" in message


def test_a_plugin_whose_constructor_fails_is_refused(proxy_of: "MakeProxy") -> None:
    class Plugin(PluginContext):
        def __init__(self) -> None:
            raise LookupError(self.root_id)

    proxy = proxy_of({"": Plugin})
    assert not proxy.plugin(root_id=b"the-root")
    (message,) = proxy.host.messages(LogLevel.ERROR)
    assert message.startswith("exception in the plugin's constructor\n")
    assert message.endswith("LookupError: the-root")
