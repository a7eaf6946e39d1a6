"""Header sets of every size and kind pass through a filter that reads all of them and adds one, and through one that writes them anew."""

import pytest

from proxy_wasm.testing import Proxy, StartProxy, respond

Pairs = list[tuple[bytes, bytes]]

SETS: dict[str, Pairs] = {
    "no headers": [],
    "1 header": [(b"x-one", b"1")],
    "100 headers": [(b"x-%d" % number, b"value %d" % number) for number in range(100)],
    "1000 headers": [(b"x-%d" % number, b"value %d" % number) for number in range(1000)],
    "1000 values of one name": [(b"x-repeated", b"%d" % number) for number in range(1000)],
    "60 KB": [(b"x-large", b"v" * 60_000)],
    "10 times 60 KB": [(b"x-large-%d" % number, bytes([97 + number]) * 60_000) for number in range(10)],
    "a long name": [(b"x-" + b"n" * 10_000, b"value")],
    "empty values": [(b"x-empty", b""), (b"x-empty", b""), (b"x-full", b"1"), (b"x-empty-too", b"")],
    "repeated names": [(b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"1"), (b"x-a", b"3"), (b"x-b", b"2")],
    "every byte": [(b"x-bytes", bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100))), (b"x-tab", b"a\tb  c")],
    "no UTF-8": [(b"x-latin", b"caf\xe9"), (b"x-cut", b"\xe2\x82"), (b"x-surrogate", b"\xed\xb3\xbf")],
    "every letter of a name": [(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz", b"value")],
}

header_sets = pytest.mark.parametrize("sent", SETS.values(), ids=SETS.keys())


@pytest.fixture(params=["add", "rewrite"])
def carrier(request: pytest.FixtureRequest, start_proxy: StartProxy) -> Proxy:
    return start_proxy("probe", request.param, root_id="carrier")


def carried(received: Pairs, own: Pairs) -> Pairs:
    """What was received, without the header that the filter added and the `own` ones of the message, each of which must be there."""
    kept = [pair for pair in received if pair[0] != b"x-carried"]
    assert len(kept) == len(received) - 1
    for pair in own:
        kept.remove(pair)
    return kept


@header_sets
def test_request_and_response_headers_pass_unchanged(carrier: Proxy, sent: Pairs) -> None:
    exchange = carrier.get("/", headers=sent, upstream=respond(200, sent, b"body"))
    assert exchange.status == 200
    assert exchange.upstream is not None
    assert carried(exchange.upstream.headers.raw, []) == sent
    assert carried(exchange.headers.raw, [(b"content-length", b"4")]) == sent


@header_sets
def test_request_and_response_trailers_pass_unchanged(carrier: Proxy, sent: Pairs) -> None:
    end = [(b"x-end", b"there")]
    exchange = carrier.post("/", body=b"body", trailers=end + sent, upstream=respond(200, (), b"body", end + sent))
    assert exchange.status == 200
    assert exchange.upstream is not None
    assert exchange.upstream.body == exchange.body == b"body"
    assert carried(exchange.upstream.trailers.raw, end) == sent
    assert carried(exchange.trailers.raw, end) == sent


def test_the_filter_counts_what_was_sent(carrier: Proxy) -> None:
    sent = [(b"x-repeated", b"1"), (b"x-repeated", b"\xff"), (b"x-empty", b"")]
    exchange = carrier.get("/", headers=sent, upstream=respond(200, sent))
    own = 2 if (b"content-length", b"0") in exchange.headers.raw else 1  # beside :status
    count, size = 3 + own, len("1\xff") + len("200") + own - 1
    assert exchange.headers["x-carried"] == f"{count} headers, {size} bytes"
