"""The callbacks of HTTP streams, and what becomes of a stream whose callback failed.

The six that every request passes are written out, nearly the same, because they are what a request costs.
"""

# The dispatcher's modules are the other half of the contexts: they alone keep their state. What the ABI passes is not always of use.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001, ARG002

from types import CoroutineType
from typing import Any

from proxy_wasm.abi.enums import NO_GRPC_STATUS, StreamType
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.contexts import (
    ANSWERED,
    GONE,
    OVER,
    REPLACES_REQUEST,
    REPLACES_RESPONSE,
    REQUEST_HELD,
    REQUEST_PAUSED,
    REQUEST_WAITED,
    RESET,
    RESPONSE_HEADERS_HELD,
    RESPONSE_HELD,
    RESPONSE_PAUSED,
    RESPONSE_WAITED,
)
from proxy_wasm.directions import CONTINUE, PAUSE, Stream, action_number, leaves_alone, loses_body
from proxy_wasm.errors import BodyTooLargeError
from proxy_wasm.failed_streams import Answered, Closed, NotMadeError, Passed
from proxy_wasm.failures import forget_locals, is_for_the_test, report
from proxy_wasm.host import (
    CALLBACK_OF_PHASE,
    REQUEST_BODY,
    REQUEST_HEADERS,
    REQUEST_TRAILERS,
    RESPONSE_BODY,
    RESPONSE_HEADERS,
    RESPONSE_TRAILERS,
)
from proxy_wasm.tasks import is_coroutine
from proxy_wasm.vm_state import VmState, bad_result

FAILURE_STATUS = 500
FAILURE_DETAILS = b"python_exception"
"""The response code's details of the local response to a stream whose callback failed."""

_TOO_LARGE_STATUS = {False: 413, True: 502}
_TOO_LARGE_DETAILS = {False: b"request_body_too_large", True: b"response_body_too_large"}


_TRAILERS = (REQUEST_TRAILERS, RESPONSE_TRAILERS)
_RESPONSE_HEADERS_PAUSED = RESPONSE_PAUSED | RESPONSE_HEADERS_HELD
_PAUSED = (
    0,
    REQUEST_PAUSED,
    REQUEST_PAUSED,
    REQUEST_PAUSED,
    _RESPONSE_HEADERS_PAUSED,
    RESPONSE_PAUSED,
    RESPONSE_PAUSED,
)
"""By phase, the state of a stream that is paused there; and where its message goes on."""
_PAUSED_AND_WAITED = (
    0,
    REQUEST_PAUSED | REQUEST_WAITED,
    *_PAUSED[2:4],
    _RESPONSE_HEADERS_PAUSED | RESPONSE_WAITED,
    *_PAUSED[5:],
)
_REMARKABLE = ANSWERED | RESET | REPLACES_REQUEST | REPLACES_RESPONSE
"""States in which there is more to do than to pause."""


class HttpCallbacks(VmState):
    """The callbacks of HTTP streams."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - those of `VmState`
        super().__init__(*args, **kwargs)
        self._passed, self._answered, self._closed = (
            stand_in(self._no_plugin) for stand_in in (Passed, Answered, Closed)
        )

    def on_request_headers(self, context_id: int, num_headers: int, end_of_stream: int) -> int:
        host = self._host
        host.context_id = context_id
        host.phase = REQUEST_HEADERS
        try:
            stream = self._streams.get(context_id)
            if stream is None:
                stream = self._make_stream(context_id, None)
            action = stream.on_request_headers(host.request_headers, end_of_stream != 0)
            if action is None and not stream._state and not self._ready:
                return CONTINUE
            return self._settle(stream, action, REQUEST_HEADERS, end_of_stream)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            return self._fail(context_id, REQUEST_HEADERS, error)

    def on_request_body(self, context_id: int, body_size: int, end_of_stream: int) -> int:
        host = self._host
        host.context_id = context_id
        host.phase = REQUEST_BODY
        try:
            stream = self._streams.get(context_id)
            if stream is None:
                stream = self._make_stream(context_id, None)
            if stream._state & REQUEST_HELD:
                return self._directions.arrived(stream, REQUEST_BODY, body_size, ended=end_of_stream != 0)
            action = stream.on_request_body(host.request_body, end_of_stream != 0)
            if action is None and not stream._state and not self._ready:
                return CONTINUE
            return self._settle(stream, action, REQUEST_BODY, end_of_stream)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            return self._fail(context_id, REQUEST_BODY, error)

    def on_request_trailers(self, context_id: int, num_trailers: int) -> int:
        host = self._host
        host.context_id = context_id
        host.phase = REQUEST_TRAILERS
        try:
            stream = self._streams.get(context_id)
            if stream is None:
                stream = self._make_stream(context_id, None)
            if stream._state & REQUEST_HELD:
                return self._directions.arrived(stream, REQUEST_TRAILERS, 0, ended=True)
            action = stream.on_request_trailers(host.request_trailers)
            if action is None and not stream._state and not self._ready:
                return CONTINUE
            return self._settle(stream, action, REQUEST_TRAILERS, 1)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            return self._fail(context_id, REQUEST_TRAILERS, error)

    def on_response_headers(self, context_id: int, num_headers: int, end_of_stream: int) -> int:
        host = self._host
        host.context_id = context_id
        host.phase = RESPONSE_HEADERS
        try:
            stream = self._streams.get(context_id)
            if stream is None:
                stream = self._make_stream(context_id, None)
            action = stream.on_response_headers(host.response_headers, end_of_stream != 0)
            if action is None and not stream._state and not self._ready:
                return CONTINUE
            return self._settle(stream, action, RESPONSE_HEADERS, end_of_stream)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            return self._fail(context_id, RESPONSE_HEADERS, error)

    def on_response_body(self, context_id: int, body_size: int, end_of_stream: int) -> int:
        host = self._host
        host.context_id = context_id
        host.phase = RESPONSE_BODY
        try:
            stream = self._streams.get(context_id)
            if stream is None:
                stream = self._make_stream(context_id, None)
            if stream._state & RESPONSE_HELD:
                return self._directions.arrived(stream, RESPONSE_BODY, body_size, ended=end_of_stream != 0)
            action = stream.on_response_body(host.response_body, end_of_stream != 0)
            if action is None and not stream._state and not self._ready:
                return CONTINUE
            return self._settle(stream, action, RESPONSE_BODY, end_of_stream)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            return self._fail(context_id, RESPONSE_BODY, error)

    def on_response_trailers(self, context_id: int, num_trailers: int) -> int:
        host = self._host
        host.context_id = context_id
        host.phase = RESPONSE_TRAILERS
        try:
            stream = self._streams.get(context_id)
            if stream is None:
                stream = self._make_stream(context_id, None)
            if stream._state & RESPONSE_HELD:
                return self._directions.arrived(stream, RESPONSE_TRAILERS, 0, ended=True)
            action = stream.on_response_trailers(host.response_trailers)
            if action is None and not stream._state and not self._ready:
                return CONTINUE
            return self._settle(stream, action, RESPONSE_TRAILERS, 1)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            return self._fail(context_id, RESPONSE_TRAILERS, error)

    def _settle(self, stream: Stream, action: object, phase: int, end_of_stream: int) -> int:
        """Note what a callback's result means for the stream, and give it as a number; `TypeError` where it is no action."""
        if type(action) is CoroutineType or is_coroutine(action):
            number = self._directions.begin(stream, action, phase, ended=end_of_stream != 0)
            state = stream._state
            if number and not state & _REMARKABLE:
                stream._state = state | (_PAUSED if end_of_stream else _PAUSED_AND_WAITED)[phase]
                return number
        else:
            number = action_number(action)
            if self._ready:
                self._directions.run(stream)
        state = stream._state
        if state & (ANSWERED | RESET) and stream._answered_in == phase:
            return PAUSE
        if phase == REQUEST_HEADERS and state & REPLACES_REQUEST and not end_of_stream:
            self._host.request_headers.discard("content-length")
        elif phase == RESPONSE_HEADERS and state & REPLACES_RESPONSE and not end_of_stream:
            self._host.response_headers.discard("content-length")
        return self._note(stream, phase, number, end_of_stream)

    # For a host that calls authors' methods itself (`proxy_wasm.guest.serving`)

    def settle(self, context_id: int, stream: Stream, action: object, phase: int, end_of_stream: bool) -> int:
        """What a callback returns to the proxy after an author's method has returned `action`."""
        try:
            return self._settle(stream, action, phase, end_of_stream)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            return self._fail(context_id, phase, error)

    def fail(self, context_id: int, phase: int, error: BaseException) -> int:
        """What a callback returns to the proxy after an author's method has raised."""
        return self._fail(context_id, phase, error)

    def _note(self, stream: Stream, phase: int, number: int, end_of_stream: int) -> int:
        """Note whether a direction is paused from now on; the action that the callback returns."""
        state = stream._state
        if phase < RESPONSE_HEADERS:
            paused, changed, direction = REQUEST_PAUSED, REQUEST_PAUSED, StreamType.HTTP_REQUEST
        else:
            paused = RESPONSE_PAUSED | RESPONSE_HEADERS_HELD if phase == RESPONSE_HEADERS else RESPONSE_PAUSED
            changed, direction = RESPONSE_PAUSED | RESPONSE_HEADERS_HELD, StreamType.HTTP_RESPONSE
        if state & paused and not number and leaves_alone(stream, phase):
            number = PAUSE
        if number:
            stream._state = state | paused
            if not end_of_stream:  # else nothing follows for which it would matter
                stream._state |= _PAUSED_AND_WAITED[phase]
        elif phase in _TRAILERS and loses_body(state, direction):
            return self._directions.let_go_soon(stream, direction)
        else:
            stream._state = state & ~changed
        return number

    # HTTP/2 METADATA

    def on_request_metadata(self, context_id: int, num_elements: int) -> int:
        return self._metadata(context_id, REQUEST_BODY, num_elements)

    def on_response_metadata(self, context_id: int, num_elements: int) -> int:
        return self._metadata(context_id, RESPONSE_BODY, num_elements)

    def _metadata(self, context_id: int, phase: int, num_elements: int) -> int:
        self._host.context_id = context_id
        self._host.phase = phase
        stream = self._streams.get(context_id)
        if stream is None:
            return CONTINUE
        callback = stream.on_request_metadata if phase == REQUEST_BODY else stream.on_response_metadata
        try:
            action: object = callback(num_elements)
            if is_coroutine(action):
                raise bad_result(action, "Action.CONTINUE or None")  # noqa: TRY301 - handled as what authors raise
            number = action_number(action)
            self._directions.run(stream)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            return self._fail(context_id, phase, error)
        else:
            return number

    # Failure

    def _fail_later(self, stream: Stream, phase: int, error: BaseException, inside: StreamType | None) -> int:
        """As `_fail`, for what ran on behalf of the stream in another callback than `phase` says."""
        if self._streams.get(stream.context_id) is not stream or stream._state & (OVER | GONE):
            self._report(f"{type(stream).__name__}: task", error)
            return PAUSE
        return self._fail(stream.context_id, phase, error, inside, later=True)

    def _fail(
        self,
        context_id: int,
        phase: int,
        error: BaseException,
        inside: StreamType | None = None,
        *,
        later: bool = False,
    ) -> int:
        """End a stream whose callback failed, and give the action that the callback returns to the host.

        `inside` is the direction whose callback the host is in; unless `later`, `phase` says so.
        """
        if not later:
            inside = StreamType.HTTP_REQUEST if phase < RESPONSE_HEADERS else StreamType.HTTP_RESPONSE
        if self._native and is_for_the_test(error):
            raise error
        short = isinstance(error, MemoryError)
        while True:
            try:
                if short:
                    self._reserve.clear()
                    forget_locals(error)
                action = self._handle(context_id, phase, error, inside)
            except BaseException as further:  # noqa: BLE001 - see below
                if isinstance(further, MemoryError) and not short:
                    short = True
                    continue
                action = PAUSE  # better a stream that hangs than one that passes, or a dead VM
            self._keep_reserve()
            if self._ready and not later:
                self._directions.run(self._no_plugin)
            return action

    def _handle(self, context_id: int, phase: int, error: BaseException, inside: StreamType | None) -> int:
        stream = self._streams[context_id]
        status, details = FAILURE_STATUS, FAILURE_DETAILS
        if isinstance(error, BodyTooLargeError):
            is_response = phase >= RESPONSE_HEADERS
            status, details = _TOO_LARGE_STATUS[is_response], _TOO_LARGE_DETAILS[is_response]
        elif not isinstance(error, NotMadeError):
            report(self._hostcalls, f"{type(stream).__name__}.{CALLBACK_OF_PHASE[phase] or 'callback'}", error)
        if stream.plugin.fail_open and status == FAILURE_STATUS:
            return self._pass(context_id, stream, phase, inside)
        return self._end(context_id, stream, phase, status, details)

    def _pass(self, context_id: int, stream: Stream, phase: int, inside: StreamType | None) -> int:
        self._streams[context_id] = self._passed
        state = stream._state
        self._silence(stream)
        if state & (ANSWERED | RESET):
            return PAUSE if stream._answered_in == phase else CONTINUE
        if state & REQUEST_PAUSED and inside is not StreamType.HTTP_REQUEST:
            self._hostcalls.continue_stream(int(StreamType.HTTP_REQUEST))
        if state & (RESPONSE_PAUSED | RESPONSE_HEADERS_HELD) and inside is not StreamType.HTTP_RESPONSE:
            self._hostcalls.continue_stream(int(StreamType.HTTP_RESPONSE))
        if inside is None or not loses_body(state, inside):
            return CONTINUE
        self._directions.continue_soon(stream, inside, lambda: self._streams.get(context_id) is self._passed)
        return PAUSE

    def _end(self, context_id: int, stream: Stream, phase: int, status: int, details: bytes) -> int:
        self._streams[context_id] = self._answered
        state = stream._state
        self._silence(stream)
        if state & (ANSWERED | RESET):
            if stream._answered_in != phase:  # it failed on its own answer, in whose place nothing else can be sent
                self._close(context_id, phase)
        elif phase > RESPONSE_HEADERS and not state & RESPONSE_HEADERS_HELD:
            self._close(context_id, phase)
        else:
            try:
                self._hostcalls.send_local_response(status, details, b"", b"", NO_GRPC_STATUS)
            except HostError:
                self._close(context_id, phase)
        return PAUSE

    def _silence(self, stream: Stream) -> None:
        """End what else an author's object is at, and let nobody use it any more."""
        if stream.plugin is not self._no_plugin:  # stand-ins serve many streams
            stream._state |= OVER
            stream._end_tasks()
            stream._state |= GONE

    def _close(self, context_id: int, phase: int) -> None:
        self._streams[context_id] = self._closed  # first: hosts may delete the context within the hostcall
        stream_type = StreamType.HTTP_REQUEST if phase < RESPONSE_HEADERS else StreamType.HTTP_RESPONSE
        self._hostcalls.close_stream(int(stream_type))
