"""Bodies in pieces, in both directions: looked at, held, changed, waited for; see `bodies/bodies.py` for what a script says."""

# How a client that stops in the middle is made, only Envoy's own plugin knows.
# pyright: reportPrivateUsage=false

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from proxy_wasm.emulator import Emulator, native_guest, wasm_guest
from proxy_wasm.emulator.clusters import Answering
from proxy_wasm.emulator.exchange import Break
from proxy_wasm.testing import (
    Exchange,
    HostName,
    LogLevel,
    Proxy,
    StartProxy,
    UpstreamRequest,
    UpstreamResponse,
    respond,
)
from proxy_wasm.testing.envoy_host import EnvoyPlugin
from proxy_wasm.testing.extension import Extension

PIECES = ["one,", "two,", "three"]
WHOLE = "one,two,three"
DIRECTIONS = pytest.mark.parametrize("direction", ["request", "response"])
LIMIT = 1024 * 1024
"""Bytes that Envoy buffers unless told otherwise."""

Script = dict[str, list[dict[str, Any]]]


def slow(_: UpstreamRequest) -> UpstreamResponse:
    return respond(200, {}, "allowed")


CLUSTERS = {"slow": Answering(slow, delay=0.3)}


def do(
    proxy: Proxy,
    direction: str,
    script: Script,
    body: str | list[str] | None = None,
    trailers: Mapping[str, str] | None = None,
) -> Exchange:
    """Send a body in pieces in one direction; the script's callbacks are named without it."""
    headers = {"x-script": json.dumps({f"{direction} {name}": acts for name, acts in script.items()})}
    sent = PIECES if body is None else body
    if direction == "request":
        return proxy.post("/", headers=headers, body=sent, trailers=trailers or {})
    return proxy.get("/", headers=headers, upstream=respond(200, {}, sent, trailers or {}))


def arrived(exchange: Exchange, direction: str) -> str:
    """The body that came out of the filter."""
    if direction == "response":
        return exchange.text
    assert exchange.upstream is not None
    return exchange.upstream.text


def header(exchange: Exchange, direction: str, name: str) -> str | None:
    if direction == "response":
        return exchange.headers.get(name)
    assert exchange.upstream is not None
    return exchange.upstream.headers.get(name)


def trailer(exchange: Exchange, direction: str, name: str) -> str | None:
    if direction == "response":
        return exchange.trailers.get(name)
    assert exchange.upstream is not None
    return exchange.upstream.trailers.get(name)


def seen(exchange: Exchange, direction: str) -> list[str]:
    """What the callbacks of that direction saw, and what they read."""
    said = [record.message for record in exchange.logs if record.level is LogLevel.INFO]
    begins = (f"{direction} ", "whole ", "called ")
    return [message.removeprefix(f"{direction} ") for message in said if message.startswith(begins)]


def assert_no_errors(exchange: Exchange) -> None:
    assert [record.message for record in exchange.logs if record.level >= LogLevel.ERROR] == []


# As it comes


@DIRECTIONS
def test_each_piece_is_changed_by_itself(start_proxy: StartProxy, direction: str) -> None:
    script: Script = {"body": [{"edit": "replace", "text": "[{}]"}]}
    exchange = do(start_proxy("bodies", root_id="replacing"), direction, script)
    assert arrived(exchange, direction) == "[one,][two,][three][]"
    assert header(exchange, direction, "content-length") is None
    assert seen(exchange, direction) == ["body one,", "body two,", "body three", "body  end"]


@DIRECTIONS
def test_something_is_put_before_and_after(start_proxy: StartProxy, direction: str) -> None:
    script: Script = {"body": [{"edit": "prepend", "text": "<"}, {}, {}, {"edit": "append", "text": ">"}]}
    exchange = do(start_proxy("bodies", root_id="replacing"), direction, script)
    assert arrived(exchange, direction) == f"<{WHOLE}>"


# Held until the end


@DIRECTIONS
@pytest.mark.parametrize("text", ["", "short", "{} and {} and {}".replace("{}", WHOLE)])
def test_a_body_that_was_held_is_replaced_by_one_of_another_length(
    start_proxy: StartProxy, direction: str, text: str
) -> None:
    script: Script = {"body": [{"pause": "until end", "edit": "replace", "text": text}]}
    exchange = do(start_proxy("bodies", root_id="replacing"), direction, script)
    assert arrived(exchange, direction) == text
    assert header(exchange, direction, "content-length") is None
    assert seen(exchange, direction) == ["body one,", "body one,two,", f"body {WHOLE}", f"body {WHOLE} end"]


@DIRECTIONS
def test_a_body_of_unchanged_length_keeps_its_content_length(start_proxy: StartProxy, direction: str) -> None:
    script: Script = {"body": [{"pause": "until end", "edit": "replace", "text": WHOLE.upper()}]}
    exchange = do(start_proxy("bodies"), direction, script)
    assert arrived(exchange, direction) == WHOLE.upper()
    assert header(exchange, direction, "content-length") == str(len(WHOLE))


@DIRECTIONS
def test_a_body_that_no_longer_fits_its_content_length_is_cut_or_warned_of(
    start_proxy: StartProxy, proxy_host: HostName, direction: str
) -> None:
    script: Script = {"body": [{"pause": "until end", "edit": "replace", "text": WHOLE + " and more"}]}
    exchange = do(start_proxy("bodies"), direction, script)
    if proxy_host == "envoy":
        assert arrived(exchange, direction) == WHOLE
    else:
        (warning,) = [record.message for record in exchange.logs if record.from_host]
        assert "content-length is 13, its body has 22 bytes" in warning


@DIRECTIONS
def test_a_body_that_is_held_is_let_go_by_a_timer(start_proxy: StartProxy, direction: str) -> None:
    script: Script = {
        "body": [
            {"pause": "for good"},
            {"pause": "for good"},
            {"pause": "for good"},
            {"pause": "for good", "later": 0.05},
        ]
    }
    exchange = do(start_proxy("bodies"), direction, script)
    assert arrived(exchange, direction) == WHOLE


@pytest.mark.hosts("envoy")
@DIRECTIONS
@pytest.mark.parametrize("how", [{"pause": "until end"}, {"whole": 10 * LIMIT}])
@pytest.mark.parametrize("callback", ["headers", "body"])
def test_envoy_ends_a_stream_of_which_more_is_held_than_it_buffers(
    start_proxy: StartProxy, direction: str, callback: str, how: dict[str, Any]
) -> None:
    proxy = start_proxy("bodies", allow_on_headers_stop_iteration=True)
    exchange = do(proxy, direction, {callback: [how], "body": [how]}, "x" * (2 * LIMIT))
    assert_no_errors(exchange)
    if direction == "request":
        assert (exchange.status, exchange.upstream) == (413, None)
    elif callback == "headers":
        assert exchange.status == 500
    else:  # its headers are with the client
        assert (exchange.status, exchange.reset) == (200, True)


@DIRECTIONS
@pytest.mark.parametrize("callback", ["body", "headers"])
def test_trailers_follow_a_body_that_was_waited_for(start_proxy: StartProxy, direction: str, callback: str) -> None:
    proxy = start_proxy("bodies", root_id="replacing", allow_on_headers_stop_iteration=True)
    script: Script = {
        callback: [{"whole": 100, "edit": "replace", "text": "changed"}],
        "trailers": [{"wait": 0.02, "trailer": "yes"}],
    }
    exchange = do(proxy, direction, script, trailers={"x-t": "1"})
    assert arrived(exchange, direction) == "changed"
    assert (trailer(exchange, direction, "x-t"), trailer(exchange, direction, "x-seen")) == ("1", "yes")
    assert [message for message in seen(exchange, direction) if message.startswith("whole")] == [f"whole {WHOLE}"]


@DIRECTIONS
def test_trailers_can_be_added_at_the_end_of_a_body(start_proxy: StartProxy, direction: str) -> None:
    script: Script = {"body": [{}, {}, {}, {"trailer": "added"}]}
    exchange = do(start_proxy("bodies", root_id="replacing"), direction, script)
    assert arrived(exchange, direction) == WHOLE
    assert trailer(exchange, direction, "x-seen") == "added"


HELD: dict[str, Script] = {
    "headers and body are paused": {
        "headers": [{"pause": True, "later": 0.1}],
        "body": [{"pause": True}],
        "trailers": [{}],
    },
    "headers wait, the body is paused": {"headers": [{"wait": 0.1}], "body": [{"pause": True}], "trailers": [{}]},
    "headers wait, the whole body is read": {"headers": [{"wait": 0.1}], "body": [{"whole": 100}], "trailers": [{}]},
    "headers and body wait": {"headers": [{"wait": 0.1}], "body": [{"wait": 0.05}], "trailers": [{}]},
    "everything waits": {"headers": [{"wait": 0.1}], "body": [{"wait": 0.05}], "trailers": [{"wait": 0.05}]},
    "the body is paused": {"body": [{"pause": True}], "trailers": [{}]},
}


@DIRECTIONS
@pytest.mark.parametrize("script", HELD.values(), ids=list(HELD))
def test_no_body_is_lost_that_trailers_let_go(start_proxy: StartProxy, direction: str, script: Script) -> None:
    """Envoy (1.40) would lose one that is held when its headers have just gone on."""
    exchange = do(start_proxy("bodies"), direction, script, trailers={"x-t": "1"})
    assert (arrived(exchange, direction), trailer(exchange, direction, "x-t")) == (WHOLE, "1")


# While a callback waits


@DIRECTIONS
@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("trailers", [{}, {"x-t": "1"}])
def test_a_body_that_comes_while_headers_wait_is_given_to_its_callback_afterwards(
    start_proxy: StartProxy, direction: str, allowed: bool, trailers: dict[str, str]
) -> None:
    proxy = start_proxy("bodies", root_id="replacing", allow_on_headers_stop_iteration=allowed, clusters=CLUSTERS)
    script: Script = {"headers": [{"call": "slow"}], "body": [{"edit": "replace", "text": "[{}]"}]}
    exchange = do(proxy, direction, script, trailers=trailers)
    assert_no_errors(exchange)
    end = "" if trailers else " end"
    assert seen(exchange, direction) == ["headers", "called allowed", f"body {WHOLE}{end}"]
    assert arrived(exchange, direction) == f"[{WHOLE}]"


@DIRECTIONS
@pytest.mark.parametrize("callback", ["headers", "body"])
def test_what_waits_for_a_body_reads_all_of_it_and_no_other_callback_sees_it(
    start_proxy: StartProxy, direction: str, callback: str
) -> None:
    proxy = start_proxy("bodies", allow_on_headers_stop_iteration=True, clusters=CLUSTERS)
    script: Script = {callback: [{"call": "slow", "whole": 100}, {}], "body": [{"whole": 100}, {}]}
    if callback == "headers":
        script["body"] = [{}]
    exchange = do(proxy, direction, script)
    assert_no_errors(exchange)
    assert [message for message in seen(exchange, direction) if message.startswith("whole")] == [f"whole {WHOLE}"]
    assert not [message for message in seen(exchange, direction) if message.startswith(f"body {WHOLE}")]
    assert arrived(exchange, direction) == WHOLE


@DIRECTIONS
def test_content_length_follows_a_body_that_headers_wait_for(start_proxy: StartProxy, direction: str) -> None:
    proxy = start_proxy("bodies", allow_on_headers_stop_iteration=True)
    script: Script = {"headers": [{"whole": 100, "edit": "replace", "text": "({})"}]}
    exchange = do(proxy, direction, script)
    assert arrived(exchange, direction) == f"({WHOLE})"
    assert header(exchange, direction, "content-length") == str(len(WHOLE) + 2)


@DIRECTIONS
def test_each_piece_that_comes_while_its_callback_waits_is_seen_once(start_proxy: StartProxy, direction: str) -> None:
    script: Script = {"body": [{"wait": 0.1, "edit": "replace", "text": "[{}]"}]}
    exchange = do(start_proxy("bodies", root_id="replacing"), direction, script)
    assert_no_errors(exchange)
    came = arrived(exchange, direction)
    assert came.replace("[", "").replace("]", "") == WHOLE
    assert "".join(message.removeprefix("body ").removesuffix(" end") for message in seen(exchange, direction)) == WHOLE


# Limits


@pytest.mark.parametrize(("direction", "status"), [("request", 413), ("response", 502)])
@pytest.mark.parametrize("callback", ["headers", "body"])
def test_a_body_beyond_the_limit_ends_the_stream_while_it_waits(
    start_proxy: StartProxy, direction: str, status: int, callback: str
) -> None:
    proxy = start_proxy("bodies", allow_on_headers_stop_iteration=True)
    exchange = do(proxy, direction, {callback: [{"whole": 6}]})
    assert_no_errors(exchange)
    if (direction, callback) == ("response", "body"):  # its headers are with the client
        assert exchange.reset
    else:
        assert exchange.status == status
        assert exchange.details == f"{direction}_body_too_large"
    if direction == "request":
        assert exchange.upstream is None


@DIRECTIONS
@pytest.mark.parametrize("callback", ["headers", "body"])
def test_a_body_beyond_the_limit_may_pass_all_the_same(start_proxy: StartProxy, direction: str, callback: str) -> None:
    proxy = start_proxy("bodies", allow_on_headers_stop_iteration=True)
    script: Script = {callback: [{"whole": 6, "catch": True}, {}]}
    script.setdefault("body", [{}])
    exchange = do(proxy, direction, script)
    assert_no_errors(exchange)
    assert arrived(exchange, direction) == WHOLE
    bodies = [message for message in seen(exchange, direction) if message.startswith("body")]
    assert "".join(message.removeprefix("body ").removesuffix(" end") for message in bodies) == WHOLE


# Ends in the middle


@DIRECTIONS
def test_a_message_is_answered_in_its_place_once_its_body_was_read(start_proxy: StartProxy, direction: str) -> None:
    proxy = start_proxy("bodies", allow_on_headers_stop_iteration=True)
    exchange = do(proxy, direction, {"headers": [{"whole": 100, "answer": 403}]})
    assert_no_errors(exchange)
    assert (exchange.status, exchange.text) == (403, "from the filter")
    if direction == "request":
        assert exchange.upstream is None


ANSWERED_BESIDE = {"request headers": [{"beside": 403, "whole": 100}]}


@pytest.mark.parametrize("proxy_host", ["native", "wasm"])
def test_a_request_is_answered_while_its_body_is_awaited(proxy_host: HostName) -> None:
    project = Extension(Path(__file__).parent / "bodies")
    make_guest = (
        native_guest(project.plugins()) if proxy_host == "native" else wasm_guest(project.module().read_bytes())
    )
    emulator = Emulator(make_guest)
    stream = emulator.start_plugin(allow_on_headers_stop_iteration=True).http_stream()
    stream.request_headers([(":method", "POST"), (":path", "/"), ("x-script", json.dumps(ANSWERED_BESIDE))])
    stream.request_body(b"one,")
    emulator.clock.advance(0.1)
    assert (stream.closed, stream.response_code, stream.request.sent.headers) == (True, 403, None)
    assert not [record for record in emulator.log if record.level >= LogLevel.ERROR]


@pytest.mark.hosts("envoy")
def test_a_request_is_answered_in_envoy_while_its_body_is_awaited(start_proxy: StartProxy) -> None:
    proxy = start_proxy("bodies", allow_on_headers_stop_iteration=True)
    plugin = proxy._plugin
    assert isinstance(plugin, EnvoyPlugin)
    with socket.create_connection(plugin._running.address, timeout=10) as client, client.makefile("rb") as answer:
        script = json.dumps(ANSWERED_BESIDE).encode()
        client.sendall(b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 13\r\nx-script: " + script + b"\r\n\r\none,")
        assert answer.readline() == b"HTTP/1.1 403 Forbidden\r\n"
    assert not [record for record in proxy.logs if record.level >= LogLevel.ERROR]


@pytest.mark.parametrize("callback", ["request headers", "request body"])
def test_a_client_that_leaves_inside_its_body_ends_the_wait_for_it(start_proxy: StartProxy, callback: str) -> None:
    proxy = start_proxy("bodies", allow_on_headers_stop_iteration=True)
    script = {callback: [{"whole": 100}]}
    exchange = proxy.abandon("POST", "/", headers={"x-script": json.dumps(script)}, body=PIECES, after_sending=2)
    proxy.advance(0.1)
    assert (exchange.status, exchange.upstream) == (0, None)
    said = [record.message for record in proxy.logs]
    assert said[-1] == "done"
    assert not [message for message in said if message.startswith("whole")]
    assert not [record for record in proxy.logs if record.level >= LogLevel.ERROR]


@pytest.mark.parametrize("callback", ["response headers", "response body"])
@pytest.mark.parametrize("breaks", ["close", "reset"])
def test_an_upstream_that_breaks_off_ends_the_wait_for_its_body(
    start_proxy: StartProxy, callback: str, breaks: Break
) -> None:
    proxy = start_proxy("bodies", allow_on_headers_stop_iteration=True)
    script = {callback: [{"whole": 100}]}
    exchange = proxy.get(
        "/", headers={"x-script": json.dumps(script)}, upstream=respond(200, {}, PIECES, breaks=breaks)
    )
    assert exchange.status != 200 or exchange.reset
    assert not [message for message in seen(exchange, "response") if message.startswith("whole")]
    assert_no_errors(exchange)
