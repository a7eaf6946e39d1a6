"""Hostcalls as the ABI names them, from Python, and the callbacks that no Envoy calls."""

import time
from pathlib import Path

import pytest

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.emulator import ConfigurationRejected, Emulator, LogRecord, native_guest, wasm_guest
from proxy_wasm.testing import Exchange, HostName, Proxy, StartProxy, respond
from proxy_wasm.testing.extension import Extension

PROJECT = Path(__file__).parent / "raw_abi"


def ask(proxy: Proxy, act: str) -> Exchange:
    return proxy.get("/", headers={"act": act})


def test_headers_are_measured_added_replaced_and_removed(start_proxy: StartProxy) -> None:
    headers = {"act": "change_headers", "x-replaced": "old", "x-removed": "old"}
    upstream = start_proxy("raw_abi").get("/", headers=headers).upstream
    assert upstream is not None
    assert upstream.headers.get_list("x-added") == ["1", "2"]
    assert upstream.headers["x-replaced"] == "new"
    assert "x-removed" not in upstream.headers
    assert int(upstream.headers["x-grown"]) == 2 * len("x-added1")


def test_a_whole_header_map_is_replaced(start_proxy: StartProxy) -> None:
    answer = respond(201, {"x-upstream": "gone", "content-type": "text/plain"}, "text")
    exchange = start_proxy("raw_abi").get("/", headers={"act": "replace_pairs"}, upstream=answer)
    assert (exchange.status, exchange.text) == (201, "text")
    assert exchange.headers["content-type"] == "text/plain"
    assert "x-upstream" not in exchange.headers
    assert exchange.headers.get_list("x-a") == ["1", "2"]


def test_a_body_is_measured_read_and_replaced(start_proxy: StartProxy) -> None:
    headers = {"act": "body"}
    upstream = start_proxy("raw_abi").post("/", headers=headers, body="(text)").upstream
    assert upstream is not None
    assert upstream.body == b"6 0 text"


def test_a_local_response_has_what_it_was_given(start_proxy: StartProxy) -> None:
    exchange = ask(start_proxy("raw_abi"), "respond")
    assert (exchange.status, exchange.text, exchange.headers["x-raw"]) == (418, "teapot", "yes")
    assert exchange.details == "short_and_stout"
    assert exchange.upstream is None


def test_a_paused_stream_is_continued_from_elsewhere(start_proxy: StartProxy) -> None:
    exchange = ask(start_proxy("raw_abi"), "wait")
    assert exchange.status == 200
    assert exchange.upstream is not None
    assert exchange.upstream.headers["x-later"] == "yes"


def test_a_paused_stream_is_closed_from_elsewhere(start_proxy: StartProxy) -> None:
    exchange = ask(start_proxy("raw_abi"), "close")
    assert exchange.reset
    assert (exchange.status, exchange.upstream) == (0, None)


def test_metrics_are_counted_set_and_read(start_proxy: StartProxy) -> None:
    proxy = start_proxy("raw_abi")
    assert ask(proxy, "count").json() == [3, 5]
    assert (proxy.metric("raw_abi_counter"), proxy.metric("raw_abi_gauge")) == (3, 5)


def test_shared_data_is_changed_only_by_who_has_seen_it_last(start_proxy: StartProxy) -> None:
    assert ask(start_proxy("raw_abi"), "swap_data").json() == [
        "value",
        "changed",
        "proxy_set_shared_data: CAS_MISMATCH",
    ]


def test_a_queue_gives_back_what_was_put_into_it(start_proxy: StartProxy) -> None:
    assert ask(start_proxy("raw_abi"), "use_queue").json() == [True, "item"]


def test_properties_are_set_and_read(start_proxy: StartProxy) -> None:
    assert ask(start_proxy("raw_abi"), "use_properties").json() == ["kept", "GET"]


def test_each_level_is_logged_as_such(start_proxy: StartProxy) -> None:
    proxy = start_proxy("raw_abi")
    lowest = ask(proxy, "log").json()
    logged = [(record.level, record.message) for record in proxy.logs if record.message.startswith("level ")]
    assert logged == [(level, f"level {level.name}") for level in LogLevel if level >= lowest]
    assert logged


def test_the_time_is_that_of_the_proxy(start_proxy: StartProxy, proxy_host: HostName) -> None:
    before = time.time_ns()
    first, second = ask(start_proxy("raw_abi"), "time").json()
    assert first <= second
    if proxy_host == "envoy":  # the emulator has a clock of its own
        assert before <= first
        assert second <= time.time_ns()


def test_the_status_is_that_of_no_callout_before_the_first(start_proxy: StartProxy) -> None:
    assert ask(start_proxy("raw_abi"), "status").json() == [0, ""]


def test_functions_beyond_the_specification_are_called_by_name(start_proxy: StartProxy) -> None:
    assert ask(start_proxy("raw_abi"), "foreign_function").json() == [True, 1000]


def heard(records: list[LogRecord], of: str) -> list[str]:
    """The names of callbacks in the order in which they first came."""
    said = [record.message.partition(": ") for record in records]
    return list(dict.fromkeys(callback for who, _, callback in said if who == of))


def test_a_plugin_hears_of_its_start_its_configuration_and_the_time(start_proxy: StartProxy) -> None:
    proxy = start_proxy("raw_abi", root_id="callbacks")
    proxy.advance(0.1)
    assert heard(proxy.logs, "plugin") == ["on_vm_start", "on_configure", "on_tick"]


def test_a_stream_hears_of_each_part_of_request_and_response_and_of_its_end(start_proxy: StartProxy) -> None:
    proxy = start_proxy("raw_abi", root_id="callbacks")
    answer = respond(200, {}, "body", {"x-trailer": "2"})
    exchange = proxy.post("/", body="body", trailers={"x-trailer": "1"}, upstream=answer)
    assert heard(list(exchange.logs), "stream") == [
        "on_request_headers",
        "on_request_body",
        "on_request_trailers",
        "on_response_headers",
        "on_response_body",
        "on_response_trailers",
        "on_log",
        "on_done",
    ]


def test_a_connection_hears_of_its_data_both_ways_and_of_its_end(start_proxy: StartProxy) -> None:
    connection = start_proxy("raw_abi", root_id="callbacks", network=True).connect()
    connection.send(b"ping")
    assert connection.receive(4) == b"ping"
    connection.close()
    assert heard(connection.logs(), "connection") == [
        "on_new_connection",
        "on_downstream_data",
        "on_upstream_data",
        "on_upstream_connection_close",
        "on_downstream_connection_close",
        "on_done",
        "on_log",
    ]


# What Envoy never calls, as a host of one's own may.


@pytest.fixture(scope="session")
def project() -> Extension:
    return Extension(PROJECT)


@pytest.fixture
def emulator(project: Extension, proxy_host: HostName) -> Emulator:
    return Emulator(
        native_guest(project.plugins()) if proxy_host == "native" else wasm_guest(project.module().read_bytes())
    )


in_the_emulator = pytest.mark.parametrize("proxy_host", ["native", "wasm"])


@in_the_emulator
def test_a_plugin_says_whether_it_could_use_a_configuration(emulator: Emulator) -> None:
    emulator.validate_configuration(b"[]")
    with pytest.raises(ConfigurationRejected, match="validate_configuration") as refused:
        emulator.validate_configuration(b"{}")
    said = [record.message for record in refused.value.logs]
    assert said[0] == "asked about {}"
    assert "must be a list" in said[1]
    assert emulator.start_plugin(b"{}").exchange().status == 200


@in_the_emulator
def test_a_proxy_calls_functions_of_a_plugin_by_number(emulator: Emulator) -> None:
    emulator.start_plugin().call_function(7, b"\x00\xff")
    assert [record.message for record in emulator.log] == ["function 7 was called with b'\\x00\\xff'"]


@pytest.mark.hosts("envoy")
def test_envoy_asks_no_plugin_whether_it_could_use_a_configuration(start_proxy: StartProxy) -> None:
    proxy = start_proxy("raw_abi", {})
    assert proxy.get("/").status == 200
    assert not [record for record in proxy.logs if record.message.startswith("asked")]
