"""What the callbacks of one VM have in common: its contexts, and what happens to an exception."""

# The dispatcher's modules are the other half of the contexts: they alone keep their state.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

from proxy_wasm.abi.enums import StreamType
from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.contexts import HttpContext, PluginContext, make_plugin
from proxy_wasm.directions import Directions
from proxy_wasm.errors import ConfigurationError
from proxy_wasm.failed_streams import Unmade, UnmadeConnection
from proxy_wasm.failures import is_for_the_test, log_error, report
from proxy_wasm.host import Host
from proxy_wasm.log import ProxyLog, log_bytes
from proxy_wasm.tcp import TcpContext

Stream = HttpContext[Any]
Connection = TcpContext[Any]

_RESERVE = 65_536
"""Bytes of memory that are kept for the end of a stream whose callback has taken all other memory."""


class VmState:
    """The contexts of one VM, by the host's numbers."""

    def __init__(
        self,
        plugins: Mapping[str, type[PluginContext]],
        hostcalls: Hostcalls,
        *,
        native: bool,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._plugin_classes = dict(plugins)
        self._hostcalls = hostcalls
        self._native = native
        self._host = Host(hostcalls, monotonic)
        self._ready = self._host.ready
        self._directions = Directions(self._host, self._fail_later)
        self._plugins: dict[int, PluginContext] = {}
        self._streams: dict[int, Stream] = {}
        self._connections: dict[int, Connection] = {}
        self._undecided: dict[int, PluginContext | None] = {}
        """Streams of plugins that filter both HTTP and TCP, until their first callback shows which it is; to their plugins."""
        self._log = ProxyLog(hostcalls, self._host)
        self._reserve = bytearray()
        self.made: Callable[[PluginContext, type[Stream]], None] | None = None
        """Told the class of every stream's object that is made here; and in `dropped`, which plugin contexts are gone."""
        self.dropped: Callable[[int], None] | None = None
        self._no_plugin = make_plugin(PluginContext, 0, "", self._host)

    def _fail_later(self, stream: Stream, phase: int, error: BaseException, inside: StreamType | None) -> int:
        raise NotImplementedError

    # Contexts

    def _make_plugin(self, context_id: int) -> None:
        try:
            root_id = (self._hostcalls.get_property(b"plugin_root_id") or b"").decode("utf-8", "surrogateescape")
            plugin_class = self._plugin_class(root_id)
            self._plugins[context_id] = make_plugin(plugin_class, context_id, root_id, self._host)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            self._report("the plugin's constructor", error)

    def _plugin_class(self, root_id: str) -> type[PluginContext]:
        plugin_class = self._plugin_classes.get(root_id) or self._plugin_classes.get("")
        if plugin_class is None and len(self._plugin_classes) == 1:
            (plugin_class,) = self._plugin_classes.values()
        if plugin_class is None:
            named = ", ".join(sorted(self._plugin_classes)) or "none"
            msg = f"root_id {root_id!r}: no such plugin in this module; it has {named}"
            raise ConfigurationError(msg)
        return plugin_class

    def _make_context(self, context_id: int, plugin: PluginContext | None) -> None:
        """The stream or connection that the host announces; which of the two, its plugin's class says."""
        plugin_class = PluginContext if plugin is None else type(plugin)
        if plugin_class.tcp_context is PluginContext.tcp_context:
            self._make_stream(context_id, plugin)
        elif plugin_class.http_context is PluginContext.http_context:
            self._make_connection(context_id, plugin)
        else:
            self._undecided[context_id] = plugin

    def _make_stream(self, context_id: int, plugin: PluginContext | None) -> Stream:
        if plugin is None:
            plugin = self._plugin_of(context_id)
        try:
            if plugin is self._no_plugin:
                raise LookupError(f"stream {context_id}: no plugin was started for it")  # noqa: TRY301 - as what authors raise
            return self.adopt(context_id, plugin, plugin.http_context())
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            return self.unmade(context_id, plugin, error)

    def adopt(self, context_id: int, plugin: PluginContext, made: object) -> Stream:
        """Take what `http_context` has made for the object of a stream; where it is none, one that fails."""
        stream: Stream = cast("Stream", made)
        try:
            if not isinstance(made, HttpContext) or getattr(stream, "context_id", None) != context_id:
                stream = _checked(plugin, context_id, made, HttpContext, "http_context")
            if stream.replaces_request_body or stream.replaces_response_body:
                stream._note_replacements()
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            return self.unmade(context_id, plugin, error)
        self._streams[context_id] = stream
        if self.made is not None and plugin is not self._no_plugin:
            self.made(plugin, type(stream))
        return stream

    def unmade(self, context_id: int, plugin: PluginContext, error: BaseException) -> Stream:
        """`http_context` has failed."""
        stream = self._streams[context_id] = Unmade(plugin)
        self._report(f"{type(plugin).__name__}.http_context", error)
        return stream

    def _make_connection(self, context_id: int, plugin: PluginContext | None) -> Connection:
        if plugin is None:
            plugin = self._plugin_of(context_id)
        try:
            if plugin is self._no_plugin:
                raise LookupError(f"connection {context_id}: no plugin was started for it")  # noqa: TRY301 - as above
            connection = _checked(plugin, context_id, plugin.tcp_context(), TcpContext, "tcp_context")
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            connection = UnmadeConnection(plugin)
            self._report(f"{type(plugin).__name__}.tcp_context", error)
        self._connections[context_id] = connection
        return connection

    def _plugin_of(self, context_id: int) -> PluginContext:
        plugin = self._undecided.pop(context_id, None)
        if plugin is None:
            plugin = next(iter(self._plugins.values())) if len(self._plugins) == 1 else self._no_plugin
        return plugin

    # Failure

    def _report(self, where: str, error: BaseException) -> None:
        if self._native and is_for_the_test(error):
            raise error
        if isinstance(error, ConfigurationError):
            log_error(self._hostcalls, log_bytes(str(error)))
        else:
            report(self._hostcalls, where, error)

    def _keep_reserve(self) -> None:
        if not self._reserve:
            with suppress(MemoryError):
                self._reserve.extend(bytes(_RESERVE))


def _checked(plugin: PluginContext, context_id: int, made: Any, kind: type[Any], factory: str) -> Any:  # noqa: ANN401 - one of two kinds
    where = f"{type(plugin).__name__}.{factory}()"
    if not isinstance(made, kind):
        article = "an" if kind is HttpContext else "a"
        raise bad_result(made, f"{article} {kind.__name__}")
    made_for = getattr(made, "context_id", None)
    if made_for == context_id:
        return made
    if made_for is None:
        raise TypeError(f"{where}: {type(made).__name__}.__init__ must call super().__init__(plugin)")
    raise ValueError(
        f"{where}: returned the object of stream {made_for} for stream {context_id}; every stream needs its own"
    )


def expect_none(result: object) -> None:
    """Raise `TypeError` for a result of a callback that has none."""
    if result is not None:
        raise bad_result(result, "None, and raises an exception to refuse")


def bad_result(result: object, expected: str) -> TypeError:
    """The error for what a callback must not return."""
    close = getattr(result, "close", None)
    if hasattr(result, "send") and close is not None:
        close()
        return TypeError(
            "returned a coroutine: the proxy waits for this callback; write `def`, and hand work that takes longer to create_task"
        )
    return TypeError(f"returned {type(result).__name__}, {result!r:.100}; a callback returns {expected}")
