"""gRPC streams: any number of messages each way.

The proxy has no way to hold a service back, so what arrives is kept until it is read, up to `MAX_UNREAD` bytes. Of a stream that is given up the
proxy is told a moment later, on the plugin's own tick. It may be at work on that very stream, with more messages to hand out, and Envoy frees
what belongs to the stream at once (`Context::grpcCancel`, `AsyncStreamImpl::onData`).
"""

# A stream is made by the contexts and fed by the dispatcher.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from proxy_wasm.abi.enums import GrpcStatus, MapType
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.errors import GrpcError, PhaseError
from proxy_wasm.grpc import Target, own_message, received_message, received_metadata
from proxy_wasm.headers import Headers, ReceivedHeaders
from proxy_wasm.tasks import Future

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

MAX_UNREAD = 16 * 1024 * 1024
"""Bytes of messages that wait to be read; a stream that brings more is given up."""
_OVERHEAD = 64
"""Bytes that a message costs beside its own."""


class GrpcStream:
    """A gRPC stream that is open, or was; made by `grpc_stream`.

    `async for message in stream` reads until the service ends it; `async with stream` gives it up on leaving. It belongs to the
    context that it was made by, and is given up with it.
    """

    __slots__ = (
        "_error",
        "_half_closed",
        "_id",
        "_initial_metadata",
        "_messages",
        "_seen",
        "_target",
        "_unread",
        "_waiting",
        "status",
        "trailing_metadata",
    )

    status: GrpcStatus | None
    """How the stream ended; `None` as long as it has not. Messages that came before may still be there to be read."""
    trailing_metadata: Headers
    """What the service sent with the status; empty before."""

    def __init__(self, target: Target) -> None:
        self.status = None
        self.trailing_metadata = ReceivedHeaders([])
        self._target = target
        self._id = 0
        self._messages: deque[bytes] = deque()
        self._unread = 0
        self._waiting: list[Future[None]] = []
        self._initial_metadata: Headers | None = None
        self._half_closed = False
        self._error: BaseException | None = None
        self._seen = False

    def __repr__(self) -> str:
        return f"<GrpcStream {self._target}: {'open' if self.status is None else self.status.name}>"

    def __del__(self) -> None:
        if self._error is not None and not self._seen:
            self._target.context._report_unseen(f"stream to {self._target}", self._error)

    def start(self) -> None:
        """Have the proxy open the stream."""
        target = self._target
        target.context._keep(self)
        try:
            self._id = target.call_for(target.context.hostcalls.grpc_stream, *target.arguments)
        except HostError as error:
            target.wait_for_reason(self, error)
        else:
            target.register(self, self._id)

    # Sending

    def send(self, message: bytes) -> None:
        """Send a message; the proxy takes it at once, and there is nothing to await.

        Raises `CalloutArgumentError` for what are no bytes, the stream's `GrpcError` where it has failed, and `PhaseError` where it is over
        otherwise, or `close_send` was called.
        """
        octets = own_message(message)
        if self._error is not None:
            self._raise_error()
        if self.status is not None or self._half_closed:
            why = "close_send was called" if self.status is None else f"the stream is over: {self.status.name}"
            msg = f"send to {self._target}: {why}"
            raise PhaseError(msg)
        if self._id:  # else it could not be opened, which whoever reads is told in a moment
            self._target.call_for(self._target.context.hostcalls.grpc_send, self._id, octets, 0)

    def close_send(self) -> None:
        """Tell the service that no more messages come (half-close); those of the service still do."""
        if self.status is None and not self._half_closed:
            self._half_closed = True
            if self._id:
                self._target.call_for(self._target.context.hostcalls.grpc_close, self._id)

    def cancel(self) -> bool:
        """Give the stream up: the service is told, what was not read is dropped, and whoever reads finds it at its end.

        False where it was over before.
        """
        if self.status is not None:
            return False
        self._finish(GrpcStatus.CANCELLED, None)
        self._messages.clear()
        self._unread = 0
        if self._id:
            self._target.context._timers().call_later(0, self._reset)
        return True

    def end(self) -> None:
        """The context is over."""
        self.cancel()

    def _reset(self) -> None:
        if self._target.forget(self, self._id):
            with suppress(HostError):
                self._target.call_for(self._target.context.hostcalls.grpc_cancel, self._id)

    # Reading

    async def initial_metadata(self) -> Headers:
        """What the service sends before its first message, once it is there; empty where the service ends the stream with a status alone.

        Raises the stream's `GrpcError` where it failed before.
        """
        while self._initial_metadata is None and self.status is None:
            await self._news()
        if self._initial_metadata is None:
            if self._error is not None:
                self._raise_error()
            return ReceivedHeaders([])
        return self._initial_metadata

    async def receive(self) -> bytes | None:
        """The next message; `None` where the service has ended the stream, or it was given up.

        Raises `GrpcError` where the stream ended with a status other than OK, after all messages before that, and the other kinds
        of `CalloutError` where it could not be opened.
        """
        while not self._messages:
            if self._error is not None:
                self._raise_error()
            if self.status is not None:
                return None
            await self._news()
        message = self._messages.popleft()
        self._unread -= len(message) + _OVERHEAD
        return message

    def __aiter__(self) -> "Self":
        return self

    async def __anext__(self) -> bytes:
        message = await self.receive()
        if message is None:
            raise StopAsyncIteration
        return message

    async def __aenter__(self) -> "Self":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: "TracebackType | None"
    ) -> None:
        self.cancel()

    def _raise_error(self) -> None:
        if self._error is not None:
            self._seen = True
            raise self._error

    async def _news(self) -> None:
        news: Future[None] = Future(self._target.context)
        self._waiting.append(news)
        await news

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for news in waiting:
            news.set_result(None)

    # What the dispatcher brings

    def _on_initial_metadata(self, num_elements: int) -> None:
        """Take the metadata that the proxy offers; without any entry it stands for a response that has none."""
        if self.status is None and num_elements:
            self._initial_metadata = received_metadata(
                self._target.context, MapType.GRPC_CALL_INITIAL_METADATA, num_elements
            )
            self._wake()

    def _on_message(self, message_size: int) -> None:
        if self.status is not None:
            return
        if self._messages and self._unread + message_size > MAX_UNREAD:
            self._give_up()
            return
        self._messages.append(received_message(self._target.context, message_size))
        self._unread += message_size + _OVERHEAD
        self._wake()

    def _on_trailing_metadata(self, num_elements: int) -> None:
        if self.status is None:
            self.trailing_metadata = received_metadata(
                self._target.context, MapType.GRPC_CALL_TRAILING_METADATA, num_elements
            )

    def _on_close(self, status_code: int) -> None:
        if self._id:
            # Envoy forgets a stream that both sides have closed; else it would later use what it has freed.
            with suppress(HostError):
                self._target.call_for(self._target.context.hostcalls.grpc_close, self._id)
        if self.status is not None:
            return
        if status_code == GrpcStatus.OK:
            self._finish(GrpcStatus.OK, None)
        else:
            self.set_exception(self._target.told_failure(status_code, self.trailing_metadata))

    def set_exception(self, error: BaseException) -> None:
        """The stream has failed; called inside the SDK."""
        if self.status is None:
            self._finish(error.status if isinstance(error, GrpcError) else GrpcStatus.UNAVAILABLE, error)

    def _give_up(self) -> None:
        target = self._target
        why = f"more than {MAX_UNREAD} bytes of messages wait to be read; read them as they come"
        self.set_exception(target.failure(GrpcStatus.RESOURCE_EXHAUSTED, why))
        target.context._timers().call_later(0, self._reset)

    def _finish(self, status: GrpcStatus, error: BaseException | None) -> None:
        self.status = status
        self._error = error
        self._target.context._release(self)
        self._wake()


def open_stream(target: Target) -> GrpcStream:
    """Open the stream; see `Context.grpc_stream`."""
    stream = GrpcStream(target)
    stream.start()
    return stream
