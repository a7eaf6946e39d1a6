"""What plugin and stream contexts have in common: the proxy behind them, and work that goes on after a callback has returned."""

# Contexts, futures and the host know one another.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.body import Data, octets
from proxy_wasm.callouts import DEFAULT_TIMEOUT, HttpCall, send
from proxy_wasm.errors import GoneError, PhaseError
from proxy_wasm.failures import report
from proxy_wasm.grpc import GrpcCall, Target, call
from proxy_wasm.grpc_streams import GrpcStream, open_stream
from proxy_wasm.headers import HeaderPairs
from proxy_wasm.host import PLUGIN, Host
from proxy_wasm.properties import Properties
from proxy_wasm.shared_data import SharedData
from proxy_wasm.shared_queues import SharedQueue, resolve
from proxy_wasm.tasks import Task, is_coroutine, start
from proxy_wasm.timers import Timers

if TYPE_CHECKING:
    from proxy_wasm.contexts import PluginContext
    from proxy_wasm.directions import Direction

T = TypeVar("T")


def property_path(path: tuple[str | bytes, ...]) -> bytes:
    """The path of a property as the proxy takes it; `ValueError` where it is empty."""
    if not path:
        msg = 'a property needs a path, for example get_property("request", "path")'
        raise ValueError(msg)
    return b"\0".join([octets(part) for part in path])


class Work(Protocol):
    """Something that goes on for a context, and ends with it."""

    def end(self) -> None: ...


class Context:
    """A plugin or a stream; authors derive from `PluginContext`, `HttpContext` and `TcpContext`."""

    __slots__ = ("_host", "_tasks", "context_id")

    context_id: int
    """The proxy's number for this context."""
    _host: Host
    _tasks: "dict[Work, None] | None"
    """What goes on for the context; `None` while there is nothing."""
    _directions: "list[Direction | None] | None" = None
    """Streams have an attribute of their own for it."""

    @property
    def _plugin_context(self) -> "PluginContext":
        raise NotImplementedError

    @property
    def gone(self) -> bool:
        """Whether the proxy has dropped the context, and nothing can be done for it any more."""
        raise NotImplementedError

    @property
    def hostcalls(self) -> Hostcalls:
        """The raw hostcalls, for what these classes do not offer. They act on the context whose callback runs."""
        return self._host.hostcalls

    # Properties

    def get_property(self, *path: str | bytes) -> bytes | None:
        """The bytes of a property, such as `get_property("source", "address")`; `None` where there is none.

        Text is UTF-8, numbers are 8 bytes, little-endian; see "Attributes" in Envoy's documentation, and `properties` for the same with Python's types.
        Raises `GoneError` once the context is gone.
        """
        serialized = property_path(path)
        self._check_living()
        return self._host.call_for(self.context_id, self.hostcalls.get_property, serialized)

    @property
    def properties(self) -> Properties:
        """The proxy's properties with Python's types: `self.properties.node.id`; those of the context whose callback runs."""
        self._check_living()
        return self._host.properties

    # Time

    def monotonic(self) -> float:
        """Seconds of the proxy's monotonic clock, as `time.monotonic` but in tests too: there the emulator's clock is it, which `proxy.advance` moves."""
        self._check_living()
        return self._host.monotonic() / 1_000_000_000

    # What the proxy shares

    @property
    def shared_data(self) -> SharedData:
        """Values by key, shared by all VMs with the same `vm_id`."""
        self._check_living()
        return self._host.shared_data

    def resolve_queue(self, vm_id: str, name: str) -> SharedQueue:
        """The queue `name` that VMs with `vm_id` (this VM's own, if empty) consume, to enqueue in.

        Raises `UnknownQueueError` as long as none of them has registered it: resolve it where it is needed rather than in `on_configure`, as
        filters start in no particular order.
        """
        self._check_living()
        return resolve(self.hostcalls, vm_id, name)

    # Callouts

    def http_call(  # noqa: PLR0913 - the parts of a request, by name
        self,
        cluster: str,
        method: str = "GET",
        path: str = "/",
        *,
        headers: HeaderPairs | None = None,
        body: Data = b"",
        trailers: HeaderPairs | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        authority: str | None = None,
        scheme: str = "http",
    ) -> HttpCall:
        """Send a request to a cluster of the proxy: `response = await self.http_call("users", "GET", "/v1/me", timeout=0.2)`.

        The request is sent by the call; what it returns is awaited, or given a callback, for the `HttpResponse`. `timeout` is in
        seconds, for the whole answer; `None` waits for ever. `authority` is the `Host`, the cluster's name unless told. The body's length is
        told by the proxy. Envoy does not send `trailers` (1.40).

        Raises `CalloutArgumentError`, naming the argument, for what could not be sent as it is meant, and `GoneError` once the context
        is gone. What is awaited raises `UnknownClusterError`, `ConnectionFailedError`, `CalloutTimeoutError` or `CalloutResetError`, all of them
        `CalloutError`; an answer of whatever status raises nothing. (Specification: `proxy_http_call`.)
        """
        if self.gone:
            self._check_living()
        return send(self, cluster, method, path, headers, body, trailers, timeout, authority, scheme)

    def grpc_call(
        self,
        cluster: str,
        service: str,
        method: str,
        message: bytes,
        *,
        metadata: HeaderPairs | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        authority: str | None = None,
    ) -> GrpcCall:
        """Call a gRPC method that takes one message and gives one: `reply = Reply.FromString(await self.grpc_call("users", "pkg.Users", "Get", request))`.

        Messages are bytes, as `SerializeToString` gives and `FromString` takes them. The call is made at once; what it returns is awaited, or
        given a callback, and can be cancelled. `timeout` is in seconds, and the service is told it; `None` waits for ever. `metadata` under names
        that end in `-bin` may be any bytes, other values are printable ASCII. `authority` is the cluster's name unless told.

        Raises `CalloutArgumentError`, naming the argument, for what could not be sent, and `GoneError` once the context is gone. What is awaited
        raises `GrpcError` for every status but OK (of which `GrpcTimeoutError`, `GrpcConnectionError` and `GrpcResetError` are also the errors of
        HTTP callouts) and `UnknownClusterError`. The metadata of the answer cannot be read; that of a stream can. (Specification: `proxy_grpc_call`.)
        """
        self._check_living()
        return call(Target(self, cluster, service, method, metadata, authority), message, timeout)

    def grpc_stream(
        self,
        cluster: str,
        service: str,
        method: str,
        *,
        metadata: HeaderPairs | None = None,
        authority: str | None = None,
    ) -> GrpcStream:
        """Open a gRPC stream: `async with self.grpc_stream("users", "pkg.Users", "Watch") as stream:`.

        Nothing is awaited until it is read. It has no timeout but a `timeout` block. It is given up when it is left, and with its context: one that is to
        outlive a stream of the proxy is opened by the plugin. Raises as `grpc_call`; reading raises what is awaited there. (Specification: `proxy_grpc_stream`.)
        """
        self._check_living()
        return open_stream(Target(self, cluster, service, method, metadata, authority))

    # Tasks

    def create_task(self, coroutine: Coroutine[Any, Any, T], /) -> Task[T]:
        """Let a coroutine run beside the callbacks; it is cancelled when the context is gone.

        It begins before the running callback returns to the proxy, and does not pause the stream. An exception that leaves it is raised where the task is
        awaited, or logged where nobody does. Raises `GoneError` once the context is gone.
        """
        if not is_coroutine(coroutine):
            msg = f"create_task takes a coroutine, what calling an `async def` returns; not {type(coroutine).__name__}"
            raise TypeError(msg)
        if self.gone:
            coroutine.close()
        self._check_living()
        return start(self, coroutine, PLUGIN)

    def _check_living(self) -> None:
        if self.gone:
            msg = f"{type(self).__name__} {self.context_id}: the proxy has dropped it; its stream is over, or its plugin was replaced"
            raise GoneError(msg)

    def _here(self) -> Host:
        """The host, where this context is the one that it works on."""
        host = self._host
        if host.context_id != self.context_id or self.gone:
            self._check_living()
            msg = (
                f"{type(self).__name__} {self.context_id}: what the proxy holds for it is there in its own callbacks and tasks; "
                "the running callback is another context's"
            )
            raise PhaseError(msg)
        return host

    def _timers(self) -> Timers:
        return self._plugin_context._own_timers

    def _adopt(self, task: Task[Any]) -> None:
        """End `task` with this context."""
        self._keep(task)

    def _keep(self, work: Work) -> None:
        """End `work` with this context, unless it is released before."""
        if self._tasks is None:
            self._tasks = {}
            self._host.ends_matter = True
        self._tasks[work] = None

    def _release(self, work: Work) -> None:
        if self._tasks:
            self._tasks.pop(work, None)
            if not self._tasks:
                self._tasks = None

    def _end_tasks(self) -> None:
        """Cancel all that goes on for the context, which is over."""
        tasks, self._tasks = self._tasks, None
        if tasks:
            for task in list(tasks):
                task.end()

    def _report_unseen(self, what: str, error: BaseException) -> None:
        """Log a failure that nobody asked for."""
        report(self._host.hostcalls, f"{type(self).__name__}: {what}", error)
