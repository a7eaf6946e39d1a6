"""The input beside Envoy's own `CheckRequest`: both filters in one real Envoy, asked about the same requests.

The OPA-Envoy plugin evaluates what Envoy's ext_authz filter sends it. So an authorization server, which lets everything pass, notes what it is sent, and
each request of the table is put through both filters.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
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

    ext_authz: tuple[str, int]
    opa_authz: tuple[str, int]
    authorization: Authorization
    inputs: list[dict[str, Any]]


def ext_authz() -> Json:
    """Envoy's filter, set up as the table's is."""
    typed: Json = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "authorization"}, "timeout": "20s"},
        "with_request_body": {"max_request_bytes": LIMIT, "allow_partial_message": True},
        "disallowed_headers": {"patterns": [{"exact": "cookie"}, {"prefix": "x-secret-"}]},
    }
    return {"name": "envoy.filters.http.ext_authz", "typed_config": typed}


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
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
        settings = bootstrap(clusters=clusters, listeners=[native, listener("opa_authz", [configured])])
        envoy = stack.enter_context(EnvoyProcess(settings))
        addresses = envoy.admin.listeners()
        yield Both(addresses["ext_authz"], addresses["opa_authz"], authorization, inputs)


def comparable(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes without what differs between two requests, and what a Wasm filter cannot know."""
    for peer in ("source", "destination"):
        attributes[peer]["address"]["socketAddress"].pop("portValue")
    attributes["request"].pop("time")
    http = attributes["request"]["http"]
    http.pop("id", None)  # Envoy's is the number of the stream
    attributes.pop("contextExtensions", None)
    return attributes


ASKED = [row for row in ROWS if row.status == 200]


@pytest.mark.parametrize("row", ASKED, ids=[row.name for row in ASKED])
def test_the_attributes_are_those_of_envoys_own_check_request(both: Both, row: Row) -> None:
    both.authorization.asked.clear()
    both.inputs.clear()
    host = next((value for name, value in row.headers if name == "host"), "example.com")
    headers = [(b"host", _octets(host))]
    headers += [(name.encode(), _octets(value)) for name, value in row.headers if name != "host"]
    wire = encode_request(row.method, row.path, headers, row.body)
    for address in (both.ext_authz, both.opa_authz):
        message = send(address, wire).message
        assert message is not None
        assert message.start[1] == b"200"
    (check,), (question,) = both.authorization.asked, both.inputs
    expected = comparable(check)
    found = comparable(question["attributes"])
    if row.method == "POST":  # Envoy may count what it has received beyond what it tells
        expected["request"]["http"].pop("size", None)
        found["request"]["http"].pop("size", None)
    assert found == expected


def _octets(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
