"""What is measured: requests, and what has to become of them on their way to the upstream."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from proxy_wasm.bench.load import Wire
from proxy_wasm.envoy import Message, encode_request

HEADERS: list[tuple[bytes, bytes]] = [
    (b"host", b"shop.example.com"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"referer", b"https://shop.example.com/catalog"),
    (b"cookie", b"session=3f1b7c52d2a84f0bb0a1c55c9e8a4d7e; theme=dark"),
    (b"authorization", b"Basic " + base64.b64encode(b"alice:secret")),
    (b"x-request-id", b"6e1f2e74-7f6b-4a53-9d35-2f7a4d8f1c90"),
    (b"x-tenant", b"acme"),
    (b"x-plan", b"gold"),
    (b"x-region", b"eu"),
]
"""Twelve headers as an API behind a browser sees them."""
PATH = "/catalog/items?category=books&page=2"
ITEM_BYTES = 177
"""About the size of one item of a document."""


def value_of(message: Message, name: str) -> bytes | None:
    """The value of a header that arrived."""
    return next((value for key, value in message.headers if key.lower() == name.encode()), None)


def _wants(name: str, wanted: bytes | None) -> Callable[[Message], str]:
    def problem(message: Message) -> str:
        found = value_of(message, name)
        good = found == wanted if wanted is not None else found is not None and found.isdigit()
        return "" if good else f"{name} arrived as {found!r}"

    return problem


def _passes(_: Message) -> str:
    return ""


def _document_is_checked(message: Message) -> str:
    try:
        document = json.loads(message.body)
    except ValueError as error:
        return f"the body that arrived is no JSON: {error}"
    return "" if document.get("status") == "checked" and document.get("items") else "the field was not changed"


def document(size: int) -> bytes:
    """An order as JSON, of nearly `size` bytes."""
    order: dict[str, object] = {
        "id": "o-20261128-0001",
        "status": "new",
        "customer": {"id": 4711, "name": "Alice Example"},
    }
    items: list[dict[str, object]] = [
        {
            "sku": f"book-{number:06}",
            "title": f"A history of everything, volume {number}",
            "quantity": number % 3 + 1,
            "price": {"amount": 1999 + number % 100, "currency": "EUR"},
            "tags": ["hardcover", "history", "in stock"],
            "gift": number % 2 == 0,
        }
        for number in range(size // ITEM_BYTES)
    ]
    return json.dumps({**order, "items": items}, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Work:
    """One thing that a filter does."""

    name: str
    title: str
    wire: Wire
    """The request, and the status that is due."""
    problem: Callable[[Message], str]
    """What is wrong with the request as the upstream got it; empty where nothing is."""
    peers: Sequence[str]
    """Who does it, besides no filter."""
    left_out: str = ""
    """Why some do not."""
    share_of_rate: float = 1.0
    """How many of the requests a second that are asked for latencies are sent."""
    module: str = ""
    """The folder of its filters, where that is not its name."""
    refused: Wire | None = None
    """A request that has to be refused, and how, where the work is to judge."""

    @property
    def folder(self) -> str:
        """The name of its filters' folders."""
        return self.module or self.name

    @property
    def has_body(self) -> bool:
        """Whether the filter needs the request's body."""
        return self.folder == "json_body"


def _get(headers: Sequence[tuple[bytes, bytes]], status: int = 200) -> Wire:
    return Wire(encode_request("GET", PATH, headers), status)


def _without(name: bytes) -> list[tuple[bytes, bytes]]:
    return [pair for pair in HEADERS if pair[0] != name]


def _post(size: int) -> Wire:
    headers = [*HEADERS, (b"content-type", b"application/json")]
    return Wire(encode_request("POST", "/orders", headers, document(size)), 200)


_ALL = ("python", "lua", "go", "c", "ext_authz", "ext_proc")
_JSON = ("python", "go", "ext_proc")
_NO_JSON = "Lua in Envoy and plain C have no JSON library, and ext_authz changes no body"

WORKS = {
    work.name: work
    for work in (
        Work("header_edit", "reads all headers, adds one", _get(HEADERS), _wants("x-size", None), _ALL),
        Work(
            "three_reads",
            "reads three headers, decides",
            _get(HEADERS),
            _passes,
            _ALL,
            refused=_get(_without(b"x-plan"), 403),
        ),
        Work(
            "basic_auth",
            "basic authentication",
            _get(HEADERS),
            _wants("x-user", b"alice"),
            (*_ALL, "native"),
            refused=_get([*_without(b"authorization"), (b"authorization", b"Basic bm9ib2R5OnNlY3JldA==")], 401),
        ),
        Work(
            "json_10k",
            "changes a field of 10 KB of JSON",
            _post(10_000),
            _document_is_checked,
            _JSON,
            _NO_JSON,
            0.4,
            "json_body",
        ),
        Work(
            "json_1m",
            "changes a field of 1 MB of JSON",
            _post(1_000_000),
            _document_is_checked,
            _JSON,
            _NO_JSON,
            0.01,
            "json_body",
        ),
        Work(
            "callout",
            "asks a cluster",
            _get(HEADERS),
            _wants("x-user", b"alice"),
            ("python", "lua", "go", "c"),
            "ext_authz and ext_proc are callouts themselves",
        ),
    )
}
