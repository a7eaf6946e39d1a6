"""The input beside Envoy's own `CheckRequest`: both filters in one real Envoy, asked about the same requests.

The OPA-Envoy plugin evaluates what Envoy's ext_authz filter sends it. So an authorization server, which lets everything pass, notes what it is sent, and
each request of the table is put through both filters.
"""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from test_opa_authz_input import LIMIT, ROWS, WHOLE, Row

from proxy_wasm.envoy import (
    EnvoyProcess,
    Message,
    Upstream,
    WasmFilter,
    bootstrap,
    cluster,
    encode_request,
    encode_response,
    listener,
    send,
)
from proxy_wasm.envoy.clusters import serve
from proxy_wasm.envoy.configuration import Json
from proxy_wasm.protobuf import fields
from proxy_wasm.testing import Extension, grpc_unary

Shape: TypeAlias = Mapping[int, "tuple[str, type | Shape]"]
"""Fields of a message by number: their names in JSON, and their types."""

TEXTS: Shape = {1: ("key", str), 2: ("value", str)}
ADDRESS: Shape = {1: ("socketAddress", {2: ("address", str), 3: ("portValue", int)})}
PEER: Shape = {1: ("address", ADDRESS), 2: ("service", str), 4: ("principal", str)}
HTTP: Shape = {
    1: ("id", str),
    2: ("method", str),
    3: ("headers", TEXTS),
    4: ("path", str),
    5: ("host", str),
    6: ("scheme", str),
    7: ("query", str),
    8: ("fragment", str),
    9: ("size", int),
    10: ("protocol", str),
    11: ("body", str),
    12: ("rawBody", str),
}
ATTRIBUTES: Shape = {
    1: ("source", PEER),
    2: ("destination", PEER),
    4: ("request", {1: ("time", {1: ("seconds", int), 2: ("nanos", int)}), 2: ("http", HTTP)}),
    10: ("contextExtensions", TEXTS),
    11: ("metadataContext", {}),
    12: ("tlsSession", {1: ("sni", str)}),
    13: ("routeMetadataContext", {}),
}
"""`envoy.service.auth.v3.AttributeContext`."""


def in_json(message: bytes, shape: Shape) -> dict[str, Any]:
    """A message as the plugin's protomap has it; a field that is not in `shape` raises `KeyError`."""
    found: dict[str, Any] = {}
    for number, _, value in fields(message):
        name, kind = shape[number]
        if isinstance(value, int):
            found[name] = value
        elif kind is str:
            found[name] = value.decode()
        elif kind is TEXTS:
            entry = in_json(value, TEXTS)
            found.setdefault(name, {})[entry["key"]] = entry.get("value", "")
        else:
            assert isinstance(kind, Mapping)
            found[name] = in_json(value, kind)
    return found


class Authorization:
    """Lets every request pass, and keeps the attributes that it was asked about."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def check(self, request: bytes) -> bytes:
        """The method `Check`."""
        ((_, _, attributes),) = fields(request)
        assert isinstance(attributes, bytes)
        self.asked.append(in_json(attributes, ATTRIBUTES))
        return b""  # OK


@dataclass(frozen=True)
class Both:
    """An Envoy with both filters, and what each has asked."""

    addresses: Mapping[str, tuple[str, int]]
    authorization: Authorization
    inputs: list[dict[str, Any]]

    def ask(
        self, exchange: Callable[[tuple[str, int]], bytes], suffix: str = ""
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What Envoy's own filter has asked, and the other; `exchange` gives the status that a client gets at an address."""
        self.authorization.asked.clear()
        self.inputs.clear()
        for name in ("ext_authz", "opa_authz"):
            assert exchange(self.addresses[name + suffix]) == b"200"
        (check,), (question,) = self.authorization.asked, self.inputs
        return check, question


def ext_authz() -> Json:
    """Envoy's filter, set up as the table's is."""
    typed: Json = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "authorization"}, "timeout": "20s"},
        "with_request_body": {"max_request_bytes": LIMIT, "allow_partial_message": True},
        "include_tls_session": True,
        "disallowed_headers": {"patterns": [{"exact": "cookie"}, {"prefix": "x-secret-"}]},
    }
    return {"name": "envoy.filters.http.ext_authz", "typed_config": typed}


def identity(folder: Path, name: str, *alternatives: x509.GeneralName) -> Path:
    """A certificate of one's own with its key, as one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file = folder / f"{name}.pem"
    file.write_bytes(certificate + key.private_bytes(*form))
    return file


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Clients that are known by each kind of name, and the proxy."""
    folder = tmp_path_factory.mktemp("identities")
    uri, dns = x509.UniformResourceIdentifier("spiffe://example.com/ns/shop/sa/web"), x509.DNSName("web.example.com")
    return {
        "uri": identity(folder, "uri", uri, dns),
        "dns": identity(folder, "dns", dns),
        "subject": identity(folder, "subject"),
        "proxy": identity(folder, "proxy", x509.DNSName("proxy.example.com")),
    }


def over_tls(configured: Json, identities: dict[str, Path]) -> Json:
    """A listener like that one, which speaks TLS and asks clients who they are."""
    own = {"filename": str(identities["proxy"])}
    known = "".join(path.read_text() for name, path in identities.items() if name != "proxy")
    common: Json = {
        "tls_certificates": [{"certificate_chain": own, "private_key": own}],
        "validation_context": {"trusted_ca": {"inline_string": known}},
    }
    tls = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    (chain,) = configured["filter_chains"]
    socket_of = {"name": "tls", "typed_config": {"@type": tls, "common_tls_context": common}}
    inspector = "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
    return {
        **configured,
        "listener_filters": [{"name": "tls_inspector", "typed_config": {"@type": inspector}}],
        "name": f"{configured['name']} over TLS",
        "filter_chains": [{**chain, "transport_socket": socket_of}],
    }


@pytest.fixture(scope="module")
def both(identities: dict[str, Path]) -> Iterator[Both]:
    authorization, inputs = Authorization(), list[dict[str, Any]]()
    lock = threading.Lock()

    def opa(message: Message) -> bytes:
        with lock:
            inputs.append(json.loads(message.body)["input"])
        return encode_response(200, [], b'{"result": true}')

    configuration = {"opa_cluster": "opa", "timeout_ms": 20_000, **WHOLE}
    configured = WasmFilter(
        Extension(Path(__file__).parent).module(),
        json.dumps(configuration).encode(),
        allow_on_headers_stop_iteration=True,
    )
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(lambda _: encode_response(200, [], b"")))
        server = serve(grpc_unary({"/envoy.service.auth.v3.Authorization/Check": authorization.check}))
        stack.callback(server.stop)
        clusters = [
            cluster(*upstream.address),
            cluster(*stack.enter_context(Upstream(opa)).address, name="opa"),
            server.to_json("authorization"),
        ]
        native = listener("ext_authz", [])
        native["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"].insert(0, ext_authz())
        plain = [native, listener("opa_authz", [configured])]
        secure = [over_tls(each, identities) for each in plain]
        envoy = stack.enter_context(EnvoyProcess(bootstrap(clusters=clusters, listeners=[*plain, *secure])))
        yield Both(envoy.admin.listeners(), authorization, inputs)


def comparable(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes without what differs between two requests, and what a Wasm filter cannot know."""
    for peer in ("source", "destination"):
        attributes[peer]["address"]["socketAddress"].pop("portValue")
    attributes["request"].pop("time")
    http = attributes["request"]["http"]
    http.pop("id", None)  # Envoy's is the number of the stream
    attributes.pop("contextExtensions", None)
    if not attributes.get("tlsSession"):  # Envoy has an empty one without TLS
        attributes.pop("tlsSession", None)
    return attributes


ASKED = [row for row in ROWS if row.status == 200]


@pytest.mark.parametrize("row", ASKED, ids=[row.name for row in ASKED])
def test_the_attributes_are_those_of_envoys_own_check_request(both: Both, row: Row) -> None:
    host = next((value for name, value in row.headers if name == "host"), "example.com")
    headers = [(b"host", _octets(host))]
    headers += [(name.encode(), _octets(value)) for name, value in row.headers if name != "host"]
    wire = encode_request(row.method, row.path, headers, row.body)

    def exchange(address: tuple[str, int]) -> bytes:
        message = send(address, wire).message
        return b"" if message is None else message.start[1]

    check, question = both.ask(exchange)
    expected = comparable(check)
    found = comparable(question["attributes"])
    if row.method == "POST":  # Envoy may count what it has received beyond what it tells
        expected["request"]["http"].pop("size", None)
        found["request"]["http"].pop("size", None)
    assert found == expected


def _octets(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


PRINCIPALS = [
    ("uri", "spiffe://example.com/ns/shop/sa/web"),
    ("dns", "web.example.com"),
    ("subject", "CN=subject"),
    (None, None),
]


@pytest.mark.parametrize(("client", "principal"), PRINCIPALS)
def test_clients_are_known_by_their_certificates_as_envoy_knows_them(
    both: Both, identities: dict[str, Path], client: str | None, principal: str | None
) -> None:
    context = ssl.create_default_context(cafile=str(identities["proxy"]))
    if client is not None:
        context.load_cert_chain(identities[client])

    def exchange(address: tuple[str, int]) -> bytes:
        with (
            socket.create_connection(address, 30) as plain,
            context.wrap_socket(plain, server_hostname="proxy.example.com") as connection,
        ):
            connection.sendall(b"GET /a HTTP/1.1\r\nhost: example.com\r\n\r\n")
            return connection.recv(65536)[9:12]

    check, question = both.ask(exchange, " over TLS")
    assert question.get("source_principal") == principal
    assert question["attributes"]["tlsSession"] == {"sni": "proxy.example.com"}
    assert question["attributes"]["destination"]["principal"] == "proxy.example.com"
    assert comparable(question["attributes"]) == comparable(check)
