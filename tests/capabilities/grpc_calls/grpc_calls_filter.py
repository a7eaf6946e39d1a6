"""Calls gRPC methods, as requests say, and answers in JSON with what came of it."""

import json
import logging
from typing import Any

from proxy_wasm import (
    Action,
    CalloutError,
    CalloutResetError,
    CalloutTimeoutError,
    Cancelled,
    ConnectionFailedError,
    GrpcError,
    GrpcStatus,
    GrpcStream,
    Headers,
    HttpContext,
    PhaseError,
    PluginContext,
    UnknownClusterError,
    gather,
    sleep,
    timeout,
)

logger = logging.getLogger(__name__)

SERVICE = "test.Greeter"
KINDS = (
    GrpcError,
    CalloutTimeoutError,
    ConnectionFailedError,
    CalloutResetError,
    UnknownClusterError,
)


def described(error: CalloutError) -> dict[str, Any]:
    description: dict[str, Any] = {
        "kinds": [kind.__name__ for kind in KINDS if isinstance(error, kind)],
        "cluster": error.cluster,
        "text": str(error),
    }
    if isinstance(error, GrpcError):
        description |= {
            "status": error.status.name,
            "message": error.message,
            "trailing": error.trailing_metadata.multi_items(),
        }
    return description


class Caller(PluginContext):
    """Configured with `{"watch": method}` it reads a stream in the background, and logs what that brings."""

    def on_configure(self) -> None:
        method: str | None = self.configuration.json()["watch"] if self.configuration else None
        if method:
            self.create_task(self.watch(method))

    async def watch(self, method: str) -> None:
        stream = self.grpc_stream("greeter", SERVICE, method)
        try:
            stream.send(b"2")
            async for message in stream:
                logger.info("watched %s", message.decode())
            logger.info("watched to the end")
        finally:
            logger.info("watching is over")

    def http_context(self) -> HttpContext[Any]:
        return Calling(self)


class Calling(HttpContext[Caller]):
    async def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action:
        act, *arguments = json.loads(headers["act"])
        try:
            result = await getattr(self, act)(*arguments)
        except (CalloutError, PhaseError) as error:
            result = described(error) if isinstance(error, CalloutError) else {"phase": str(error)}
        return self.send_local_response(200, body=json.dumps(result))

    def stream(self, method: str, cluster: str = "greeter") -> GrpcStream:
        return self.grpc_stream(cluster, SERVICE, method)

    # Calls

    async def call(self, cluster: str, method: str, message: str) -> object:
        return (await self.grpc_call(cluster, SERVICE, method, message.encode())).decode()

    async def call_with(self, method: str, message: str, options: dict[str, Any]) -> object:
        return (await self.grpc_call("greeter", SERVICE, method, message.encode(), **options)).decode()

    async def send_binary(self, octets: list[int]) -> object:
        """Metadata of any bytes, there and back over a stream."""
        async with self.grpc_stream("greeter", SERVICE, "Chat", metadata={"x-asked-bin": bytes(octets)}) as stream:
            stream.send(b"hello")
            await stream.receive()
            return [list(value) for name, value in (await stream.initial_metadata()).raw if name == b"x-asked-bin"]

    async def call_many(self, messages: list[str]) -> object:
        calls = [self.grpc_call("greeter", SERVICE, "Echo", message.encode()) for message in messages]
        return [reply.decode() for reply in await gather(*calls)]

    async def call_and_cancel(self) -> object:
        call = self.grpc_call("greeter", SERVICE, "Silent", b"", timeout=None)
        await sleep(0.05)
        cancelled = [call.cancel(), call.cancel()]
        return [cancelled, call.cancelled(), (await self.grpc_call("greeter", SERVICE, "Echo", b"after")).decode()]

    async def call_back(self) -> object:
        """The style without coroutines."""
        replies: list[str] = []
        call = self.grpc_call("greeter", SERVICE, "Echo", b"called")
        call.add_done_callback(lambda future: replies.append(future.result().decode()))
        await call
        await sleep(0.001)
        return replies

    # Streams

    async def count(self, number: int) -> object:
        """The service sends many."""
        stream = self.stream("Count")
        stream.send(str(number).encode())
        stream.close_send()
        return [message.decode() async for message in stream]

    async def total(self, numbers: list[int]) -> object:
        """The service gets many."""
        async with self.stream("Total") as stream:
            for number in numbers:
                stream.send(str(number).encode())
            stream.close_send()
            replies = [await stream.receive(), await stream.receive()]
            assert stream.status is GrpcStatus.OK
            return [None if reply is None else reply.decode() for reply in replies]

    async def chat(self, messages: list[str]) -> object:
        """Both send in turns."""
        replies: list[str] = []
        async with self.grpc_stream(
            "greeter", SERVICE, "Chat", metadata=[("x-asked", "1"), ("x-asked", "2")]
        ) as stream:
            for message in messages:
                stream.send(message.encode())
                reply = await stream.receive()
                replies.append("" if reply is None else reply.decode())
            initial = await stream.initial_metadata()
            stream.close_send()
            end = await stream.receive()
            return {
                "replies": replies,
                "end": end,
                "status": None if stream.status is None else stream.status.name,
                "initial": initial.multi_items(),
                "trailing": stream.trailing_metadata.multi_items(),
            }

    async def end_by_server(self, asked: dict[str, Any]) -> object:
        """What is read of a stream that ends with an error after two messages, and what sending says then."""
        stream = self.stream("Fail")
        stream.send(json.dumps(asked).encode())
        read: list[str] = []
        try:
            async for message in stream:
                read.append(message.decode())  # noqa: PERF401 - a comprehension would lose what came before the error
        except GrpcError as error:
            try:
                stream.send(b"more")
            except GrpcError as again:
                return {"read": read, "same": again is error, **described(error)}
        return read

    async def metadata_of_failure(self) -> object:
        """Initial metadata of a stream that has none, because it fails at once."""
        return (await self.stream("Refuse").initial_metadata()).multi_items()

    async def read(self, cluster: str) -> object:
        stream = self.stream("Echo", cluster)
        stream.send(b"lost")
        stream.close_send()
        return [message.decode() async for message in stream]

    async def cancel_while_reading(self) -> object:
        stream = self.stream("Chat")
        reader = self.create_task(self.read_all(stream))
        stream.send(b"one")
        await sleep(0.1)
        stream.cancel()
        return {"read": await reader, "status": stream.status and stream.status.name, "again": stream.cancel()}

    async def read_all(self, stream: GrpcStream) -> list[str]:
        return [message.decode() async for message in stream]

    async def leave_early(self, method: str) -> object:
        """Leave a stream whose service still sends."""
        async with self.stream(method) as stream:
            stream.send(b"5")
            first = await stream.receive()
        return [
            first.decode() if first and len(first) < 100 else None,
            await stream.receive(),
            str(stream.status and stream.status.name),
        ]

    async def neglect(self, megabytes: int) -> object:
        """Do not read a stream in time."""
        stream = self.stream("Flood")
        stream.send(str(megabytes).encode())
        read = 0
        while stream.status is None:
            await sleep(0.05)
        try:
            async for _ in stream:
                read += 1
        except GrpcError as error:
            return {"read": read, **described(error)}
        return read

    async def misuse(self, how: str) -> object:
        stream = self.stream("Chat")
        try:
            if how == "send after close_send":
                stream.close_send()
                stream.close_send()
                stream.send(b"late")
            stream.cancel()
            stream.close_send()
            stream.send(b"later")
        finally:
            stream.cancel()
        return None

    async def limit(self) -> object:
        try:
            async with timeout(0.1), self.stream("Silent") as stream:
                await stream.receive()
        except TimeoutError as error:
            return str(error)
        return None

    async def hold(self, method: str) -> object:
        """Read a stream for as long as the request lasts."""
        try:
            async with self.stream(method) as stream:
                stream.send(b"1")
                async for message in stream:
                    logger.info("held %s", message.decode())
        except Cancelled:
            logger.info("cancelled")
            raise
        return None

    async def hold_call(self) -> object:
        return (await self.grpc_call("greeter", SERVICE, "Silent", b"", timeout=None)).decode()

    async def fail(self) -> object:
        """A callback that fails while a stream is open."""
        self.open = self.stream("Chat")
        self.open.send(b"one")
        await self.open.receive()
        raise RuntimeError("an author's mistake")
