"""Connections through filters in a real Envoy."""

import time
from collections.abc import Iterator

import pytest

from proxy_wasm.envoy import EnvoyFailed, FilteredConnection, FilteringEnvoy, RunningFilter, WasmFilter


@pytest.fixture
def filtering(envoy: FilteringEnvoy, connections: WasmFilter) -> Iterator[RunningFilter]:
    """The filter of `connections.wat` in a living Envoy."""
    added = envoy.add(connections, network=True)
    yield added
    added.remove()


def received(connection: FilteredConnection, size: int) -> bytes:
    assert connection.client.wait_until(lambda: len(connection.client.received) >= size, 10)
    return connection.client.received


def messages(connection: FilteredConnection) -> list[str]:
    return [line.wasm.message for line in connection.log() if line.wasm]


def test_a_filter_changes_what_passes_both_ways(filtering: RunningFilter) -> None:
    connection = filtering.connect(lambda piece: piece.upper())
    connection.send(b"hello")
    assert received(connection, 7) == b"><HELLO"
    connection.send(b"bye")
    assert received(connection, 12) == b"><HELLO><BYE"
    assert connection.server.received == b"<hello<bye"
    connection.end()


def test_the_client_may_close_its_side_alone(filtering: RunningFilter) -> None:
    connection = filtering.connect(lambda piece: piece)
    connection.send(b"last", end_of_stream=True)
    assert connection.client.wait_until(lambda: connection.client.ended, 10)
    assert connection.client.received == b"><last"
    assert connection.record(10) is not None


def test_a_client_whose_connection_breaks_ends_the_connection(filtering: RunningFilter) -> None:
    connection = filtering.connect(lambda _: None)
    connection.send(b"one")
    assert connection.server.wait_until(lambda: connection.server.received == b"<one", 10)
    assert connection.record(0.05) is None
    connection.reset()
    assert connection.record(10) is not None
    assert connection.server.wait_until(lambda: connection.server.ended, 10)
    assert messages(connection) == ["connected", "client gone", "done"]


def test_an_upstream_that_closes_its_side_lets_the_client_close_the_other(filtering: RunningFilter) -> None:
    connection = filtering.connect(lambda _: None)
    connection.end_upstream(10)
    assert connection.client.wait_until(lambda: connection.client.ended, 10)
    connection.send(b"", end_of_stream=True)
    assert connection.record(10) is not None
    assert messages(connection) == ["connected", "upstream gone", "client gone", "done"]


def test_a_filter_may_close_a_connection(filtering: RunningFilter) -> None:
    connection = filtering.connect(lambda piece: piece)
    connection.send(b"x")
    assert connection.client.wait_until(lambda: connection.client.ended, 10)
    assert connection.client.received == b""
    assert connection.record(10) is not None


def test_each_connection_has_an_upstream_of_its_own(filtering: RunningFilter) -> None:
    opened = [filtering.connect(lambda piece, number=number: b"%d%b" % (number, piece)) for number in range(5)]
    for connection in reversed(opened):
        connection.send(b".")
    for number, connection in enumerate(opened):
        assert received(connection, 4) == b">%d<." % number
        connection.end()


def test_what_the_upstream_of_a_connection_raises_is_kept_for_the_test(filtering: RunningFilter) -> None:
    def fail(_: bytes) -> bytes:
        msg = "no such command"
        raise LookupError(msg)

    connection = filtering.connect(fail)
    connection.send(b"?")
    assert connection.server.wait_until(lambda: connection.server.received == b"<?", 10)
    deadline = time.monotonic() + 10
    while not connection.failures and time.monotonic() < deadline:
        time.sleep(0.01)
    assert isinstance(connection.failures[0], LookupError)
    connection.end()


def test_a_filter_that_is_removed_closes_its_connections(envoy: FilteringEnvoy, connections: WasmFilter) -> None:
    added = envoy.add(connections, network=True)
    connection = added.connect(lambda piece: piece)
    connection.send(b"open")
    received(connection, 6)
    added.remove()
    assert connection.client.wait_until(lambda: connection.client.ended, 10)
    with pytest.raises(EnvoyFailed):
        added.connect(lambda piece: piece)
