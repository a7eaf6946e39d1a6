"""A gRPC server of grpcio, driven by a test's `GrpcServer`.

Each call has a thread that reads its messages; the calls of a server take turns in the author's methods.
"""

import importlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from proxy_wasm.emulator.clusters import GRPC_UNKNOWN, GrpcServer
from proxy_wasm.emulator.header_map import HeaderMap, Headers, to_text
from proxy_wasm.envoy.configuration import ADDED_TO_CALLOUTS, Json, cluster
from proxy_wasm.envoy.errors import EnvoyError

try:
    grpc: Any = importlib.import_module("grpc")
except ImportError as error:
    msg = "a cluster that is a GrpcServer is served to Envoy with the package grpcio: pip install grpcio"
    raise EnvoyError(msg) from error

MAX_CALLS = 256
"""How many calls a server answers at once."""
_STOP_SECONDS = 0
_RESET_SECONDS = 0.02
"""How long after its last message a call may turn out to be reset rather than half-closed: grpcio tells that second."""
_BINARY = b"-bin"
_UNLIMITED = -1
_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


class ServedGrpc:
    """A cluster with a gRPC server on a port that the system chose."""

    def __init__(self, definition: GrpcServer) -> None:
        self.failures: list[Exception] = []
        self._definition = definition
        self._turn = threading.RLock()
        self._threads = ThreadPoolExecutor(MAX_CALLS, "gRPC call")
        options = [
            ("grpc.max_receive_message_length", _UNLIMITED),
            ("grpc.max_send_message_length", _UNLIMITED),
            ("grpc.so_reuseport", 0),
        ]
        self._server = grpc.server(self._threads, handlers=[_AnyMethod(self._serve)], options=options)
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def to_json(self, name: str) -> Json:
        return cluster("127.0.0.1", self._port, name=name, http2=True)

    def stop(self) -> None:
        self._server.stop(_STOP_SECONDS).wait()
        self._threads.shutdown(wait=False)

    def _serve(self, method: str, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:  # noqa: ANN401 - a `grpc.ServicerContext`
        call = _Call(method, context)
        self._tell(call, self._definition.on_call, call)
        if not context.add_callback(lambda: self._ended(call)):  # it is over already
            self._ended(call)
        threading.Thread(target=self._read, args=(call, requests), name="gRPC reader", daemon=True).start()
        while (message := call.outgoing.get()) is not None:
            yield message
        call.finish()

    def _read(self, call: "_Call", requests: Iterator[bytes]) -> None:
        try:
            for message in requests:
                self._tell(call, self._definition.on_message, call, message)
        except Exception:  # noqa: BLE001 - grpcio raises an exception without a type of its own where the call is over
            return
        if not call.over.wait(_RESET_SECONDS):
            self._tell(call, self._definition.on_half_close, call)

    def _ended(self, call: "_Call") -> None:
        call.over.set()
        if not call.closed:
            call.abandon()
            self._tell(call, self._definition.on_cancel, call)

    def _tell(self, call: "_Call", method: Callable[..., None], *arguments: object) -> None:
        with self._turn:
            try:
                method(*arguments)
            except Exception as error:  # noqa: BLE001 - raised again in the test's thread
                self.failures.append(error)
                call.close(GRPC_UNKNOWN, str(error))


class _AnyMethod(grpc.GenericRpcHandler):
    def __init__(self, serve: Callable[[str, Iterator[bytes], Any], Iterator[bytes]]) -> None:
        self._serve = serve

    def service(self, handler_call_details: Any) -> Any:  # noqa: ANN401 - grpcio has no types
        method = handler_call_details.method

        def serve(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:  # noqa: ANN401
            return self._serve(method, requests, context)

        return grpc.stream_stream_rpc_method_handler(serve)


class _Call:
    """`proxy_wasm.emulator.clusters.GrpcCall`."""

    def __init__(self, method: str, context: Any) -> None:  # noqa: ANN401 - a `grpc.ServicerContext`
        self.method = method
        self.metadata = HeaderMap(context.invocation_metadata()).without(*ADDED_TO_CALLOUTS)
        self.outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        self.closed = False
        """Whether there is nothing to be sent any more."""
        self.over = threading.Event()
        """Set when the call has ended for both sides."""
        self._context = context
        self._status = (0, "", HeaderMap())
        self._lock = threading.Lock()

    def send_initial_metadata(self, metadata: Headers = ()) -> None:
        """See `GrpcCall`."""
        if not self.closed:
            # ValueError: the response has begun; RpcError: the client is gone
            with suppress(ValueError, grpc.RpcError):
                self._context.send_initial_metadata(_grpc_metadata(HeaderMap(metadata)))

    def send(self, message: bytes) -> None:
        """See `GrpcCall`."""
        with self._lock:
            if not self.closed:
                self.outgoing.put(message)

    def close(self, status: int = 0, message: str = "", metadata: Headers = ()) -> None:
        """See `GrpcCall`."""
        with self._lock:
            if not self.closed:
                self.closed = True
                self._status = (status, message, HeaderMap(metadata))
                self.outgoing.put(None)

    def abandon(self) -> None:
        """Note that the client is gone."""
        with self._lock:
            self.closed = True
            self.outgoing.put(None)

    def finish(self) -> None:
        """Hand the status over to grpcio, which sends it when the last message is on its way."""
        status, message, metadata = self._status
        self._context.set_trailing_metadata(_grpc_metadata(metadata))
        self._context.set_code(_STATUS_CODES.get(status, status))
        self._context.set_details(message)


def _grpc_metadata(metadata: HeaderMap) -> list[tuple[str, str | bytes]]:
    """Metadata for grpcio, which itself encodes the values of names that end with `-bin`, and wants them as bytes."""
    return [(to_text(name), value if name.endswith(_BINARY) else to_text(value)) for name, value in metadata.raw]
