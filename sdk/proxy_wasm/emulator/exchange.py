"""One HTTP exchange through a filter, as every host of this project reports it.

Nothing here depends on which host it was. Framing is left out everywhere: `transfer-encoding` and `connection` headers are
the hop's, not the message's, and pseudo-headers are attributes.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from proxy_wasm.emulator.header_map import HeaderMap, to_text
from proxy_wasm.emulator.log import LogRecord


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sends."""

    method: str = "GET"
    path: str = "/"
    """With the query, if any."""
    headers: HeaderMap = field(default_factory=HeaderMap)
    body: bytes = b""
    trailers: HeaderMap = field(default_factory=HeaderMap)
    authority: str = "localhost"
    scheme: str = "http"


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """What the upstream got."""

    method: str
    path: str
    authority: str
    headers: HeaderMap = field(default_factory=HeaderMap)
    body: bytes = b""
    trailers: HeaderMap = field(default_factory=HeaderMap)
    scheme: str = "http"

    @property
    def text(self) -> str:
        """The body as UTF-8 with `surrogateescape`."""
        return to_text(self.body)


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """What the upstream answers."""

    status: int = 200
    headers: HeaderMap = field(default_factory=HeaderMap)
    body: bytes = b""
    trailers: HeaderMap = field(default_factory=HeaderMap)


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the client got, what the upstream saw, and what was logged meanwhile."""

    status: int
    """0 where the stream was reset before a response began."""
    headers: HeaderMap = field(default_factory=HeaderMap)
    body: bytes = b""
    trailers: HeaderMap = field(default_factory=HeaderMap)
    upstream: UpstreamRequest | None = None
    """`None` where no whole request reached the upstream."""
    details: str = ""
    """The proxy's response code details: `via_upstream`, or those of the local response."""
    logs: tuple[LogRecord, ...] = ()
    reset: bool = False
    """Whether the client saw its connection break before the response was whole."""

    @property
    def text(self) -> str:
        """The body as UTF-8 with `surrogateescape`."""
        return to_text(self.body)

    def json(self) -> Any:  # noqa: ANN401 - JSON is any of six types
        """The body parsed as JSON; `ValueError` where it is none."""
        return json.loads(self.body)
