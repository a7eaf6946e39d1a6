"""An HTTP stream: its context in the VM, both directions, and how it ends.

A test plays the client and the upstream: it feeds `request_*` and `response_*`, and looks at `request.sent` (what the
upstream got), `response.sent` (what the client got), `paused`, `closed` and `details`. `proxy_wasm.emulator.http1` drives
whole exchanges this way.

How a stream ends (Envoy, `FilterManager::sendLocalReply`, `Context::log`, `Context::onDestroy`):

* Once the response has gone on whole, or the client or `close_stream` broke it off, the guest gets `on_log`, `on_done` and
  `on_delete`, in this order (the specification has `on_done` first). Events that come later are ignored.
* A local response that comes before any response passes the filter's own response callbacks. Asked for during a request
  callback it waits until that has returned, and of several the first is sent. One that comes while the filter has response
  headers in hand goes straight to the client; one that comes after headers went to the client resets the stream.
* Answering or closing a stream from then on, in `on_log` or `on_done`, crashes Envoy 1.40. Here it fails the VM.
* Where the VM has failed, or fails in a callback, the stream is answered with 503, unless the plugin fails open.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from proxy_wasm.abi.enums import BufferType, MapType, StreamType
from proxy_wasm.emulator import properties
from proxy_wasm.emulator.buffers import ConstantBuffer, ReadableBuffer
from proxy_wasm.emulator.context import Context
from proxy_wasm.emulator.framing import HOP_BY_HOP
from proxy_wasm.emulator.half_stream import (
    REQUEST,
    RESPONSE,
    BodyAction,
    Flow,
    HalfStream,
    HeadersAction,
    Message,
    TrailersAction,
)
from proxy_wasm.emulator.header_map import HeaderMap, Headers, to_bytes
from proxy_wasm.emulator.local_response import LocalResponse
from proxy_wasm.emulator.numerals import number_in
from proxy_wasm.emulator.stream_attributes import stream_attributes
from proxy_wasm.emulator.upstream_codec import refusal

if TYPE_CHECKING:
    from proxy_wasm.emulator.plugin import Plugin

FAIL_DETAILS = "wasm_fail_stream"
CLOSE_DETAILS = "wasm_close_stream"
UPSTREAM_DETAILS = "via_upstream"
_BROKEN_DETAILS = "upstream_reset_after_response_started{protocol_error}"
"""HTTP/1 takes the early end of a connection, however it ends, for a mistake of the upstream's."""
_DISCONNECT_DETAILS = "downstream_remote_disconnect"
_DOWNSTREAM_CONNECTION_TERMINATION = 1 << 14
_FORWARDED_PROTO = "x-forwarded-proto"
_NO_ROUTE_FOUND = 1 << 8
_UPSTREAM_PROTOCOL_ERROR = 1 << 18
_GRPC_UNAVAILABLE = 14
_STOP = {
    REQUEST.headers: HeadersAction.STOP_ALL_AND_WATERMARK,
    RESPONSE.headers: HeadersAction.STOP_ALL_AND_WATERMARK,
    REQUEST.body: BodyAction.STOP_NO_BUFFER,
    RESPONSE.body: BodyAction.STOP_NO_BUFFER,
    REQUEST.trailers: TrailersAction.STOP_ITERATION,
    RESPONSE.trailers: TrailersAction.STOP_ITERATION,
}
"""What stops a stream in each callback, when a local response or a failure does it."""


class HttpStream(Context):
    """One HTTP stream. Made by `Plugin.http_stream`; see the module."""

    def __init__(self, plugin: "Plugin", *, attributes: properties.Tree) -> None:
        super().__init__(plugin.vm, plugin.vm.new_context_id())
        self._plugin = plugin
        self._created = False
        self.request = HalfStream(self, REQUEST)
        """What came from the client; `request.sent` is what went on to the upstream."""
        self.response = HalfStream(self, RESPONSE)
        """What came from the upstream or was made locally; `response.sent` is what went on to the client."""
        self.closed = False
        self.reset = False
        """Whether the stream broke off before its response was whole."""
        self.details = ""
        """Envoy's response code details."""
        self.answered_locally = False
        """Whether a local response was asked for, from which `details` are then, even where those are empty."""
        self.response_code: int | None = None
        self.local_response: LocalResponse | None = None
        """The local response that was sent, if one was."""
        self.state = properties.FilterState()
        self.attributes = attributes
        """Properties that the test supplies."""
        self.start_time = plugin.vm.clock.time_nanoseconds
        self.flags = 0
        self._needs_forwarded_proto = False
        """Whether the test shows the filter this header, which Envoy adds to requests, and without which no route matches."""
        """Envoy's response flags."""
        self._is_closing = False
        """Whether the guest has asked for it."""
        self._end_of_stream = False
        self._filtering: HalfStream | None = None
        self._prepared: LocalResponse | None = None
        self._failure_reported = False
        self._came_after_failure = False

    # What the client does.

    def request_headers(self, headers: Headers, end_of_stream: bool = False) -> None:
        """The client sends headers, pseudo-headers among them."""
        if not self.closed:
            self.request.headers, self.request.whole = HeaderMap(headers), end_of_stream
            self._needs_forwarded_proto = _FORWARDED_PROTO in self.request.headers
            self._filtering = self.request
            self._create()
            # Whatever the guest has done to the stream meanwhile, it is told of the headers.
            self.request.receive_headers(self.request.headers, end_of_stream=end_of_stream)
        self.vm.shared.run_posted()

    def request_body(self, data: bytes, end_of_stream: bool = False) -> None:
        """The client sends a piece of the body."""
        if not self.closed:
            self.request.receive_body(data, end_of_stream=end_of_stream)
        self.vm.shared.run_posted()

    def request_trailers(self, trailers: Headers) -> None:
        """The client ends its request with trailers."""
        if not self.closed:
            self.request.receive_trailers(HeaderMap(trailers))
        self.vm.shared.run_posted()

    def request_metadata(self, metadata: Mapping[str, str]) -> None:
        """The client sends HTTP/2 METADATA. The guest hears how many entries there are; Envoy shows them to no filter."""
        if not self.closed:
            self.request.receive_metadata(len(metadata))
        self.vm.shared.run_posted()

    def reject(self, status: int, details: str) -> None:
        """The proxy answers before the filter hears of the request: the guest gets no callback but those of the end."""
        self.details = details
        self._send_past_filter(LocalResponse(status, details=details))
        self.vm.shared.run_posted()

    def close(self) -> None:
        """The client goes away; nothing, where the stream is closed already."""
        if not self.closed:
            self.details = _DISCONNECT_DETAILS
            self.flags |= _DOWNSTREAM_CONNECTION_TERMINATION
            self._break_off()
        self.vm.shared.run_posted()

    # What the upstream does.

    def response_headers(self, headers: Headers, end_of_stream: bool = False) -> None:
        """The upstream sends headers, `:status` among them."""
        if not self.closed and self.response.headers is None:
            response_headers = HeaderMap(headers)
            self.response_code = number_in(response_headers.get(":status", ""))
            self.details = UPSTREAM_DETAILS
            self.response.receive_headers(response_headers, end_of_stream=end_of_stream)
        self.vm.shared.run_posted()

    def response_body(self, data: bytes, end_of_stream: bool = False) -> None:
        """The upstream sends a piece of the body."""
        if not self.closed and self.local_response is None:
            self.response.receive_body(data, end_of_stream=end_of_stream)
        self.vm.shared.run_posted()

    def response_trailers(self, trailers: Headers) -> None:
        """The upstream ends its response with trailers."""
        if not self.closed and self.local_response is None:
            self.response.receive_trailers(HeaderMap(trailers))
        self.vm.shared.run_posted()

    def break_response(self) -> None:
        """The upstream's connection breaks in the middle of its response, and so does the client's."""
        if not self.closed and self.local_response is None:
            self.details = _BROKEN_DETAILS
            self._break_off()
        self.vm.shared.run_posted()

    def answer_for_upstream(self, response: LocalResponse) -> None:
        """The proxy answers in place of an upstream that cannot; the response passes the filter."""
        if not self.closed:
            self._answer(response)
        self.vm.shared.run_posted()

    def response_metadata(self, metadata: Mapping[str, str]) -> None:
        """The upstream sends HTTP/2 METADATA; see `request_metadata`."""
        if not self.closed and self.local_response is None:
            self.response.receive_metadata(len(metadata))
        self.vm.shared.run_posted()

    @property
    def paused(self) -> bool:
        """Whether the filter holds back a part of the request or the response."""
        return not self.closed and (self._is_held(self.request) or self._is_held(self.response))

    @staticmethod
    def _is_held(half: HalfStream) -> bool:
        return half.flow is not Flow.RUNNING and not half.aborted

    # What the guest reaches.

    @property
    def plugin(self) -> "Plugin":
        return self._plugin

    def readable_map(self, map_type: MapType) -> HeaderMap | None:
        if map_type > MapType.HTTP_RESPONSE_TRAILERS:
            return self.plugin.readable_map(map_type)
        if not self.logging:
            return self._visible_map(map_type)
        return {
            MapType.HTTP_REQUEST_HEADERS: self.request.headers,
            MapType.HTTP_RESPONSE_HEADERS: self.response.headers,
            MapType.HTTP_RESPONSE_TRAILERS: self.response.trailers,
        }.get(map_type)

    def writable_map(self, map_type: MapType) -> HeaderMap | None:
        headers = self._visible_map(map_type)
        if headers is None and map_type == MapType.HTTP_REQUEST_TRAILERS:
            return self._new_trailers(self.request)
        if headers is None and map_type == MapType.HTTP_RESPONSE_TRAILERS:
            return self._new_trailers(self.response)
        return headers

    def _visible_map(self, map_type: MapType) -> HeaderMap | None:
        return {
            MapType.HTTP_REQUEST_HEADERS: self.request.visible.headers,
            MapType.HTTP_REQUEST_TRAILERS: self.request.visible.trailers,
            MapType.HTTP_RESPONSE_HEADERS: self.response.visible.headers,
            MapType.HTTP_RESPONSE_TRAILERS: self.response.visible.trailers,
        }.get(map_type)

    def _new_trailers(self, half: HalfStream) -> HeaderMap | None:
        """A message without trailers gets some when the filter asks for them at the end of the body."""
        if half.visible.body is None or not self._end_of_stream:
            return None
        half.trailers = half.visible.trailers = HeaderMap()
        return half.trailers

    def buffer(self, buffer_type: BufferType) -> ReadableBuffer | None:
        if buffer_type == BufferType.HTTP_REQUEST_BODY:
            return self.request.body or self._absent_if_none(self.request)
        if buffer_type == BufferType.HTTP_RESPONSE_BODY:
            return self.response.body or self._absent_if_none(self.response)
        return self.plugin.buffer(buffer_type)

    @staticmethod
    def _absent_if_none(half: HalfStream) -> ReadableBuffer:
        """A body of no bytes that is there can be written to; one that is not there cannot."""
        return ConstantBuffer() if half.body is None else half.body

    def get_property(self, path: bytes) -> bytes | None:
        roots = [self.attributes, self.plugin.attributes, stream_attributes(self), self.plugin.wasm_attributes]
        return properties.look_up(path, roots, self.state)

    def set_property(self, path: bytes, value: bytes) -> None:
        once = (self.plugin.context_id, path) in self.vm.read_only_properties
        self.state.set(path, value, once=once)

    def continue_stream(self, stream_type: int) -> None:
        half = {StreamType.HTTP_REQUEST: self.request, StreamType.HTTP_RESPONSE: self.response}.get(
            StreamType(stream_type)
        )
        if half is None:
            return
        if half is self.response and half.headers is None:
            self.vm.crash("continue_stream", "there is no response yet")
            return
        self.vm.after_call(lambda: self._resume(half))
        # Whichever half is continued, Envoy lets go of what it shows of the request.
        self.request.visible.clear()

    def _resume(self, half: HalfStream) -> None:
        if self.closed:
            return
        if half.aborted:
            return
        if half.resuming_all:
            if not half.resume_again():
                self.vm.crash("continue_stream", "the stream is being continued already, and calls back without end")
        elif half.flow is Flow.RUNNING:
            what = "request" if half is self.request else "response"
            self.vm.log.complain(
                f"continue_stream: the {what} is not paused; Envoy sends it on at once, and again when the callback returns",
                root_id=self.plugin.root_id,
                context_id=self.context_id,
            )
            half.send_ahead()
        else:
            half.resume()

    def close_stream(self, stream_type: int) -> None:
        if self.closed:
            self.vm.crash("close_stream")
        elif self._is_closing:
            self.vm.crash("close_stream", "the stream is being closed already")
        elif stream_type in (StreamType.HTTP_REQUEST, StreamType.HTTP_RESPONSE):
            self._is_closing = True
            if not self.answered_locally:
                self.details = self.details or CLOSE_DETAILS
            self.vm.after_call(self._break_off)

    def send_local_response(self, response: LocalResponse) -> None:
        if self.closed:
            self.vm.crash("send_local_response")
        else:
            self.vm.after_call(lambda: self._answer(response))

    # Half streams call these.

    def tell_metadata(self, callback: str, size: int) -> None:
        """The guest hears of METADATA; what it returns means nothing."""
        if not self._failure_reported:
            self.vm.call(self, callback, self.context_id, size)

    def filter(self, half: HalfStream, callback: str, size: int, end_of_stream: bool | None) -> int:
        """The guest's action on a part of a message, in the numbers that Envoy makes of it."""
        if half is self.response and self._failure_reported:
            return 0
        if end_of_stream is not None:
            self._end_of_stream = end_of_stream
        if self.vm.failed:
            return self._fail(half, callback)
        flags = () if end_of_stream is None else (int(end_of_stream),)
        self._filtering = half
        action = self.vm.call_filter(self, callback, self.context_id, size, *flags)
        self._filtering = None
        if callback == RESPONSE.trailers and action == TrailersAction.CONTINUE and self._is_closing:
            self.vm.crash("close_stream", "the trailers go on after it")
        if self.vm.failed:
            return self._fail(half, callback)
        return self._effective_action(callback, action)

    def _effective_action(self, callback: str, action: int | None) -> int:
        stop = _STOP[callback]
        if action is None or not 0 <= action <= max(type(stop)):
            return stop
        if isinstance(stop, HeadersAction):
            if action == HeadersAction.CONTINUE_AND_END_STREAM:
                return HeadersAction.CONTINUE
            if action == HeadersAction.STOP_ITERATION and not self.plugin.allow_on_headers_stop_iteration:
                return stop
        return action

    def run_local_response(self) -> None:
        """Send the local response that was asked for during a request callback."""
        response, self._prepared = self._prepared, None
        if response is None:
            return
        if not self.closed:
            self._send_through_filter(response)
            return
        # The guest has closed the stream too; it hears of a response that nobody will get.
        headers, body = response.message(self.request.headers)
        self.filter(self.response, RESPONSE.headers, headers.pair_count, not body)

    def headers_went_on(self, half: HalfStream) -> None:
        """Answer in the message's place where the filter took from it what it cannot do without.

        From Envoy's sources: without a `:path` that begins with `/` no route matches, without `:method` the codec refuses, without
        `:status` the filter manager does.
        """
        headers = half.headers or HeaderMap()
        if half is self.response:
            for name in HOP_BY_HOP:
                headers.remove(name)  # what goes to the client has them, but `on_log` does not see them
            status = number_in(headers.get(":status", "").strip().removeprefix("+"))
            if status is not None:
                self.response_code = status
            else:
                half.headers_sent = False
                text = "missing required header: :status"
                details = f"filter_removed_required_response_headers{{{text.replace(' ', '_')}}}"
                self._answer(LocalResponse(502, body=to_bytes(text), details=details))
        elif not headers.get(":path", "").startswith("/") or (
            self._needs_forwarded_proto and _FORWARDED_PROTO not in headers
        ):
            self.flags |= _NO_ROUTE_FOUND
            self._answer(LocalResponse(404, details="route_not_found"))
        elif (refused := refusal(headers)) is not None:
            self.flags |= _UPSTREAM_PROTOCOL_ERROR
            self._answer(refused)

    def ended(self, half: HalfStream) -> None:
        """A whole response closes the stream."""
        if half is not self.response:
            return
        if self.closed:
            self.vm.crash("continue_stream", "the response has gone on whole")
        else:
            self._finish()

    # Local responses and the end.

    def _answer(self, response: LocalResponse) -> None:
        if self.closed:
            if self._filtering is self.request:
                self._prepared = self._prepared or response
            return
        self.details = response.details
        self.answered_locally = True
        if self.response.headers is None:
            self.request.abort()
            if self._filtering is self.request or self._prepared is not None:
                self._prepared = self._prepared or response
                self.response_code = self._prepared.status
            else:
                self._send_through_filter(response)
        elif not self.response.headers_sent:
            self._send_past_filter(response)
        else:
            self.vm.log.complain(
                "local response: response headers went to the client already, the stream is reset",
                root_id=self.plugin.root_id,
                context_id=self.context_id,
            )
            self._break_off()

    def _send_through_filter(self, response: LocalResponse) -> None:
        headers, body = self._message_of(response)
        self.response.receive_headers(headers, end_of_stream=not body)
        if body and not self.closed:
            self.response.receive_body(body, end_of_stream=True)

    def _send_past_filter(self, response: LocalResponse) -> None:
        headers, body = self._message_of(response)
        self.request.abort()
        self.response.abort()
        self.response.headers = headers
        self.response.sent = Message(headers.copy(), body, pieces=bool(body), ended=True)
        self._finish()

    def _message_of(self, response: LocalResponse) -> tuple[HeaderMap, bytes]:
        self.local_response = response
        self.response_code = response.status
        return response.message(self.request.headers)

    def _fail(self, half: HalfStream, callback: str) -> int:
        if self.plugin.passes_unfiltered(new=self._came_after_failure):
            return 0
        if not self._failure_reported:
            self._failure_reported = True
            self._filtering = half
            self._answer(LocalResponse(503, grpc_status=_GRPC_UNAVAILABLE, details=FAIL_DETAILS))
            self._filtering = None
        return _STOP[callback]

    def _break_off(self) -> None:
        if not self.closed:
            self.reset = True
            self.request.abort()
            self.response.abort()
            self._finish()

    def _create(self) -> None:
        if not self._created:
            self._created = True
            self._came_after_failure = bool(self.vm.failed)
            self.vm.contexts[self.context_id] = self
            self.vm.call(self, "on_context_create", self.context_id, self.plugin.context_id)

    def _finish(self) -> None:
        self.closed = True
        self._create()
        self.logging = True
        self.vm.call(self, "on_log", self.context_id)
        self.logging = False
        self.vm.call(self, "on_done", self.context_id, absent=1)
        self.vm.call(self, "on_delete", self.context_id)
        # Until the event is over the proxy keeps what it had of the stream.
        self.vm.shared.post_first(self._forget)

    def _forget(self) -> None:
        self.vm.contexts.pop(self.context_id, None)
