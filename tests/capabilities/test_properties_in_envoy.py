"""Every typed property, read in a real Envoy and compared with what was configured, and with Envoy's own access log.

One Envoy with TLS on both sides: a client with a certificate, a route, a cluster and an endpoint with names and metadata, dynamic metadata and filter
state set by Envoy's own filters, node metadata like Istio's. The filter of `property_report` logs all properties in each callback.
"""

import http.client
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from struct import pack
from typing import Any, TypeAlias, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proxy_wasm import Properties
from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.build import build
from proxy_wasm.envoy import EnvoyProcess, WasmFilter
from proxy_wasm.envoy.binary import find_envoy
from proxy_wasm.envoy.configuration import Json, address, bootstrap, listener
from proxy_wasm.properties import attribute as available
from proxy_wasm.properties.attribute import Attribute, Group, attributes

PROJECT = Path(__file__).parent / "property_report"
EXTENSIONS = "type.googleapis.com/envoy.extensions"
TYPE = "@type"

Values: TypeAlias = dict[str, list[Any]]

# What is configured.

SERVER_NAME = "proxy.example.com"
AUTHORITY = "shop.example.com:8443"
PATH = "/cart/items?id=1&x=%20"
BODY = b"0123456789"
NODE_ID = "sidecar~10.0.0.7~cart-7d9f.shop~shop.svc.cluster.local"
UPSTREAM_CONNECTION_FAILURE = 0x20
"""Envoy's `ResponseFlag::UpstreamConnectionFailure` as a bit."""
NODE_METADATA: Json = {
    "NAME": "cart-7d9f",
    "NAMESPACE": "shop",
    "WORKLOAD_NAME": "cart",
    "OWNER": "kubernetes://apis/apps/v1/namespaces/shop/deployments/cart",
    "LABELS": {"app": "cart", "version": "v1"},
    "SERVICE_ACCOUNT": "cart-account",
    "CLUSTER_ID": "Kubernetes",
    "MESH_ID": "cluster.local",
    "ISTIO_VERSION": "1.28.0",
    "APP_CONTAINERS": "cart,sidecar",
    "INSTANCE_IPS": "10.0.0.7,fe80::7",
    "PLATFORM_METADATA": {"gcp_project": "example"},
    "number": 2.5,
}
PEER: dict[str, str | dict[str, str]] = {
    "name": "web-1",
    "namespace": "front",
    "workload": "web",
    "type": "deployment",
    "cluster": "Kubernetes",
    "service": "web-service",
    "revision": "v7",
    "app": "web-app",
    "version": "v8",
    "identity": "spiffe://example.com/ns/front/sa/web",
    "labels": {"team": "storefront"},
}
DYNAMIC: Json = {
    "com.example.dynamic": {
        "text": "ä",
        "number": 7,
        "flag": True,
        "nothing": None,
        "list": [1, "a", {"b": False}],
        "tree": {"leaf": "x"},
    }
}


def metadata(of: str) -> Json:
    """Metadata that tells what it is that of, with a value of each type."""
    return {f"com.example.{of}": {"of": of, "number": 1.5, "flag": False, "list": ["a", None], "tree": {"a": {"b": 3}}}}


# Certificates.


@dataclass(frozen=True)
class Identity:
    """A certificate with its key, as files."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    certificate_file: Path
    key_file: Path

    @property
    def subject(self) -> str:
        return self.certificate.subject.rfc4514_string()

    @property
    def dns(self) -> str:
        return self._names.get_values_for_type(x509.DNSName)[0]

    @property
    def uri(self) -> str:
        return self._names.get_values_for_type(x509.UniformResourceIdentifier)[0]

    @property
    def _names(self) -> x509.SubjectAlternativeName:
        return self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def digest(self) -> str:
        return sha256(self.certificate.public_bytes(serialization.Encoding.DER)).hexdigest()

    def files(self) -> Json:
        return {
            "certificate_chain": {"filename": str(self.certificate_file)},
            "private_key": {"filename": str(self.key_file)},
        }


def make_identity(folder: Path, name: str, issuer: Identity | None, dns: str = "", uri: str = "") -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    names: list[x509.GeneralName] = [x509.DNSName(dns)] if dns else []
    if uri:
        names.append(x509.UniformResourceIdentifier(uri))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(*encoding))
    return Identity(certificate, key, *files)


class Pki:
    """An authority, and whom it vouches for."""

    def __init__(self, folder: Path) -> None:
        self.authority = make_identity(folder, "authority", None)
        self.stranger = make_identity(folder, "stranger", None)
        self.client = self._identity(folder, "client")
        self.proxy = self._identity(folder, "proxy")
        self.upstream = self._identity(folder, "upstream")

    def _identity(self, folder: Path, name: str) -> Identity:
        uri = f"spiffe://example.com/ns/shop/sa/{name}"
        return make_identity(folder, name, self.authority, f"{name}.example.com", uri)

    def context(self, purpose: ssl.Purpose, who: Identity | None) -> ssl.SSLContext:
        context = ssl.create_default_context(purpose, cafile=str(self.authority.certificate_file))
        if who is not None:
            context.load_cert_chain(who.certificate_file, who.key_file)
        return context


# The upstream.


class Answer(BaseHTTPRequestHandler):
    """Answers with a body and trailers."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(202)
        self.send_header("x-from", "upstream")
        self.send_header("x-twice", "1")
        self.send_header("x-twice", "2")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nhello\r\n0\r\ngrpc-status: 5\r\nx-checksum: abc\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        """Nothing."""


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A handshake that fails is part of a test."""


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def upstream(pki: Pki) -> Iterator[tuple[str, int]]:
    server = Quiet(("127.0.0.1", 0), Answer)
    context = pki.context(ssl.Purpose.CLIENT_AUTH, pki.upstream)
    context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield ("127.0.0.1", server.server_address[1])
    server.shutdown()
    server.server_close()
    thread.join()


# Envoy.


def tls(kind: str, who: Identity, authority: Identity, **options: object) -> Json:
    context: Json = {
        TYPE: f"{EXTENSIONS}.transport_sockets.tls.v3.{kind}TlsContext",
        "common_tls_context": {
            "tls_certificates": [who.files()],
            "validation_context": {"trusted_ca": {"filename": str(authority.certificate_file)}},
        },
        **options,
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def http_filter(name: str, kind: str, **config: object) -> Json:
    return {
        "name": f"envoy.filters.http.{name}",
        "typed_config": {TYPE: f"{EXTENSIONS}.filters.http.{name}.v3.{kind}", **config},
    }


def string_state(key: str, value: str, **options: object) -> Json:
    return {**({"object_key": key} | options), "format_string": {"text_format_source": {"inline_string": value}}}


def filter_metadata(content: Json) -> Json:
    return {"filter_metadata": content}


FILTER_STATE = [
    "example.tier",
    "wasm.decision",
    "example.absent",
    "envoy.network.transport_socket.original_dst_address",
    "envoy.network.transport_socket.original_dst_address#ip",
    "envoy.network.transport_socket.original_dst_address#port",
]


def upstream_cluster(name: str, endpoint: tuple[str, int], pki: Pki, trusted: Identity) -> Json:
    def locality(zone: str, priority: int, at: tuple[str, int]) -> Json:
        return {
            "locality": {"region": "europe", "zone": zone, "sub_zone": "rack-1"},
            "priority": priority,
            "metadata": filter_metadata(metadata("locality")),
            "lb_endpoints": [
                {"endpoint": {"address": address(*at)}, "metadata": filter_metadata(metadata("endpoint"))}
            ],
        }

    options: Json = {
        TYPE: f"{EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {"enable_trailers": True}},
    }
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "metadata": filter_metadata(metadata("cluster")),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [locality("a", 0, endpoint), locality("b", 1, ("127.0.0.1", 9))],
        },
        "transport_socket": tls("Upstream", pki.proxy, trusted, sni="upstream.example.com"),
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }


ACCESS_LOG = {
    "connection": "%CONNECTION_ID%",
    "source": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "upstream_local": "%UPSTREAM_LOCAL_ADDRESS%",
    "started": "%START_TIME(%s.%6f)%",
    "upstream_tls": "%UPSTREAM_TLS_VERSION%",
    "request_headers_bytes": "%REQUEST_HEADERS_BYTES%",
    "response_headers_bytes": "%RESPONSE_HEADERS_BYTES%",
    "response_trailers_bytes": "%RESPONSE_TRAILERS_BYTES%",
    "decision": "%FILTER_STATE(wasm.decision:PLAIN)%",
    "upstream_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "downstream_failure": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
    "termination": "%CONNECTION_TERMINATION_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "duration": "%DURATION%",
}


def file_log(path: Path) -> Json:
    config = {
        TYPE: f"{EXTENSIONS}.access_loggers.file.v3.FileAccessLog",
        "path": str(path),
        "log_format": {"json_format": ACCESS_LOG},
    }
    return {"name": "envoy.access_loggers.file", "typed_config": config}


def wasm_log(module: Path) -> Json:
    wasm = WasmFilter(
        module,
        json.dumps({"filter_state": FILTER_STATE}).encode(),
        root_id="access_logger",
        name="logger",
        vm_id="report",
    )
    config = {
        TYPE: f"{EXTENSIONS}.access_loggers.wasm.v3.WasmAccessLog",
        "config": wasm.to_json()["typed_config"]["config"],
    }
    return {"name": "envoy.access_loggers.wasm", "typed_config": config}


def http_listener(module: Path, pki: Pki, log: Path) -> Json:
    reporter = WasmFilter(
        module, json.dumps({"filter_state": FILTER_STATE}).encode(), root_id="reporter", name="reported", vm_id="report"
    )
    writer = WasmFilter(module, json.dumps({"peer": PEER}).encode(), root_id="writer", name="writer", vm_id="report")
    made = listener("main", [writer, reporter], access_log=log)
    chain = made["filter_chains"][0]
    chain["name"] = "tls-chain"
    chain["transport_socket"] = tls("Downstream", pki.proxy, pki.authority, require_client_certificate=True)
    made |= {
        "traffic_direction": "INBOUND",
        "metadata": filter_metadata(metadata("listener")),
        "listener_filters": [
            {
                "name": "envoy.filters.listener.tls_inspector",
                "typed_config": {TYPE: f"{EXTENSIONS}.filters.listener.tls_inspector.v3.TlsInspector"},
            }
        ],
        "access_log": [wasm_log(module), file_log(log)],
    }
    manager = chain["filters"][0]["typed_config"]
    manager["generate_request_id"] = True
    manager["access_log"] = [file_log(log)]
    routes = [
        {
            "name": f"{name}-route",
            "match": {"prefix": prefix},
            "route": {"cluster": name, "timeout": "0s"},
            "metadata": filter_metadata(metadata("route")),
        }
        for prefix, name in (("/broken", "broken"), ("/", "upstream"))
    ]
    host = {
        "name": "the-virtual-host",
        "domains": ["*"],
        "routes": routes,
        "metadata": filter_metadata(metadata("virtual_host")),
    }
    manager["route_config"] = {"virtual_hosts": [host]}
    shared = {"factory_key": "envoy.string", "shared_with_upstream": "TRANSITIVE"}
    manager["http_filters"][:0] = [
        http_filter(
            "set_metadata",
            "Config",
            metadata=[{"metadata_namespace": name, "value": value} for name, value in DYNAMIC.items()],
        ),
        http_filter(
            "set_filter_state",
            "Config",
            on_request_headers=[
                string_state("example.tier", "gold", **shared),
                string_state("envoy.network.transport_socket.original_dst_address", "10.1.2.3:443"),
            ],
        ),
    ]
    return made


def denied_listener(module: Path, log: Path) -> Json:
    """TCP that nobody is let through, and an access logger."""
    rbac: Json = {
        TYPE: f"{EXTENSIONS}.filters.network.rbac.v3.RBAC",
        "stat_prefix": "denied",
        "rules": {"action": "ALLOW", "policies": {}},
    }
    proxy: Json = {
        TYPE: f"{EXTENSIONS}.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp",
        "cluster": "upstream",
        "access_log": [wasm_log(module), file_log(log)],
    }
    return {
        "name": "denied",
        "address": address("127.0.0.1", 0),
        "enable_reuse_port": False,
        "filter_chains": [
            {
                "filters": [
                    {"name": "envoy.filters.network.rbac", "typed_config": rbac},
                    {"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy},
                ]
            }
        ],
    }


@dataclass(frozen=True, slots=True)
class Report:
    """What a plugin found in one callback: type and value by name."""

    root_id: str
    callback: str
    values: Values


class Running:
    """The Envoy, and what came out of it so far."""

    def __init__(self, process: EnvoyProcess, log: Path, context: ssl.SSLContext) -> None:
        self.process = process
        self._context = context
        self._log = log
        self._reports: list[Report] = []

    def connect(self, listener_name: str) -> socket.socket:
        return socket.create_connection(self.process.admin.listeners()[listener_name], timeout=30)

    def reports(self, root_id: str) -> list[Report]:
        for line in self.process.new_log_lines():
            if line.wasm is not None and line.wasm.message.startswith("report: "):
                found = json.loads(line.wasm.message.removeprefix("report: "))
                named = next(name for name in ("reporter", "access_logger") if name in line.wasm.source.split())
                self._reports.append(Report(named, found["callback"], found["values"]))
        return [report for report in self._reports if report.root_id == root_id]

    def exchange(self, path: str) -> "Exchange":
        """One POST with a client certificate, when Envoy has logged its end."""
        before = len(self.reports("reporter"))
        with self._context.wrap_socket(self.connect("main"), server_hostname=SERVER_NAME) as secured:
            client, proxy, version = secured.getsockname(), secured.getpeername(), secured.version()
            connection = http.client.HTTPConnection("unused")
            connection.sock = secured
            headers = {"host": AUTHORITY, "referer": "http://elsewhere", "user-agent": "tester", "x-a": "1"}
            started = datetime.now(UTC)
            connection.request("POST", path, body=BODY, headers=headers)
            response = connection.getresponse()
            response.read()
        self.process.wait_for(lambda: self._ended(before), "end the stream", 30)
        record = self.process.wait_for(lambda: self._record(client[1]), "write its access log", 30)
        found = {report.callback: report.values for report in self.reports("reporter")[before:]}
        found["on_configure"] = self.reports("reporter")[0].values
        addresses = f"127.0.0.1:{client[1]}", f"127.0.0.1:{proxy[1]}"
        return Exchange(response.status, *addresses, version or "", started, found, record)

    def _ended(self, before: int) -> bool:
        return any(report.callback == "on_log" for report in self.reports("reporter")[before:])

    def _record(self, client_port: int) -> Json | None:
        records = [record for record in self.access_records() if record["source"] == f"127.0.0.1:{client_port}"]
        return next((record for record in records if record["request_id"]), None)

    def access_records(self) -> list[Json]:
        """The complete lines of the access log."""
        content = self._log.read_text() if self._log.exists() else ""
        return [json.loads(line) for line in content[: content.rfind("\n") + 1].splitlines()]

    def all_recorded(self, field: str) -> list[Any]:
        """What is in one field of all records of the access log."""
        return [record[field] for record in self.access_records()]

    def logged(self, name: str) -> str:
        """The value of a property that an access logger found, when one has."""

        def found() -> str | None:
            values = [report.values[name][1] for report in self.reports("access_logger")]
            return next((value for value in values if value), None)

        return self.process.wait_for(found, f"log {name}", 30)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request, and everything that was found of it."""

    status: int
    client: str
    proxy: str
    tls_version: str
    started: datetime
    found: dict[str, Values]
    record: Json

    @property
    def version(self) -> tuple[int, ...]:
        return tuple(self.found["on_log"]["node.envoy_version"][1])


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory, pki: Pki, upstream: tuple[str, int]) -> Iterator[Running]:
    module = build(PROJECT).path
    directory = tmp_path_factory.mktemp("envoy")
    log = directory / "access.log"
    config = bootstrap(
        clusters=[
            upstream_cluster("upstream", upstream, pki, pki.authority),
            upstream_cluster("broken", upstream, pki, pki.stranger),
        ],
        listeners=[http_listener(module, pki, log), denied_listener(module, log)],
    )
    config["node"] = {
        "id": NODE_ID,
        "cluster": "cart.shop",
        "metadata": NODE_METADATA,
        "locality": {"region": "europe", "zone": "c", "sub_zone": "rack-9"},
    }
    with EnvoyProcess(config, directory=directory) as process:
        yield Running(process, log, pki.context(ssl.Purpose.SERVER_AUTH, pki.client))


@pytest.fixture(scope="module")
def exchange(envoy: Running) -> Exchange:
    return envoy.exchange(PATH)


@pytest.fixture(scope="module")
def failed_exchange(envoy: Running) -> Exchange:
    """One whose upstream has a certificate that is not trusted."""
    return envoy.exchange("/broken")


# What each property has to be.


@dataclass(frozen=True, slots=True)
class Case:
    """What a property is compared with."""

    exchange: Exchange
    pki: Pki
    upstream: tuple[str, int]

    def certificates(self, local: Identity, peer: Identity, version: str) -> dict[str, tuple[str, object]]:
        """The properties of a TLS connection between two of the identities."""
        return {
            "tls_version": ("str", version),
            "subject_local_certificate": ("str", local.subject),
            "subject_peer_certificate": ("str", peer.subject),
            "dns_san_local_certificate": ("str", local.dns),
            "dns_san_peer_certificate": ("str", peer.dns),
            "uri_san_local_certificate": ("str", local.uri),
            "uri_san_peer_certificate": ("str", peer.uri),
            "sha256_peer_certificate_digest": ("str", peer.digest),
            "peer_certificate": ("str", peer.pem),
        }


def expected(case: Case) -> dict[str, tuple[str, object]]:
    """Each property's type and value at the end of the exchange."""
    pki, record = case.pki, case.exchange.record
    upstream = f"{case.upstream[0]}:{case.upstream[1]}"
    connection = case.certificates(pki.proxy, pki.client, case.exchange.tls_version)
    upstream_connection = case.certificates(pki.proxy, pki.upstream, record["upstream_tls"])
    return {
        "metadata": ("Metadata", DYNAMIC),
        "request.path": ("str", PATH),
        "request.url_path": ("str", "/cart/items"),
        "request.query": ("str", "id=1&x=%20"),
        "request.host": ("str", AUTHORITY),
        "request.scheme": ("str", "https"),
        "request.method": ("str", "POST"),
        "request.referer": ("str", "http://elsewhere"),
        "request.useragent": ("str", "tester"),
        "request.id": ("str", record["request_id"]),
        "request.protocol": ("str", "HTTP/1.1"),
        "request.headers_bytes": ("int", record["request_headers_bytes"]),
        "request.size": ("int", len(BODY)),
        "request.total_size": ("int", record["request_headers_bytes"] + len(BODY)),
        "response.code": ("int", 202),
        "response.code_details": ("str", "via_upstream"),
        "response.flags": ("int", 0),
        "response.grpc_status": ("int", 5),
        "response.headers_bytes": ("int", record["response_headers_bytes"]),
        "response.trailers": ("dict", {"grpc-status": "5", "x-checksum": "abc"}),
        "response.size": ("int", 5),
        "response.total_size": ("int", 5 + record["response_headers_bytes"] + record["response_trailers_bytes"]),
        "source.address": ("str", case.exchange.client),
        "source.port": ("int", port_of(case.exchange.client)),
        "destination.address": ("str", case.exchange.proxy),
        "destination.port": ("int", port_of(case.exchange.proxy)),
        "connection.id": ("int", record["connection"]),
        "connection.mtls": ("bool", True),
        "connection.requested_server_name": ("str", SERVER_NAME),
        **{f"connection.{name}": value for name, value in connection.items()},
        "upstream.address": ("str", upstream),
        "upstream.port": ("int", case.upstream[1]),
        "upstream.local_address": ("str", record["upstream_local"]),
        "upstream.num_endpoints": ("int", 2),
        "upstream.locality": ("Locality", ["europe", "a", "rack-1"]),
        "upstream.transport_failure_reason": ("str", ""),
        "upstream.request_attempt_count": ("int", 1),
        **{f"upstream.{name}": value for name, value in upstream_connection.items()},
        "xds.cluster_name": ("str", "upstream"),
        "xds.cluster_metadata": ("Metadata", metadata("cluster")),
        "xds.listener_direction": ("TrafficDirection", 1),
        "xds.listener_metadata": ("Metadata", metadata("listener")),
        "xds.route_name": ("str", "upstream-route"),
        "xds.route_metadata": ("Metadata", metadata("route")),
        "xds.virtual_host_name": ("str", "the-virtual-host"),
        "xds.virtual_host_metadata": ("Metadata", metadata("virtual_host")),
        "xds.upstream_host_metadata": ("Metadata", metadata("endpoint")),
        "xds.upstream_host_locality_metadata": ("Metadata", metadata("locality")),
        "xds.filter_chain_name": ("str", "tls-chain"),
        "node.id": ("str", NODE_ID),
        "node.cluster": ("str", "cart.shop"),
        "node.locality": ("Locality", ["europe", "c", "rack-9"]),
        "node.metadata": ("Fields", NODE_METADATA),
        "node.user_agent_name": ("str", "envoy"),
        "workload.name": ("str", "cart-7d9f"),
        "workload.namespace": ("str", "shop"),
        "workload.workload_name": ("str", "cart"),
        "workload.owner": ("str", "kubernetes://apis/apps/v1/namespaces/shop/deployments/cart"),
        "workload.labels": ("dict", {"app": "cart", "version": "v1"}),
        "workload.service_account": ("str", "cart-account"),
        "workload.cluster_id": ("str", "Kubernetes"),
        "workload.mesh_id": ("str", "cluster.local"),
        "workload.istio_version": ("str", "1.28.0"),
        "workload.app_containers": ("str", "cart,sidecar"),
        "workload.instance_ips": ("str", "10.0.0.7,fe80::7"),
        "workload.platform_metadata": ("dict", {"gcp_project": "example"}),
        "plugin.name": ("str", "reported"),
        "plugin.root_id": ("str", "reporter"),
        "plugin.vm_id": ("str", "report"),
    }


IN_TESTS_OF_THEIR_OWN = {
    "request.headers",
    "request.time",
    "request.duration",
    "response.headers",
    "response.backend_latency",
    "connection.transport_failure_reason",
    "connection.termination_details",
    "upstream.cx_pool_ready_duration",
    "node.envoy_version",
}
"""Properties that no value is known for beforehand."""

ONLY_IN_ISTIO = {f"{peer}.{name}" for peer in ("downstream_peer", "upstream_peer") for name in PEER}
"""Properties under keys of the filter state that only Istio's filters write; `wasm_peer` is such an object under another key."""

SINCE = {
    "request.headers_bytes": (1, 37),
    "response.headers_bytes": (1, 37),
    "connection.peer_certificate": (1, 38),
    "upstream.peer_certificate": (1, 38),
}
"""From which Envoy on there is a property that not all supported ones have."""


def is_known(name: str, version: tuple[int, ...]) -> bool:
    return version >= SINCE.get(name, ())


def port_of(socket_address: str) -> int:
    return int(socket_address.rpartition(":")[2])


class NoHost:
    def get_property(self, path: bytes) -> bytes | None:
        raise NotImplementedError(path)


def all_attributes() -> dict[str, Attribute[Any]]:
    """Every typed property, as `group.name`."""
    properties = Properties(cast("Hostcalls", NoHost()))
    groups: dict[str, object] = {name: getattr(properties, name) for name in Properties.__slots__}
    found = attributes(properties)
    for prefix, group in groups.items():
        if isinstance(group, Group):
            found |= {f"{prefix}.{name}": attribute for name, attribute in attributes(group).items()}
    return found


@pytest.fixture(scope="module")
def case(exchange: Exchange, pki: Pki, upstream: tuple[str, int]) -> Case:
    return Case(exchange, pki, upstream)


def test_every_property_is_compared_with_something(case: Case) -> None:
    assert set(all_attributes()) == set(expected(case)) | IN_TESTS_OF_THEIR_OWN | ONLY_IN_ISTIO


def test_each_property_is_what_was_configured(case: Case) -> None:
    assert case.exchange.status == 202
    found = {name: tuple(case.exchange.found["on_log"][name]) for name in expected(case)}
    version = case.exchange.version
    assert found == {
        name: value if is_known(name, version) else ("NoneType", None) for name, value in expected(case).items()
    }


CALLBACKS = (
    "on_configure",
    "on_request_headers",
    "on_request_body",
    "on_response_headers",
    "on_response_body",
    "on_response_trailers",
    "on_log",
)
LATE = CALLBACKS[3:]
AVAILABLE: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    available.ANYWHERE: (CALLBACKS, ()),
    available.STREAM: (CALLBACKS[1:], CALLBACKS[:1]),
    available.ROUTED: (CALLBACKS[1:], CALLBACKS[:1]),
    available.REQUEST: (("on_request_headers", "on_log"), (*CALLBACKS[:1], *CALLBACKS[2:-1])),
    available.HOST: (LATE, CALLBACKS[:2]),
    available.CONNECTED: (LATE, CALLBACKS[:2]),
    available.TLS: (LATE, CALLBACKS[:1]),
    available.RESPONSE: (LATE, CALLBACKS[:3]),
    available.RESPONSE_HEADERS: (("on_response_headers", "on_log"), (*CALLBACKS[:3], *CALLBACKS[4:-1])),
    available.RESPONSE_TRAILERS: (("on_response_trailers", "on_log"), CALLBACKS[:5]),
    available.END: (("on_log",), CALLBACKS[:4]),
    available.FAILURE: ((), CALLBACKS),
    available.PEER: ((), CALLBACKS),
}
"""For each availability: callbacks with a value, and callbacks without one, in an exchange in which nothing fails."""


def test_each_property_is_there_when_its_description_says(exchange: Exchange) -> None:
    wrong: list[str] = []
    for name, attribute in all_attributes().items():
        if not is_known(name, exchange.version):
            continue
        present, absent = AVAILABLE[attribute.available]
        for callback in CALLBACKS:
            is_there = exchange.found[callback][name][1] not in (None, {})
            if (callback in present and not is_there) or (callback in absent and is_there):
                wrong.append(f"{name}, {attribute.available}: {exchange.found[callback][name]} in {callback}")
    assert not wrong


def test_certificates_of_the_client_are_there_from_the_first_callback_on(exchange: Exchange) -> None:
    found = exchange.found["on_request_headers"]
    assert found["connection.uri_san_peer_certificate"] == ["str", "spiffe://example.com/ns/shop/sa/client"]
    assert found["upstream.uri_san_peer_certificate"] == ["NoneType", None]


def test_headers_are_those_that_were_sent(exchange: Exchange) -> None:
    kind, headers = exchange.found["on_request_headers"]["request.headers"]
    assert kind == "dict"
    sent = {":method": "POST", ":path": PATH, ":authority": AUTHORITY, ":scheme": "https", "x-a": "1"}
    assert headers.items() >= sent.items()
    kind, headers = exchange.found["on_response_headers"]["response.headers"]
    assert kind == "dict"
    assert headers.items() >= {":status": "202", "x-from": "upstream", "x-twice": "1,2"}.items()


def test_times_are_those_of_the_exchange(exchange: Exchange) -> None:
    found = exchange.found["on_log"]
    kind, time = found["request.time"]
    assert kind == "datetime"
    assert f"{datetime.fromisoformat(time).timestamp():.6f}" == exchange.record["started"]
    assert abs(datetime.fromisoformat(time) - exchange.started) < timedelta(minutes=1)
    whole, *parts = (
        duration_of(found[name])
        for name in ("request.duration", "response.backend_latency", "upstream.cx_pool_ready_duration")
    )
    assert all(timedelta() < part <= whole for part in parts)
    assert abs(whole / timedelta(milliseconds=1) - exchange.record["duration"]) <= 1


def duration_of(found: list[Any]) -> timedelta:
    kind, value = found
    assert kind == "timedelta"
    hours, minutes, seconds = value.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))


def test_the_version_is_that_of_the_binary(exchange: Exchange) -> None:
    told = subprocess.run([find_envoy(), "--version"], capture_output=True, text=True, check=True).stdout
    assert f"/{'.'.join(map(str, exchange.version))}/" in told
    assert exchange.found["on_log"]["node.envoy_version"][0] == "tuple"


def test_a_peer_reads_as_istio_stores_it(exchange: Exchange) -> None:
    for callback in CALLBACKS[1:]:
        found = exchange.found[callback]
        assert {name: found[f"wasm_peer.{name}"] for name in PEER} == {
            name: [type(value).__name__, value] for name, value in PEER.items()
        }


def test_filter_state_is_that_of_other_filters(exchange: Exchange) -> None:
    found = exchange.found["on_log"]
    destination = "envoy.network.transport_socket.original_dst_address"
    assert found["filter_state[example.tier]"] == ["bytes", b"gold".hex()]
    assert found["filter_state[wasm.decision]"] == ["bytes", b"allowed".hex()]
    assert found["filter_state[example.absent]"] == ["NoneType", None]
    assert found[f"filter_state[{destination}#ip]"] == ["bytes", b"10.1.2.3".hex()]
    assert found[f"filter_state[{destination}#port]"] == ["bytes", pack("<q", 443).hex()]
    assert found["upstream_filter_state[example.tier]"] == ["bytes", b"gold".hex()]
    assert found["upstream_filter_state[wasm.decision]"] == ["NoneType", None]


def test_what_a_filter_sets_other_filters_and_access_logs_read(exchange: Exchange) -> None:
    assert exchange.found["on_request_headers"]["get(decision)"] == ["bytes", b"allowed".hex()]
    assert exchange.record["decision"] == "allowed"


def test_a_failure_to_connect_upstream_says_why(failed_exchange: Exchange) -> None:
    found = failed_exchange.found["on_log"]
    assert failed_exchange.status == 503
    assert found["response.code"] == ["int", 503]
    assert found["response.flags"] == ["int", UPSTREAM_CONNECTION_FAILURE]
    assert failed_exchange.record["flags"] == "UF"
    assert found["response.code_details"][1].startswith("upstream_reset_before_response_started")
    kind, reason = found["upstream.transport_failure_reason"]
    assert kind == "str"
    assert "CERTIFICATE_VERIFY_FAILED" in reason
    assert reason.replace(" ", "_") == failed_exchange.record["upstream_failure"]
    assert found["xds.route_name"] == ["str", "broken-route"]


def test_a_failed_handshake_is_known_to_an_access_logger(envoy: Running, pki: Pki) -> None:
    stranger = pki.context(ssl.Purpose.SERVER_AUTH, None)
    with suppress(OSError), stranger.wrap_socket(envoy.connect("main"), server_hostname=SERVER_NAME) as secured:
        secured.recv(1)
    reason = envoy.logged("connection.transport_failure_reason")
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in reason
    envoy.process.wait_for(lambda: reason.replace(" ", "_") in envoy.all_recorded("downstream_failure"), "log why", 30)


def test_a_closed_connection_tells_an_access_logger_why(envoy: Running) -> None:
    with suppress(OSError), envoy.connect("denied") as connection:
        connection.sendall(b"hello")
        connection.recv(1)
    details = envoy.logged("connection.termination_details")
    assert details == "rbac_access_denied_matched_policy[none]"
