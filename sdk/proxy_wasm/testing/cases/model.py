"""Cases: what is done to a plugin, and what is expected to come of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal, TypeAlias

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.emulator.exchange import Break, Disconnect
from proxy_wasm.emulator.failure_policy import FailurePolicy
from proxy_wasm.emulator.header_map import HeaderMap
from proxy_wasm.emulator.properties import Properties
from proxy_wasm.testing.cases.matching import Between, HeaderMatcher, Matcher
from proxy_wasm.testing.hosts import HostName

# What a case gives.


@dataclass(frozen=True, slots=True)
class PluginPart:
    """Settings of a plugin; `None` where a file or case says nothing of one."""

    configuration: bytes | None = None
    vm_configuration: bytes | None = None
    root_id: str | None = None
    vm_id: str | None = None
    environment: Mapping[str, str] | None = None
    allow_on_headers_stop_iteration: bool | None = None
    failure_policy: FailurePolicy | None = None
    capabilities: tuple[str, ...] | None = None
    properties: Properties | None = None
    shared_data: Mapping[str, bytes] | None = None
    strict: bool | None = None
    allowed_faults: tuple[str, ...] | None = None

    def over(self, general: "PluginPart") -> "PluginPart":
        """These settings, and those of `general` where these say nothing."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(general, **{name: value for name, value in own.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sends."""

    method: str = "GET"
    path: str = "/"
    authority: str | None = None
    headers: HeaderMap = field(default_factory=HeaderMap)
    body: bytes | tuple[bytes, ...] = b""
    """At once, or in chunks."""
    trailers: HeaderMap = field(default_factory=HeaderMap)
    timeout: float | None = None
    """Seconds until the response must be there."""
    disconnect_after: Disconnect | None = None
    """When the client leaves."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an upstream or a cluster answers."""

    status: int = 200
    headers: HeaderMap = field(default_factory=HeaderMap)
    body: bytes | tuple[bytes, ...] = b""
    """At once, or in chunks."""
    trailers: HeaderMap = field(default_factory=HeaderMap)
    delay: float = 0.0
    """Seconds."""
    when: "RequestExpectation | None" = None
    """Which requests it is for."""
    times: int | None = None
    """How often it is given."""
    breaks: Break = ""
    """How the upstream's connection ends after the last chunk, before the response is whole."""


@dataclass(frozen=True, slots=True)
class GrpcAnswer:
    """What a gRPC method answers: a message, or another status than OK."""

    message: bytes = b""
    status: int = 0
    error: str = ""


ClusterPart: TypeAlias = (
    tuple[Answer, ...] | Mapping[str, GrpcAnswer] | Literal["silent", "closing", "absent", "no hosts"]
)
"""What stands behind a cluster's name: answers of which the first that fits is given, gRPC methods, or trouble."""


@dataclass(frozen=True, slots=True)
class TcpUpstream:
    """What stands behind a connection: it echoes, or gives one answer to each piece, and is silent after the last."""

    answers: tuple[bytes, ...] | None = None
    """`None`: it echoes."""


# What a case expects.


@dataclass(frozen=True, slots=True)
class RequestExpectation:
    """What is expected of a request where it arrives."""

    method: Matcher | None = None
    path: Matcher | None = None
    authority: Matcher | None = None
    headers: Mapping[str, HeaderMatcher] = field(default_factory=dict[str, HeaderMatcher])
    body: Matcher | None = None
    trailers: Mapping[str, HeaderMatcher] = field(default_factory=dict[str, HeaderMatcher])


@dataclass(frozen=True, slots=True)
class ResponseExpectation:
    """What is expected of what the client gets."""

    status: int | None = None
    headers: Mapping[str, HeaderMatcher] = field(default_factory=dict[str, HeaderMatcher])
    body: Matcher | None = None
    trailers: Mapping[str, HeaderMatcher] = field(default_factory=dict[str, HeaderMatcher])
    reset: bool | None = None
    """Whether the connection breaks before the response is whole; `None`: only where the client itself leaves."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A message that is expected in the log."""

    message: Matcher
    level: LogLevel | None = None

    def __str__(self) -> str:
        return f"{self.level.name.lower()}: {self.message}" if self.level is not None else str(self.message)


@dataclass(frozen=True, slots=True)
class LogExpectation:
    """What is expected of the log."""

    in_order: tuple[LogLine, ...] = ()
    any_order: tuple[LogLine, ...] = ()
    none_of: tuple[LogLine, ...] = ()
    exactly: tuple[LogLine, ...] | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """A counter or gauge and the value that is expected of it."""

    name: str
    labels: Mapping[str, str]
    written: str
    """The name and labels as the file has them."""
    value: Between


# Steps.


@dataclass(frozen=True, slots=True)
class RequestStep:
    """A request, and what is expected of it."""

    request: Request
    upstream_answer: Answer | Literal["silent", "closing"] | None = None
    response: ResponseExpectation | Literal["none"] | None = None
    upstream: RequestExpectation | Literal["none"] | None = None
    details: Matcher | None = None
    logs: LogExpectation | None = None

    def __str__(self) -> str:
        return str(self.request)


@dataclass(frozen=True, slots=True)
class AdvanceStep:
    """Time passes."""

    seconds: float

    def __str__(self) -> str:
        return f"advance {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class ConnectStep:
    """A client connects."""

    name: str
    upstream: TcpUpstream

    def __str__(self) -> str:
        return f"connect {self.name}".rstrip()


@dataclass(frozen=True, slots=True)
class SendStep:
    """The client sends."""

    data: bytes
    end: bool = False
    connection: str | None = None

    def __str__(self) -> str:
        return "send"


@dataclass(frozen=True, slots=True)
class ReceiveStep:
    """What an end of the connection gets next: these bytes, or all until the end."""

    by: Literal["client", "upstream"]
    data: bytes | Matcher
    connection: str | None = None

    def __str__(self) -> str:
        if not isinstance(self.data, bytes):
            return "receive_all"
        return "receive" if self.by == "client" else "upstream_receives"


@dataclass(frozen=True, slots=True)
class CloseStep:
    """The client or the upstream closes, or the client's connection breaks."""

    by: Literal["client", "upstream", "reset"]
    connection: str | None = None

    def __str__(self) -> str:
        return f"close: {self.by}"


@dataclass(frozen=True, slots=True)
class ClosedStep:
    """Whether the client's connection is over."""

    closed: bool
    connection: str | None = None

    def __str__(self) -> str:
        return "closed"


@dataclass(frozen=True, slots=True)
class Check:
    """What is expected of the plugin as a whole by then."""

    logs: LogExpectation | None = None
    metrics: tuple[Metric, ...] = ()
    calls: Mapping[str, tuple[RequestExpectation, ...]] = field(
        default_factory=dict[str, tuple[RequestExpectation, ...]]
    )
    """By cluster: the requests that reached it, all of them, in order."""
    shared_data: Mapping[str, Matcher | Literal["none"]] = field(default_factory=dict[str, "Matcher | Literal['none']"])
    """By key: the value, or `none` where there is to be none."""

    def __str__(self) -> str:
        return "logs, metrics, callouts, shared data"

    @property
    def expects_something(self) -> bool:
        """Whether there is anything to check."""
        return self.logs is not None or bool(self.metrics or self.calls or self.shared_data)


Step: TypeAlias = RequestStep | AdvanceStep | ConnectStep | SendStep | ReceiveStep | CloseStep | ClosedStep | Check


@dataclass(frozen=True, slots=True)
class Case:
    """One case."""

    name: str
    file: Path
    line: int
    plugin: PluginPart = field(default_factory=PluginPart)
    clusters: Mapping[str, ClusterPart] = field(default_factory=dict[str, ClusterPart])
    hosts: tuple[HostName, ...] | None = None
    """Where it may run; `None`: wherever its plugin can."""
    steps: tuple[Step, ...] = ()
    refused: LogLine | bool = False
    """Whether the plugin refuses its configuration, and what it says then."""

    @property
    def network(self) -> bool:
        """Whether the plugin filters connections."""
        return any(isinstance(step, ConnectStep) for step in self.steps)


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A file of cases."""

    path: Path
    filter: Path | None
    """The extension's folder or module that the file names."""
    cases: tuple[Case, ...]
