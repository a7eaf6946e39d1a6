"""Contexts: how they come, in which order they go, what is left to them at the end; and VMs that fail."""

from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm.abi.enums import LogLevel, MapType, Status
from proxy_wasm.abi.hostcalls import Hostcalls, current
from proxy_wasm.emulator import Emulator, FailurePolicy, Request, VmFailed
from proxy_wasm.emulator.native_guest import callbacks_guest

if TYPE_CHECKING:
    from conftest import Handler, Start, StatusOf

GET = [(":method", "GET"), (":path", "/")]


def record(calls: list[Any], name: str) -> "Handler":
    def handler(_: Hostcalls, *arguments: int) -> None:
        calls.append((name, *arguments))

    return handler


def test_a_stream_is_created_with_its_headers_and_ends_with_log_done_delete(start: "Start") -> None:
    calls: list[Any] = []
    plugin = start(
        on_context_create=record(calls, "on_context_create"),
        on_request_headers=record(calls, "on_request_headers"),
        on_log=record(calls, "on_log"),
        on_done=record(calls, "on_done"),
        on_delete=record(calls, "on_delete"),
    )
    plugin.http_stream()
    assert calls == [("on_context_create", 1, 0)]
    plugin.exchange()
    assert calls[1:] == [
        ("on_context_create", 3, 1),
        ("on_request_headers", 3, 4, 1),
        ("on_log", 3),
        ("on_done", 3),
        ("on_delete", 3),
    ]


def test_a_client_that_goes_away_ends_the_stream(start: "Start") -> None:
    calls: list[Any] = []
    stream = start(
        on_log=record(calls, "on_log"), on_done=record(calls, "on_done"), on_delete=record(calls, "on_delete")
    ).http_stream()
    stream.request_headers(GET)
    stream.close()
    stream.close()
    assert [name for name, _ in calls] == ["on_log", "on_done", "on_delete"]
    assert (stream.reset, stream.details) == (True, "downstream_remote_disconnect")


def test_a_stream_that_never_got_headers_is_still_logged(start: "Start") -> None:
    calls: list[Any] = []
    plugin = start(on_context_create=record(calls, "on_context_create"), on_log=record(calls, "on_log"))
    plugin.http_stream().close()
    assert calls == [("on_context_create", 1, 0), ("on_context_create", 2, 1), ("on_log", 2)]


def test_on_log_reads_the_whole_streams_headers_and_writes_none(start: "Start", status_of: "StatusOf") -> None:
    results: list[Any] = []

    def on_log(host: Hostcalls, *_: int) -> None:
        results.append(host.get_header_map_value(MapType.HTTP_REQUEST_HEADERS, b"x-added"))
        results.append(host.get_header_map_value(MapType.HTTP_RESPONSE_HEADERS, b":status"))
        results.append(host.get_header_map_value(MapType.HTTP_RESPONSE_TRAILERS, b"x"))
        results.append(host.get_header_map_pairs(MapType.HTTP_REQUEST_TRAILERS))
        results.append(status_of(lambda: host.add_header_map_value(MapType.HTTP_RESPONSE_HEADERS, b"x", b"1")))

    def on_done(host: Hostcalls, *_: int) -> int:
        results.append(status_of(lambda: host.get_header_map_value(MapType.HTTP_REQUEST_HEADERS, b":path")))
        return 1

    plugin = start(
        on_request_headers=lambda host, *_: host.add_header_map_value(MapType.HTTP_REQUEST_HEADERS, b"x-added", b"1"),
        on_log=on_log,
        on_done=on_done,
    )
    plugin.exchange()
    assert results == [b"1", b"200", None, b"", Status.BAD_ARGUMENT, Status.BAD_ARGUMENT]


def test_the_effective_context_lasts_until_the_callback_returns(start: "Start", status_of: "StatusOf") -> None:
    results: list[Any] = []

    def on_tick(host: Hostcalls, *_: int) -> None:
        results.append(status_of(lambda: host.get_header_map_value(MapType.HTTP_REQUEST_HEADERS, b":path")))
        results.append(status_of(lambda: host.set_effective_context(99)))
        host.set_effective_context(2)
        results.append(host.get_header_map_value(MapType.HTTP_REQUEST_HEADERS, b":path"))
        host.set_effective_context(0)
        results.append(status_of(lambda: host.get_header_map_value(MapType.HTTP_REQUEST_HEADERS, b":path")))
        host.set_effective_context(2)

    plugin = start(
        on_configure=lambda host, *_: host.set_tick_period_milliseconds(1) or 1,
        on_request_headers=lambda _, *__: 1,
        on_tick=on_tick,
    )
    stream = plugin.http_stream()
    stream.request_headers(GET)
    plugin.vm.clock.advance(0.002)
    assert results == [Status.BAD_ARGUMENT, Status.BAD_ARGUMENT, b"/", Status.BAD_ARGUMENT] * 2
    stream.close()
    results.clear()
    plugin.vm.clock.advance(0.001)
    assert plugin.vm.failed, "a stream that is gone is no effective context, which this filter did not expect"


def test_hostcalls_are_bound_during_callbacks_only(start: "Start") -> None:
    bound: list[bool] = []
    start(on_request_headers=lambda host, *_: bound.append(current() is host)).exchange()
    assert bound == [True]
    with pytest.raises(RuntimeError, match="no proxy is calling"):
        current()


def test_an_exception_that_leaves_a_guest_fails_its_vm_for_good(start: "Start") -> None:
    calls: list[str] = []

    def on_request_headers(host: Hostcalls, *_: int) -> int:
        calls.append("request")
        if host.get_header_map_value(MapType.HTTP_REQUEST_HEADERS, b":path") == b"/bad":
            msg = "the filter is broken"
            raise LookupError(msg)
        return 0

    plugin = start(on_request_headers=on_request_headers, on_response_headers=lambda _, *__: calls.append("response"))
    waiting = plugin.http_stream()
    waiting.request_headers(GET, end_of_stream=True)
    failed = plugin.exchange(Request(path="/bad"))
    assert (failed.status, failed.body, failed.details) == (503, b"", "wasm_fail_stream")
    record = failed.logs[-1]
    assert (record.level, record.from_host) == (LogLevel.ERROR, True)
    assert record.message.startswith("Function: proxy_on_request_headers failed: ")
    assert "LookupError: the filter is broken" in record.message
    assert plugin.exchange().status == 503
    waiting.response_headers([(":status", "200")], end_of_stream=True)
    assert waiting.response.sent.headers == [(":status", "503")]
    assert calls == ["request", "request"]


def test_a_plugin_that_fails_open_lets_streams_pass_after_its_vm_failed(start: "Start") -> None:
    def on_request_headers(*_: object) -> int:
        raise ValueError

    plugin = start(plugin={"failure_policy": FailurePolicy.ALWAYS_OPEN}, on_request_headers=on_request_headers)
    assert [plugin.exchange(Request("POST", body=b"x")).status for _ in range(2)] == [200, 200]


def test_a_failure_after_response_headers_went_on_resets_the_stream(start: "Start") -> None:
    def on_response_body(*_: object) -> int:
        raise ValueError

    exchange = start(on_response_body=on_response_body).exchange()
    assert exchange.reset


def test_a_failure_in_on_log_spares_the_stream(start: "Start") -> None:
    def on_log(*_: object) -> None:
        raise ValueError

    plugin = start(on_log=on_log, on_done=lambda _, *__: pytest.fail("the VM has failed"))
    assert plugin.exchange().status == 200
    assert plugin.exchange().status == 503


def answer(host: Hostcalls, *_: int) -> None:
    host.send_local_response(500, b"", b"", b"", -1)


def close(host: Hostcalls, *_: int) -> None:
    host.close_stream(0)


@pytest.mark.parametrize("end", [answer, close])
def test_what_crashes_envoy_after_a_stream_has_ended_fails_the_vm(start: "Start", end: "Handler") -> None:
    for plugin in (start(on_log=end), start(on_done=end)):
        exchange = plugin.exchange()
        assert exchange.status == 200
        assert exchange.logs[-1].level == LogLevel.CRITICAL
        assert "a real Envoy crashes here" in exchange.logs[-1].message
        assert plugin.exchange().status == 503


def test_what_is_no_error_passes_through_the_emulator(start: "Start") -> None:
    def on_request_headers(*_: object) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(on_request_headers=on_request_headers).exchange()


def test_a_guest_that_cannot_start_fails_the_emulator() -> None:
    def make(_: Hostcalls) -> object:
        msg = "no such thing"
        raise LookupError(msg)

    with pytest.raises(VmFailed, match="LookupError: no such thing"):
        Emulator(callbacks_guest(make))


def test_two_plugins_share_a_vm_but_not_their_configuration() -> None:
    configurations: dict[int, bytes] = {}

    class Guest:
        def __init__(self, host: Hostcalls) -> None:
            self.host = host

        def on_configure(self, context_id: int, size: int) -> int:
            configurations[context_id] = self.host.get_buffer_bytes(7, 0, size)
            return 1

    emulator = Emulator(callbacks_guest(Guest))
    first = emulator.start_plugin(b"one", root_id="a")
    second = emulator.start_plugin(b"two", root_id="b")
    assert configurations == {1: b"one", 2: b"two"}
    assert emulator.start_plugin(b"one", root_id="a") is first
    assert first.vm is second.vm
