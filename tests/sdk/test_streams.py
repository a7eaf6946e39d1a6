"""What an author's stream object sees and does when all goes well."""

import logging
from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm import Action, Body, Headers, HttpContext, LogLevel, PhaseError, PluginContext
from proxy_wasm.abi import StreamType

if TYPE_CHECKING:
    from conftest import StartProxy


def plugin_of(stream_class: type[HttpContext[Any]]) -> type[PluginContext]:
    class Plugin(PluginContext):
        def http_context(self) -> HttpContext[Any]:
            return stream_class(self)

    return Plugin


def test_each_callback_gets_its_part_of_the_stream(start: "StartProxy") -> None:
    seen: list[object] = []

    class Everything(HttpContext[PluginContext]):
        def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
            seen.append((headers[":path"], self.request_headers is headers, end_of_stream))

        def on_request_body(self, body: Body, end_of_stream: bool) -> None:
            seen.append((bytes(body), self.request_body is body, end_of_stream))

        def on_request_trailers(self, trailers: Headers) -> None:
            seen.append((trailers["t"], self.request_trailers is trailers))

        def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
            seen.append((headers[":status"], self.response_headers is headers, end_of_stream))

        def on_response_body(self, body: Body, end_of_stream: bool) -> None:
            seen.append((bytes(body), self.response_body is body, end_of_stream))

        def on_response_trailers(self, trailers: Headers) -> None:
            seen.append((trailers["t"], self.response_trailers is trailers))

        def on_log(self) -> None:
            seen.append("log")

        def on_done(self) -> None:
            seen.append("done")

    stream = start(plugin_of(Everything)).stream()
    assert stream.request_headers(end_of_stream=False) == Action.CONTINUE
    assert stream.request_body(b"in", end_of_stream=False) == Action.CONTINUE
    assert stream.request_trailers() == Action.CONTINUE
    assert stream.response_headers(end_of_stream=False) == Action.CONTINUE
    assert stream.response_body(b"out") == Action.CONTINUE
    assert stream.response_trailers() == Action.CONTINUE
    stream.log()
    stream.end()
    assert seen == [
        ("/", True, False),
        (b"in", True, False),
        ("1", True),
        ("200", True, False),
        (b"out", True, True),
        ("1", True),
        "log",
        "done",
    ]


def test_a_stream_that_overrides_nothing_passes_unchanged(start: "StartProxy") -> None:
    stream = start(PluginContext).stream()
    for step in (stream.request_headers, stream.request_body, stream.request_trailers):
        assert step() == Action.CONTINUE
    for step in (stream.response_headers, stream.response_body, stream.response_trailers):
        assert step() == Action.CONTINUE
    stream.log()
    stream.end()
    assert not stream.side.local_responses


def test_streams_of_one_plugin_are_apart_and_share_it(start: "StartProxy") -> None:
    class Counting(PluginContext):
        count = 0

        def http_context(self) -> HttpContext[Any]:
            return Numbered(self)

    class Numbered(HttpContext[Counting]):
        def __init__(self, plugin: Counting) -> None:
            super().__init__(plugin)
            plugin.count += 1
            self.number = plugin.count

        def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
            headers["x-number"] = f"{self.number} of {self.plugin.count}, context {self.context_id}"

    proxy = start(Counting)
    streams = [proxy.stream(), proxy.stream()]
    for stream in reversed(streams):
        pairs = [(b":path", b"/")]
        stream.request_headers(pairs)
        number = streams.index(stream) + 1
        assert pairs[-1] == (b"x-number", f"{number} of 2, context {stream.context_id}".encode())


def test_a_local_response_has_what_it_was_given(start: "StartProxy") -> None:
    class Denying(HttpContext[PluginContext]):
        def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action:
            return self.send_local_response(
                403,
                headers=[("x-why", "a"), ("x-why", b"b")],
                body="né\n",
                details="not on\tthe list",
                grpc_status=7,
            )

    stream = start(plugin_of(Denying)).stream()
    assert stream.request_headers() == Action.PAUSE
    response = stream.local_response
    assert (response.status, response.body, response.details) == (403, "né\n".encode(), "not_on_the_list")
    assert response.headers == [(b"x-why", b"a"), (b"x-why", b"b")]
    assert response.grpc_status == 7


def test_a_local_response_needs_no_more_than_a_status(start: "StartProxy") -> None:
    class Denying(HttpContext[PluginContext]):
        def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
            self.send_local_response(204)

    stream = start(plugin_of(Denying)).stream()
    assert stream.request_headers() == Action.PAUSE, "although the callback forgot to return it"
    response = stream.local_response
    assert (response.status, response.headers, response.body) == (204, [], b"")
    assert (response.details, response.grpc_status) == ("", -1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"status": 99}, "status 99: a local response has a status from 200 to 599"),
        ({"status": 600}, "status 600"),
        ({"status": 200, "grpc_status": 17}, "grpc_status 17: from 0 to 16"),
        ({"status": 200, "headers": {"x": "a\r\nb"}}, "value of header 'x': holds NUL, CR or LF"),
        ({"status": 200, "body": 7}, "bytes or str are needed, not int"),
    ],
)
def test_what_a_proxy_would_not_take_is_refused(start: "StartProxy", arguments: dict[str, Any], message: str) -> None:
    class Denying(HttpContext[PluginContext]):
        def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action:
            return self.send_local_response(**arguments)

    proxy = start(plugin_of(Denying))
    stream = proxy.stream()
    stream.request_headers()
    assert stream.local_response.status == 500
    assert message in proxy.host.messages(LogLevel.ERROR)[0]


def test_a_second_local_response_is_a_warning_and_nothing_else(start: "StartProxy") -> None:
    class Insisting(HttpContext[PluginContext]):
        def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action:
            self.send_local_response(403)
            return self.send_local_response(404)

        def on_response_headers(self, headers: Headers, end_of_stream: bool) -> Action:
            return self.send_local_response(500)

    proxy = start(plugin_of(Insisting))
    stream = proxy.stream()
    assert stream.request_headers() == Action.PAUSE
    assert stream.response_headers([(b":status", b"403")]) == Action.CONTINUE, "or its own answer would wait for ever"
    assert stream.local_response.status == 403
    assert proxy.host.messages(LogLevel.WARN) == [
        "local response 404 ignored: the stream was answered or closed before",
        "local response 500 ignored: the stream was answered or closed before",
    ]


def test_a_stream_sees_and_changes_its_own_local_response(start: "StartProxy") -> None:
    class Denying(HttpContext[PluginContext]):
        def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action:
            return self.send_local_response(403)

        def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
            headers["x-seen"] = headers[":status"]

    stream = start(plugin_of(Denying)).stream()
    stream.request_headers()
    pairs = [(b":status", b"403")]
    assert stream.response_headers(pairs) == Action.CONTINUE
    assert pairs[-1] == (b"x-seen", b"403")


def test_a_stream_that_is_over_cannot_be_answered_in_on_log(start: "StartProxy") -> None:
    class Late(HttpContext[PluginContext]):
        def on_log(self) -> None:
            self.send_local_response(403)

    proxy = start(plugin_of(Late))
    stream = proxy.stream()
    stream.request_headers()
    stream.log()
    assert not stream.side.local_responses
    assert "PhaseError: no local response from here" in proxy.host.messages(LogLevel.ERROR)[0]


class Waiting(PluginContext):
    """Lets the harness act on paused streams, as a timer or a callout would."""

    streams: list["Paused"]

    def __init__(self) -> None:
        self.streams = []

    def http_context(self) -> "Paused":
        self.streams.append(Paused(self))
        return self.streams[-1]


class Paused(HttpContext[Waiting]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action:
        if headers[":path"] == "/wake":
            self.plugin.streams[0].continue_request()
            return Action.CONTINUE
        if headers[":path"] == "/answer":
            self.plugin.streams[0].send_local_response(503)
        return Action.PAUSE

    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> int:
        return 4

    def on_log(self) -> None:
        self.continue_request()

    def on_done(self) -> None:
        self.plugin.streams[0].continue_response()


def test_a_paused_request_goes_on_from_another_streams_callback(start: "StartProxy") -> None:
    proxy = start(Waiting)
    paused, other = proxy.stream(), proxy.stream()
    assert paused.request_headers() == Action.PAUSE
    assert other.request_headers([(b":path", b"/wake")]) == Action.CONTINUE
    assert paused.side.continued == [StreamType.HTTP_REQUEST]
    assert other.side.continued == []
    assert proxy.host.context_id == other.context_id


def test_a_request_goes_on_once(start: "StartProxy") -> None:
    proxy = start(Waiting)
    paused = proxy.stream()
    paused.request_headers()
    paused.log()
    paused.log()
    assert paused.side.continued == [StreamType.HTTP_REQUEST]
    assert "PhaseError: the request is not paused" in proxy.host.messages(LogLevel.ERROR)[0]


def test_a_paused_response_goes_on(start: "StartProxy") -> None:
    proxy = start(Waiting)
    paused = proxy.stream()
    assert paused.response_headers() == 4, "Envoy's own filter statuses pass"
    paused.proxy.call("on_done", paused.context_id)
    assert paused.side.continued == [StreamType.HTTP_RESPONSE]


def test_a_stream_cannot_be_answered_from_another_ones_callback(start: "StartProxy") -> None:
    proxy = start(Waiting)
    paused, other = proxy.stream(), proxy.stream()
    paused.request_headers()
    other.request_headers([(b":path", b"/answer")])
    assert not paused.side.local_responses
    assert other.local_response.status == 500
    assert "PhaseError: no local response from here" in proxy.host.messages(LogLevel.ERROR)[0]


def test_a_paused_stream_can_be_answered_from_a_callback_of_the_plugin(start: "StartProxy") -> None:
    class Plugin(Waiting):
        def on_configure(self) -> None:
            for stream in self.streams:
                stream.send_local_response(503)

    proxy = start(Plugin)
    paused = proxy.stream()
    paused.request_headers()
    proxy.call("on_configure", 1, 0)
    assert paused.local_response.status == 503


def test_a_callback_that_is_to_continue_its_own_request_returns_continue(start: "StartProxy") -> None:
    class Confused(HttpContext[PluginContext]):
        def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action:
            return Action.PAUSE

        def on_request_body(self, body: Body, end_of_stream: bool) -> None:
            self.continue_request()

    proxy = start(plugin_of(Confused))
    stream = proxy.stream()
    stream.request_headers(end_of_stream=False)
    stream.request_body(b"x")
    assert not stream.side.continued
    assert "lets it go on by returning Action.CONTINUE" in proxy.host.messages(LogLevel.ERROR)[0]


def test_a_body_held_until_its_end_goes_on_by_itself(start: "StartProxy") -> None:
    class Buffering(HttpContext[PluginContext]):
        def on_request_body(self, body: Body, end_of_stream: bool) -> Action | None:
            if not end_of_stream:
                return Action.PAUSE
            body.replace(bytes(body).upper())
            return None

        def on_request_trailers(self, trailers: Headers) -> None:
            self.continue_request()

    proxy = start(plugin_of(Buffering))
    stream = proxy.stream()
    stream.request_headers(end_of_stream=False)
    assert stream.request_body(b"ab", end_of_stream=False) == Action.PAUSE
    assert stream.request_body(b"cd") == Action.CONTINUE
    stream.request_trailers()
    assert "the request is not paused" in proxy.host.messages(LogLevel.ERROR)[0]


@pytest.mark.parametrize(
    ("callback", "stream_type"),
    [("request_headers", StreamType.HTTP_REQUEST), ("response_headers", StreamType.HTTP_RESPONSE)],
)
def test_a_stream_is_reset_once_without_an_answer(start: "StartProxy", callback: str, stream_type: StreamType) -> None:
    class Resetting(HttpContext[PluginContext]):
        def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
            self.reset()
            self.reset()

        def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
            self.reset()

    stream = start(plugin_of(Resetting)).stream()
    assert getattr(stream, callback)() == Action.PAUSE
    assert stream.side.closed == [stream_type]


def test_properties_are_read_and_set_by_their_path(start: "StartProxy") -> None:
    class Properties(HttpContext[PluginContext]):
        def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
            self.set_property("user", value="né")
            headers["x"] = self.get_property("source", b"address") or b"?"
            headers["y"] = self.get_property("absent") or b"none"

    stream = start(plugin_of(Properties)).stream()
    stream.side.properties[b"source\0address"] = b"127.0.0.1:1"
    pairs: list[tuple[bytes, bytes]] = []
    stream.request_headers(pairs)
    assert pairs == [(b"x", b"127.0.0.1:1"), (b"y", b"none")]
    assert stream.side.properties[b"user"] == "né".encode()


def test_a_property_needs_a_path(start: "StartProxy") -> None:
    class Plugin(PluginContext):
        def on_configure(self) -> None:
            assert self.get_property("plugin_root_id") == b""
            with pytest.raises(ValueError, match="a property needs a path"):
                self.get_property()

    start(Plugin)


def test_maps_of_another_phase_raise_an_exception_that_explains(start: "StartProxy") -> None:
    class Curious(HttpContext[PluginContext]):
        def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
            with pytest.raises(PhaseError, match="no response headers here"):
                self.response_headers.get("x")

        def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
            with pytest.raises(PhaseError, match="no request headers here"):
                self.request_headers.get("x")
            with pytest.raises(PhaseError, match="no request trailers here"):
                list(self.request_trailers)

    stream = start(plugin_of(Curious)).stream()
    assert stream.request_headers() == Action.CONTINUE
    assert stream.response_headers() == Action.CONTINUE


def test_python_logging_of_a_callback_reaches_the_test_too(
    start: "StartProxy", caplog: pytest.LogCaptureFixture
) -> None:
    class Talking(HttpContext[PluginContext]):
        def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
            logging.getLogger("talking").info("hello")

    proxy = start(plugin_of(Talking))
    proxy.stream().request_headers()
    assert proxy.host.messages(LogLevel.INFO) == caplog.messages == ["hello"]
