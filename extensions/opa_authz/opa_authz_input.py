"""What OPA is asked: one request, as the OPA-Envoy plugin tells it or as istio-ecosystem's filter does.

The input "envoy" is Envoy's `CheckRequest` as the plugin turns it into JSON (envoyauth/protomap.go: names in camel case, fields that are not set left out), with
what the plugin adds (envoyauth/request.go). What Envoy puts into a `CheckRequest`: source/extensions/filters/common/ext_authz/check_request_utils.cc.
"""

import json
from typing import TYPE_CHECKING, Any

from opa_authz_body import parsed_body
from opa_authz_encoding import EncodingError, parsed_parameters, parsed_path, sanitized, text_of

from proxy_wasm import Properties

if TYPE_CHECKING:
    from opa_authz_cache import Key
    from opa_authz_config import Settings

PARTIAL_BODY = "x-envoy-auth-partial-body"
_VERSION = {"ext_authz": "v3", "encoding": "protojson"}


class BadRequest(Exception):  # noqa: N818 - a decision, not an error
    """The request is malformed, and denied without asking; the message goes to the response code details."""


class Question:
    """A request, as far as anything is to be known of it; properties are read when they are first needed."""

    __slots__ = ("_known", "_properties", "_values", "body", "is_truncated", "key")

    def __init__(self, headers: list[tuple[str, str]], properties: Properties) -> None:
        """From headers as the SDK has them, all values of repeated ones included, with names in lower case."""
        self._properties = properties
        self._known: dict[str, str] = {}
        self._values: dict[str, str | tuple[str, ...]] = dict(headers)
        if len(self._values) != len(headers):
            for name in self._values:
                self._values[name] = tuple([value for other, value in headers if other == name])
        self.body: bytes | None = None
        """The body, as far as it is part of the question; `None` where it is none."""
        self.is_truncated = False
        """Whether there is more of the body."""
        self.key: Key | None = None
        """What the decision is kept by."""

    def values(self, name: str) -> tuple[str, ...]:
        """All values of a header, by its name in lower case."""
        values = self._values.get(name, ())
        return (values,) if isinstance(values, str) else values

    def text(self, name: str) -> str:
        """The first value of a header; empty where there is none."""
        values = self.values(name)
        return sanitized(values[0]) if values else ""

    @property
    def is_upgrade(self) -> bool:
        """Whether it opens a WebSocket or tunnel: what follows its headers then is no body, and does not come before they are answered.

        Envoy's ext_authz goes by the same (source/common/http/utility.cc, `isWebSocketUpgradeRequest` and `isH2UpgradeRequest`).
        """
        if self.text(":method") == "CONNECT":
            return True
        tokens = [token.strip() for value in self.values("connection") for token in value.lower().split(",")]
        return "upgrade" in tokens and self.text("upgrade").lower() == "websocket"

    @property
    def headers(self) -> dict[str, str]:
        """Headers by name, several values joined, as Envoy has them in a `CheckRequest`."""
        joined = {
            sanitized(name): sanitized(values if isinstance(values, str) else ",".join(values))
            for name, values in self._values.items()
        }
        # A client's would say how much Envoy has read.
        joined.pop(PARTIAL_BODY, None)
        if self.body is not None:
            joined[PARTIAL_BODY] = "true" if self.is_truncated else "false"
        return joined

    @property
    def source_principal(self) -> str:
        """The client's identity by its certificate: URI, DNS name or subject, in this order; empty where it presented none."""
        if "source_principal" not in self._known:
            connection = self._properties.connection
            principal = connection.mtls and (
                connection.uri_san_peer_certificate
                or connection.dns_san_peer_certificate
                or connection.subject_peer_certificate
            )
            self._known["source_principal"] = sanitized(principal or "")
        return self._known["source_principal"]

    @property
    def uri_principal(self) -> str:
        """The client's URI alone, which istio-ecosystem's filter asks with."""
        return sanitized(self._properties.connection.uri_san_peer_certificate or "")

    @property
    def destination_principal(self) -> str:
        """The proxy's identity by its certificate; empty where the connection is not TLS."""
        connection = self._properties.connection
        if not connection.tls_version:
            return ""
        return sanitized(
            connection.uri_san_local_certificate
            or connection.dns_san_local_certificate
            or connection.subject_local_certificate
            or ""
        )

    @property
    def source_host(self) -> str:
        """The client's address without its port."""
        return _host_and_port(self._properties.source.address or "")[0]

    @property
    def sni(self) -> str:
        """The server name that the client asked for."""
        return sanitized(self._properties.connection.requested_server_name or "")

    def metadata_text(self, namespace: str) -> str:
        """The dynamic metadata of a namespace as JSON."""
        return json.dumps(self._properties.metadata[namespace], sort_keys=True)

    # The documents

    def envoy_input(self, settings: "Settings") -> str:
        """The JSON of the OPA-Envoy plugin's input; raises `BadRequest`, where the plugin answers with 400."""
        path, headers = self.text(":path"), self.headers
        try:
            segments = parsed_path(path)
            query = parsed_parameters(path.partition("?")[2])
        except EncodingError as error:
            raise BadRequest(f"the path is malformed: {error}") from None
        body = "" if self.body is None else text_of(self.body)
        try:
            parsed, is_truncated = parsed_body(headers, body)
        except EncodingError as error:
            raise BadRequest(str(error)) from None
        document: dict[str, Any] = {
            "attributes": self._attributes(settings, path, headers, body),
            "parsed_path": segments,
            "parsed_query": query,
            "truncated_body": is_truncated,
            "version": _VERSION,
        }
        if self.source_principal:
            document["source_principal"] = self.source_principal
        return f'{json.dumps(document)[:-1]}, "parsed_body": {parsed}}}'

    def istio_input(self) -> str:
        """The JSON of istio-ecosystem's input."""
        return json.dumps(
            {
                "source_principal": self.uri_principal,
                "destination_workload": sanitized(self._properties.workload.workload_name or ""),
                "request_method": self.text(":method"),
                "request_url_path": self.text(":path").partition("?")[0],
            }
        )

    def _attributes(self, settings: "Settings", path: str, headers: dict[str, str], body: str) -> dict[str, Any]:
        properties = self._properties
        source = _peer(properties.source.address, self.source_principal)
        if service := self.text("x-envoy-downstream-service-cluster"):
            source["service"] = service
        attributes: dict[str, Any] = {
            "source": source,
            "destination": _peer(properties.destination.address, self.destination_principal),
            "request": {"http": self._http(settings, path, headers, body)},
            "metadataContext": self._metadata(settings),
            "routeMetadataContext": {},
        }
        if time := _time(properties):
            attributes["request"]["time"] = time
        if settings.context_extensions:
            attributes["contextExtensions"] = settings.context_extensions
        if self.sni:
            attributes["tlsSession"] = {"sni": self.sni}
        return attributes

    def _http(self, settings: "Settings", path: str, headers: dict[str, str], body: str) -> dict[str, Any]:
        sent = {
            name: value
            for name, value in headers.items()
            if name == PARTIAL_BODY or (name in settings.include_headers and name not in settings.exclude_headers)
        }
        fields = {
            "id": self.text("x-request-id"),
            "method": self.text(":method"),
            "headers": sent,
            "path": path,
            "host": self.text(":authority"),
            "scheme": self.text(":scheme"),
            "size": len(body.encode()),
            "protocol": self._properties.request.protocol or "",
            "body": body,
        }
        return {name: value for name, value in fields.items() if value}

    def _metadata(self, settings: "Settings") -> dict[str, Any]:
        if not settings.metadata_namespaces:
            return {}
        metadata = self._properties.metadata
        found = {name: metadata[name] for name in settings.metadata_namespaces if name in metadata}
        return {"filterMetadata": found} if found else {}


def _peer(address: str | None, principal: str) -> dict[str, Any]:
    peer: dict[str, Any] = {}
    if address:
        host, port = _host_and_port(address)
        if port is None:
            peer["address"] = {"pipe": {"path": host}}
        else:
            peer["address"] = {"socketAddress": {"address": host, "portValue": port}}
    if principal:
        peer["principal"] = principal
    return peer


def _host_and_port(address: str) -> tuple[str, int | None]:
    """Both parts of an address such as `10.0.0.1:50000` or `[::1]:50000`; no port where it is a socket in the file system."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        return address, None
    return host.removeprefix("[").removesuffix("]"), int(port)


def _time(properties: Properties) -> dict[str, int]:
    time = properties.request.time
    if time is None:
        return {}
    seconds = int(time.timestamp())
    parts = {"seconds": seconds, "nanos": time.microsecond * 1000}
    return {name: value for name, value in parts.items() if value}
