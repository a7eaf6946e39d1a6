"""Responses that the proxy makes itself (Envoy, source/common/http/utility.cc, `prepareLocalReply`)."""

from dataclasses import dataclass
from urllib.parse import quote_from_bytes

from proxy_wasm.emulator import header_maps
from proxy_wasm.emulator.header_map import HeaderMap, to_bytes

_HIGHEST_GRPC_STATUS = 16
_GRPC_UNKNOWN = 2
_GRPC_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
"""https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md"""
_PLAIN_IN_GRPC_MESSAGE = "".join(chr(code) for code in range(0x20, 0x7E) if chr(code) != "%")
"""What needs no escape in `grpc-message`; Envoy escapes `~` too."""


@dataclass(frozen=True, slots=True)
class LocalResponse:
    """What a filter, or the proxy on its behalf, asks to be sent."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    grpc_status: int | None = None
    details: str = ""

    @classmethod
    def from_guest(
        cls, status: int, details: bytes, body: bytes, headers: list[tuple[bytes, bytes]], grpc_status: int
    ) -> "LocalResponse":
        """As `send_local_response` passes it: white space in `details` becomes `_`, a gRPC status out of range none."""
        text = details.decode("utf-8", "surrogateescape")
        return cls(
            status=status,
            headers=tuple(headers),
            body=body,
            grpc_status=grpc_status if 0 <= grpc_status <= _HIGHEST_GRPC_STATUS else None,
            details="".join("_" if char in " \t\n\v\f\r" else char for char in text),
        )

    def message(self, request_headers: HeaderMap | None) -> tuple[HeaderMap, bytes]:
        """Headers and body as they go to the client, in the form that its request asks for."""
        headers = HeaderMap([(":status", str(self.status))])
        for name, value in self.headers:
            if name.lower() != b":status":
                header_maps.add(headers, name, value, header_maps.JOINED_IN_RESPONSES)
        if request_headers is not None and _is_grpc(request_headers):
            self._make_grpc(headers)
            return headers, b""
        if not self.body:
            headers.remove("content-length")
            headers.remove("content-type")
            return headers, b""
        headers.set("content-length", str(len(self.body)))
        if "content-type" not in headers:
            headers.add("content-type", "text/plain")
        is_head = request_headers is not None and request_headers.values_of(":method") == [b"HEAD"]
        return headers, b"" if is_head else self.body

    def _make_grpc(self, headers: HeaderMap) -> None:
        """A gRPC client is told through `grpc-status`; HTTP itself says 200."""
        status = grpc_status_of(self.status) if self.grpc_status is None else self.grpc_status
        headers.set(":status", "200")
        headers.set("content-type", "application/grpc")
        if "grpc-status" not in headers:
            headers.add("grpc-status", str(status))
        if self.body:
            headers.set("grpc-message", quote_from_bytes(self.body, safe=_PLAIN_IN_GRPC_MESSAGE).replace("~", "%7E"))
        headers.remove("content-length")


def grpc_status_of(status: int) -> int:
    """The gRPC status that an HTTP status stands for."""
    return _GRPC_OF_HTTP.get(status, _GRPC_UNKNOWN)


def _is_grpc(headers: HeaderMap) -> bool:
    content_type = to_bytes(headers.get("content-type", ""))
    return content_type == b"application/grpc" or content_type.startswith(b"application/grpc+")
