"""TCP connections: orders, peers and bytes are those that Envoy 1.40 gave to the same filters before its TCP proxy."""

from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm.abi.enums import BufferType, PeerType, Status, StreamType
from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.emulator import FailurePolicy, Plugin, TcpStream, UpstreamResponse

if TYPE_CHECKING:
    from conftest import Handler, Start, StatusOf

CALLBACKS = (
    "on_new_connection",
    "on_downstream_data",
    "on_upstream_data",
    "on_downstream_connection_close",
    "on_upstream_connection_close",
    "on_done",
    "on_log",
    "on_delete",
)
PAUSE = 1
DOWN, UP = BufferType.DOWNSTREAM_DATA, BufferType.UPSTREAM_DATA
UNKNOWN, LOCAL, REMOTE = PeerType.UNKNOWN, PeerType.LOCAL, PeerType.REMOTE
END = ["on_done", "on_log", "on_delete"]


class Recorder:
    """A plugin that notes its callbacks with their arguments, and then does what `handlers` do."""

    def __init__(self, start: "Start", fail_open: bool = False, /, **handlers: "Handler") -> None:
        self.heard: list[Any] = []
        self.plugin: Plugin = start(
            plugin={"failure_policy": FailurePolicy.ALWAYS_OPEN if fail_open else FailurePolicy.CLOSED},
            emulator={"clusters": {"a": UpstreamResponse()}},
            **{name: self._recording(name, handlers.get(name)) for name in CALLBACKS},
            **{name: handler for name, handler in handlers.items() if name not in CALLBACKS},
        )

    def _recording(self, name: str, handler: "Handler | None") -> "Handler":
        def run(host: Hostcalls, /, *arguments: int) -> int | None:
            rest = arguments[1:]
            self.heard.append((name.removeprefix("on_"), *rest) if rest else name)
            return None if handler is None else handler(host, *arguments)

        return run

    def connect(self) -> TcpStream:
        stream = self.plugin.tcp_stream()
        stream.new_connection()
        return stream


def pause(_host: Hostcalls, *_: int) -> int:
    return PAUSE


def test_bytes_pass_both_ways_and_a_client_that_ends_first_is_closed_by_the_proxy(start: "Start") -> None:
    recorder = Recorder(start)
    stream = recorder.connect()
    stream.downstream_data(b"hello")
    stream.upstream_data(b"<hello>")
    stream.downstream_data(b"", end_of_stream=True)
    assert not stream.closed
    stream.upstream_data(b"", end_of_stream=True)
    assert (stream.upstream.passed, stream.downstream.passed) == (b"hello", b"<hello>")
    assert (stream.closed, stream.closed_by) == (True, LOCAL)
    assert recorder.heard == [
        "on_new_connection",
        ("downstream_data", 5, 0),
        ("upstream_data", 7, 0),
        ("downstream_data", 0, 1),
        ("upstream_data", 0, 1),
        ("upstream_connection_close", UNKNOWN),
        ("downstream_connection_close", LOCAL),
        *END,
    ]


def test_a_client_that_ends_last_has_closed_the_connection_itself(start: "Start") -> None:
    recorder = Recorder(start)
    stream = recorder.connect()
    stream.downstream_data(b"half")
    stream.upstream_data(b"bye", end_of_stream=True)
    stream.downstream_data(b"more")
    stream.downstream_data(b"", end_of_stream=True)
    assert (stream.upstream.passed, stream.closed_by) == (b"halfmore", REMOTE)
    assert recorder.heard[2:] == [
        ("upstream_data", 3, 1),
        ("upstream_connection_close", UNKNOWN),
        ("downstream_data", 4, 0),
        ("downstream_data", 0, 1),
        ("downstream_connection_close", REMOTE),
        *END,
    ]


@pytest.mark.parametrize(("event", "peer"), [("close", REMOTE), ("refuse", LOCAL)])
def test_a_connection_that_breaks_ends_without_an_end_of_its_data(start: "Start", event: str, peer: PeerType) -> None:
    recorder = Recorder(start)
    stream = recorder.connect()
    getattr(stream, event)()
    stream.downstream_data(b"late")
    stream.upstream_data(b"late")
    stream.close()
    assert recorder.heard == ["on_new_connection", ("downstream_connection_close", peer), *END]


def test_the_context_is_gone_with_the_connection(start: "Start", status_of: "StatusOf") -> None:
    statuses: list[Any] = []
    recorder = Recorder(
        start,
        on_vm_start=lambda host, *_: host.set_tick_period_milliseconds(1000) or 1,
        on_tick=lambda host, *_: statuses.append(status_of(lambda: host.set_effective_context(stream.context_id))),
    )
    stream = recorder.connect()
    recorder.plugin.vm.clock.advance(1)
    stream.close()
    recorder.plugin.vm.clock.advance(1)
    assert statuses == [Status.OK, Status.BAD_ARGUMENT]


def test_a_paused_connection_is_neither_connected_nor_read(start: "Start") -> None:
    recorder = Recorder(
        start,
        on_new_connection=pause,
        on_vm_start=lambda host, *_: host.set_tick_period_milliseconds(1000) or 1,
        on_tick=lambda host, *_: resume(host, stream),
    )
    stream = recorder.connect()
    stream.downstream_data(b"one")
    stream.downstream_data(b"two", end_of_stream=True)
    assert (stream.connected, stream.paused, recorder.heard) == (False, True, ["on_new_connection"])
    recorder.plugin.vm.clock.advance(1)
    assert recorder.heard[1:] == [("downstream_data", 6, 1)]
    assert (stream.upstream.passed, stream.upstream.ended, stream.paused) == (b"onetwo", True, False)


def resume(host: Hostcalls, stream: TcpStream) -> None:
    host.set_effective_context(stream.context_id)
    host.continue_stream(StreamType.DOWNSTREAM)


@pytest.mark.parametrize(
    ("callback", "buffer", "event", "side"),
    [
        ("on_downstream_data", DOWN, "downstream_data", "upstream"),
        ("on_upstream_data", UP, "upstream_data", "downstream"),
    ],
)
def test_held_bytes_are_joined_by_later_ones_until_the_filter_lets_all_pass(
    start: "Start", callback: str, buffer: BufferType, event: str, side: str
) -> None:
    seen: list[bytes] = []

    def on_data(host: Hostcalls, *arguments: int) -> int:
        seen.append(host.get_buffer_bytes(buffer, 0, 99))
        return PAUSE if arguments[1] < 6 else 0

    stream = Recorder(start, **{callback: on_data}).connect()
    getattr(stream, event)(b"one")
    assert (getattr(stream, side).passed, stream.paused) == (b"", True)
    getattr(stream, event)(b"two")
    assert (getattr(stream, side).passed, stream.paused) == (b"onetwo", False)
    getattr(stream, event)(b"three-")
    assert getattr(stream, side).passed == b"onetwothree-"
    assert seen == [b"one", b"onetwo", b"three-"]


def test_continuing_passes_held_bytes_without_another_callback(start: "Start") -> None:
    seen: list[bytes] = []

    def on_http_call_response(host: Hostcalls, *_: int) -> None:
        host.set_effective_context(stream.context_id)
        seen.append(host.get_buffer_bytes(DOWN, 0, 99))
        host.set_buffer_bytes(DOWN, 0, 99, b"changed")
        host.continue_stream(StreamType.DOWNSTREAM)

    def on_downstream_data(host: Hostcalls, *_: int) -> int:
        headers = b"".join([b":method\0GET\0", b":path\0/\0", b":authority\0a\0"])
        sizes = b"".join(size.to_bytes(4, "little") for size in (3, 7, 3, 5, 1, 10, 1))
        host.http_call(b"a", sizes + headers, b"", b"", 0)
        return PAUSE

    recorder = Recorder(start, on_downstream_data=on_downstream_data, on_http_call_response=on_http_call_response)
    stream = recorder.connect()
    stream.downstream_data(b"one", end_of_stream=True)
    assert (stream.upstream.passed, stream.upstream.ended, seen) == (b"changed", True, [b"one"])
    assert recorder.heard == ["on_new_connection", ("downstream_data", 3, 1)]


def test_what_comes_from_the_upstream_can_not_be_continued(start: "Start", status_of: "StatusOf") -> None:
    statuses: list[Any] = []

    def on_upstream_data(host: Hostcalls, *_: int) -> int:
        statuses.extend(status_of(lambda kind=kind: host.continue_stream(kind)) for kind in StreamType)
        return PAUSE

    stream = Recorder(start, on_upstream_data=on_upstream_data).connect()
    stream.upstream_data(b"bye", end_of_stream=True)
    assert statuses == [Status.OK, Status.OK, Status.OK, Status.UNIMPLEMENTED]
    assert (stream.downstream.passed, stream.downstream.ended, stream.paused) == (b"", False, True)
    stream.downstream_data(b"", end_of_stream=True)
    assert stream.closed_by is LOCAL


def test_bytes_are_rewritten_in_both_directions(start: "Start") -> None:
    def rewrite(buffer: BufferType, data: bytes) -> "Handler":
        return lambda host, *_: host.set_buffer_bytes(buffer, 0, 99, data)

    stream = Recorder(start, on_downstream_data=rewrite(DOWN, b"to"), on_upstream_data=rewrite(UP, b"fro")).connect()
    stream.downstream_data(b"one")
    stream.upstream_data(b"two")
    assert (stream.upstream.passed, stream.downstream.passed) == (b"to", b"fro")


@pytest.mark.parametrize("stream_type", [StreamType.DOWNSTREAM, StreamType.UPSTREAM])
@pytest.mark.parametrize("callback", ["on_new_connection", "on_downstream_data", "on_upstream_data"])
def test_closing_loses_the_bytes_in_hand(start: "Start", callback: str, stream_type: StreamType) -> None:
    def close(host: Hostcalls, *_: int) -> None:
        host.close_stream(stream_type)

    recorder = Recorder(start, **{callback: close})
    stream = recorder.connect()
    stream.downstream_data(b"one")
    stream.upstream_data(b"two")
    assert stream.closed_by is LOCAL
    assert recorder.heard[-4:] == [("downstream_connection_close", LOCAL), *END]
    assert stream.upstream.passed == (b"one" if callback == "on_upstream_data" else b"")
    assert stream.downstream.passed == b""


def test_closing_what_is_closed_does_nothing(start: "Start") -> None:
    def close(host: Hostcalls, *_: int) -> int:
        host.close_stream(StreamType.DOWNSTREAM)
        host.continue_stream(StreamType.DOWNSTREAM)
        return 1

    recorder = Recorder(start, on_done=close, on_log=close)
    recorder.connect().close()
    assert recorder.heard == ["on_new_connection", ("downstream_connection_close", REMOTE), *END]
    assert not recorder.plugin.vm.failed


def test_a_connection_has_buffers_properties_and_no_headers(start: "Start", status_of: "StatusOf") -> None:
    seen: list[Any] = []

    def on_downstream_data(host: Hostcalls, *_: int) -> None:
        host.set_property(b"mine", b"set")
        host.send_local_response(403, b"", b"", b"", -1)
        seen.extend(
            [
                host.get_buffer_bytes(UP, 0, 9),
                status_of(lambda: host.set_buffer_bytes(UP, 0, 0, b"x")),
                host.get_buffer_bytes(BufferType.HTTP_REQUEST_BODY, 0, 9),
                status_of(lambda: host.get_header_map_value(0, b":path")),
                host.get_header_map_pairs(0),
                host.get_property(b"mine"),
                host.get_property(b"source\0address"),
                host.get_property(b"request\0path"),
                host.get_property(b"plugin_root_id"),
            ]
        )

    stream = Recorder(start, on_downstream_data=on_downstream_data).connect()
    stream.downstream_data(b"one")
    bad = Status.BAD_ARGUMENT
    assert seen == [b"", bad, b"", bad, b"", b"set", b"127.0.0.1:50000", None, b""]
    assert stream.upstream.passed == b"one"


@pytest.mark.parametrize("fail_open", [False, True])
def test_a_failed_vm_closes_its_connections_unless_it_fails_open(start: "Start", fail_open: bool) -> None:
    def fail(_host: Hostcalls, *_: int) -> None:
        raise RuntimeError

    recorder = Recorder(start, fail_open, on_downstream_data=fail)
    stream = recorder.connect()
    stream.downstream_data(b"one")
    later = recorder.connect()
    later.downstream_data(b"two")
    for connection, sent in ((stream, b"one"), (later, b"two")):
        assert connection.closed is not fail_open
        assert connection.upstream.passed == (sent if fail_open else b"")
    assert recorder.heard == ["on_new_connection", ("downstream_data", 3, 0)]
