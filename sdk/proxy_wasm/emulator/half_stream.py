"""One direction of an HTTP stream: what of a message the filter holds, and what went on.

Theory of operation
-------------------
Headers, pieces of the body and trailers come in (`receive_*`), pass the filter's callback, and go on (`sent`), unless the
callback's action stops them. Where a message stands is told by three things: `flow`, what is held (`held`, `trailers`), and
whether the headers went on (`headers_sent`). The rules are those of Envoy's filter manager
(source/common/http/filter_manager.cc) and of its Wasm filter (source/extensions/common/wasm/context.cc):

* An action other than continue stops the flow. After headers it stops everything (`STOPPED`): body and trailers are held and
  the filter hears of them only once the stream is continued. After a piece of body or trailers it stops this message only
  (`HELD`): the filter goes on hearing of what comes.
* Continuing sends what is held: through the filter where everything was stopped, past it where it has seen it already.
* While the filter buffers (it returned "stop and buffer" last), a new piece joins what is held before the filter hears of
  it, and the filter sees the whole.
* METADATA is told and goes on, except while everything is stopped: then it waits for the headers.
* A map or body is visible to hostcalls from the callback on that announces it until a callback lets it go by continuing.
* Trailers that the filter asks for while it has the end of the body come into being, and follow the body past it. Those of a request end it
  even where the filter holds the body, which is lost then.

A local response aborts a half stream: what still comes for it is dropped.
"""

from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto
from typing import Protocol

from proxy_wasm.emulator.buffers import BodyBuffer
from proxy_wasm.emulator.header_map import HeaderMap

_MAX_RESUMES = 20
"""How often what passes may be let pass from within; Envoy has no limit but the stack."""


class Flow(Enum):
    """Whether the message flows."""

    RUNNING = auto()
    HELD = auto()
    """The filter holds what it was told of, and is told of what comes."""
    STOPPED = auto()
    """Everything waits, untold, until the stream is continued."""


class HeadersAction(IntEnum):
    """What a headers callback may return; the specification knows the first two."""

    CONTINUE = 0
    STOP_ITERATION = 1
    """Envoy takes it for `STOP_ALL_AND_WATERMARK`, unless `allow_on_headers_stop_iteration` is configured."""
    CONTINUE_AND_END_STREAM = 2
    """Envoy takes it for `CONTINUE`."""
    STOP_ALL_AND_BUFFER = 3
    STOP_ALL_AND_WATERMARK = 4


class BodyAction(IntEnum):
    """What a body callback may return; the specification knows the first two."""

    CONTINUE = 0
    STOP_AND_BUFFER = 1
    STOP_AND_WATERMARK = 2
    STOP_NO_BUFFER = 3


class TrailersAction(IntEnum):
    """What a trailers callback may return."""

    CONTINUE = 0
    STOP_ITERATION = 1


@dataclass(frozen=True, slots=True)
class Names:
    """The callbacks of one direction."""

    headers: str
    body: str
    trailers: str
    metadata: str


REQUEST = Names("on_request_headers", "on_request_body", "on_request_trailers", "on_request_metadata")
RESPONSE = Names("on_response_headers", "on_response_body", "on_response_trailers", "on_response_metadata")


@dataclass(slots=True)
class Message:
    """What went on so far."""

    headers: HeaderMap | None = None
    body: bytes = b""
    pieces: int = 0
    """How many pieces of body went on."""
    trailers: HeaderMap | None = None
    ended: bool = False


@dataclass(slots=True)
class Visible:
    """What hostcalls can reach."""

    headers: HeaderMap | None = None
    body: BodyBuffer | None = None
    trailers: HeaderMap | None = None

    def clear(self) -> None:
        self.headers = self.body = self.trailers = None


class Filter(Protocol):
    """The stream that a half belongs to: it calls the guest, and hears of what went on."""

    def filter(self, half: "HalfStream", callback: str, size: int, end_of_stream: bool | None) -> int: ...
    def tell_metadata(self, callback: str, size: int) -> None: ...
    def run_local_response(self) -> None: ...
    def headers_went_on(self, half: "HalfStream") -> None: ...
    def ended(self, half: "HalfStream") -> None: ...


@dataclass(slots=True)
class HalfStream:
    """One direction of a stream. See the theory of operation above."""

    stream: Filter
    names: Names
    headers: HeaderMap | None = None
    trailers: HeaderMap | None = None
    held: BodyBuffer | None = None
    buffering: bool = False
    """Whether the filter asked for the whole body."""
    flow: Flow = Flow.RUNNING
    whole: bool = False
    """Whether all of the message has come in."""
    received: int = 0
    """How many bytes of body have come in."""
    headers_sent: bool = False
    _resumes: int = 0
    resuming_all: bool = False
    """Whether what was stopped passes the filter just now."""
    aborted: bool = False
    metadata: list[int] = field(default_factory=list[int])
    """How many entries the METADATA frames have that wait until the headers go on."""
    visible: Visible = field(default_factory=Visible)
    sent: Message = field(default_factory=Message)

    @property
    def body(self) -> BodyBuffer | None:
        """The body that hostcalls reach; one that was buffered and has gone on is empty, and changes to it are lost."""
        if self.buffering:
            return BodyBuffer() if self.held is None else self.held
        return self.visible.body

    def receive_headers(self, headers: HeaderMap, *, end_of_stream: bool) -> None:
        """The message begins."""
        self.headers = self.visible.headers = headers
        self.whole = end_of_stream
        action = self.stream.filter(self, self.names.headers, headers.pair_count, end_of_stream)
        if action == HeadersAction.CONTINUE:
            self.visible.headers = None
        if self._was_aborted():
            return
        if action == HeadersAction.CONTINUE:
            self.send_headers()
        else:
            self.flow = Flow.HELD if action == HeadersAction.STOP_ITERATION else Flow.STOPPED

    def receive_body(self, data: bytes, *, end_of_stream: bool) -> None:
        """A piece of the body comes; it may be empty where it ends the message."""
        if self.aborted:
            return
        self.whole = self.whole or end_of_stream
        self.received += len(data)
        piece = BodyBuffer(data)
        if self.flow is Flow.STOPPED:
            self._hold(piece)
        else:
            self._filter_body(piece, end_of_stream=end_of_stream)

    def receive_trailers(self, trailers: HeaderMap) -> None:
        """The message ends with trailers."""
        if self.aborted:
            return
        self.whole = True
        self.trailers = trailers
        if self.flow is not Flow.STOPPED:
            self._filter_trailers(trailers)

    def receive_metadata(self, size: int) -> None:
        """METADATA comes: `size` entries. It passes whatever the filter answers, but not before headers that are stopped."""
        if self.aborted:
            return
        if self.flow is Flow.STOPPED:
            self.metadata.append(size)
        else:
            self.stream.tell_metadata(self.names.metadata, size)
            self._was_aborted()

    def resume(self) -> None:
        """Let everything held go on."""
        if self.aborted:
            return
        through_filter = self.resuming_all = self.flow is Flow.STOPPED
        self.flow = Flow.RUNNING
        trailers = self.trailers
        self.send_headers()
        metadata, self.metadata = self.metadata, []
        for size in metadata:
            self.receive_metadata(size)
        if self.held is not None and not self.aborted:
            end = self.whole and trailers is None
            if through_filter:
                self._filter_body(self.held, end_of_stream=end)
            else:
                self._send_body(self.held, end_of_stream=end)
        if trailers is not None and not self._is_over():
            if through_filter:
                self._filter_trailers(trailers)
            else:
                self._send_trailers(trailers)
        self.resuming_all = False

    def resume_again(self) -> bool:
        """Continue while what was stopped passes the filter: that comes once more. False where it has come too often."""
        if self.whole and self.trailers is None:
            return True  # the filter has been told of the end, nothing comes again
        self._resumes += 1
        if self._resumes > _MAX_RESUMES:
            return False
        self.flow = Flow.STOPPED
        self.resume()
        self._resumes -= 1
        self.resuming_all = True
        return True

    def _is_over(self) -> bool:
        return self.aborted or self.sent.ended

    def send_ahead(self) -> None:
        """Let what a callback is just about go on before that has returned; pieces of a body do not."""
        self.send_headers()
        if self.trailers is not None and self.sent.trailers is None and not self.aborted:
            self._send_trailers(self.trailers)

    def abort(self) -> None:
        """Drop what still comes."""
        self.aborted = True

    def _filter_body(self, piece: BodyBuffer, *, end_of_stream: bool) -> None:
        if self.buffering:
            piece = self._hold(piece)
        self.visible.body = piece
        was_held = piece is self.held
        had_trailers = self.trailers is not None
        action = self.stream.filter(self, self.names.body, len(self.body or b""), end_of_stream)
        self.buffering = action == BodyAction.STOP_AND_BUFFER
        if action == BodyAction.CONTINUE:
            self.visible.body = None
        if self._was_aborted() or (was_held and self.held is not piece):
            return
        if action == BodyAction.CONTINUE:
            self._continue_body(piece, end_of_stream=end_of_stream, new_trailers=not had_trailers)
            return
        if self.flow is Flow.RUNNING:
            self.flow = Flow.HELD
        if action != BodyAction.STOP_NO_BUFFER:
            self._hold(piece)
        elif piece is not self.held:
            piece.take()
            if self.whole and self.trailers is None and self.held is None:
                self.held = BodyBuffer()
        if not had_trailers and self.trailers is not None and self.names is REQUEST:
            self._end_with(self.trailers)

    def _end_with(self, trailers: HeaderMap) -> None:
        """The filter holds the body and has made trailers: these go on all the same."""
        if self.resuming_all:
            self._filter_trailers(trailers)
        else:
            self.held = None
            self._send_trailers(trailers)

    def _continue_body(self, piece: BodyBuffer, *, end_of_stream: bool, new_trailers: bool) -> None:
        if self.flow is Flow.HELD:
            self._hold(piece)
            self.resume()
            return
        trailers = self.trailers if new_trailers else None
        self._send_body(piece, end_of_stream=end_of_stream and trailers is None)
        if trailers is not None:
            self._send_trailers(trailers)

    def _filter_trailers(self, trailers: HeaderMap) -> None:
        self.visible.trailers = trailers
        action = self.stream.filter(self, self.names.trailers, trailers.pair_count, None)
        if action == TrailersAction.CONTINUE:
            self.visible.trailers = None
        if self._was_aborted():
            return
        if action != TrailersAction.CONTINUE:
            self.flow = Flow.HELD if self.flow is Flow.RUNNING else self.flow
        elif self.flow is Flow.HELD and self.resuming_all:
            # Envoy goes through what is held once more, but the filter has had its end by now: the trailers come again, and go past the body.
            self.flow = Flow.RUNNING
            self._filter_trailers(trailers)
        elif self.flow is Flow.HELD:
            self.resume()
        else:
            self._send_trailers(trailers)

    def _was_aborted(self) -> bool:
        """Whether the callback that just returned asked for a local response, which is then sent."""
        if self.aborted:
            self.stream.run_local_response()
        return self.aborted

    def _hold(self, piece: BodyBuffer) -> BodyBuffer:
        """Join `piece` with what is held; all that is held now."""
        if piece is self.held:
            return piece
        if self.held is None:
            self.held = BodyBuffer()
        self.held.append(piece.take())
        return self.held

    def send_headers(self) -> None:
        """Let the headers go on, unless they did."""
        if self.headers_sent:
            return
        self.headers_sent = True
        end_of_stream = self.whole and self.held is None and self.trailers is None
        self.sent.headers = (self.headers or HeaderMap()).copy()
        self.sent.ended = end_of_stream
        self.stream.headers_went_on(self)
        if end_of_stream and not self.aborted:
            self.stream.ended(self)

    def _send_body(self, piece: BodyBuffer, *, end_of_stream: bool) -> None:
        if piece is self.held:
            self.held = None
        self.sent.body += piece.take()
        self.sent.pieces += 1
        self.sent.ended = end_of_stream
        if end_of_stream:
            self.stream.ended(self)

    def _send_trailers(self, trailers: HeaderMap) -> None:
        self.sent.trailers = trailers.copy()
        self.sent.ended = True
        self.stream.ended(self)
