"""Contexts through their lives, regular and odd, and which callbacks a module needs."""

from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm import Action, Headers, HttpContext, LogLevel, PluginContext, SharedQueue
from proxy_wasm.abi.callbacks import LIFECYCLE_CALLBACKS
from proxy_wasm.abi.signatures import CALLBACKS
from proxy_wasm.dispatcher import used_callbacks

if TYPE_CHECKING:
    from conftest import MakeProxy, StartProxy


class Named(PluginContext):
    def http_context(self) -> "NamedStream":
        return NamedStream(self)


class NamedStream(HttpContext[Named]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        headers["x-plugin"] = f"{type(self.plugin).__name__} {self.plugin.root_id} {self.plugin.context_id}"


class Other(Named): ...


def test_plugins_of_one_module_are_told_apart_by_root_id(proxy_of: "MakeProxy") -> None:
    proxy = proxy_of({"named": Named, "other": Other})
    plugins = [proxy.plugin(root_id=b"other"), proxy.plugin(root_id=b"named"), proxy.plugin(root_id=b"other")]
    seen: list[bytes] = []
    for plugin in plugins:
        pairs: list[tuple[bytes, bytes]] = []
        proxy.stream(plugin).request_headers(pairs)
        seen.append(pairs[0][1])
    assert seen == [b"Other other 1", b"Named named 2", b"Other other 3"]


@pytest.mark.parametrize("plugins", [{"": Other}, {"any": Other}, {"": Other, "named": Named}])
def test_the_default_or_only_plugin_answers_to_every_root_id(
    proxy_of: "MakeProxy", plugins: dict[str, type[PluginContext]]
) -> None:
    proxy = proxy_of(plugins)
    pairs: list[tuple[bytes, bytes]] = []
    proxy.stream(proxy.plugin(root_id=b"x\xff")).request_headers(pairs)
    assert pairs[0][1] == b"Other x\xff 1"


@pytest.mark.parametrize(("plugins", "named"), [({"a": Named, "b": Other}, "a, b"), ({}, "none")])
def test_a_root_id_without_plugin_is_refused_with_those_that_there_are(
    proxy_of: "MakeProxy", plugins: dict[str, type[PluginContext]], named: str
) -> None:
    proxy = proxy_of(plugins)
    assert not proxy.plugin(root_id=b"c")
    assert proxy.host.messages(LogLevel.ERROR) == [f"root_id 'c': no such plugin in this module; it has {named}"]


def test_a_host_may_create_and_start_a_plugin_again(start: "StartProxy") -> None:
    class Once(PluginContext):
        configured = 0

        def on_configure(self) -> None:
            self.configured += 1
            self.counter("configured").increment(self.configured)

    proxy = start(Once)
    proxy.call("on_context_create", 1, 0)
    assert proxy.call("on_vm_start", 1, 0) == 1
    assert proxy.call("on_configure", 1, 0) == 1
    assert [values for _, _, values in proxy.host.metrics] == [[3]]


def test_a_host_may_create_a_stream_again(start: "StartProxy") -> None:
    class Counting(Named):
        made = 0

        def http_context(self) -> NamedStream:
            self.made += 1
            self.counter("made").increment()
            return NamedStream(self)

    proxy = start(Counting)
    stream = proxy.stream()
    proxy.call("on_context_create", stream.context_id, 1)
    assert proxy.host.metrics[0][2] == [1]


def test_a_stream_that_was_never_created_belongs_to_the_only_plugin(start: "StartProxy") -> None:
    proxy = start(Named)
    for callback, arguments in (
        ("on_request_headers", (0, 1)),
        ("on_request_body", (0, 1)),
        ("on_request_trailers", (0,)),
        ("on_response_headers", (0, 1)),
        ("on_response_body", (0, 1)),
        ("on_response_trailers", (0,)),
    ):
        context_id = proxy.new_id()
        proxy.host.sides.setdefault(context_id, type(proxy.host.side)()).maps[0] = []
        assert proxy.call(callback, context_id, *arguments) == Action.CONTINUE
        assert proxy.host.side.maps[0] == ([(b"x-plugin", b"Named  1")] if callback == "on_request_headers" else [])


def test_a_stream_of_no_known_plugin_is_answered_with_500(proxy_of: "MakeProxy") -> None:
    proxy = proxy_of({"": Named})
    stream = proxy.stream(7)
    assert stream.request_headers() == Action.PAUSE
    assert stream.local_response.status == 500
    assert "LookupError: stream 1: no plugin was started for it" in proxy.host.messages(LogLevel.ERROR)[0]


def test_a_stream_of_an_unknown_parent_fails_where_several_plugins_could_be_meant(proxy_of: "MakeProxy") -> None:
    proxy = proxy_of({"": Named})
    proxy.plugin()
    proxy.plugin()
    assert proxy.stream(9).request_headers() == Action.PAUSE


def test_unknown_contexts_end_quietly(start: "StartProxy") -> None:
    proxy = start(Named)
    proxy.call("on_log", 99)
    assert proxy.call("on_done", 99) == 1
    proxy.call("on_delete", 99)
    assert proxy.call("on_vm_start", 99, 0) == 0
    assert proxy.call("on_configure", 99, 0) == 0
    assert proxy.host.logged == []


def test_a_plugin_hears_of_its_end_and_is_forgotten(start: "StartProxy") -> None:
    seen: list[str] = []

    class Plugin(PluginContext):
        def on_log(self) -> None:
            seen.append("log")

        def on_done(self) -> None:
            seen.append("done")

    proxy = start(Plugin)
    proxy.call("on_log", 1)
    assert proxy.call("on_done", 1) == 1
    proxy.call("on_delete", 1)
    proxy.call("on_done", 1)
    assert seen == ["log", "done"]
    assert proxy.call("on_configure", 1, 0) == 0


def test_deleted_streams_leave_nothing_behind(start: "StartProxy") -> None:
    proxy = start(Named)
    for path in (b"/", None):
        stream = proxy.stream()
        stream.request_headers([(b":path", path)] if path else [])
        stream.end()
        assert proxy.live_streams() == 0


def test_a_context_class_with_a_length_of_zero_is_dispatched_to(start: "StartProxy") -> None:
    class Empty(NamedStream):
        def __len__(self) -> int:
            return 0

        def on_done(self) -> None:
            self.plugin.counter("done").increment()

    class Plugin(Named):
        def http_context(self) -> Empty:
            return Empty(self)

    proxy = start(Plugin)
    stream = proxy.stream()
    pairs: list[tuple[bytes, bytes]] = []
    stream.request_headers(pairs)
    stream.end()
    assert pairs == [(b"x-plugin", b"Plugin  1")]
    assert proxy.host.metrics[0][2] == [1]


def test_callbacks_without_a_use_are_answered_all_the_same(start: "StartProxy") -> None:
    proxy = start(Named)
    for name, callback in CALLBACKS.items():
        returned = proxy.call(name, 99, *([0] * (len(callback.parameters) - 1)))
        assert (returned is not None) == callback.returns, name


def test_the_callbacks_of_every_life_cycle_and_the_overridden_ones_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: dict[type, list[type]] = {
        PluginContext: [Named, Other],
        HttpContext: [NamedStream],
    }  # not other tests' classes

    def descendants(base: type) -> list[type]:
        return loaded.get(base, [])

    monkeypatch.setattr("proxy_wasm.dispatcher._descendants", descendants)
    used = used_callbacks()
    assert set(LIFECYCLE_CALLBACKS) <= set(used) <= set(CALLBACKS)
    assert "on_request_headers" in used
    assert "on_http_call_response" in used
    assert "on_foreign_function" not in used
    assert len(set(used)) == len(used)


CLASSES = """
from proxy_wasm import HttpContext

async def awaits(*_):
    pass

class Awaiting(HttpContext):
    async def on_request_headers(self, headers, end_of_stream):
        pass

class Reading(HttpContext):
    on_request_body = awaits

class Answering(HttpContext):
    def on_request_headers(self, headers, end_of_stream):
        return self.send_local_response(403)

class Hidden(HttpContext):
    def on_request_headers(self, headers, end_of_stream):
        return awaits()
"""
REPLACING_CLASSES = """
from proxy_wasm import HttpContext

class Replacing(HttpContext):
    replaces_request_body = True

    def on_request_body(self, body, end_of_stream):
        body.replace(b"longer")

class Both(HttpContext):
    replaces_request_body = replaces_response_body = True

class Neither(HttpContext):
    replaces_request_body = False
"""
PAUSING_CLASSES = """
from proxy_wasm import Action, HttpContext

class Pausing(HttpContext):
    def on_response_headers(self, headers, end_of_stream):
        return self.decide()

    def decide(self):
        return Action.PAUSE

class Deciding(HttpContext):
    def on_request_body(self, body, end_of_stream):
        return decide()

def decide():
    return [Action.PAUSE for _ in range(3)][0]
"""


def module_of(monkeypatch: pytest.MonkeyPatch, source: str, *names: str) -> dict[str, Any]:
    """The classes of a module of its own, of which those with these names are all that is loaded."""
    module: dict[str, Any] = {"__name__": "author"}
    exec(source, module)  # noqa: S102 - our own
    loaded = [module[name] for name in names]

    def descendants(base: type) -> list[Any]:
        return loaded if base is HttpContext else []

    monkeypatch.setattr("proxy_wasm.dispatcher._descendants", descendants)
    return module


@pytest.mark.parametrize(
    ("source", "name", "exported"),
    [
        (CLASSES, "Awaiting", {"on_request_headers", "on_request_body", "on_request_trailers"}),
        (CLASSES, "Reading", {"on_request_body", "on_request_trailers"}),
        (CLASSES, "Answering", {"on_request_headers"}),
        (REPLACING_CLASSES, "Replacing", {"on_request_headers", "on_request_body"}),
        (REPLACING_CLASSES, "Both", {"on_request_headers", "on_response_headers"}),
        (REPLACING_CLASSES, "Neither", set[str]()),
        (PAUSING_CLASSES, "Pausing", {"on_response_headers", "on_response_body", "on_response_trailers"}),
        (PAUSING_CLASSES, "Deciding", {"on_request_body", "on_request_trailers"}),
    ],
)
def test_what_follows_a_callback_that_can_pause_its_stream_or_changes_lengths_is_used_too(
    monkeypatch: pytest.MonkeyPatch, source: str, name: str, exported: set[str]
) -> None:
    module_of(monkeypatch, source, name)
    assert {used for used in used_callbacks() if used.startswith(("on_request", "on_response"))} == exported


def test_a_coroutine_that_a_module_cannot_hold_the_body_for_is_refused(
    start: "StartProxy", monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = module_of(monkeypatch, CLASSES, "Hidden")["Hidden"]

    class Plugin(PluginContext):
        def http_context(self) -> HttpContext[Any]:
            return hidden(self)

    proxy = start(Plugin)
    stream = proxy.stream()
    stream.request_headers(end_of_stream=False)
    assert stream.local_response.status == 500
    (error,) = proxy.host.messages(LogLevel.ERROR)
    assert error.endswith("write `async def on_request_headers`")


def test_a_callback_that_a_mixin_brings_is_used() -> None:
    class Mixin:
        def on_request_metadata(self) -> None: ...

    made: Any = type("Mixed", (Mixin, HttpContext), {})
    assert "on_request_metadata" in used_callbacks()
    del made


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("on_tick", ()),
        ("on_http_call_response", (4, 1, 0, 0)),
        ("on_queue_ready", (1,)),
        ("on_foreign_function", (1, 0)),
        ("on_grpc_receive", (5, 0)),
        ("on_grpc_close", (5, 0)),
        ("validate_configuration", (0,)),
    ],
)
def test_what_is_told_to_an_unknown_plugin_is_nothing_to_it(
    start: "StartProxy", name: str, arguments: tuple[int, ...]
) -> None:
    proxy = start(PluginContext)
    proxy.call(name, 99, *arguments)
    assert not proxy.host.messages(LogLevel.ERROR)


def test_a_queue_that_was_registered_by_a_raw_hostcall_is_told_of_by_its_number(start: "StartProxy") -> None:
    told: list[int] = []

    class Plugin(PluginContext):
        def on_queue_ready(self, queue: SharedQueue) -> None:
            told.append(queue.id)

    proxy = start(Plugin)
    proxy.call("on_queue_ready", 1, 7)
    assert told == [7]


def test_what_a_callback_of_a_plugin_returns_is_an_error(start: "StartProxy") -> None:
    class Plugin(PluginContext):
        def on_queue_ready(self, queue: SharedQueue) -> object:
            return queue

        def on_done(self) -> object:
            return 5

    proxy = start(Plugin)
    proxy.call("on_queue_ready", 1, 7)
    assert proxy.call("on_done", 1) == 1
    assert len(proxy.host.messages(LogLevel.ERROR)) == 2


def test_a_function_of_a_stream_is_called_at_its_plugin_and_not_without_its_arguments(start: "StartProxy") -> None:
    called: list[tuple[int, bytes]] = []

    class Plugin(Named):
        def on_foreign_function(self, function_id: int, arguments: bytes) -> None:
            called.append((function_id, arguments))

    proxy = start(Plugin)
    stream = proxy.stream()
    proxy.call("on_foreign_function", stream.context_id, 7, 0)
    proxy.call("on_foreign_function", 1, 8, 5)  # the host has no such arguments
    assert called == [(7, b"")]
    (error,) = proxy.host.messages(LogLevel.ERROR)
    assert "Plugin.on_foreign_function" in error


def test_a_plugin_may_wait_where_it_is_told_of_a_queue(start: "StartProxy") -> None:
    told: list[int] = []

    class Plugin(PluginContext):
        async def on_queue_ready(self, queue: SharedQueue) -> None:
            told.append(queue.id)

    proxy = start(Plugin)
    proxy.call("on_queue_ready", 1, 7)
    assert told == [7]
    assert not proxy.host.messages(LogLevel.ERROR)


def test_a_plugin_that_ends_at_once_in_a_coroutine_needs_no_time(start: "StartProxy") -> None:
    class Plugin(PluginContext):
        async def on_done(self) -> None: ...

    assert start(Plugin).call("on_done", 1) == 1


@pytest.mark.parametrize("callback", ["on_request_metadata", "on_response_metadata"])
@pytest.mark.parametrize("kind", ["raises", "waits"])
def test_a_callback_of_metadata_that_fails_ends_its_stream_alone(start: "StartProxy", callback: str, kind: str) -> None:
    def raises(stream: HttpContext[Any], num_elements: int) -> None:
        raise LookupError(num_elements)

    async def waits(stream: HttpContext[Any], num_elements: int) -> None: ...

    failing: Any = type("Failing", (HttpContext,), {callback: raises if kind == "raises" else waits})

    class Plugin(PluginContext):
        def http_context(self) -> HttpContext[Any]:
            return failing(self)

    proxy = start(Plugin)
    stream = proxy.stream()
    stream.request_headers(end_of_stream=False)
    assert proxy.call(callback, stream.context_id, 2) == 1
    assert proxy.call(callback, 99, 2) == 0
    assert len(proxy.host.messages(LogLevel.ERROR)) == 1
    assert len(stream.side.local_responses) + len(stream.side.closed) == 1


@pytest.mark.parametrize("name", ["on_log", "on_done"])
def test_a_callback_at_a_streams_end_gives_nothing(start: "StartProxy", name: str) -> None:
    def five(_: HttpContext[Any]) -> int:
        return 5

    ending: Any = type("Ending", (HttpContext,), {name: five})

    class Plugin(PluginContext):
        def http_context(self) -> HttpContext[Any]:
            return ending(self)

    proxy = start(Plugin)
    stream = proxy.stream()
    stream.request_headers()
    stream.log()
    stream.end()
    (error,) = proxy.host.messages(LogLevel.ERROR)
    assert f"Ending.{name}" in error
    assert proxy.live_streams() == 0
