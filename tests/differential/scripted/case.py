"""A case: a script and the traffic that meets it; and how any host is led through it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol, TypeAlias

from proxy_wasm.abi.header_map import Pair
from scripted.observation import Observation
from scripted.script import Script

BODILESS_STATUSES = (204, 304)


@dataclass(frozen=True, slots=True)
class Body:
    """What follows the headers of a message: pieces, which arrive one by one, and trailers."""

    pieces: tuple[bytes, ...] = ()
    trailers: tuple[Pair, ...] = ()
    has_length: bool = False
    """Whether `content-length` frames it; otherwise it comes in chunks. Needs pieces, and excludes trailers."""

    @property
    def size(self) -> int:
        return sum(map(len, self.pieces))


@dataclass(frozen=True, slots=True)
class Request:
    """What the client sends, part by part."""

    method: str = "GET"
    path: str = "/"
    headers: tuple[Pair, ...] = ()
    body: Body | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What the upstream answers, part by part, once it has the whole request."""

    status: int = 200
    headers: tuple[Pair, ...] = ()
    body: Body | None = None


@dataclass(frozen=True, slots=True)
class HttpCase:
    """One HTTP stream. Parts are numbered: headers, each piece, and the end of a body apart, of the request and then of the response."""

    script: Script = ()
    request: Request = field(default_factory=Request)
    response: Response = field(default_factory=Response)
    ticks: frozenset[int] = frozenset()
    """The parts after which the plugin gets a tick."""
    late_ticks: int = 0
    """How many more ticks come where the stream has not ended by itself."""
    leaves_after: int | None = None
    """The part after which the client disconnects."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a message on its way: the headers, what frames the body among them; or a piece; or the end of a body."""

    headers: Sequence[Pair] | None = None
    piece: bytes = b""
    trailers: Sequence[Pair] = ()
    end: bool = False


def request_parts(request: Request) -> list[Part]:
    """The parts of a request in order."""
    return _parts(list(request.headers), request.body)


def response_parts(response: Response) -> list[Part]:
    """The parts of a response in order."""
    headers = list(response.headers)
    if response.body is None and response.status not in BODILESS_STATUSES:
        headers.append((b"content-length", b"0"))
    return _parts(headers, response.body)


def _parts(headers: list[Pair], body: Body | None) -> list[Part]:
    if body is None:
        return [Part(headers, end=True)]
    framing = (b"content-length", b"%d" % body.size) if body.has_length else (b"transfer-encoding", b"chunked")
    pieces = [Part(piece=piece) for piece in body.pieces]
    if body.has_length:  # then the last piece is the end
        return [Part([*headers, framing]), *pieces[:-1], Part(piece=body.pieces[-1], end=True)]
    return [Part([*headers, framing]), *pieces, Part(trailers=body.trailers, end=True)]


class HttpHost(Protocol):
    """One HTTP stream on some host. Each method returns when everything has happened that it leads to."""

    def send(self, part: Part) -> None:
        """The client sends the next part of the request."""
        ...

    def answer(self, part: Part) -> None:
        """The upstream sends the next part of the response."""
        ...

    def tick(self) -> None:
        """The plugin context gets a tick."""
        ...

    def leave(self) -> None:
        """The client disconnects."""
        ...

    @property
    def is_asked(self) -> bool:
        """Whether the upstream has the whole request."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether the client has the whole response, or no connection any more."""
        ...


def conduct(case: HttpCase, host: HttpHost) -> None:
    """Lead a host through a case."""
    _Conductor(case, host).run()


class _Conductor:
    def __init__(self, case: HttpCase, host: HttpHost) -> None:
        self._case = case
        self._host = host
        self._number = 0
        self._late_ticks = case.late_ticks

    def run(self) -> None:
        if self._pass(request_parts(self._case.request), self._host.send) and self._wait_until_asked():
            self._pass(response_parts(self._case.response), self._host.answer)
        while self._case.leaves_after is None and self._tick_late():
            pass
        self._host.leave()

    def _pass(self, parts: list[Part], take: Callable[[Part], None]) -> bool:
        """Have the host take the parts; whether the client is still there."""
        for part in parts:
            take(part)
            if self._number in self._case.ticks and not self._host.is_over:
                self._host.tick()
            left = self._number == self._case.leaves_after
            self._number += 1
            if left or self._host.is_over:
                return False
        return True

    def _wait_until_asked(self) -> bool:
        while not self._host.is_asked and self._tick_late():
            pass
        return self._host.is_asked and not self._host.is_over

    def _tick_late(self) -> bool:
        """Have the plugin called once more; false where the stream is over, or it was called often enough."""
        if self._host.is_over or not self._late_ticks:
            return False
        self._late_ticks -= 1
        self._host.tick()
        return True


class What(Enum):
    """What happens to a connection."""

    CLIENT_SENDS = auto()
    CLIENT_ENDS = auto()
    """It closes its side, and can still receive."""
    CLIENT_BREAKS = auto()
    UPSTREAM_SENDS = auto()
    UPSTREAM_ENDS = auto()
    TICK = auto()


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happens to a connection."""

    what: What
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class TcpCase:
    """One connection: what happens to it once it is there. What the upstream does happens only where it has been reached."""

    script: Script = ()
    events: tuple[Event, ...] = ()


class TcpHost(Protocol):
    """One connection on some host. Each method returns when everything has happened that it leads to."""

    def happen(self, event: Event) -> None:
        """Something happens."""
        ...

    @property
    def is_reached(self) -> bool:
        """Whether the proxy has connected to the upstream."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether the proxy has closed the client's connection."""
        ...


def conduct_tcp(case: TcpCase, host: TcpHost) -> None:
    """Lead a host through a case, and to the end of its connection, unless the filter keeps that from ending."""
    ended: set[What] = set()
    for event in case.events:
        by_upstream = event.what in (What.UPSTREAM_SENDS, What.UPSTREAM_ENDS)
        by_client = event.what in (What.CLIENT_SENDS, What.CLIENT_ENDS, What.CLIENT_BREAKS)
        client_ended = What.CLIENT_BREAKS in ended or (
            What.CLIENT_ENDS in ended and event.what is not What.CLIENT_BREAKS
        )
        upstream_ended = by_upstream and What.UPSTREAM_ENDS in ended
        if host.is_over:
            return
        if (by_client and client_ended) or upstream_ended or (by_upstream and not host.is_reached):
            continue
        ended.add(event.what)
        host.happen(event)
    if host.is_over or What.CLIENT_BREAKS in ended:
        return
    # A proxy that has been told of the client's end waits for that of the upstream.
    if What.CLIENT_ENDS not in ended:
        host.happen(Event(What.CLIENT_BREAKS))
    elif host.is_reached and What.UPSTREAM_ENDS not in ended:
        host.happen(Event(What.UPSTREAM_ENDS))


Case: TypeAlias = HttpCase | TcpCase


class Host(Protocol):
    """A host that runs case after case."""

    def run(self, case: Case, name: bytes) -> Observation:
        """What comes of a case, whose `name` no other case of this host has. After a failure the host is of no use until it is restarted."""
        ...

    def restart(self) -> None:
        """Forget all that came of cases."""
        ...
