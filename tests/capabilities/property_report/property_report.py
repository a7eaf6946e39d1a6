"""A filter that logs every property there is in each callback, and one that sets some before it."""

import json
import logging
from typing import Any

from proxy_wasm import Body, Headers, HostError, HttpContext, Metadata, PhaseError, PluginContext, Properties
from proxy_wasm.foreign_functions import PropertyType
from proxy_wasm.properties.attribute import Group, attributes
from proxy_wasm.properties.proxy import Peer
from proxy_wasm.protobuf import encode

Report = dict[str, Any]
_logger = logging.getLogger(__name__)

RAW = [
    ("node",),
    ("listener_direction",),
    ("listener_metadata",),
    ("cluster_name",),
    ("cluster_metadata",),
    ("route_name",),
    ("route_metadata",),
    ("upstream_host_metadata",),
    ("connection_id",),
    ("xds", "upstream_host_metadata"),
    ("xds", "upstream_host_locality_metadata"),
]
STRUCT = "type.googleapis.com/google.protobuf.Struct"


def groups(plugin: PluginContext) -> dict[str, Group]:
    """All groups by name, and Istio's peer under a key that a filter can write."""
    properties = plugin.properties
    found: dict[str, Group] = {"": properties}
    for name in Properties.__slots__:
        group = getattr(properties, name)
        if isinstance(group, Group):
            found[f"{name}."] = group
    found["wasm_peer."] = Peer(plugin.hostcalls.get_property, "filter_state", "wasm.downstream_peer")
    return found


def report(plugin: PluginContext, callback: str) -> None:
    values = {
        f"{prefix}{name}": shown(getattr(group, name))
        for prefix, group in groups(plugin).items()
        for name in attributes(group)
    }
    states = plugin.properties.filter_state, plugin.properties.upstream_filter_state
    for name, state in zip(("filter_state", "upstream_filter_state"), states, strict=True):
        for named in plugin.configuration.json()["filter_state"]:
            key, _, field = named.partition("#")
            values[f"{name}[{named}]"] = shown(state.field(key, field) if field else state[key])
    values["get(decision)"] = shown(plugin.properties.get("decision"))
    values |= {f"raw {'.'.join(path)}": raw(plugin, path) for path in RAW}
    _logger.info("report: %s", json.dumps({"callback": callback, "values": values}, default=as_text))


def raw(plugin: PluginContext, path: tuple[str, ...]) -> list[object]:
    """A property without its type, or the status that the proxy refuses it with."""
    try:
        return shown(plugin.hostcalls.get_property("\0".join(path).encode()))
    except HostError as error:
        return ["HostError", error.status]


def shown(value: object) -> list[object]:
    """The type's name, and the value as far as JSON knows it."""
    return [type(value).__name__, dict(value) if isinstance(value, Metadata) else value]


def as_text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


class Reporter(PluginContext):
    """Logs what it finds in `on_configure`, and in every callback of its streams; sets `decision` if it is configured to."""

    def on_configure(self) -> None:
        report(self, "on_configure")
        try:
            self.properties.set("decision", "early")
        except PhaseError as error:
            _logger.info("refused: %s", error)

    def http_context(self) -> HttpContext[Any]:
        return Reporting(self)


class Reporting(HttpContext[Reporter]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool, /) -> None:
        decision = self.plugin.configuration.json().get("decision")
        if decision is not None:
            self.properties.set("decision", decision)
        report(self.plugin, "on_request_headers")

    def on_request_body(self, body: Body, end_of_stream: bool, /) -> None:
        if end_of_stream:
            report(self.plugin, "on_request_body")

    def on_response_headers(self, headers: Headers, end_of_stream: bool, /) -> None:
        report(self.plugin, "on_response_headers")

    def on_response_body(self, body: Body, end_of_stream: bool, /) -> None:
        report(self.plugin, "on_response_body")

    def on_response_trailers(self, trailers: Headers, /) -> None:
        report(self.plugin, "on_response_trailers")

    def on_log(self) -> None:
        report(self.plugin, "on_log")


class AccessLogger(PluginContext):
    """Logs what it finds as an access logger, which has no streams of its own."""

    def on_log(self) -> None:
        report(self, "on_log")


class Writer(PluginContext):
    """Sets `decision`, and as `downstream_peer` what Istio's peer metadata filter would know of the client."""

    def on_configure(self) -> None:
        self.foreign_functions.declare_property("downstream_peer", type=PropertyType.PROTOBUF, schema=STRUCT)

    def http_context(self) -> HttpContext[Any]:
        return Writing(self)


class Writing(HttpContext[Writer]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool, /) -> None:
        peer = self.plugin.configuration.json()["peer"]
        self.properties.set("decision", "allowed")
        self.properties.set("downstream_peer", struct(peer))


def struct(fields: dict[str, str | dict[str, str]]) -> bytes:
    """A `google.protobuf.Struct` of texts, and of further such structures."""
    entries: list[tuple[int, bytes]] = []
    for key, content in fields.items():
        value = encode((3, content)) if isinstance(content, str) else encode((5, struct({**content})))
        entries.append((1, encode((1, key), (2, value))))
    return encode(*entries)
