# What the proxy tells is given by hand here; that it does tell so is tested in tests/capabilities.
# pyright: reportPrivateUsage=false

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm import (
    CalloutArgumentError,
    CalloutResetError,
    CalloutTimeoutError,
    Cancelled,
    ConnectionFailedError,
    GoneError,
    GrpcError,
    GrpcStatus,
    GrpcStream,
    Headers,
    HostError,
    HttpContext,
    PluginContext,
    Status,
    UnknownClusterError,
)
from proxy_wasm.abi import LogLevel, encode_pairs
from proxy_wasm.grpc_streams import MAX_UNREAD

if TYPE_CHECKING:
    from conftest import Proxy, StartProxy

PLUGIN = 1


class Plugin(PluginContext):
    """Does what a test asks for, in tasks."""

    def do(self, function: Callable[["Plugin"], Any]) -> list[Any]:
        """What comes of a coroutine, once it has ended: its result, or what it raised."""
        outcome: list[Any] = []

        async def run() -> None:
            try:
                outcome.append(await function(self))
            except (Exception, Cancelled) as error:  # noqa: BLE001 - it is what the test looks at
                outcome.append(error)

        self.create_task(run())
        return outcome

    def http_context(self) -> HttpContext[Any]:
        return HttpContext(self)


class Rig:
    """A plugin, and a proxy that notes its gRPC hostcalls."""

    def __init__(self, proxy: "Proxy", patch: pytest.MonkeyPatch) -> None:
        self.proxy = proxy
        self.plugin = proxy.plugin_context()
        assert isinstance(self.plugin, Plugin)
        self.called: list[tuple[str, Any]] = []
        self.fails: dict[str, Status] = {}
        self.status = (0, b"")
        self.message = b""
        self.metadata: list[tuple[bytes, bytes]] = []
        self.within: Callable[[], None] = lambda: None
        self.now = 1
        """The proxy's clock, in nanoseconds."""
        self._next_id = 5
        for name in ("grpc_call", "grpc_stream", "grpc_send", "grpc_close", "grpc_cancel"):
            patch.setattr(proxy.host, name, self._hostcall(name), raising=False)
        patch.setattr(proxy.host, "set_tick_period_milliseconds", self._set_tick, raising=False)
        patch.setattr(proxy.host, "get_status", lambda: self.status, raising=False)
        patch.setattr(proxy.host, "get_buffer_bytes", self._buffer)
        patch.setattr(proxy.host, "get_header_map_pairs", self._pairs)
        patch.setattr(proxy.dispatcher._host, "monotonic", lambda: self.now)

    def _set_tick(self, period: int) -> None: ...

    def _buffer(self, kind: int, start: int, size: int) -> bytes:
        return self.message

    def _pairs(self, kind: int) -> bytes:
        return encode_pairs(self.metadata)

    def _hostcall(self, name: str) -> Callable[..., int]:
        def call(*arguments: object) -> int:
            self.called.append((name, arguments))
            self.within()
            if name in self.fails:
                raise HostError(name, self.fails[name])
            self._next_id += 1
            return self._next_id - 1

        return call

    def run(self) -> None:
        """Let tasks go on, and timers fire."""
        self.proxy.call("on_tick", PLUGIN)

    def run_later(self) -> None:
        """The same, a second later."""
        self.now += 1_000_000_000
        self.run()

    def do(self, function: Callable[[Plugin], Any]) -> list[Any]:
        assert isinstance(self.plugin, Plugin)
        outcome = self.plugin.do(function)
        self.run()
        return outcome

    def tell(self, what: str, call_id: int, number: int) -> None:
        self.proxy.call(f"on_grpc_{what}", PLUGIN, call_id, number)

    def tell_message(self, call_id: int, message: bytes) -> None:
        self.message = message
        self.tell("receive", call_id, len(message))

    def tell_close(self, call_id: int, status: int, text: str = "via_upstream") -> None:
        self.status = (status, text.encode())
        self.tell("close", call_id, status)

    @property
    def logged(self) -> list[str]:
        return self.proxy.host.messages(LogLevel.ERROR)


@pytest.fixture
def rig(start: "StartProxy", monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(start(Plugin), monkeypatch)


async def ask(plugin: Plugin) -> bytes:
    return await plugin.grpc_call("users", "pkg.Users", "Get", b"who?")


def opened(rig: Rig) -> GrpcStream:
    return rig.plugin.grpc_stream("users", "pkg.Users", "Watch")


# What is sent


def test_the_cluster_is_named_in_a_message_that_no_proxy_mistakes(rig: Rig) -> None:
    rig.do(
        lambda plugin: plugin.grpc_call("users", "pkg.Users", "Get", b"who?", timeout=0.25, authority="users.example")
    )
    ((name, arguments),) = rig.called
    assert name == "grpc_call"
    assert arguments == (b"\x0a\x16\x0a\x05users\x12\x0dusers.example", b"pkg.Users", b"Get", b"", b"who?", 250)


def test_metadata_of_any_kind_is_sent_with_lower_case_names(rig: Rig) -> None:
    rig.do(
        lambda plugin: plugin.grpc_call(
            "users", "pkg.Users", "Get", b"", metadata=[("X-One", "1"), (b"x-one", b"2"), ("x-any-bin", b"\0\r\n\xff")]
        )
    )
    ((_, arguments),) = rig.called
    assert arguments[3] == encode_pairs([(b"x-one", b"1"), (b"x-one", b"2"), (b"x-any-bin", b"\0\r\n\xff")])


def test_a_call_without_timeout_has_the_longest_that_proxies_take(rig: Rig) -> None:
    rig.do(lambda plugin: plugin.grpc_call("users", "pkg.Users", "Get", b"", timeout=None))
    assert rig.called[0][1][5] == 2**31 - 1


NO_TEXT: Any = None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cluster": ""}, "cluster '': the name of a cluster"),
        ({"service": "/pkg.Users"}, "service '/pkg.Users': a name such as pkg.Users, without a slash"),
        ({"service": ""}, "service '': a name"),
        ({"service": NO_TEXT}, "service None: a name"),
        ({"method": "pkg.Users/Get"}, "method 'pkg.Users/Get': a name such as Get"),
        ({"method": "G\u00e9t"}, "method"),
        ({"message": "text"}, "message: bytes, as SerializeToString of a protobuf message returns, not str"),
        ({"message": NO_TEXT}, "message: bytes, .* not NoneType"),
        ({"timeout": 0}, "timeout 0: seconds, more than 0"),
        ({"timeout": -1}, "timeout -1"),
        ({"timeout": 1e10}, "timeout"),
        ({"authority": "a b"}, "authority 'a b': has a space"),
        ({"metadata": {":path": "/"}}, "metadata: ':path': a name has letters"),
        ({"metadata": {"a b": "1"}}, "metadata: 'a b'"),
        ({"metadata": {"": "1"}}, "metadata: ''"),
        ({"metadata": {"grpc-timeout": "1S"}}, "metadata: 'grpc-timeout': is the protocol's own"),
        ({"metadata": {"Content-Type": "x"}}, "metadata: 'Content-Type': is the protocol's own"),
        ({"metadata": {"x": "a\r\nb"}}, "metadata: 'x': a value has printable ASCII only; .* ends in -bin"),
        ({"metadata": {"x": "\u00e9"}}, "metadata: 'x': a value has printable ASCII only"),
        ({"metadata": {"x": 1}}, "metadata: 'x': its value is to be str or bytes, not int"),
        ({"metadata": [("x-bin", b"1"), ("X-Bin", b"2")]}, "metadata: 'X-Bin': can be given once only"),
        ({"metadata": [(f"x-{number}", "") for number in range(1025)]}, "metadata: 1025 entries"),
        ({"metadata": {"x": "a" * 2**20}}, "metadata: 1 entries of 10"),
    ],
    ids=str,
)
def test_what_cannot_be_sent_is_refused_before_and_named(rig: Rig, arguments: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"cluster": "users", "service": "pkg.Users", "method": "Get", "message": b""}
    with pytest.raises(CalloutArgumentError, match=message):
        rig.plugin.grpc_call(**{**good, **arguments})
    if not {"message", "timeout"} & set(arguments):
        del good["message"]
        with pytest.raises(CalloutArgumentError, match=message):
            rig.plugin.grpc_stream(**{**good, **arguments})
    assert rig.called == []


def test_a_message_that_is_no_bytes_is_refused_by_streams_too(rig: Rig) -> None:
    text: Any = "text"
    with pytest.raises(CalloutArgumentError, match="message: bytes"):
        opened(rig).send(text)
    assert [name for name, _ in rig.called] == ["grpc_stream"]


def test_a_context_that_is_gone_calls_nobody(rig: Rig) -> None:
    streams: list[HttpContext[Any]] = []
    rig.plugin.http_context = lambda: streams.append(HttpContext(rig.plugin)) or streams[-1]
    stream = rig.proxy.stream()
    stream.request_headers()
    stream.end()
    with pytest.raises(GoneError):
        streams[0].grpc_call("users", "pkg.Users", "Get", b"")
    with pytest.raises(GoneError):
        streams[0].grpc_stream("users", "pkg.Users", "Watch")
    assert rig.called == []


# What comes of a call


def test_a_call_brings_a_message_and_is_forgotten(rig: Rig) -> None:
    outcome = rig.do(ask)
    rig.tell_message(5, b"somebody")
    rig.tell_message(5, b"somebody else")
    assert outcome == [b"somebody"]


DETAILS = "upstream_reset_before_response_started"
CONNECT = "upstream connect error or disconnect/reset before headers. reset reason:"


@pytest.mark.parametrize(
    ("status", "text", "kind", "expected", "words"),
    [
        (5, "no such user{via_upstream}", GrpcError, "NOT_FOUND", "no such user"),
        (5, "via_upstream", GrpcError, "NOT_FOUND", ""),
        (5, '{"a": {}}{via_upstream}', GrpcError, "NOT_FOUND", '{"a": {}}'),
        (5, "via_upstream{via_upstream}", GrpcError, "NOT_FOUND", "via_upstream"),
        (5, "n%C3%A9 100% %zz %2{via_upstream}", GrpcError, "NOT_FOUND", "n\u00e9 100% %zz %2"),
        (5, "%FF{via_upstream}", GrpcError, "NOT_FOUND", "\ufffd"),
        (5, "told by another proxy", GrpcError, "NOT_FOUND", "told by another proxy"),
        (5, "", GrpcError, "NOT_FOUND", ""),
        (14, "away{via_upstream}", GrpcError, "UNAVAILABLE", "away"),
        (14, f"{CONNECT} quoted{{via_upstream}}", GrpcError, "UNAVAILABLE", f"{CONNECT} quoted"),
        (99, "what?{via_upstream}", GrpcError, "UNKNOWN", "what?"),
        (0xFFFFFFFF, "via_upstream", GrpcError, "UNKNOWN", ""),
        (0, "", GrpcError, "INTERNAL", ""),
        (4, "Deadline Exceeded{via_upstream}", CalloutTimeoutError, "DEADLINE_EXCEEDED", "Deadline Exceeded"),
        (14, "upstream request timeout{response_timeout}", CalloutTimeoutError, "DEADLINE_EXCEEDED", ""),
        (13, "response_timeout", CalloutTimeoutError, "DEADLINE_EXCEEDED", ""),
        (14, "no healthy upstream{no_healthy_upstream}", ConnectionFailedError, "UNAVAILABLE", "no healthy upstream"),
        (
            14,
            f"{CONNECT} remote connection failure{{{DETAILS}{{remote_connection_failure|x}}}}",
            ConnectionFailedError,
            "UNAVAILABLE",
            f"{CONNECT} remote connection failure",
        ),
        (
            14,
            f"{CONNECT} overflow{{{DETAILS}{{overflow}}}}",
            ConnectionFailedError,
            "UNAVAILABLE",
            f"{CONNECT} overflow",
        ),
        (
            14,
            f"{CONNECT} connection termination{{{DETAILS}{{connection_termination}}}}",
            CalloutResetError,
            "UNAVAILABLE",
            f"{CONNECT} connection termination",
        ),
        (13, "upstream_reset_after_response_started{remote_reset}", CalloutResetError, "INTERNAL", ""),
    ],
)
def test_a_failure_has_a_kind_a_status_and_the_services_own_words(
    rig: Rig, status: int, text: str, kind: type[Exception], expected: str, words: str
) -> None:
    outcome = rig.do(ask)
    rig.tell_close(5, status, text)
    (error,) = outcome
    assert isinstance(error, GrpcError)
    assert isinstance(error, kind)
    assert (error.status.name, error.message, error.cluster) == (expected, words, "users")
    assert str(error).startswith(f"callout to pkg.Users/Get of cluster 'users': {expected}")
    if kind is GrpcError:
        assert type(error) is GrpcError


def test_why_a_call_could_not_start_is_told_in_order(rig: Rig) -> None:
    rig.fails["grpc_call"] = rig.fails["grpc_stream"] = Status.INTERNAL_FAILURE
    outcomes = [rig.plugin.grpc_call(name, "pkg.Users", "Get", b"") for name in ("first", "second")]
    stream = opened(rig)
    stream.send(b"nobody gets it")
    stream.close_send()
    rig.tell_close(5, 14, "Cluster not available")
    rig.tell_close(9, 14, "no healthy upstream{no_healthy_upstream}")
    rig.tell_close(6, 14, "Cluster not available")
    first, second = (outcome.exception() for outcome in outcomes)
    assert isinstance(first, UnknownClusterError)
    assert first.cluster == "first"
    assert isinstance(second, ConnectionFailedError)
    assert second.cluster == "second"
    outcome = rig.do(lambda _: stream.receive())
    assert isinstance(outcome[0], UnknownClusterError)
    assert [name for name, _ in rig.called] == ["grpc_call", "grpc_call", "grpc_stream"]


def test_a_call_that_the_proxy_forbids_fails_all_the_same(rig: Rig) -> None:
    rig.fails["grpc_call"] = Status.INTERNAL_FAILURE
    outcome = rig.do(ask)
    rig.run_later()
    assert isinstance(outcome[0], ConnectionFailedError)


def test_another_refusal_of_the_proxy_is_told_at_once(rig: Rig) -> None:
    rig.fails["grpc_call"] = Status.PARSE_FAILURE
    assert "PARSE_FAILURE" in str(rig.do(ask)[0])


def test_a_failure_that_nobody_awaits_is_logged(rig: Rig) -> None:
    rig.plugin.grpc_call("users", "pkg.Users", "Get", b"")
    rig.tell_close(5, 7, "no{via_upstream}")
    (logged,) = rig.logged
    assert "PERMISSION_DENIED: no" in logged
    stream = opened(rig)
    rig.tell_close(6, 7, "no{via_upstream}")
    del stream
    assert len(rig.logged) == 2


def test_an_answer_that_cannot_be_taken_fails_the_call(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> bytes:
        raise MemoryError

    outcome = rig.do(ask)
    monkeypatch.setattr(rig.proxy.host, "get_buffer_bytes", no_memory)
    rig.tell("receive", 5, 10)
    assert isinstance(outcome[0], MemoryError)


def test_what_is_told_of_calls_that_nobody_knows_changes_nothing(rig: Rig) -> None:
    outcome = rig.do(ask)
    for what in ("receive_initial_metadata", "receive", "receive_trailing_metadata", "close"):
        rig.tell(what, 1001, 14)
        rig.proxy.call(f"on_grpc_{what}", 99, 5, 14)
    assert outcome == []
    assert rig.logged == []


def test_metadata_that_comes_with_a_call_is_no_answer(rig: Rig) -> None:
    outcome = rig.do(ask)
    rig.tell("receive_initial_metadata", 5, 1)
    rig.tell("receive_trailing_metadata", 5, 1)
    assert outcome == []


# Streams


def test_metadata_is_what_the_service_says_without_what_is_the_protocols(rig: Rig) -> None:
    stream = opened(rig)
    rig.metadata = [
        (b":status", b"200"),
        (b"content-type", b"application/grpc"),
        (b"grpc-encoding", b"identity"),
        (b"x-envoy-upstream-service-time", b"1"),
        (b"x-one", b"1"),
        (b"x-one", b"2"),
        (b"x-padded-bin", b"AAE="),
        (b"x-bare-bin", b"AAE"),
        (b"x-joined-bin", b"AAE, AgM="),
        (b"x-odd-bin", b"A"),
        (b"grpc-status-details-bin", b"CAU"),
    ]
    outcome = rig.do(lambda _: stream.initial_metadata())
    assert outcome == []
    rig.tell("receive_initial_metadata", 5, len(rig.metadata))
    assert outcome[0].raw == [
        (b"x-one", b"1"),
        (b"x-one", b"2"),
        (b"x-padded-bin", b"\0\1"),
        (b"x-bare-bin", b"\0\1"),
        (b"x-joined-bin", b"\0\1"),
        (b"x-odd-bin", b"A"),
        (b"grpc-status-details-bin", b"\x08\x05"),
    ]


def test_a_stream_that_the_service_ends_is_closed_here_too(rig: Rig) -> None:
    stream = opened(rig)
    rig.tell_close(5, 0)
    assert stream.status is GrpcStatus.OK
    assert rig.called[-1] == ("grpc_close", (5,))
    assert rig.do(lambda _: stream.receive()) == [None]
    assert rig.do(lambda _: stream.initial_metadata())[0].raw == []
    assert not stream.cancel()


def test_several_readers_get_each_message_once(rig: Rig) -> None:
    stream = opened(rig)
    first, second = rig.do(lambda _: stream.receive()), rig.do(lambda _: stream.receive())
    rig.tell_message(5, b"one")
    rig.tell_message(5, b"two")
    rig.tell_message(5, b"three")
    assert (first, second) == ([b"one"], [b"two"])
    assert rig.do(lambda _: stream.receive()) == [b"three"]


def test_a_reader_that_is_cancelled_takes_no_message_along(rig: Rig) -> None:
    stream = opened(rig)
    reader = rig.plugin.create_task(stream.receive())
    rig.run()
    reader.cancel()
    rig.tell_message(5, b"one")
    assert reader.cancelled()
    assert rig.do(lambda _: stream.receive()) == [b"one"]


def test_a_stream_that_was_given_up_is_reset_a_moment_later_and_hears_nothing_more(rig: Rig) -> None:
    stream = opened(rig)
    rig.tell_message(5, b"unread")
    assert stream.cancel()
    rig.tell_message(5, b"late")
    rig.tell("receive_initial_metadata", 5, 1)
    rig.tell("receive_trailing_metadata", 5, 1)
    assert rig.called[1:] == []
    rig.run_later()
    assert rig.called[1:] == [("grpc_cancel", (5,))]
    assert rig.do(lambda _: stream.receive()) == [None]
    assert stream.trailing_metadata.raw == []


def test_a_stream_that_the_service_ended_meanwhile_is_closed_instead(rig: Rig) -> None:
    stream = opened(rig)
    stream.cancel()
    rig.tell_close(5, 13)
    rig.run_later()
    assert rig.called[1:] == [("grpc_close", (5,))]
    assert stream.status is GrpcStatus.CANCELLED
    assert rig.logged == []


def test_messages_that_nobody_reads_end_the_stream(rig: Rig) -> None:
    stream = opened(rig)
    rig.message = bytes(MAX_UNREAD)
    rig.tell("receive", 5, MAX_UNREAD)
    assert stream.status is None
    rig.tell("receive", 5, 1)
    assert stream.status is GrpcStatus.RESOURCE_EXHAUSTED
    assert len(rig.do(lambda _: stream.receive())[0]) == MAX_UNREAD
    (error,) = rig.do(lambda _: stream.receive())
    assert f"more than {MAX_UNREAD} bytes of messages wait to be read" in str(error)
    rig.run_later()
    assert rig.called[1:] == [("grpc_cancel", (5,))]


def test_a_stream_shows_what_it_is(rig: Rig) -> None:
    stream = opened(rig)
    assert repr(stream) == "<GrpcStream pkg.Users/Watch of cluster 'users': open>"
    stream.cancel()
    assert repr(stream) == "<GrpcStream pkg.Users/Watch of cluster 'users': CANCELLED>"


class Chatting(HttpContext[PluginContext]):
    """Sends over a stream of its own in a callback, and then uses the request's headers."""

    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
        self.chat = self.grpc_stream("users", "pkg.Users", "Chat")
        self.chat.send(b"hello")
        headers["x-sent"] = "1"
        self.request_headers["x-own"] = "1"


def test_a_proxy_that_calls_back_while_something_is_sent_disturbs_no_callback(rig: Rig) -> None:
    chatting: list[Chatting] = []
    seen: list[Headers] = []
    rig.plugin.http_context = lambda: chatting.append(Chatting(rig.plugin)) or chatting[-1]

    async def watch(stream: GrpcStream) -> None:
        seen.append(await stream.initial_metadata())

    def nested() -> None:
        if rig.called[-1][0] == "grpc_send":
            chatting[0].create_task(watch(chatting[0].chat))
            outer = rig.proxy.host.context_id
            rig.metadata = [(b"x-one", b"1")]
            rig.tell("receive_initial_metadata", 5, 1)
            assert seen == []
            rig.proxy.host.context_id = outer

    rig.within = nested
    stream = rig.proxy.stream()
    assert stream.request_headers() == 0
    assert rig.logged == []
    assert [headers.raw for headers in seen] == [[(b"x-one", b"1")]]
