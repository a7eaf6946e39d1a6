"""Contexts: what a hostcall works on, be it a plugin's or a stream's."""

from typing import TYPE_CHECKING

from proxy_wasm.abi.enums import BufferType, MapType, Status
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.emulator.buffers import ConstantBuffer, ReadableBuffer
from proxy_wasm.emulator.header_map import HeaderMap
from proxy_wasm.emulator.local_response import LocalResponse

if TYPE_CHECKING:
    from proxy_wasm.emulator.plugin import Plugin
    from proxy_wasm.emulator.vm import Vm


class Context:
    """A context that has no stream: its hostcalls about streams do nothing or find nothing, with Envoy's statuses."""

    def __init__(self, vm: "Vm", context_id: int) -> None:
        self.vm = vm
        self.context_id = context_id
        self.logging = False
        """Whether `on_log` runs: maps are those of the whole stream then, and a missing one is `NOT_FOUND`."""

    @property
    def plugin(self) -> "Plugin":
        """The plugin context: this one, or the one above it."""
        raise NotImplementedError

    def readable_map(self, map_type: MapType) -> HeaderMap | None:
        """The map that hostcalls read, `None` where there is none now."""
        del map_type
        return None

    def writable_map(self, map_type: MapType) -> HeaderMap | None:
        """The map that hostcalls change, `None` where there is none now."""
        del map_type
        return None

    def configuration(self) -> bytes:
        """What ABI 0.1.0 calls the configuration: the plugin's where the plugin is being configured, elsewhere the VM's."""
        return self.vm.configuration

    def buffer(self, buffer_type: BufferType) -> ReadableBuffer | None:
        """The buffer that hostcalls use; `None` is `NOT_FOUND`. A body that is not there is an empty buffer."""
        if buffer_type == BufferType.VM_CONFIGURATION:
            return ConstantBuffer(self.vm.configuration)
        if buffer_type in (BufferType.PLUGIN_CONFIGURATION, BufferType.HTTP_CALL_RESPONSE_BODY):
            return None
        return ConstantBuffer()

    def get_property(self, path: bytes) -> bytes | None:
        """The value at `path`."""
        raise NotImplementedError

    def set_property(self, path: bytes, value: bytes) -> None:
        """Contexts without a stream have nowhere to keep a property."""
        del path, value
        raise HostError("set_property", Status.NOT_FOUND)

    def send_local_response(self, response: LocalResponse) -> None:
        """Without a stream there is nobody to answer; Envoy says OK all the same."""

    def continue_stream(self, stream_type: int) -> None:
        """Without a stream there is nothing to continue; Envoy says OK all the same."""

    def close_stream(self, stream_type: int) -> None:
        """Without a stream there is nothing to close; Envoy says OK all the same."""
