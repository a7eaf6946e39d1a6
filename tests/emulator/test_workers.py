"""Several VMs of one plugin: workers, the main thread and its canary, reloads; what is shared between them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import wasmtime

from proxy_wasm.abi.enums import MetricType
from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.emulator import (
    Clock,
    ConfigurationRejected,
    Emulator,
    FailurePolicy,
    Plugin,
    Request,
    VmFailed,
    wasm_guest,
)
from proxy_wasm.emulator.guest import GuestFactory
from proxy_wasm.emulator.native_guest import callbacks_guest
from proxy_wasm.envoy import FilteringEnvoy, WasmFilter


class Counting:
    """Counts configurations and requests in its own memory, in shared data and in metrics; logs what it does."""

    def __init__(self, host: Hostcalls) -> None:
        self.host = host
        self.requests = 0
        self.queue = 0

    def on_configure(self, context: int, _: int) -> int:
        self.host.log(2, b"configured")
        metric = self.host.define_metric(MetricType.COUNTER, b"configured")
        self.host.increment_metric(metric, 1)
        self.host.set_tick_period_milliseconds(1000)
        self.queue = self.host.register_shared_queue(b"queue")
        return self.host.get_buffer_bytes(7, 0, 9) != b"refused"

    def on_tick(self, _: int) -> None:
        self.host.log(2, b"tick")

    def on_queue_ready(self, _: int, queue: int) -> None:
        self.host.log(2, b"heard " + self.host.dequeue_shared_queue(queue))

    def on_request_headers(self, *_: int) -> int:
        self.requests += 1
        path = self.host.get_header_map_value(0, b":path") or b""
        if path == b"/trap":
            raise LookupError
        if path == b"/tell":
            self.host.enqueue_shared_queue(self.queue, b"this")
        self.host.add_header_map_value(0, b"x-requests", b"%d" % self.requests)
        return 0


@pytest.fixture
def guest() -> GuestFactory:
    return callbacks_guest(Counting)


def said(emulator: Emulator, what: str) -> list[str]:
    """Which threads have said something, in order."""
    return [record.thread for record in emulator.log if record.message == what]


def requests(plugin: Plugin) -> str:
    upstream = plugin.exchange(Request()).upstream
    assert upstream is not None
    return upstream.headers["x-requests"]


# Workers.


def test_each_worker_has_a_vm_with_the_plugin_in_it(guest: GuestFactory) -> None:
    emulator = Emulator(guest, workers=2)
    plugin = emulator.start_plugin()
    first, second = plugin.workers
    assert first is plugin
    assert first.vm is not second.vm
    assert [requests(first), requests(first), requests(second)] == ["1", "2", "1"]
    assert said(emulator, "configured") == ["worker 0", "worker 1"]
    emulator.clock.advance(1)
    assert sorted(said(emulator, "tick")) == ["worker 0", "worker 1"]


def test_a_vm_that_fails_is_one_worker_s_alone(guest: GuestFactory) -> None:
    first, second = Emulator(guest, workers=2).start_plugin().workers
    assert second.exchange(Request(path="/trap")).status == 503
    assert (second.exchange().status, first.exchange().status) == (503, 200)


def test_plugins_of_one_worker_share_its_vm(guest: GuestFactory) -> None:
    emulator = Emulator(guest, workers=2)
    one, other = emulator.start_plugin(b"one"), emulator.start_plugin(b"other")
    assert [plugin.vm for plugin in one.workers] == [plugin.vm for plugin in other.workers]
    assert [requests(one), requests(other)] == ["1", "2"]


def test_the_last_vm_that_registers_a_queue_hears_of_what_any_puts_in(guest: GuestFactory) -> None:
    emulator = Emulator(guest, workers=3)
    emulator.start_plugin().exchange(Request(path="/tell"))
    assert said(emulator, "heard this") == ["worker 2"]


def test_closing_a_plugin_closes_it_in_all_threads(guest: GuestFactory) -> None:
    emulator = Emulator(guest, workers=2, main_thread=True)
    plugin = emulator.start_plugin()
    plugin.close()
    assert plugin.main is not None
    assert all(copy.closed for copy in (*plugin.workers, plugin.main))
    emulator.clock.advance(5)
    assert said(emulator, "tick") == []


# The main thread.


def test_a_plugin_is_tried_in_a_canary_and_then_runs_in_the_main_thread_too(guest: GuestFactory) -> None:
    emulator = Emulator(guest, main_thread=True)
    plugin = emulator.start_plugin()
    assert said(emulator, "configured") == ["canary", "worker 0", "main"]
    emulator.clock.advance(1)
    assert sorted(said(emulator, "tick")) == ["main", "worker 0"]
    plugin.exchange(Request(path="/tell"))
    assert said(emulator, "heard this") == ["main"]


def test_a_configuration_that_the_canary_refuses_starts_nowhere(guest: GuestFactory) -> None:
    emulator = Emulator(guest, main_thread=True)
    with pytest.raises(ConfigurationRejected):
        emulator.start_plugin(b"refused")
    assert said(emulator, "configured") == ["canary"]
    emulator.clock.advance(5)
    assert said(emulator, "tick") == []


def test_a_plugin_that_traps_while_it_is_tried_harms_none_that_runs() -> None:
    class Guest:
        def __init__(self, host: Hostcalls) -> None:
            self.host = host

        def on_configure(self, *_: int) -> int:
            if self.host.get_buffer_bytes(7, 0, 9) == b"trap":
                raise LookupError
            return 1

    emulator = Emulator(callbacks_guest(Guest), main_thread=True)
    plugin = emulator.start_plugin()
    with pytest.raises(VmFailed, match="LookupError"):
        emulator.start_plugin(b"trap")
    assert plugin.exchange().status == 200
    assert not emulator.failed


CONFIGURING = """
(module
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "initialized by workers_test") (data (i32.const 64) "workers_test_configured")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) i32.const 0)
  (func (export "_initialize") (drop (call $log (i32.const 2) (i32.const 16) (i32.const 27))))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $define (i32.const 0) (i32.const 64) (i32.const 23) (i32.const 0)))
    (drop (call $increment (i32.load (i32.const 0)) (i64.const 1)))
    (i32.const 1)))
"""


@pytest.fixture(scope="module")
def configuring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configuring") / "configuring.wasm"
    path.write_bytes(wasmtime.wat2wasm(CONFIGURING))
    return path


@pytest.fixture(scope="module")
def envoy() -> Iterator[FilteringEnvoy]:
    with FilteringEnvoy() as running:
        yield running


def test_the_emulator_starts_as_many_vms_as_envoy_and_configures_as_many_plugins(
    envoy: FilteringEnvoy, configuring: Path
) -> None:
    running = envoy.add(WasmFilter(configuring))
    real = envoy.process.admin.stats(r"^wasmcustom\.workers_test_configured$", type_="Counters")
    initialized = envoy.process.log_path.read_text().count("initialized by workers_test")
    running.remove()
    emulator = Emulator(wasm_guest(configuring.read_bytes()), main_thread=True)
    emulator.start_plugin()
    assert emulator.metrics["workers_test_configured"] == sum(real.values()) == 3
    assert len(said(emulator, "initialized by workers_test")) == initialized == 4


# Reloads.


@pytest.fixture
def reloaded(guest: GuestFactory) -> tuple[Emulator, Plugin]:
    """A plugin that is reloaded, whose VM has just failed."""
    emulator = Emulator(guest, clock=Clock())
    plugin = emulator.start_plugin(failure_policy=FailurePolicy.RELOAD, reload_interval=2)
    assert requests(plugin) == "1"
    assert plugin.exchange(Request(path="/trap")).status == 503
    return emulator, plugin


def test_a_reloaded_plugin_begins_anew(reloaded: tuple[Emulator, Plugin]) -> None:
    emulator, plugin = reloaded
    emulator.clock.advance(2.9)
    assert plugin.exchange().status == 503
    emulator.clock.advance(0.2)
    assert requests(plugin) == "1"
    assert len(said(emulator, "configured")) == 2
    assert not emulator.failed
    ticks = len(said(emulator, "tick"))
    emulator.clock.advance(1)
    assert len(said(emulator, "tick")) == ticks + 1


def test_a_stream_of_the_failed_vm_does_not_move_to_the_next(reloaded: tuple[Emulator, Plugin]) -> None:
    emulator, plugin = reloaded
    emulator.clock.advance(3)
    stream = plugin.http_stream()
    stream.request_headers([(":method", "GET"), (":path", "/")], end_of_stream=True)
    assert plugin.exchange(Request(path="/trap")).status == 503
    emulator.clock.advance(3)
    assert plugin.exchange().status == 200
    stream.response_headers([(":status", "200")], end_of_stream=True)
    assert stream.response.sent.headers is not None
    assert (stream.response.sent.headers[":status"], stream.details) == ("503", "wasm_fail_stream")


def test_a_reload_that_fails_is_not_tried_again_at_once() -> None:
    class Guest:
        starts = 0

        def __init__(self, host: Hostcalls) -> None:
            self.host = host

        def on_configure(self, *_: int) -> int:
            Guest.starts += 1
            return Guest.starts != 2

        def on_request_headers(self, *_: int) -> int:
            if Guest.starts == 1:
                raise LookupError
            return 0

    emulator = Emulator(callbacks_guest(Guest))
    plugin = emulator.start_plugin(failure_policy=FailurePolicy.RELOAD)
    emulator.clock.advance(1.5)
    statuses = [plugin.exchange().status for _ in range(3)]
    assert (statuses, Guest.starts) == ([503, 503, 503], 2)
    emulator.clock.advance(1.5)
    assert (plugin.exchange().status, Guest.starts) == (200, 3)


def test_plugins_whose_vm_has_failed_are_reloaded_into_one(guest: GuestFactory) -> None:
    emulator = Emulator(guest)
    one = emulator.start_plugin(b"one", failure_policy=FailurePolicy.RELOAD)
    other = emulator.start_plugin(b"other", failure_policy=FailurePolicy.RELOAD)
    one.exchange(Request(path="/trap"))
    emulator.clock.advance(1.5)
    assert [requests(one), requests(other)] == ["1", "2"]
    assert one.current.vm is other.current.vm


def test_a_proxy_that_has_crashed_reloads_nothing() -> None:
    class Guest:
        def __init__(self, host: Hostcalls) -> None:
            self.host = host

        def on_log(self, *_: int) -> None:
            self.host.send_local_response(200, b"", b"", b"", -1)

    emulator = Emulator(callbacks_guest(Guest))
    plugin = emulator.start_plugin(failure_policy=FailurePolicy.RELOAD)
    plugin.exchange()
    assert "a real Envoy crashes here" in emulator.failed
    emulator.clock.advance(10)
    assert plugin.exchange().status == 503
    with pytest.raises(VmFailed, match="the proxy has crashed"):
        emulator.start_plugin(b"other")
