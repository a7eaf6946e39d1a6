"""HTTP/2 METADATA (Envoy, context.cc, `decodeMetadata`): the guest hears how much there is, and can neither read nor hold it."""

from typing import TYPE_CHECKING, Any

from proxy_wasm.abi.hostcalls import Hostcalls

if TYPE_CHECKING:
    from conftest import Start

PAUSE = 1
GET = [(":method", "GET"), (":path", "/")]


def test_metadata_is_counted_and_passes_whatever_the_filter_answers(start: "Start") -> None:
    heard: list[Any] = []

    def on_metadata(host: Hostcalls, *arguments: int) -> int:
        heard.append((arguments[1], [host.get_header_map_pairs(kind) for kind in range(1, 8)]))
        return PAUSE

    plugin = start(on_request_metadata=on_metadata, on_response_metadata=on_metadata)
    stream = plugin.http_stream()
    stream.request_headers(GET)
    stream.request_metadata({"a": "1", "b": "2"})
    stream.request_body(b"", end_of_stream=True)
    stream.response_headers([(":status", "200")])
    stream.response_metadata({"c": "3"})
    assert not stream.paused
    stream.response_body(b"", end_of_stream=True)
    stream.response_metadata({"late": "1"})
    assert heard == [(2, [b""] * 7), (1, [b""] * 7)]


def test_metadata_waits_for_headers_that_are_stopped(start: "Start") -> None:
    heard: list[str] = []

    def on_request_headers(_host: Hostcalls, *_: int) -> int:
        heard.append("headers")
        return PAUSE

    def on_tick(host: Hostcalls, *_: int) -> None:
        heard.append("tick")
        host.set_effective_context(2)
        host.continue_stream(0)

    plugin = start(
        on_vm_start=lambda host, *_: host.set_tick_period_milliseconds(1000) or 1,
        on_request_headers=on_request_headers,
        on_request_metadata=lambda _host, *_: heard.append("metadata"),
        on_request_body=lambda _host, *_: heard.append("body"),
        on_tick=on_tick,
    )
    stream = plugin.http_stream()
    stream.request_headers(GET)
    stream.request_metadata({"a": "1"})
    stream.request_body(b"x", end_of_stream=True)
    assert heard == ["headers"]
    plugin.vm.clock.advance(1)
    assert heard == ["headers", "tick", "metadata", "body"]
