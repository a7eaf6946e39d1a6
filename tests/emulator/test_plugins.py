"""Plugin contexts: start, configuration, shutdown, time, metrics, shared data and queues, properties, logs."""

from collections.abc import Callable
from struct import pack
from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm import ConfigurationError, Headers, HttpContext, PluginContext
from proxy_wasm.abi.enums import BufferType, LogLevel, MapType, MetricType, Status
from proxy_wasm.abi.header_map import decode_pairs
from proxy_wasm.abi.hostcalls import Hostcalls, HostError
from proxy_wasm.emulator import Clock, ConfigurationRejected, Emulator, Request, SharedState, VmFailed, native_guest
from proxy_wasm.emulator.native_guest import callbacks_guest

if TYPE_CHECKING:
    from conftest import Start, StatusOf

PLUGIN_CONFIGURATION, VM_CONFIGURATION = BufferType.PLUGIN_CONFIGURATION, BufferType.VM_CONFIGURATION


def test_the_plugin_configuration_is_readable_in_on_configure_only(start: "Start", status_of: "StatusOf") -> None:
    seen: list[Any] = []

    def on_vm_start(host: Hostcalls, *arguments: int) -> int:
        seen.append((arguments[1], host.get_buffer_bytes(VM_CONFIGURATION, 0, 100)))
        seen.append(status_of(lambda: host.get_buffer_bytes(PLUGIN_CONFIGURATION, 0, 100)))
        return 1

    def on_configure(host: Hostcalls, *arguments: int) -> int:
        seen.append((arguments[1], host.get_buffer_bytes(PLUGIN_CONFIGURATION, 0, 100)))
        seen.append(status_of(lambda: host.set_buffer_bytes(PLUGIN_CONFIGURATION, 0, 0, b"x")))
        return 1

    def on_request_headers(host: Hostcalls, *_: int) -> None:
        seen.append(status_of(lambda: host.get_buffer_bytes(PLUGIN_CONFIGURATION, 0, 100)))
        seen.append(host.get_buffer_bytes(VM_CONFIGURATION, 0, 2))

    plugin = start(
        plugin={"configuration": b"plugin"},
        emulator={"vm_configuration": b"vm"},
        on_vm_start=on_vm_start,
        on_configure=on_configure,
        on_request_headers=on_request_headers,
    )
    plugin.exchange()
    assert seen == [(2, b"vm"), Status.NOT_FOUND, (6, b"plugin"), Status.BAD_ARGUMENT, Status.NOT_FOUND, b"vm"]


class Refusing:
    """Logs why, and refuses in the callback it is told."""

    def __init__(self, host: Hostcalls, callback: str) -> None:
        self._host = host
        setattr(self, callback, self._refuse)

    def _refuse(self, *_: int) -> int:
        self._host.log(LogLevel.ERROR, b"rules[2].name: missing")
        return 0


@pytest.mark.parametrize("callback", ["on_vm_start", "on_configure"])
def test_a_refused_configuration_says_what_the_plugin_logged(callback: str) -> None:
    with pytest.raises(ConfigurationRejected, match=rf"{callback} refused(?s:.*)rules\[2\]\.name: missing"):
        Emulator(callbacks_guest(lambda host: Refusing(host, callback))).start_plugin(root_id="auth")


def test_a_trap_while_configuring_is_told_from_a_refusal(start: "Start") -> None:
    def on_configure(*_: object) -> int:
        msg = "broken"
        raise LookupError(msg)

    with pytest.raises(VmFailed, match="LookupError: broken"):
        start(on_configure=on_configure)


def test_the_next_plugin_starts_in_another_vm_than_the_one_that_failed() -> None:
    class Guest:
        def __init__(self, _: Hostcalls) -> None:
            pass

        def on_request_headers(self, *_: int) -> int:
            raise ValueError

    emulator = Emulator(callbacks_guest(Guest))
    plugin = emulator.start_plugin()
    assert plugin.exchange().status == 503
    assert "ValueError" in emulator.failed
    other = emulator.start_plugin(b"other")
    assert not emulator.failed
    assert other.vm is not plugin.vm
    assert plugin.exchange().status == 503
    assert plugin.vm.failed


def test_authors_classes_run_as_a_native_guest() -> None:
    class Greeter(PluginContext):
        def on_configure(self) -> None:
            if not self.configuration.text:
                msg = "greeting: must not be empty"
                raise ConfigurationError(msg)

        def http_context(self) -> HttpContext[Any]:
            return Greeting(self)

    class Greeting(HttpContext[Greeter]):
        def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
            headers["x-greeting"] = self.plugin.configuration.text

    emulator = Emulator(native_guest({"": Greeter}))
    with pytest.raises(ConfigurationRejected, match="greeting: must not be empty"):
        emulator.start_plugin()
    exchange = emulator.start_plugin(b"hello").exchange()
    assert exchange.upstream is not None
    assert exchange.upstream.headers["x-greeting"] == "hello"
    assert emulator.memory_size() == 0


def test_a_closed_plugin_is_done_then_deleted(start: "Start", status_of: "StatusOf") -> None:
    calls: list[str] = []
    plugin = start(on_done=lambda _, *__: calls.append("done") or 1, on_delete=lambda _, *__: calls.append("delete"))
    plugin.close()
    plugin.close()
    assert (calls, plugin.closed) == (["done", "delete"], True)


def test_a_plugin_may_ask_for_time_before_it_goes(start: "Start", status_of: "StatusOf") -> None:
    calls: list[Any] = []

    def on_tick(host: Hostcalls, *_: int) -> None:
        calls.append(status_of(host.done))
        calls.append(status_of(host.done))

    plugin = start(
        on_configure=lambda host, *_: host.set_tick_period_milliseconds(10) or 1,
        on_done=lambda _, *__: calls.append("done") or 0,
        on_delete=lambda _, *__: calls.append("delete"),
        on_tick=on_tick,
    )
    plugin.vm.clock.advance(0.01)
    assert calls == [Status.NOT_FOUND] * 2
    plugin.close()
    assert not plugin.closed
    plugin.vm.clock.advance(0.05)
    assert calls[2:] == ["done", Status.OK, Status.NOT_FOUND, "delete"]
    assert plugin.closed


def test_leaving_the_emulator_closes_its_plugins() -> None:
    calls: list[int] = []

    class Guest:
        def __init__(self, _: Hostcalls) -> None:
            pass

        def on_delete(self, context_id: int) -> None:
            calls.append(context_id)

    with Emulator(callbacks_guest(Guest)) as emulator:
        emulator.start_plugin(b"a")
        emulator.start_plugin(b"b")
    assert calls == [1, 2]


def test_time_stands_still_until_the_test_moves_it(start: "Start") -> None:
    times: list[int] = []
    plugin = start(
        emulator={"clock": Clock(1_000_000_000)},
        on_request_headers=lambda host, *_: times.append(host.get_current_time_nanoseconds()),
    )
    plugin.exchange()
    plugin.vm.clock.advance(1.5)
    plugin.exchange()
    assert times == [10**18, 10**18 + 1_500_000_000]


def test_ticks_come_at_their_own_moments_until_the_period_is_zero(start: "Start") -> None:
    ticks: list[int] = []

    def on_tick(host: Hostcalls, *_: int) -> None:
        ticks.append(host.get_current_time_nanoseconds())
        if len(ticks) == 2:
            host.set_tick_period_milliseconds(100)
        if len(ticks) == 3:
            host.set_tick_period_milliseconds(0)

    plugin = start(
        emulator={"clock": Clock(0)},
        on_configure=lambda host, *_: host.set_tick_period_milliseconds(10) or 1,
        on_tick=on_tick,
    )
    plugin.vm.clock.advance(10)
    assert ticks == [10_000_000, 20_000_000, 120_000_000]


def test_messages_are_logged_with_the_plugin_that_says_them(start: "Start", status_of: "StatusOf") -> None:
    statuses: list[Any] = []

    def on_request_headers(host: Hostcalls, *_: int) -> None:
        host.log(LogLevel.WARN, b"caf\xc3\xa9 \xff")
        host.log(LogLevel.DEBUG, b"dropped")
        statuses.append(status_of(lambda: host.log(6, b"no such level")))
        statuses.append(host.get_log_level())

    plugin = start(
        plugin={"root_id": "r"}, emulator={"log_level": LogLevel.INFO}, on_request_headers=on_request_headers
    )
    (record,) = plugin.exchange().logs
    assert (record.level, record.message, record.root_id, record.from_host) == (
        LogLevel.WARN,
        "café \udcff",
        "r",
        False,
    )
    assert statuses == [Status.BAD_ARGUMENT, LogLevel.INFO]


def test_metrics_have_envoys_statuses(start: "Start", status_of: "StatusOf") -> None:
    def on_configure(host: Hostcalls, *_: int) -> int:
        counter, gauge, histogram = (host.define_metric(kind, kind.name.encode()) for kind in MetricType)
        assert (counter, gauge, histogram) == (4, 5, 6)
        assert host.define_metric(MetricType.COUNTER, b"COUNTER") == 8
        host.increment_metric(counter, 2)
        host.increment_metric(8, 3)
        host.record_metric(counter, 10)
        host.increment_metric(gauge, 5)
        host.increment_metric(gauge, -2)
        host.record_metric(histogram, 7)
        assert (host.get_metric(counter), host.get_metric(gauge)) == (15, 3)
        assert [
            status_of(lambda: host.define_metric(3, b"x")),
            status_of(lambda: host.increment_metric(counter, 0)),
            status_of(lambda: host.increment_metric(counter, -1)),
            status_of(lambda: host.increment_metric(histogram, 1)),
            status_of(lambda: host.get_metric(histogram)),
            status_of(lambda: host.get_metric(400)),
            status_of(lambda: host.record_metric(7, 1)),
        ] == [*[Status.BAD_ARGUMENT] * 5, *[Status.NOT_FOUND] * 2]
        return 1

    shared = SharedState()
    start(emulator={"shared": shared}, on_configure=on_configure)
    assert shared.metrics.values() == {"COUNTER": 15, "GAUGE": 3}
    assert shared.metrics.histograms() == {"HISTOGRAM": [7]}


def test_the_emulator_shows_metrics() -> None:
    class Guest:
        def __init__(self, host: Hostcalls) -> None:
            self.host = host

        def on_configure(self, *_: int) -> int:
            self.host.record_metric(self.host.define_metric(MetricType.GAUGE, b"g"), 9)
            self.host.record_metric(self.host.define_metric(MetricType.HISTOGRAM, b"h"), 1)
            return 1

    emulator = Emulator(callbacks_guest(Guest))
    emulator.start_plugin()
    assert (emulator.metrics, emulator.histograms) == ({"g": 9}, {"h": [1]})


def test_shared_data_is_compared_and_swapped(start: "Start", status_of: "StatusOf") -> None:
    def on_configure(host: Hostcalls, *_: int) -> int:
        assert status_of(lambda: host.get_shared_data(b"k")) == Status.NOT_FOUND
        host.set_shared_data(b"k", b"1", 77)
        value, cas = host.get_shared_data(b"k")
        assert value == b"1"
        assert status_of(lambda: host.set_shared_data(b"k", b"2", cas + 1)) == Status.CAS_MISMATCH
        host.set_shared_data(b"k", b"2", cas)
        host.set_shared_data(b"k", b"3", 0)
        assert host.get_shared_data(b"k")[0] == b"3"
        return 1

    start(on_configure=on_configure)


def test_shared_data_is_seen_by_vms_of_the_same_id_only(start: "Start", status_of: "StatusOf") -> None:
    shared = SharedState()
    found: list[Any] = []

    def write(host: Hostcalls, *_: int) -> int:
        host.set_shared_data(b"k", b"v", 0)
        return 1

    def read(host: Hostcalls, *_: int) -> int:
        found.append(status_of(lambda: host.get_shared_data(b"k")))
        return 1

    start(emulator={"shared": shared, "vm_id": "a"}, on_configure=write)
    start(emulator={"shared": shared, "vm_id": "b"}, on_configure=read)
    start(emulator={"shared": shared, "vm_id": "a"}, on_configure=read)
    assert found == [Status.NOT_FOUND, Status.OK]


def test_a_queue_tells_the_plugin_that_registered_it(start: "Start", status_of: "StatusOf") -> None:
    shared = SharedState()
    items: list[Any] = []

    def on_queue_ready(host: Hostcalls, *arguments: int) -> None:
        items.append((arguments[1], host.dequeue_shared_queue(arguments[1])))
        items.append(status_of(lambda: host.dequeue_shared_queue(arguments[1])))

    def on_request_headers(host: Hostcalls, *_: int) -> None:
        assert status_of(lambda: host.resolve_shared_queue(b"", b"none")) == Status.NOT_FOUND
        assert status_of(lambda: host.enqueue_shared_queue(9, b"")) == Status.NOT_FOUND
        queue_id = host.resolve_shared_queue(b"reader", b"queue")
        host.enqueue_shared_queue(queue_id, b"item")
        assert items == []

    start(
        emulator={"shared": shared, "vm_id": "reader"},
        on_configure=lambda host, *_: host.register_shared_queue(b"queue"),
        on_queue_ready=on_queue_ready,
    )
    start(emulator={"shared": shared, "vm_id": "writer"}, on_request_headers=on_request_headers).exchange()
    assert items == [(1, b"item"), Status.EMPTY]


def test_foreign_functions_are_the_tests(start: "Start", status_of: "StatusOf") -> None:
    results: list[Any] = []

    def refuse(_: bytes) -> bytes:
        raise HostError("call_foreign_function", Status.BAD_ARGUMENT)

    def on_request_headers(host: Hostcalls, *_: int) -> None:
        results.append(host.call_foreign_function(b"upper", b"abc"))
        results.append(status_of(lambda: host.call_foreign_function(b"refuse", b"")))
        results.append(status_of(lambda: host.call_foreign_function(b"none", b"")))

    functions = {"upper": bytes.upper, "refuse": refuse}
    start(emulator={"foreign_functions": functions}, on_request_headers=on_request_headers).exchange()
    assert results == [b"ABC", Status.BAD_ARGUMENT, Status.NOT_FOUND]


def test_the_status_of_no_call_is_zero(start: "Start") -> None:
    statuses: list[Any] = []
    start(on_request_headers=lambda host, *_: statuses.append(host.get_status())).exchange()
    assert statuses == [(0, b"")]


# Properties.


def path(*parts: str) -> bytes:
    return "\0".join(parts).encode()


def test_attributes_of_the_request_are_there_while_its_headers_are_and_in_on_log(start: "Start") -> None:
    wanted = ["path", "url_path", "query", "host", "method", "scheme", "useragent", "id", "size"]
    seen: dict[str, list[bytes | None]] = {}

    def look(phase: str) -> Callable[..., None]:
        def callback(host: Hostcalls, *_: int) -> None:
            seen[phase] = [host.get_property(path("request", name)) for name in wanted]

        return callback

    plugin = start(on_request_headers=look("request"), on_response_headers=look("response"), on_log=look("log"))
    plugin.exchange(Request("POST", "/a/b?c=d", body=b"xyz", authority="h"))
    size = pack("<q", 3)
    known = [b"/a/b?c=d", b"/a/b", b"c=d", b"h", b"POST", b"http", None, None, size]
    assert seen == {"request": known, "response": [None] * 8 + [size], "log": known}


def test_attributes_of_the_response_tell_who_answered(start: "Start") -> None:
    seen: list[Any] = []

    def look(host: Hostcalls, *_: int) -> None:
        seen.append([host.get_property(path("response", name)) for name in ("code", "code_details")])

    plugin = start(on_request_headers=look, on_response_headers=look, on_log=look)
    plugin.exchange()
    assert seen == [[None, None], [pack("<q", 200), b"via_upstream"], [pack("<q", 200), b"via_upstream"]]


def test_maps_travel_as_pairs_and_their_entries_alone(start: "Start") -> None:
    seen: list[Any] = []

    def on_request_headers(host: Hostcalls, *_: int) -> None:
        seen.append(host.get_property(path("request", "headers", "x-a")))
        seen.append(host.get_property(path("request", "headers", "x-none")))
        seen.append(decode_pairs(host.get_property(path("request", "headers")) or b""))
        seen.append(decode_pairs(host.get_property(path("metadata", "ns")) or b""))
        seen.append(decode_pairs(host.get_property(path("list")) or b""))
        seen.append(host.get_property(path("list", "1")))
        seen.append(host.get_property(path("list", "2")))
        seen.append(host.get_property(path("list", "1", "x")))

    attributes = {"metadata.ns.key": "value", "metadata.ns.flag": True, "list": ["a", 1.5]}
    stream = start(emulator={"attributes": attributes}, on_request_headers=on_request_headers).http_stream()
    stream.request_headers([(":path", "/"), ("x-a", "1"), ("x-a", "2")], end_of_stream=True)
    assert seen == [
        b"1,2",
        None,
        [(b":path", b"/"), (b"x-a", b"1,2")],
        [(b"key", b"value"), (b"flag", b"\1")],
        [(b"a", b""), (pack("<d", 1.5), b"")],
        pack("<d", 1.5),
        None,
        None,
    ]


def test_the_test_supplies_and_overrides_attributes(start: "Start") -> None:
    seen: list[Any] = []

    def on_request_headers(host: Hostcalls, *_: int) -> None:
        seen.extend(
            host.get_property(path(*parts))
            for parts in (("source", "address"), ("source", "port"), ("filter_metadata", "a.b"), ("xds", "route_name"))
        )

    plugin = start(emulator={"attributes": {"xds.route_name": "all"}}, on_request_headers=on_request_headers)
    plugin.exchange(attributes={"source.address": "10.0.0.1:99", ("filter_metadata", "a.b"): b"\0"})
    assert seen == [b"10.0.0.1:99", pack("<q", 50000), b"\0", b"all"]


def test_attributes_that_contradict_each_other_are_refused(start: "Start") -> None:
    with pytest.raises(TypeError, match="property a\\.b: 'a' is a value already"):
        start(emulator={"attributes": {"a": 1, "a.b": 2}})


def test_wasm_knows_its_plugin_without_a_stream(start: "Start", status_of: "StatusOf") -> None:
    seen: list[Any] = []

    def on_configure(host: Hostcalls, *_: int) -> int:
        seen.extend(host.get_property(name) for name in (b"plugin_name", b"plugin_root_id", b"plugin_vm_id"))
        seen.append(host.get_property(path("request", "path")))
        seen.append(status_of(lambda: host.get_property(b"")))
        seen.append(status_of(lambda: host.set_property(b"a", b"1")))
        return 1

    start(plugin={"name": "n", "root_id": "r"}, emulator={"vm_id": "v"}, on_configure=on_configure)
    assert seen == [b"n", b"r", b"v", None, Status.SERIALIZATION_FAILURE, Status.NOT_FOUND]


def test_a_property_that_was_set_is_read_by_its_name_and_hides_no_attribute(start: "Start") -> None:
    seen: list[Any] = []

    def on_request_headers(host: Hostcalls, *_: int) -> None:
        for name in (b"mine", path("two", "parts"), b"request"):
            host.set_property(name, b"set")

    def on_log(host: Hostcalls, *_: int) -> None:
        seen.extend(host.get_property(name) for name in (b"mine", b"mine\0", path("two", "parts"), path("mine", "x")))
        seen.append(host.get_property(path("request", "method")))

    start(on_request_headers=on_request_headers, on_log=on_log).exchange()
    assert seen == [b"set", b"set", None, None, b"GET"]


def test_the_duration_is_known_at_the_end(start: "Start") -> None:
    seen: list[Any] = []
    plugin = start(on_log=lambda host, *_: seen.append(host.get_property(path("request", "duration"))))
    stream = plugin.http_stream()
    stream.request_headers([(":method", "GET"), (":path", "/")], end_of_stream=True)
    plugin.vm.clock.advance(2)
    stream.response_headers([(":status", "200")], end_of_stream=True)
    assert seen == [pack("<q", 2_000_000_000)]
    assert MapType.HTTP_REQUEST_HEADERS == 0
