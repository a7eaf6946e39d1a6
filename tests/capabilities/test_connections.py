"""Filters of connections, the same on each host; see `connections/connections.py` for what a configuration says."""

import time
from typing import Any

import pytest

from proxy_wasm.emulator.clusters import Answering, Silent
from proxy_wasm.testing import Connection, LogLevel, Proxy, StartProxy, respond

CLUSTERS = {
    "yes": Answering(respond(200), delay=0.1),
    "no": Answering(respond(403), delay=0.1),
    "silent": Silent(),
}
NORMAL_END = ["up b'' end", "up closed UNKNOWN", "down closed LOCAL", "done", "log"]


def start(start_proxy: StartProxy, **script: object) -> Proxy:
    named = {name.replace("_", " "): acts for name, acts in script.items()}
    return start_proxy("connections", named, network=True, clusters=CLUSTERS)


def said(connection: Connection) -> list[str]:
    """What the filter logged of one connection."""
    return [record.message for record in connection.logs() if record.level is LogLevel.INFO]


def errors(connection: Connection) -> list[str]:
    return [record.message for record in connection.logs() if record.level is LogLevel.ERROR]


def said_at_last(connection: Connection, last: str) -> list[str]:
    """What was logged, once `last` was: some of it comes a moment after a client knows."""
    for _ in range(100):
        if last in said(connection):
            break
        time.sleep(0.01)
    return said(connection)


# Data


def test_a_connection_is_rewritten_both_ways(start_proxy: StartProxy) -> None:
    proxy = start(start_proxy, down=[{"change": "<{}>"}], up=[{"change": "[{}]"}])
    connection = proxy.connect(lambda data: data.upper())
    connection.send(b"hello")
    assert connection.receive(9) == b"[<HELLO>]"
    connection.send(b"again")
    assert connection.receive(9) == b"[<AGAIN>]"
    assert connection.upstream_received == b"<hello><again>"


def test_a_line_is_held_until_it_is_whole(start_proxy: StartProxy) -> None:
    proxy = start(start_proxy, down=[{"until": "\n", "change": "{}!"}])
    connection = proxy.connect(lambda _: b"got it")
    connection.send(b"one ")
    proxy.advance(0.05)
    connection.send(b"two ")
    proxy.advance(0.05)
    assert connection.upstream_received == b""
    connection.send(b"three\n")
    assert connection.receive(6) == b"got it"
    assert connection.upstream_received == b"one two three\n!"
    assert said(connection)[1:4] == ["down b'one '", "down b'one two '", "down b'one two three\\n'"]


def test_an_answer_is_held_until_it_is_whole(start_proxy: StartProxy) -> None:
    proxy = start(start_proxy, up=[{"until": "\n"}])
    connection = proxy.connect(lambda data: data)
    connection.send(b"one ")
    proxy.advance(0.05)
    connection.send(b"two\n")
    assert connection.receive(8) == b"one two\n"


def test_what_is_held_is_changed_and_let_go_from_elsewhere(start_proxy: StartProxy) -> None:
    proxy = start(start_proxy, down=[{"pause": True, "later": 0.1, "later change": "({})"}, {"pause": True}, {}])
    connection = proxy.connect()
    connection.send(b"one")
    proxy.advance(0.02)
    connection.send(b"two")
    assert connection.receive(8, timeout=10) == b"(onetwo)"
    connection.send(b"three")
    assert connection.receive(5) == b"three"


# Ends


def test_a_client_that_ends_first_still_gets_the_answer(start_proxy: StartProxy) -> None:
    connection = start(start_proxy).connect(lambda data: b"bye" if data == b"hello" else None)
    connection.send(b"hello", end_of_stream=True)
    assert connection.receive_all() == b"bye"
    assert connection.closed
    messages = said_at_last(connection, "log")
    assert messages[:2] in (["new", "down b'hello' end"], ["new", "down b'hello'"])
    assert messages[-4:] == NORMAL_END[1:]
    assert connection.upstream_received == b"hello"


def test_an_upstream_that_ends_first_still_gets_the_rest(start_proxy: StartProxy) -> None:
    connection = start(start_proxy).connect(lambda _: None)
    connection.send(b"one")
    connection.wait_for_upstream(3)
    connection.close_upstream()
    assert connection.receive_all() == b""
    connection.send(b"two")
    assert connection.wait_for_upstream(6) == b"onetwo"
    connection.close()
    assert said_at_last(connection, "log") == [
        "new",
        "down b'one'",
        "up b'' end",
        "up closed UNKNOWN",
        "down b'two'",
        "down b'' end",
        "down closed REMOTE",
        "done",
        "log",
    ]


def test_a_client_whose_connection_breaks_has_closed_it(start_proxy: StartProxy) -> None:
    connection = start(start_proxy).connect()
    connection.send(b"one")
    connection.receive(3)
    connection.reset()
    assert said_at_last(connection, "log")[-3:] == ["down closed REMOTE", "done", "log"]


@pytest.mark.parametrize("callback", ["new", "down", "up"])
def test_a_filter_closes_a_connection(start_proxy: StartProxy, callback: str) -> None:
    connection = start(start_proxy, **{callback: [{"close": True}]}).connect()
    if callback != "new":
        connection.send(b"one")
    assert connection.receive_all() == b""
    assert connection.closed
    assert connection.upstream_received == (b"one" if callback == "up" else b"")
    assert said_at_last(connection, "log")[-3:] == ["down closed LOCAL", "done", "log"]
    assert errors(connection) == []


def test_a_filter_closes_a_connection_later_and_what_was_passed_on_is_sent(start_proxy: StartProxy) -> None:
    connection = start(start_proxy, up=[{"close": 0.1}, {}]).connect()
    connection.send(b"one")
    assert connection.receive_all(timeout=10) == b"one"
    assert connection.closed
    assert said_at_last(connection, "log")[-3:] == ["down closed LOCAL", "done", "log"]


def test_closing_what_is_closed_does_nothing(start_proxy: StartProxy) -> None:
    close = [{"close": True}]
    proxy = start(start_proxy, down=close, down_closed=close, up_closed=close, done=close, log=close)
    connection = proxy.connect()
    connection.send(b"one")
    assert connection.receive_all() == b""
    assert said_at_last(connection, "log")[-3:] == ["down closed LOCAL", "done", "log"]
    assert errors(connection) == []


# Waiting


def test_a_connection_that_is_allowed_goes_on_with_what_came_meanwhile(start_proxy: StartProxy) -> None:
    connection = start(start_proxy, new=[{"ask": "yes"}]).connect()
    connection.send(b"one")
    assert connection.receive(3, timeout=10) == b"one"
    assert said(connection)[:4] == ["new", "asked 200", "down b'one'", "up b'one'"]


def test_a_connection_that_is_denied_is_closed_before_the_upstream_hears_of_it(start_proxy: StartProxy) -> None:
    connection = start(start_proxy, new=[{"ask": "no"}]).connect()
    connection.send(b"one")
    assert connection.receive_all(timeout=10) == b""
    assert connection.upstream_received == b""
    assert said_at_last(connection, "log") == ["new", "asked 403", "down closed LOCAL", "done", "log"]


def test_a_client_that_leaves_ends_what_its_connection_is_at(start_proxy: StartProxy) -> None:
    connection = start(start_proxy, down=[{"beside": 60}]).connect()
    connection.send(b"one")
    connection.receive(3)
    connection.reset()
    assert said_at_last(connection, "log")[-4:] == ["down closed REMOTE", "cancelled", "done", "log"]
    assert errors(connection) == []


def test_a_client_that_leaves_before_its_connection_was_let_pass_is_noticed_then(start_proxy: StartProxy) -> None:
    """Envoy (1.40) does not read from it before."""
    proxy = start(start_proxy, new=[{"ask": "yes"}])
    connection = proxy.connect()
    connection.send(b"one")
    connection.reset()
    proxy.advance(0.2)
    assert said_at_last(connection, "log") == ["new", "asked 200", "down b'one'", "down closed REMOTE", "done", "log"]


def test_a_callback_that_awaits_at_once_or_not_at_all_lets_the_connection_go_on(start_proxy: StartProxy) -> None:
    connection = start(start_proxy, new=[{"wait": 0}]).connect()
    connection.send(b"one")
    assert connection.receive(3) == b"one"


def test_a_new_connection_is_held_until_a_timer_lets_it_go_on(start_proxy: StartProxy) -> None:
    connection = start(start_proxy, new=[{"pause": True, "later": 0.05}]).connect()
    connection.send(b"one")
    assert connection.receive(3, timeout=10) == b"one"


def test_a_connection_that_is_not_held_cannot_be_let_go(start_proxy: StartProxy) -> None:
    proxy = start(start_proxy, down=[{"later": 0.01}])
    connection = proxy.connect()
    connection.send(b"one")
    connection.receive(3)
    proxy.advance(0.1)
    assert said(connection)[-1] == (
        "PhaseError: the connection is not paused: it pauses when on_new_connection or on_downstream_data returns Action.PAUSE"
    )


def test_data_cannot_be_awaited_on_and_the_error_says_what_can(start_proxy: StartProxy) -> None:
    connection = start_proxy("connections", root_id="async", network=True).connect()
    connection.send(b"one")
    assert connection.receive_all() == b""
    assert connection.upstream_received == b""
    (error,) = errors(connection)
    assert error.startswith("exception in HastyConnection.on_downstream_data\n")
    assert error.endswith(
        "TypeError: returned a coroutine: what arrives meanwhile would pass unseen; return Action.PAUSE, and let a task (create_task) "
        "look at downstream_data and call continue_downstream"
    )


# Failure

FAILURES = pytest.mark.parametrize(
    ("callback", "act"),
    [*((name, {"fails": True}) for name in ("new", "down", "up")), ("new", {"fails": True, "wait": 0.02})],
)


@FAILURES
def test_a_callback_that_fails_closes_its_connection(
    start_proxy: StartProxy, callback: str, act: dict[str, Any]
) -> None:
    proxy = start(start_proxy, **{callback: [act]})
    connection = proxy.connect()
    connection.send(b"one")
    assert connection.receive_all(timeout=10) == b""
    assert connection.closed
    assert connection.upstream_received == (b"one" if callback == "up" else b"")
    (error,) = errors(connection)
    assert error.startswith("exception in Scripted.on_")
    assert error.endswith("LookupError: as the configuration says")


@FAILURES
def test_a_connection_goes_on_unfiltered_where_the_plugin_fails_open(
    start_proxy: StartProxy, callback: str, act: dict[str, Any]
) -> None:
    script: dict[str, Any] = {"fail open": True, "down": [{"change": "<{}>"}], callback: [act]}
    connection = start(start_proxy, **script).connect()
    connection.send(b"one")
    passed = b"<one>" if callback == "up" else b"one"
    assert connection.receive(len(passed), timeout=10) == passed
    connection.send(b"two")
    assert connection.receive(3) == b"two"
    assert len(errors(connection)) == 1


@pytest.mark.parametrize("callback", ["down closed", "up closed", "done", "log"])
def test_what_fails_at_the_end_is_logged_and_no_more(start_proxy: StartProxy, callback: str) -> None:
    connection = start(start_proxy, **{callback: [{"fails": True}]}).connect()
    connection.send(b"one")
    connection.receive(3)
    connection.close()
    assert said_at_last(connection, "log")[-5:] == NORMAL_END
    (error,) = errors(connection)
    assert error.endswith("LookupError: as the configuration says")


# What else is there


def test_a_connection_knows_its_properties_and_what_vms_share(start_proxy: StartProxy) -> None:
    proxy = start(start_proxy, new=[{"tell": "source.address"}], down=[{"tell": "shared"}])
    connections = [proxy.connect() for _ in range(2)]
    for connection in connections:
        connection.send(b"one")
        connection.receive(3)
    shared = [record.message for record in proxy.logs if record.message.startswith("shared")]
    assert shared == ["shared b'1'", "shared b'2'"]
    addresses = [record.message for record in proxy.logs if record.message.startswith("source.address")]
    assert len(addresses) == 2
    assert all(address.startswith("source.address b'") and ":" in address for address in addresses)


def test_one_plugin_filters_connections_and_http_streams(start_proxy: StartProxy) -> None:
    configuration = {"down": [{"change": "<{}>"}]}
    tcp = start_proxy("connections", configuration, root_id="both", vm_id="both", network=True)
    http = start_proxy("connections", configuration, root_id="both", vm_id="both")
    connection = tcp.connect()
    for _ in range(2):
        upstream = http.get("/").upstream
        assert upstream is not None
        assert upstream.headers["x-marked"] == "yes"
        connection.send(b"one")
        assert connection.receive(5) == b"<one>"
    connection.close()
    assert said_at_last(connection, "log")[-2:] == ["done", "log"]
