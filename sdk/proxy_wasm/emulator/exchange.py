"""One HTTP exchange through a filter, as every host of this project reports it.

Nothing here depends on which host it was. Framing is left out everywhere: `transfer-encoding` and `connection` headers are
the hop's, not the message's, and pseudo-headers are attributes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from proxy_wasm.emulator.header_map import HeaderMap, to_text
from proxy_wasm.emulator.log import LogRecord
from proxy_wasm.emulator.properties import Path, Value

Break: TypeAlias = Literal["", "close", "reset"]
"""How an upstream's connection ends in the middle of its response, if it does."""


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
    pieces: tuple[bytes, ...] = ()
    """What the body is sent in, one after the other; unless told, it is sent at once."""
    properties: Mapping[Path, Value] = field(default_factory=dict[Path, Value])
    """Properties of its stream that the proxy would know, by path."""


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
    pieces: tuple[bytes, ...] = ()
    """What the body is sent in, one after the other; unless told, it is sent at once."""
    breaks: Break = ""
    """Whether the upstream's connection ends here: the response is never whole, and no trailers come."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """When a client leaves before its exchange is over: one of these moments."""

    after: float | None = None
    """So many seconds after it sent its request."""
    after_sending: int | None = None
    """Once it has sent the headers and so many pieces of the body, which are not all of them."""
    after_receiving: int | None = None
    """Once it has received the response's headers and at least so many bytes of its body."""


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
    properties: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """The properties that filters set, by name."""

    @property
    def text(self) -> str:
        """The body as UTF-8 with `surrogateescape`."""
        return to_text(self.body)

    def json(self) -> Any:  # noqa: ANN401 - JSON is any of six types
        """The body parsed as JSON; `ValueError` where it is none."""
        return json.loads(self.body)
