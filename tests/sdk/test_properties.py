"""Properties: from the bytes that a proxy hands over to Python's values, and back."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from struct import pack
from typing import cast

import pytest

from proxy_wasm import Fields, Locality, Metadata, PhaseError, Properties, TrafficDirection
from proxy_wasm.abi import HostError, Status, encode_pairs
from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.properties.attribute import Attribute, Group, attributes
from proxy_wasm.properties.proxy import Peer
from proxy_wasm.properties.stream import Request
from proxy_wasm.protobuf import encode

ROOT = Path(__file__).parents[2]


class Host:
    """The two hostcalls of properties on a dictionary."""

    def __init__(self, **values: bytes) -> None:
        self.values = {name.replace("__", "\0").encode(): value for name, value in values.items()}
        self.refusal: Status | None = None

    def get_property(self, path: bytes) -> bytes | None:
        if self.refusal is not None:
            raise HostError("get_property", self.refusal)
        return self.values.get(path)

    def set_property(self, path: bytes, value: bytes) -> None:
        if self.refusal is not None:
            raise HostError("set_property", self.refusal)
        self.values[path] = value

    @property
    def properties(self) -> Properties:
        return Properties(cast("Hostcalls", self))


def groups(properties: Properties) -> list[Group]:
    members = [getattr(properties, name) for name in Properties.__slots__]
    return [properties, *(member for member in members if isinstance(member, Group))]


def integer(value: int) -> bytes:
    return pack("<q", value)


def test_a_property_reads_as_its_type() -> None:
    properties = Host(
        request__path=b"/cart?id=1",
        request__size=integer(17),
        request__time=integer(1_700_000_000_123_456_789),
        request__duration=integer(1_500_000),
        connection__id=b"\xff" * 8,
        connection__mtls=b"\1",
        response__code=integer(200),
        xds__listener_direction=integer(2),
        xds__upstream_host_metadata=b"",
        upstream__locality=encode((1, "europe"), (2, "a")),
        upstream__cx_pool_ready_duration=integer(999),
        plugin_name=b"me",
    ).properties
    assert properties.request.path == "/cart?id=1"
    assert properties.request.size == 17
    assert properties.request.time == datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)
    assert properties.request.duration == timedelta(microseconds=1500)
    assert properties.connection.id == 2**64 - 1
    assert properties.connection.mtls is True
    assert properties.response.code == 200
    assert properties.xds.listener_direction is TrafficDirection.OUTBOUND
    assert properties.upstream.locality == Locality("europe", "a", "")
    assert properties.upstream.cx_pool_ready_duration == timedelta(0)
    assert properties.plugin.name == "me"


def test_what_the_proxy_has_no_value_for_is_none_and_mappings_are_empty() -> None:
    properties = Host().properties
    for group in groups(properties):
        for name in attributes(group):
            value = getattr(group, name)
            assert value is None or (isinstance(value, (dict, Metadata)) and not value), f"{group}.{name}"
    assert properties.filter_state["any"] is None
    assert properties.get("any") is None


def test_headers_read_as_a_dictionary() -> None:
    pairs = encode_pairs([(b":path", b"/"), (b"x-a", b"1,2"), (b"x-b", b"\xff")])
    assert Host(request__headers=pairs).properties.request.headers == {":path": "/", "x-a": "1,2", "x-b": "\udcff"}


def test_a_certificate_reads_as_pem() -> None:
    encoded = b"-----BEGIN%20CERTIFICATE-----%0AMII%2B%2Fa%3D%0A-----END%20CERTIFICATE-----%0A"
    pem = "-----BEGIN CERTIFICATE-----\nMII+/a=\n-----END CERTIFICATE-----\n"
    assert Host(connection__peer_certificate=encoded).properties.connection.peer_certificate == pem


def struct(**fields: bytes) -> bytes:
    return encode(*((1, encode((1, name), (2, value))) for name, value in fields.items()))


METADATA = encode(
    (
        1,
        encode(
            (1, "com.example"),
            (
                2,
                struct(
                    text=encode((3, "x")),
                    number=encode((2, 1.5)),
                    flag=encode((4, False)),
                    nothing=encode((1, 0)),
                    tree=encode((5, struct(leaf=encode((3, "y"))))),
                    list=encode((6, encode((1, encode((2, 1.0))), (1, encode((3, "a")))))),
                ),
            ),
        ),
    ),
    (1, encode((1, "empty"))),
)


def test_metadata_reads_as_json_by_namespace() -> None:
    metadata = Host(metadata=METADATA).properties.metadata
    content = {"text": "x", "number": 1.5, "flag": False, "nothing": None, "tree": {"leaf": "y"}, "list": [1.0, "a"]}
    assert metadata == {"com.example": content, "empty": {}}
    assert metadata["com.example"] == content
    assert list(metadata) == ["com.example", "empty"]
    assert repr(metadata) == f"Metadata({ {'com.example': content, 'empty': {}} })"


def test_metadata_that_is_not_there_reads_as_nothing() -> None:
    metadata = Host(metadata=METADATA).properties.metadata
    assert metadata["com.example"]["absent"] is None
    assert metadata["absent"]["absent"] is None
    assert metadata["absent"] == Fields()
    assert "absent" not in metadata
    assert "com.example" in metadata
    assert "absent" not in metadata["com.example"]
    assert metadata.get("absent") == {}


def test_the_node_reads_from_one_message() -> None:
    node = encode((1, "me"), (3, struct(NAMESPACE=encode((3, "shop")))))
    version = encode((1, encode((1, 1), (2, 40), (3, 2))))
    host = Host(xds__node=node, xds__node__id=b"me", xds__node__user_agent_build_version=version)
    properties = host.properties
    assert properties.node.metadata == {"NAMESPACE": "shop"}
    assert properties.node.id == "me"
    assert properties.node.envoy_version == (1, 40, 2)


def test_workloads_are_those_of_istio() -> None:
    host = Host(
        xds__node__metadata__WORKLOAD_NAME=b"cart",
        xds__node__metadata__LABELS=encode_pairs([(b"app", b"cart")]),
        filter_state__upstream_peer__workload=b"stock",
    )
    assert host.properties.workload.workload_name == "cart"
    assert host.properties.workload.labels == {"app": "cart"}
    assert host.properties.upstream_peer.workload == "stock"
    assert Peer(host.get_property, "filter_state", "upstream_peer").workload == "stock"


def test_a_value_of_another_form_is_an_error_that_names_the_property() -> None:
    host = Host(request__headers=b"\xff\xff\xff\xff", metadata=b"\x0a\xff", xds__listener_direction=integer(9))
    with pytest.raises(ValueError, match=r"property request\.headers: header map: "):
        _ = host.properties.request.headers
    with pytest.raises(ValueError, match=r"property metadata: protobuf message: "):
        _ = host.properties.metadata
    with pytest.raises(ValueError, match=r"property xds\.listener_direction: 9 is not a valid TrafficDirection"):
        _ = host.properties.xds.listener_direction


def test_filter_state_reads_by_key_and_field() -> None:
    host = Host()
    host.values |= {
        b"filter_state\0a.b": b"1",
        b"upstream_filter_state\0a.b": b"2",
        b"filter_state\0o\0port": integer(80),
    }
    assert host.properties.filter_state["a.b"] == b"1"
    assert host.properties.upstream_filter_state["a.b"] == b"2"
    assert host.properties.filter_state.field("o", "port") == integer(80)
    with pytest.raises(ValueError, match="filter state 'a\\\\x00b': a name is not empty, and holds no NUL"):
        _ = host.properties.filter_state["a\0b"]


@pytest.mark.parametrize(
    ("value", "octets"), [("ä", "ä".encode()), (b"\0\xff", b"\0\xff"), (bytearray(b"x"), b"x"), ("", b"")]
)
def test_what_is_set_is_there(value: str | bytes | bytearray, octets: bytes) -> None:
    properties = Host().properties
    properties.set("shop.decision", value)
    assert properties.get("shop.decision") == octets


@pytest.mark.parametrize("name", ["request", "xds", "metadata", "plugin_name", "connection_id", "filter_state"])
def test_names_of_the_proxy_cannot_be_set(name: str) -> None:
    properties = Host().properties
    with pytest.raises(ValueError, match=f"property '{name}': the name is one of the proxy's own; choose another"):
        properties.set(name, "x")
    with pytest.raises(ValueError, match="one of the proxy's own"):
        properties.get(name)


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_a_name_is_one_part_of_a_path(name: str) -> None:
    with pytest.raises(ValueError, match="a name is not empty, and holds no NUL"):
        Host().properties.set(name, "x")


def test_a_refusal_is_explained() -> None:
    host = Host()
    for status, error, words in (
        (Status.NOT_FOUND, PhaseError, "it needs a stream to belong to"),
        (Status.BAD_ARGUMENT, ValueError, "it was declared read-only, or as another type"),
        (Status.INTERNAL_FAILURE, HostError, "proxy_set_property: INTERNAL_FAILURE"),
    ):
        host.refusal = status
        with pytest.raises(error, match=words):
            host.properties.set("x", b"")


def test_a_null_which_the_proxy_cannot_serialize_reads_as_none() -> None:
    host = Host()
    host.refusal = Status.SERIALIZATION_FAILURE
    assert host.properties.xds.upstream_host_metadata == {}
    assert host.properties.request.path is None
    assert host.properties.filter_state["a"] is None
    assert host.properties.get("a") is None


def test_a_filter_that_may_not_read_properties_is_told_so() -> None:
    host = Host()
    host.refusal = Status.INTERNAL_FAILURE
    reads: list[Callable[[], object]] = [
        lambda: host.properties.request.path,
        lambda: host.properties.filter_state["a"],
        lambda: host.properties.get("a"),
    ]
    for read in reads:
        with pytest.raises(HostError, match="proxy_get_property: INTERNAL_FAILURE"):
            read()


def test_a_group_describes_its_properties() -> None:
    assert isinstance(Request.path, Attribute)
    assert Request.path.available == "in `on_request_headers` and `on_log`"
    assert list(attributes(Host().properties.request))[:2] == ["path", "url_path"]
    assert repr(Host().properties.request) == "<properties request>"


def test_the_classes_of_datetime_are_those_that_authors_import() -> None:
    properties = Host(request__time=integer(0), request__duration=integer(0)).properties
    assert type(properties.request.time) is datetime
    assert type(properties.request.duration) is timedelta


def test_the_documentation_has_a_line_for_each_property() -> None:
    script = ROOT / "scripts" / "document_properties.py"
    checked = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
