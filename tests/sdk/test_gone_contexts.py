"""Contexts that the proxy has dropped: whatever is asked of them raises, and nothing of them is left."""

# The classes are looked into, so that nothing new is forgotten here.
# pyright: reportPrivateUsage=false

import gc
import weakref
from collections.abc import Coroutine, Iterator
from typing import Any, ClassVar, cast

import pytest

from proxy_wasm import Action, GoneError, Headers, HttpContext, PluginContext, TcpContext, sleep
from proxy_wasm.context import Context
from proxy_wasm.emulator import Emulator, Plugin, TcpStream, UpstreamResponse, native_guest
from proxy_wasm.emulator.clusters import Silent

GET = [(":method", "GET"), (":path", "/"), (":authority", "test")]
OWN = {
    "configuration",
    "context_id",
    "fail_open",
    "gone",
    "hostcalls",
    "plugin",
    "replaces_request_body",
    "replaces_response_body",
    "root_id",
    "vm_configuration",
}
"""What a context knows without the proxy, and the raw hostcalls."""
FACTORIES = {"http_context", "tcp_context", "validate_configuration"}
"""What the proxy calls, as it does everything that begins with `on_`."""


async def nothing() -> None: ...


ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "call_later": (1, print),
    "counter": ("x",),
    "create_task": (),
    "every": (1, print),
    "gauge": ("x",),
    "get_property": ("x",),
    "grpc_call": ("cluster", "service", "method", b""),
    "grpc_stream": ("cluster", "service", "method"),
    "histogram": ("x",),
    "http_call": ("cluster",),
    "peek_request_body": (10,),
    "resolve_queue": ("", "x"),
    "send_local_response": (403,),
    "set_property": ("x",),
    "shared_queue": ("x",),
}
KEYWORDS = {"set_property": {"value": "y"}}


class Kept(PluginContext):
    """Keeps itself, and what it makes."""

    kept: "dict[str, Context]"

    def on_configure(self) -> None:
        self.kept["plugin"] = self


class KeptStreams(Kept):
    def http_context(self) -> HttpContext[Any]:
        self.kept["stream"] = stream = HttpContext(self)
        return stream


class KeptConnections(Kept):
    def tcp_context(self) -> TcpContext[Any]:
        self.kept["connection"] = connection = TcpContext(self)
        return connection


def gone_context(kind: str) -> Context:
    """A context of that kind that is over."""
    plugin_class = KeptConnections if kind == "connection" else KeptStreams
    kept: dict[str, Context] = {}
    keeping: type[PluginContext] = cast("Any", type("Keeping", (plugin_class,), {"kept": kept}))
    plugin = Emulator(native_guest({"": keeping})).start_plugin()
    if kind == "stream":
        stream = plugin.http_stream()
        stream.request_headers(GET, end_of_stream=True)
        stream.close()
    elif kind == "connection":
        connection = plugin.tcp_stream()
        connection.new_connection()
        connection.close()
    else:
        plugin.close()
    return kept[kind]


def public(kind: type) -> Iterator[str]:
    """What a class offers to its author beside what the proxy calls."""
    for name in dir(kind):
        if not name.startswith(("_", "on_")) and name not in OWN | FACTORIES:
            yield name


def use(context: Context, name: str, *arguments: object, **keywords: object) -> None:
    """Call a method; whoever only asks for an attribute has to fail before."""
    getattr(context, name)(*arguments, **keywords)


OFFERED = [
    (kind, name)
    for kind, owner in (("plugin", PluginContext), ("stream", HttpContext), ("connection", TcpContext))
    for name in public(owner)
]


@pytest.mark.parametrize(("kind", "name"), OFFERED)
def test_whatever_is_asked_of_a_context_that_is_gone_raises(kind: str, name: str) -> None:
    context = gone_context(kind)
    assert context.gone
    coroutine: Coroutine[Any, Any, None] = nothing()
    arguments = (coroutine,) if name == "create_task" else ARGUMENTS.get(name, ())
    with pytest.raises(GoneError, match=rf"\w+ {context.context_id}: the proxy has dropped it"):
        use(context, name, *arguments, **KEYWORDS.get(name, {}))
    coroutine.close()


def test_a_tick_period_of_a_plugin_that_is_gone_cannot_be_set() -> None:
    plugin = gone_context("plugin")
    assert isinstance(plugin, PluginContext)
    with pytest.raises(GoneError):
        plugin.tick_period = 1


def test_what_a_context_knows_itself_is_still_there() -> None:
    stream: HttpContext[PluginContext] = cast("Any", gone_context("stream"))
    assert (stream.plugin.root_id, stream.plugin.configuration.raw, stream.context_id) == ("", b"", 2)


# Nothing leaks


class Busy(PluginContext):
    """Every stream and every connection is at something when it ends."""

    alive: "ClassVar[weakref.WeakSet[Any]]"

    def on_configure(self) -> None:
        self.ticks = 0
        self.every(0.5, self.tick)

    def tick(self) -> None:
        self.ticks += 1


Busy.alive = weakref.WeakSet()


class BusyStreams(Busy):
    def http_context(self) -> HttpContext[Any]:
        stream = BusyStream(self)
        self.alive.add(stream)
        return stream


class BusyConnections(Busy):
    def tcp_context(self) -> TcpContext[Any]:
        connection = BusyConnection(self)
        self.alive.add(connection)
        return connection


class BusyStream(HttpContext[Busy]):
    __slots__ = ("__weakref__",)

    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action | None:
        self.create_task(sleep(5))
        path = headers[":path"]
        call = self.http_call("silent" if path == "/waits" else "answers")
        call.add_done_callback(lambda _: self.context_id)
        if path == "/fails":
            raise LookupError
        if path == "/answers":
            return self.send_local_response(403)
        await call
        return None


class BusyConnection(TcpContext[Busy]):
    __slots__ = ("__weakref__",)

    async def on_new_connection(self) -> None:
        self.create_task(sleep(5))
        await self.http_call("answers")
        self.http_call("silent").add_done_callback(lambda _: self.context_id)


def stream_ends(plugin: Plugin, path: str) -> None:
    stream = plugin.http_stream()
    stream.request_headers([*GET[:1], (":path", path), *GET[2:]], end_of_stream=True)
    stream.close()


def connection_breaks(plugin: Plugin) -> TcpStream:
    connection = plugin.tcp_stream()
    connection.new_connection()
    connection.downstream_data(b"x")
    connection.close()
    return connection


@pytest.mark.parametrize("kind", ["stream", "connection"])
def test_nothing_is_left_of_a_thousand_contexts(kind: str) -> None:
    plugin_class = BusyStreams if kind == "stream" else BusyConnections
    emulator = Emulator(native_guest({"": plugin_class}), clusters={"answers": UpstreamResponse(), "silent": Silent()})
    plugin = emulator.start_plugin()
    emulator.clock.advance(1)

    def end_some(count: int) -> int:
        """How many objects the garbage collector knows once that many contexts more have come and gone."""
        connections: list[TcpStream] = []
        for number in range(count):
            if kind == "stream":
                stream_ends(plugin, ("/waits", "/fails", "/answers", "/")[number % 4])
            else:
                connections.append(connection_breaks(plugin))
        emulator.clock.advance(20)
        for connection in connections:
            connection.refuse()  # whatever is left of it
        connections.clear()
        emulator.log.clear()
        gc.collect()
        return len(gc.get_objects())

    before = end_some(100)
    assert abs(end_some(1000) - before) < 50
    assert not Busy.alive
