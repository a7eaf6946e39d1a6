"""Connections at their edges: what a context refuses, and what becomes of one that could not be made."""

from collections.abc import Callable
from typing import Any

import pytest

from proxy_wasm import Action, Body, HttpContext, PhaseError, PluginContext, TcpContext, sleep
from proxy_wasm.abi import LogLevel
from proxy_wasm.emulator import Emulator, TcpStream, native_guest

GET = [(":method", "GET"), (":path", "/"), (":authority", "test")]


class Run:
    """A plugin of connections, and the emulator around it."""

    def __init__(self, plugin: type[PluginContext]) -> None:
        self.emulator = Emulator(native_guest({"": plugin}))
        self.plugin = self.emulator.start_plugin()

    def connect(self) -> TcpStream:
        stream = self.plugin.tcp_stream()
        stream.new_connection()
        return stream

    def said(self, level: LogLevel) -> list[str]:
        return [record.message.rpartition("\n")[2] for record in self.emulator.log if record.level is level]


def plugin_of(connection: type[TcpContext[Any]]) -> type[PluginContext]:
    class Plugin(PluginContext):
        def tcp_context(self) -> TcpContext[Any]:
            return connection(self)

    return Plugin


def test_a_connection_that_overrides_nothing_passes_unchanged() -> None:
    run = Run(plugin_of(TcpContext))
    stream = run.connect()
    stream.downstream_data(b"in")
    stream.upstream_data(b"out", end_of_stream=True)
    stream.downstream_data(b"", end_of_stream=True)
    assert (stream.upstream.passed, stream.downstream.passed, stream.closed) == (b"in", b"out", True)
    assert list(run.emulator.log) == []


@pytest.mark.parametrize("callback", ["on_new_connection", "on_downstream_data"])
def test_a_callback_lets_its_own_connection_go_on_by_what_it_returns(callback: str) -> None:
    def go_on(connection: TcpContext[Any], *_: object) -> Action:
        connection._state |= 1  # pyright: ignore[reportPrivateUsage] - as if an earlier callback had paused it
        with pytest.raises(PhaseError, match=r"by returning Action\.CONTINUE"):
            connection.continue_downstream()
        return Action.CONTINUE

    run = Run(plugin_of(type("Connection", (TcpContext,), {callback: go_on})))
    stream = run.connect()
    stream.downstream_data(b"in")
    assert (stream.upstream.passed, run.said(LogLevel.ERROR)) == (b"in", [])


def test_a_connection_whose_callback_waits_cannot_be_let_go() -> None:
    errors: list[str] = []

    class Waiting(TcpContext[PluginContext]):
        async def on_new_connection(self) -> None:
            self.plugin.call_later(0.1, self.go_on)
            await sleep(0.2)

        def go_on(self) -> None:
            try:
                self.continue_downstream()
            except PhaseError as error:
                errors.append(str(error))

    run = Run(plugin_of(Waiting))
    stream = run.connect()
    run.emulator.clock.advance(0.15)
    assert not stream.connected
    run.emulator.clock.advance(0.1)
    assert (stream.connected, errors) == (True, ["a callback lets its connection go on by returning Action.CONTINUE"])


def test_a_coroutine_may_end_with_a_pause() -> None:
    class Pausing(TcpContext[PluginContext]):
        async def on_new_connection(self) -> Action:
            await sleep(0.1)
            self.plugin.call_later(0.1, self.continue_downstream)
            return Action.PAUSE

    run = Run(plugin_of(Pausing))
    stream = run.connect()
    run.emulator.clock.advance(0.15)
    assert not stream.connected
    run.emulator.clock.advance(0.1)
    assert stream.connected


def test_a_connection_that_was_closed_does_not_go_on() -> None:
    class Closing(TcpContext[PluginContext]):
        def on_new_connection(self) -> Action:
            self.plugin.call_later(0.1, self.change_its_mind)
            return Action.PAUSE

        def change_its_mind(self) -> None:
            self.close()
            self.continue_downstream()
            self.close()

    run = Run(plugin_of(Closing))
    stream = run.connect()
    run.emulator.clock.advance(0.2)
    assert (stream.closed, stream.connected) == (True, False)
    assert run.said(LogLevel.WARN) == ["the connection does not go on: it was closed"]
    assert run.said(LogLevel.ERROR) == []


@pytest.mark.parametrize(
    ("callback", "advice"),
    [
        ("on_downstream_data", "let a task (create_task) look at downstream_data and call continue_downstream"),
        ("on_upstream_data", "return Action.PAUSE until enough is there to decide on"),
    ],
)
def test_data_cannot_be_awaited_on(callback: str, advice: str) -> None:
    async def wait(*_: object) -> None: ...

    run = Run(plugin_of(type("Connection", (TcpContext,), {callback: wait})))
    stream = run.connect()
    stream.downstream_data(b"in")
    stream.upstream_data(b"out")
    assert stream.closed
    (error,) = run.said(LogLevel.ERROR)
    assert advice in error


@pytest.mark.parametrize("result", [True, 9, "x", object()])
def test_a_result_that_is_no_action_closes_the_connection(result: object) -> None:
    def wrong(*_: object) -> object:
        return result

    run = Run(plugin_of(type("Connection", (TcpContext,), {"on_downstream_data": wrong})))
    stream = run.connect()
    stream.downstream_data(b"in")
    assert (stream.closed, stream.upstream.passed) == (True, b"")
    (error,) = run.said(LogLevel.ERROR)
    assert error.startswith(f"TypeError: returned {type(result).__name__}, ")


def refuse(_: PluginContext) -> TcpContext[Any]:
    raise LookupError("not made")


def make_nothing(_: PluginContext) -> None: ...


FACTORIES: list[tuple[Callable[[PluginContext], object], str]] = [
    (refuse, "LookupError: not made"),
    (make_nothing, "TypeError: returned NoneType, None; a callback returns a TcpContext"),
    (HttpContext[Any], "TypeError: returned HttpContext, "),
]


@pytest.mark.parametrize(("make", "words"), FACTORIES)
@pytest.mark.parametrize("fail_open", [False, True])
def test_a_connection_that_cannot_be_made_is_closed_or_passes(
    make: Callable[[PluginContext], object], words: str, fail_open: bool
) -> None:
    def tcp_context(plugin: PluginContext) -> object:
        return make(plugin)

    run = Run(type("Plugin", (PluginContext,), {"tcp_context": tcp_context, "fail_open": fail_open}))
    stream = run.connect()
    stream.downstream_data(b"in")
    assert (stream.closed, stream.upstream.passed) == ((False, b"in") if fail_open else (True, b""))
    (error,) = run.said(LogLevel.ERROR)
    assert error.startswith(words)


def test_a_plugin_may_filter_connections_and_streams_and_the_first_callback_shows_which() -> None:
    made: list[str] = []

    class Both(PluginContext):
        def http_context(self) -> HttpContext[Any]:
            made.append("http")
            return HttpContext(self)

        def tcp_context(self) -> TcpContext[Any]:
            made.append("tcp")
            return TcpContext(self)

    run = Run(Both)
    connection = run.connect()
    stream = run.plugin.http_stream()
    stream.request_headers(GET, end_of_stream=True)
    stream.close()
    connection.close()
    run.plugin.http_stream().reject(400, "rejected")
    assert made == ["tcp", "http"]
    assert run.said(LogLevel.ERROR) == []


def test_what_a_connection_holds_is_there_for_its_own_callbacks_alone() -> None:
    connections: list[TcpContext[Any]] = []
    errors: list[str] = []

    class Curious(TcpContext[PluginContext]):
        def on_new_connection(self) -> None:
            connections.append(self)

        def on_downstream_data(self, data: Body, end_of_stream: bool) -> None:
            try:
                errors.append(repr(bytes(connections[0].downstream_data)))
            except PhaseError as error:
                errors.append(str(error))

    run = Run(plugin_of(Curious))
    first, second = run.connect(), run.connect()
    first.downstream_data(b"in")
    second.downstream_data(b"in")
    assert errors[0] == "b'in'"
    assert errors[1].endswith("the running callback is another context's")
