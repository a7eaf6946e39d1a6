"""What is to be deployed, and how, in one vocabulary for all platforms."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from proxy_wasm.emulator import FailurePolicy

GATEWAY_API = "gateway.networking.k8s.io"

_GROUPS = {
    "Gateway": GATEWAY_API,
    "GatewayClass": GATEWAY_API,
    "GRPCRoute": GATEWAY_API,
    "HTTPRoute": GATEWAY_API,
    "ListenerSet": GATEWAY_API,
    "TCPRoute": GATEWAY_API,
    "TLSRoute": GATEWAY_API,
    "UDPRoute": GATEWAY_API,
    "Service": "",
    "ServiceEntry": "networking.istio.io",
}
"""The API groups of the kinds that a plugin can be attached to."""


@dataclass(frozen=True, slots=True)
class TargetReference:
    """A resource that the plugin is attached to."""

    kind: str
    name: str
    section: str = ""
    """The name of a listener of a Gateway, or of a rule of a route."""

    @property
    def group(self) -> str:
        """The kind's API group; raises `KeyError` for kinds that are not known."""
        return _GROUPS[self.kind]

    def __str__(self) -> str:
        """As it is given: `KIND/NAME`, or `KIND/NAME/SECTION`."""
        return "/".join(filter(None, (self.kind, self.name, self.section)))

    @staticmethod
    def kinds() -> tuple[str, ...]:
        """The kinds that are known."""
        return tuple(sorted(_GROUPS))


@dataclass(frozen=True, slots=True)
class TrafficMatch:
    """Traffic that passes through the plugin."""

    mode: str
    """`CLIENT`, `SERVER` or `CLIENT_AND_SERVER`."""
    ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """A resource with Pods."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A plugin on its way to proxies. `None`, or nothing, stands for what was not asked for: the platform decides then."""

    name: str
    sha256: str | None = None
    """Of the module, where the module is here."""
    url: str | None = None
    """Where proxies find the module: `oci://`, `https://`, `http://` or `file://`."""
    digest: str | None = None
    """SHA-256 of what is at the URL: of the module, or of an image's manifest."""
    configuration: bytes | None = None
    vm_configuration: bytes | None = None
    root_id: str | None = None
    vm_id: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    host_environment: tuple[str, ...] = ()
    fail_strategy: FailurePolicy | None = None
    capabilities: tuple[str, ...] = ()
    allow_on_headers_stop_iteration: bool = False
    network: bool = False
    # Kubernetes
    namespace: str | None = None
    phase: str | None = None
    priority: int | None = None
    selector: Mapping[str, str] = field(default_factory=dict[str, str])
    targets: tuple[TargetReference, ...] = ()
    pull_policy: str | None = None
    pull_secret: str | None = None
    match: tuple[TrafficMatch, ...] = ()
    # Envoy
    filename: Path | None = None
    """Where the module is on the machine of the proxy."""
    listen: tuple[str, int] | None = None
    upstream: tuple[str, int] | None = None
    file: Path | None = None
    """What Envoy watches."""
    watched_directory: Path | None = None
    fetch_timeout: float | None = None
    retries: int | None = None
    retry_interval: float | None = None
    longest_retry_interval: float | None = None
    ca_file: Path | None = None
    # Pods
    workload: Workload | None = None
    container: str | None = None
    mount_path: str | None = None
    csi_driver: str | None = None
    istio_sidecar: bool = False
