"""Traces of streams in the emulator: what is recorded, and how it is shown."""

import itertools
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from proxy_wasm.abi.enums import Action, BufferType, LogLevel, MapType, StreamType
from proxy_wasm.abi.header_map import encode_pairs
from proxy_wasm.abi.hostcalls import Hostcalls, HostError
from proxy_wasm.emulator import Clock, Emulator, HeaderMap, Request, UpstreamResponse, wasm_guest
from proxy_wasm.emulator.clusters import Answering
from proxy_wasm.emulator.native_guest import callbacks_guest
from proxy_wasm.tracing import Pairs, Recorder, Trace, TracedCallback, TracedHostcall, TracedLog, html, text
from proxy_wasm.tracing.events import Moment

HOSTILE = "</title><script>alert(1)</script>\x1b[31m\"'&\u202e"
HEADER = HOSTILE.replace("\x1b", "")
"""What of it can stand in a header."""


class Guest:
    """What the traces are of: looks a header up, calls a cluster, answers a body, and fails in the end."""

    def __init__(self, host: Hostcalls) -> None:
        self.host = host

    def on_request_headers(self, context_id: int, num_headers: int, end_of_stream: int) -> int:
        host = self.host
        host.get_header_map_value(MapType.HTTP_REQUEST_HEADERS, b"x-user")
        host.get_header_map_value(MapType.HTTP_REQUEST_HEADERS, b"x-absent")
        host.log(LogLevel.WARN, b"first\nsecond")
        host.get_property(b"request\0size")
        try:
            host.set_buffer_bytes(BufferType.VM_CONFIGURATION, 0, 1, b"x" * 10_000)
        except HostError:
            host.log(LogLevel.INFO, b"refused")
        headers = encode_pairs([(b":method", b"GET"), (b":path", b"/me"), (b":authority", b"users")])
        host.http_call(b"users", headers, b"\0\xff", b"", 1000)
        return Action.PAUSE

    def on_http_call_response(self, context_id: int, call_id: int, headers: int, body: int, trailers: int) -> None:
        self.host.set_effective_context(2)
        self.host.continue_stream(StreamType.HTTP_REQUEST)

    def on_request_body(self, context_id: int, body_size: int, end_of_stream: int) -> int:
        return Action.CONTINUE

    def on_log(self, context_id: int) -> None:
        raise LookupError("the end")


@pytest.fixture
def ticking() -> Callable[[], int]:
    """A clock on which one microsecond passes whenever it is looked at."""
    ticks = itertools.count(step=1000)
    return lambda: next(ticks)


@pytest.fixture
def trace(ticking: Callable[[], int]) -> Trace:
    """That of one stream."""
    clock = Clock()
    recorder = Recorder(clock, ticking)
    clusters = {"users": Answering(UpstreamResponse(200), delay=0.25)}
    emulator = Emulator(callbacks_guest(Guest), clock=clock, observers=[recorder], clusters=clusters)
    recorder.follow(emulator.log)
    plugin = emulator.start_plugin()
    recorder.restart()
    plugin.exchange(Request("POST", "/", HeaderMap({"x-user": HEADER}), b"body"))
    return recorder.trace(title=f"POST /{HOSTILE}", host="native")


def test_callbacks_are_in_order_and_their_hostcalls_and_log_lines_within(trace: Trace) -> None:
    assert [callback.name for callback in trace.callbacks] == [
        "on_request_headers",
        "on_http_call_response",
        "on_request_body",
        "on_log",
    ]
    (headers, *_) = trace.callbacks
    assert [event.message if isinstance(event, TracedLog) else event.name for event in headers.inner] == [
        "get_header_map_value",
        "get_header_map_value",
        "first\nsecond",
        "get_property",
        "set_buffer_bytes",
        "refused",
        "http_call",
    ]


def test_calls_come_with_arguments_results_and_statuses_by_name(trace: Trace) -> None:
    shown = trace.text()
    assert "on_request_headers(context_id=2, num_headers=6, end_of_stream=false) -> PAUSE" in shown
    assert 'get_header_map_value(map_type=HTTP_REQUEST_HEADERS, key="x-absent") -> NOT_FOUND' in shown
    assert 'get_property(path="request.size") -> OK 0x0400000000000000 = 4' in shown
    assert 'upstream="users", headers={:method: GET, :path: /me, :authority: users}, body=0x00ff, trailers={}' in shown
    assert "on_request_body(context_id=2, body_size=4, end_of_stream=true) -> CONTINUE" in shown
    assert "-> BAD_ARGUMENT" in shown


def test_long_bytes_are_shortened_and_their_size_told(trace: Trace) -> None:
    (call,) = trace.hostcalls("set_buffer_bytes")
    (line,) = [line for line in trace.text().splitlines() if call.name in line]
    assert 'xxx…" (10,000 bytes)' in line
    assert len(line) < 400


def test_times_are_those_of_the_proxys_clock_and_real_ones(trace: Trace) -> None:
    headers, response, *_ = trace.callbacks
    assert (headers.at.clock, response.at.clock) == (0, 250_000_000)
    assert "+0.250 s" in trace.text()
    for callback in trace.callbacks:
        inner = [event.duration for event in callback.inner if isinstance(event, TracedHostcall)]
        assert callback.duration > sum(inner)
        assert all(event.at.real > callback.at.real for event in callback.inner)


def test_a_trap_is_told_of(trace: Trace) -> None:
    last = trace.callbacks[-1]
    assert (last.name, last.trapped) == ("on_log", True)
    assert "on_log(context_id=2) -> trapped" in trace.text()
    assert [(record.from_host, "LookupError: the end" in record.message) for record in trace.logs][-1] == (True, True)


def test_the_trace_is_json_with_all_of_it(trace: Trace) -> None:
    read = json.loads(trace.json())
    assert (read["title"], read["host"]) == (f"POST /{HOSTILE}", "native")
    headers = read["events"][0]
    assert headers["arguments"] == {"context_id": 2, "num_headers": 6, "end_of_stream": False}
    assert headers["returned"] == "PAUSE"
    found, *_, call = headers["events"]
    assert found["arguments"] == {"map_type": "HTTP_REQUEST_HEADERS", "key": "x-user"}
    assert (found["status"], found["results"]) == ("OK", {"value": HEADER})
    assert call["arguments"]["headers"] == [[":method", "GET"], [":path", "/me"], [":authority", "users"]]
    assert call["arguments"]["body"] == {"hex": "00ff", "size": 2}
    assert (call["arguments"]["timeout_milliseconds"], call["results"]) == (1000, {"call_id": 4})
    assert {"kind": "log", "level": "WARN", "message": "first\nsecond"}.items() <= headers["events"][2].items()


def test_a_terminal_finds_nothing_in_the_text_that_it_would_obey(trace: Trace) -> None:
    assert all(character.isprintable() or character == "\n" for character in trace.text())
    assert "\\x1b[31m" in trace.text()
    assert "\\u202e" in trace.text()


class Page(HTMLParser):
    """The elements of a page, their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.open: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        if tag != "meta":
            self.open.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_nothing_that_a_client_sends_is_markup_in_the_page(trace: Trace) -> None:
    page = Page(trace.html())
    assert not page.open
    assert set(page.elements) <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "p", "b", "nav", "a", "div", "span", "i"),
        *("details", "summary", "dl", "dt", "dd", "table", "tr", "td"),
    }
    assert not [name for name in page.attributes if name.startswith("on")]
    assert any("<script>alert(1)</script>" in text for text in page.texts)
    assert "\x1b" not in trace.html()


def test_the_page_needs_nothing_from_elsewhere(trace: Trace) -> None:
    page = Page(trace.html())
    assert not {"src", "srcset", "data", "action"} & set(page.attributes)
    assert all(link.startswith("#event-") for link in page.attributes["href"])
    assert "default-src 'none'; style-src 'unsafe-inline'" in page.attributes["content"]
    assert "url(" not in trace.html()


def test_the_page_shows_callbacks_in_the_time_inside_the_filter_and_what_passed_between(trace: Trace) -> None:
    page = trace.html()
    assert "<b>4</b> callbacks" in page
    assert '<b class="bad">1</b> refused' in page
    assert "250.0 ms later" in page
    assert page.index("on_request_headers") < page.index("250.0 ms later") < page.rindex("on_http_call_response")
    for number, _ in enumerate(trace.callbacks):
        assert f'href="#event-{number}"' in page
        assert f'id="event-{number}"' in page


@pytest.mark.parametrize(
    ("callback", "returned", "shown"),
    [
        ("on_request_body", 3, "STOP_ITERATION_NO_BUFFER"),
        ("on_response_headers", 4, "STOP_ALL_ITERATION_AND_WATERMARK"),
        ("on_response_trailers", 1, "PAUSE"),
        ("on_done", 1, "1"),
    ],
)
def test_what_a_callback_returned_has_envoys_name_where_it_has_one(callback: str, returned: int, shown: str) -> None:
    recorder = Recorder(Clock())
    recorder.entered(callback, (1,))
    recorder.left(callback, returned)
    assert f"{callback}(context_id=1) -> {shown}" in recorder.trace().text()


def test_bytes_that_are_no_text_are_shown_in_every_form() -> None:
    clock = Clock()
    recorder = Recorder(clock)
    recorder.entered("on_request_headers", (1, 2, 1))
    recorder.called("set_header_map_pairs", (99, encode_pairs([(b"\xff", b"\x00\x01"), (b"b", b"\xc3\xa4\n")])))
    recorder.answered("set_header_map_pairs", 77, None)
    recorder.called("set_header_map_pairs", (0, b"\x05no map"))
    recorder.answered("set_header_map_pairs", 0, None)
    recorder.left("on_request_headers", 9)
    trace = recorder.trace()
    first, second = trace.hostcalls()
    assert isinstance(dict(first.arguments)["pairs"], Pairs)
    assert "(map_type=99, pairs={0xff: 0x0001, b: ä\\n}) -> 77" in trace.text()
    assert second.name in trace.html()
    assert trace.callbacks[0].returned == 9
    arguments = trace.to_json()["events"][0]["events"][0]["arguments"]
    assert arguments["pairs"] == [[{"hex": "ff", "size": 1}, {"hex": "0001", "size": 2}], ["b", "ä\n"]]


def test_a_character_that_is_cut_in_two_leaves_text() -> None:
    recorder = Recorder(Clock())
    recorder.called("set_shared_data", (b"key", "ä".encode() * 4096 + b"!", 0))
    recorder.answered("set_shared_data", 0, None)
    (call,) = recorder.trace().to_json()["events"]
    assert call["arguments"]["value"] == {"text": "ä" * 2048, "size": 8193}


def test_calls_that_a_trap_ended_are_told_of_as_such() -> None:
    recorder = Recorder(Clock())
    recorder.entered("on_request_headers", (1, 2, 1))
    recorder.called("done", ())
    recorder.left("on_request_headers", None)
    recorder.left("on_request_headers", 0)  # of none that began
    (callback,) = recorder.trace().callbacks
    (call,) = callback.inner
    assert isinstance(call, TracedHostcall)
    assert (callback.trapped, call.status) == (True, None)
    assert "done() -> no answer" in recorder.trace().text()


def test_a_recorder_keeps_the_last_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy_wasm.tracing.recorder.MOST_EVENTS", 5)
    recorder = Recorder(Clock())
    for context_id in range(5):
        recorder.entered("on_tick", (context_id,))
        recorder.left("on_tick", 0)
    assert [callback.context_id for callback in recorder.trace().callbacks] == [3, 4]
    recorder.restart()
    assert recorder.trace().events == ()


def test_what_was_logged_before_a_trace_began_is_not_in_it() -> None:
    clock = Clock()
    recorder = Recorder(clock)
    emulator = Emulator(callbacks_guest(Guest), clock=clock, observers=[recorder])
    recorder.follow(emulator.log)
    emulator.log.write(LogLevel.INFO, b"before")
    assert [record.message for record in recorder.trace().logs] == ["before"]
    recorder.restart()
    emulator.log.write(LogLevel.INFO, b"after")
    assert [record.message for record in recorder.trace().logs] == ["after"]


def test_where_the_clock_is_real_time_only_what_passes_between_callbacks_is_told_of() -> None:
    moment = Moment(1_000_000, 1_000_000)
    slow = TracedCallback(moment, 5_000_000, "on_tick", (), None)
    soon, late = (TracedLog(Moment(at, at), LogLevel.INFO, "") for at in (6_500_000, 9_000_000))
    page = Trace((slow, soon, late)).html()
    assert page.count(" later, by the clock of the proxy") == 2
    assert "1.0 ms later" in page
    assert "2.5 ms later" in page


def test_an_empty_trace_is_shown_too() -> None:
    trace = Trace(())
    assert trace.text().split() == ["clock", "took"]
    assert trace.to_json()["events"] == []
    assert not Page(trace.html()).open


@pytest.mark.parametrize(
    ("nanoseconds", "shown"),
    [(0, "0 µs"), (312_400, "312 µs"), (1_500_000, "1.5 ms"), (2_250_000_000, "2.25 s")],
)
def test_durations_are_in_the_unit_that_fits(nanoseconds: int, shown: str) -> None:
    assert text.duration(nanoseconds) == shown


def test_a_compiled_guest_is_traced_alike(module: Path) -> None:
    clock = Clock()
    recorder = Recorder(clock)
    emulator = Emulator(wasm_guest(module.read_bytes()), clock=clock, observers=[recorder])
    recorder.follow(emulator.log)
    plugin = emulator.start_plugin()
    recorder.restart()
    plugin.exchange(Request("GET", "/", HeaderMap({"x-log": "hello"})))
    trace = recorder.trace()
    assert [record.message for record in trace.logs] == ["hello", "on_log", "on_done"]
    (headers,) = [callback for callback in trace.callbacks if callback.name == "on_request_headers"]
    assert isinstance(headers, TracedCallback)
    assert headers.duration > 0
    assert 'key="x-log") -> OK "hello"' in trace.text()
    assert html.page(trace) == trace.html()
