"""What callouts brought: there for the guest while the callback runs that tells of it."""

from dataclasses import dataclass, field

from proxy_wasm.abi.enums import BufferType, MapType
from proxy_wasm.emulator.buffers import BodyBuffer, ConstantBuffer, ReadableBuffer
from proxy_wasm.emulator.header_map import HeaderMap


@dataclass(slots=True)
class Received:
    """The maps and buffers of the callout that a plugin is told of, readable from all its contexts."""

    maps: dict[MapType, HeaderMap] = field(default_factory=dict[MapType, HeaderMap])
    http_body: bytes | None = None
    grpc_message: BodyBuffer | None = None
    """Which the guest may change, to no effect but on what it reads afterwards."""

    def buffer(self, buffer_type: BufferType) -> ReadableBuffer | None:
        """An HTTP response's body is `None` where there is none, a gRPC message empty."""
        if buffer_type == BufferType.HTTP_CALL_RESPONSE_BODY:
            return None if self.http_body is None else ConstantBuffer(self.http_body)
        return ConstantBuffer() if self.grpc_message is None else self.grpc_message

    def clear(self) -> None:
        self.maps.clear()
        self.http_body = self.grpc_message = None
