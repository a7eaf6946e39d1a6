"""How a proxy drives a whole HTTP/1.1 exchange through a filter.

The rules are those of Envoy's HTTP/1 codec (source/common/http/http1/codec_impl.cc) as a filter meets them:

* A message without a body arrives as headers with `end_of_stream`. The end of one with a body arrives apart, as a piece of
  no bytes, for the end of a chunked body is another thing than its last chunk.
* `host` is `:authority`; hop-by-hop headers (`connection`, `keep-alive`, `proxy-connection`, `transfer-encoding`, `upgrade`,
  `te` but for `trailers`) end at the proxy. Only on a chunked response does the filter see `transfer-encoding`.
* A path with a fragment is answered with 400 before the filter hears of it.
* Repeated headers of some names arrive joined (`header_maps`).
* A paused stream waits: the clock moves to whatever is due next (ticks, answers and timeouts of callouts) until the stream ends or the
  client's patience does.
* Client and upstream send `content-length` with a body, unless trailers follow. What is sent on without a body says
  `content-length: 0`, where HTTP/1.1 asks for it.

What Envoy adds on its own is left out: `x-forwarded-proto`, `x-request-id`, `x-envoy-*`, `server`, `date`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from proxy_wasm.emulator import framing
from proxy_wasm.emulator.clock import NANOSECONDS
from proxy_wasm.emulator.clusters import Closing, Silent
from proxy_wasm.emulator.errors import StreamPaused
from proxy_wasm.emulator.exchange import Disconnect, Exchange, Request, UpstreamRequest, UpstreamResponse
from proxy_wasm.emulator.half_stream import Flow, HalfStream, Message
from proxy_wasm.emulator.header_map import HeaderMap
from proxy_wasm.emulator.header_maps import JOINED_IN_REQUESTS, joined
from proxy_wasm.emulator.http_calls import CLOSED
from proxy_wasm.emulator.http_stream import HttpStream

TIMEOUT = 30.0
"""Seconds of the clock that a client waits for its response."""

Answer: TypeAlias = UpstreamResponse | Closing | Silent
"""What an upstream does with a request: it responds, closes the connection in place of a response, or never answers."""
Upstream: TypeAlias = Callable[[UpstreamRequest], Answer]

_STAYS = Disconnect()


def default_upstream(request: UpstreamRequest) -> UpstreamResponse:
    """Answers everything with 200 and a small body."""
    del request
    return UpstreamResponse(headers=HeaderMap({"content-type": "text/plain"}), body=b"upstream\n")


@dataclass(frozen=True, slots=True)
class Driver:
    """Plays client and upstream of one stream."""

    stream: HttpStream
    upstream: Upstream
    chunk_size: int = 0
    disconnect: Disconnect = _STAYS

    def run(self, request: Request, *, log_start: int, timeout: float = TIMEOUT) -> Exchange:
        """The exchange that `request` leads to; `StreamPaused` where it takes longer than `timeout` seconds of the clock."""
        reached = self._pass(request, timeout)
        if not self.stream.closed:
            waited = self.stream.vm.clock.next_due() is not None
            problem = _stall(self.stream, timeout if waited else None)
            self.stream.close()
            raise StreamPaused(problem)
        return self._exchange(request, reached, log_start)

    def abandon(self, request: Request, *, log_start: int, timeout: float = TIMEOUT) -> Exchange:
        """The exchange as far as it comes before `disconnect`; `StreamPaused` where that takes longer than `timeout` seconds."""
        after = self.disconnect.after
        reached = self._pass(request, timeout if after is None else after)
        left = self.stream.closed or after is not None
        self.stream.close()
        if not left:
            msg = f"the client got less than {self.disconnect.after_receiving} bytes of a response's body within {timeout:g} seconds"
            raise StreamPaused(msg)
        return self._exchange(request, reached, log_start)

    def _pass(self, request: Request, timeout: float) -> UpstreamRequest | None:
        """Let the exchange run for `timeout` seconds; what reached the upstream."""
        clock = self.stream.vm.clock
        deadline = clock.monotonic_nanoseconds + round(timeout * NANOSECONDS)
        self._send_request(request)
        reached: UpstreamRequest | None = None
        while True:
            if reached is None and self.stream.request.sent.ended and self.stream.response.headers is None:
                reached = self._upstream_request()
                self._answer(self.upstream(reached), is_head=reached.method == "HEAD")
            self._leave_if_enough_came()
            if self.stream.closed:
                break
            if not clock.advance_to_next(deadline):
                if clock.next_due() is not None:
                    clock.advance((deadline - clock.monotonic_nanoseconds) / NANOSECONDS)
                break
        return reached

    def _send_request(self, request: Request) -> None:
        stream = self.stream
        if "#" in request.path:
            stream.reject(400, "path_normalization_failed")
            return
        headers = request_headers(request)
        has_body = bool(request.body or request.trailers) or "transfer-encoding" in request.headers
        stream.request_headers(headers, end_of_stream=not has_body)
        if has_body:
            for number, piece in enumerate(self._pieces(request.body, request.pieces)):
                if number == self.disconnect.after_sending:
                    stream.close()
                    return
                stream.request_body(piece)
            if request.trailers:
                stream.request_trailers(request.trailers)
            else:
                stream.request_body(b"", end_of_stream=True)

    def _answer(self, answer: Answer, *, is_head: bool) -> None:
        if isinstance(answer, Closing):
            self.stream.answer_for_upstream(CLOSED)
        elif isinstance(answer, UpstreamResponse):
            self._send_response(answer, is_head=is_head)

    def _send_response(self, response: UpstreamResponse, *, is_head: bool) -> None:
        stream = self.stream
        headers = framing.response_headers(response, is_head=is_head)
        may_have_body = not is_head and response.status not in framing.BODILESS_STATUSES
        has_body = may_have_body and bool(
            response.body or response.trailers or response.breaks or "transfer-encoding" in headers
        )
        stream.response_headers(headers, end_of_stream=not has_body)
        if has_body:
            for piece in self._pieces(response.body, response.pieces):
                self._leave_if_enough_came()
                stream.response_body(piece)
            # The last byte of a length that was announced ends the response.
            if response.breaks or response.trailers or "content-length" not in headers:
                self._leave_if_enough_came()
            if response.breaks:
                stream.break_response()
            elif response.trailers:
                stream.response_trailers(response.trailers)
            else:
                stream.response_body(b"", end_of_stream=True)

    def _leave_if_enough_came(self) -> None:
        """Disconnect, where the client has received what it waited for."""
        sent = self.stream.response.sent
        wanted = self.disconnect.after_receiving
        if wanted is not None and sent.headers is not None and len(sent.body) >= wanted:
            self.stream.close()

    def _pieces(self, body: bytes, pieces: Sequence[bytes]) -> Iterator[bytes]:
        if pieces:
            return (piece for piece in pieces if piece)
        size = self.chunk_size or len(body)
        return (body[start : start + size] for start in range(0, len(body), size or 1))

    def _upstream_request(self) -> UpstreamRequest:
        sent = self.stream.request.sent
        headers = sent.headers or HeaderMap()
        method = headers.get(":method", "")
        return UpstreamRequest(
            method=method,
            path=headers.get(":path", ""),
            authority=headers.get(":authority", ""),
            headers=self._framed(sent, "request", says_nothing=method in framing.BODILESS_METHODS),
            body=sent.body,
            trailers=sent.trailers or HeaderMap(),
            scheme=headers.get(":scheme", ""),
        )

    def _exchange(self, request: Request, reached: UpstreamRequest | None, log_start: int) -> Exchange:
        stream = self.stream
        sent = stream.response.sent
        status = (sent.headers or HeaderMap()).get(":status", "0")
        says_nothing = request.method == "HEAD" or int(status) in framing.BODILESS_STATUSES
        return Exchange(
            status=int(status),
            headers=self._framed(sent, "response", says_nothing=says_nothing) if sent.headers else HeaderMap(),
            body=b"" if says_nothing else sent.body,
            trailers=sent.trailers or HeaderMap(),
            upstream=reached,
            details=stream.details,
            logs=tuple(stream.vm.log[log_start:]),
            reset=stream.reset,
            properties=stream.state.written(),
        )

    def _framed(self, sent: Message, what: str, *, says_nothing: bool) -> HeaderMap:
        """The headers as they leave the proxy. Complains where `content-length` no longer fits the body."""
        headers = (sent.headers or HeaderMap()).without(*framing.HOP_BY_HOP)
        has_body = bool(sent.pieces or sent.trailers)
        length = headers.get("content-length")
        if length is None:
            if not has_body and not says_nothing:
                headers.add("content-length", "0")
        elif length != str(len(sent.body)) and not says_nothing and sent.ended:
            self.stream.vm.log.complain(
                f"the {what}'s content-length is {length}, its body has {len(sent.body)} bytes: on the wire it breaks; "
                f"a filter that changes the body removes content-length in on_{what}_headers",
                root_id=self.stream.plugin.root_id,
                context_id=self.stream.context_id,
            )
        return headers


def request_headers(request: Request) -> HeaderMap:
    """The header map that a filter gets for `request`."""
    authority = request.headers.get("host", request.authority)
    headers = HeaderMap(
        [(":authority", authority), (":path", request.path), (":method", request.method), (":scheme", request.scheme)]
    )
    for name, value in joined(request.headers.without("host", "upgrade", *framing.HOP_BY_HOP), JOINED_IN_REQUESTS).raw:
        if name != b"te" or value == b"trailers":
            headers.add(name, value)
    if request.body and not request.trailers and not {"content-length", "transfer-encoding"} & set(request.headers):
        headers.add("content-length", str(len(request.body)))
    return headers


def _stall(stream: HttpStream, timeout: float | None) -> str:
    """Why the stream has not ended: nothing is due any more, or `timeout` seconds have passed."""
    for half, what in ((stream.request, "request"), (stream.response, "response")):
        if half.flow is not Flow.RUNNING and not half.aborted:
            end = (
                "nothing is left to continue it" if timeout is None else f"did not continue it for {timeout:g} seconds"
            )
            return f"the filter paused the {what} {_where(half)} and {end}"
    return "the stream neither ended nor is it paused: its upstream got no whole request"


def _where(half: HalfStream) -> str:
    if half.flow is Flow.STOPPED:
        return f"in {half.names.headers}"
    return f"in {half.names.trailers}" if half.trailers is not None else f"in {half.names.body}"
