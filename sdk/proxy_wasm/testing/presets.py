"""What a proxy knows of streams in usual surroundings: properties for `start_proxy(properties=...)` or one request.

    proxy = start_proxy(properties=presets.istio_sidecar(workload="cart", namespace="shop") | {"source.address": "10.0.0.9:40000"})
    exchange = proxy.get("/", properties=presets.mtls(uri_san="spiffe://cluster.local/ns/shop/sa/web"))

Each preset is a dictionary by dotted path; `|` joins several and overrides single ones. What they hold is what Envoy shows
(source/extensions/filters/common/expr/context.cc), and what Istio 1.24 and later put into the node's metadata
(pkg/model/proxy.go, `NodeMetadata`; pkg/bootstrap) and into the filter state (extensions/common/metadata_object.cc).

The emulator gives them to the filter. In Envoy, properties are those of the real connection and configuration, and these are refused.
"""

from collections.abc import Mapping
from hashlib import sha256
from ssl import PEM_cert_to_DER_cert
from urllib.parse import quote

from proxy_wasm.emulator.properties import Path, Value

INBOUND, OUTBOUND = 1, 2
"""Envoy's traffic directions."""

_DIGEST = "11e5b0dbf8ae1a6e1e9e4d8d8ff9f0bb5a4b7ccd6fe3c1ac9e2bdc2ec3d1f0a5"
_TRUST_DOMAIN = "cluster.local"
_CLUSTER_ID = "Kubernetes"


def plain_http(*, client: str = "127.0.0.1:50000", proxy: str = "127.0.0.1:10000") -> dict[Path, Value]:
    """HTTP without TLS, from address and port of the `client` to those of the `proxy`."""
    return {**_addresses(client, proxy), "connection.mtls": False, "connection.requested_server_name": ""}


def tls(
    *,
    sni: str = "",
    version: str = "TLSv1.3",
    subject: str = "CN=proxy",
    dns_san: str = "",
    uri_san: str = "",
    client: str = "127.0.0.1:50000",
    proxy: str = "127.0.0.1:10443",
) -> dict[Path, Value]:
    """HTTPS from a client without a certificate.

    `sni` is the server name that the client asked for; `subject`, `dns_san` and `uri_san` are those of the proxy's certificate, names that it
    does not have empty.
    """
    known: dict[Path, Value] = {
        **_addresses(client, proxy),
        "connection.mtls": False,
        "connection.requested_server_name": sni,
        "connection.tls_version": version,
        "connection.subject_local_certificate": subject,
        "connection.subject_peer_certificate": "",
    }
    return known | _names("local", dns_san, uri_san)


def mtls(  # noqa: PLR0913 - each is a property of its own, by name
    *,
    uri_san: str = "",
    dns_san: str = "",
    subject: str = "",
    certificate: str = "",
    local_uri_san: str = "",
    local_dns_san: str = "",
    local_subject: str = "",
    sni: str = "",
    version: str = "TLSv1.3",
    client: str = "127.0.0.1:50000",
    proxy: str = "127.0.0.1:10443",
) -> dict[Path, Value]:
    """HTTPS from a client with a certificate, whose names and subject these are.

    Names that it does not have are empty. `certificate` is it in PEM, for filters that look into it themselves; unless given, the filter finds none,
    and the digest of some other. Those that begin with `local_` are of the proxy's certificate.
    """
    known = tls(
        sni=sni,
        version=version,
        subject=local_subject,
        dns_san=local_dns_san,
        uri_san=local_uri_san,
        client=client,
        proxy=proxy,
    )
    known |= {
        "connection.mtls": True,
        "connection.subject_peer_certificate": subject,
        "connection.sha256_peer_certificate_digest": _DIGEST,
    }
    if certificate:
        known["connection.sha256_peer_certificate_digest"] = sha256(PEM_cert_to_DER_cert(certificate)).hexdigest()
        known["connection.peer_certificate"] = quote(certificate, safe="")
    return known | _names("peer", dns_san, uri_san)


def istio_sidecar(  # noqa: PLR0913 - each is a property of its own, by name
    *,
    workload: str,
    namespace: str,
    labels: Mapping[str, str] | None = None,
    service_account: str = "default",
    direction: int = INBOUND,
    port: int = 8080,
    peer: Mapping[str, str] | None = None,
    peer_service_account: str = "default",
    trust_domain: str = _TRUST_DOMAIN,
    istio_version: str = "1.27.0",
) -> dict[Path, Value]:
    """A request that Istio's sidecar of a workload takes in (`INBOUND`, over mutual TLS) or sends out (`OUTBOUND`, plain).

    `labels` are the pod's, `port` the one that the workload listens on, or calls. `peer` is what the sidecar knows of the other end, and is none
    unless given: some of `name`, `namespace`, `workload`, `type`, `cluster`, `service`, `revision`, `app` and `version`, as in
    `self.properties.downstream_peer` of an inbound request, and `upstream_peer` of an outbound one. An inbound peer's certificate is that of
    `peer_service_account` in its namespace.
    """
    pod = f"{workload}-5d4f8c7b9-x2k4q"
    known = _node("sidecar", pod, workload, namespace, labels or {}, service_account, istio_version)
    known["xds.listener_direction"] = direction
    if direction == OUTBOUND:
        known |= plain_http(client="10.0.0.5:50000", proxy=f"10.96.0.1:{port}")
        return known | _peer("upstream_peer", peer)
    known |= mtls(
        uri_san=_identity(trust_domain, (peer or {}).get("namespace", namespace), peer_service_account),
        local_uri_san=_identity(trust_domain, namespace, service_account),
        sni=f"outbound_.{port}_._.{workload}.{namespace}.svc.cluster.local",
        client="10.0.0.9:50000",
        proxy=f"10.0.0.5:{port}",
    )
    known |= {
        "xds.cluster_name": f"inbound|{port}||",
        "xds.route_name": "default",
        "xds.filter_chain_name": "0.0.0.0_" + str(port),
    }
    return known | _peer("downstream_peer", peer)


def istio_gateway(
    *,
    workload: str = "istio-ingressgateway",
    namespace: str = "istio-system",
    labels: Mapping[str, str] | None = None,
    service_account: str = "istio-ingressgateway-service-account",
    host: str = "example.com",
    destination: str = "",
    istio_version: str = "1.27.0",
) -> dict[Path, Value]:
    """A request that comes in through Istio's gateway, over TLS for `host`.

    `labels` are the pod's, unless told those of the gateway that Istio installs. `destination` names the service that the route leads to,
    such as `cart.shop.svc.cluster.local`; unless told, there is none yet.
    """
    own = {"app": "istio-ingressgateway", "istio": "ingressgateway"} if labels is None else labels
    known = _node("router", f"{workload}-7c6b9f5d8-q8z2m", workload, namespace, own, service_account, istio_version)
    known |= tls(sni=host, subject=f"CN={host}", dns_san=host, client="203.0.113.7:50000", proxy="10.0.0.2:8443")
    known |= {"xds.listener_direction": OUTBOUND, "xds.virtual_host_name": f"{host}:443", "xds.route_name": ""}
    if destination:
        known["xds.cluster_name"] = f"outbound|80||{destination}"
    return known


def _addresses(client: str, proxy: str) -> dict[Path, Value]:
    return {
        "source.address": client,
        "source.port": int(client.rpartition(":")[2]),
        "destination.address": proxy,
        "destination.port": int(proxy.rpartition(":")[2]),
    }


def _names(whose: str, dns_san: str, uri_san: str) -> dict[Path, Value]:
    names: dict[Path, Value] = {"dns_san": dns_san, "uri_san": uri_san}
    return {f"connection.{kind}_{whose}_certificate": name for kind, name in names.items() if name}


def _identity(trust_domain: str, namespace: str, service_account: str) -> str:
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"


def _node(
    role: str,
    pod: str,
    workload: str,
    namespace: str,
    labels: Mapping[str, str],
    service_account: str,
    istio_version: str,
) -> dict[Path, Value]:
    metadata: dict[str, Value] = {
        "NAME": pod,
        "NAMESPACE": namespace,
        "WORKLOAD_NAME": workload,
        "OWNER": f"kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/{workload}",
        "LABELS": dict(labels),
        "SERVICE_ACCOUNT": service_account,
        "CLUSTER_ID": _CLUSTER_ID,
        "MESH_ID": _TRUST_DOMAIN,
        "ISTIO_VERSION": istio_version,
        "APP_CONTAINERS": workload if role == "sidecar" else "",
        "INSTANCE_IPS": "10.0.0.5" if role == "sidecar" else "10.0.0.2",
        "PLATFORM_METADATA": {},
    }
    known: dict[Path, Value] = {f"xds.node.metadata.{key}": value for key, value in metadata.items() if value != ""}
    address = metadata["INSTANCE_IPS"]
    known["xds.node.id"] = f"{role}~{address}~{pod}.{namespace}~{namespace}.svc.{_TRUST_DOMAIN}"
    known["xds.node.cluster"] = f"{labels.get('app', workload)}.{namespace}"
    known["xds.node.user_agent_name"] = "envoy"
    return known


def _peer(key: str, peer: Mapping[str, str] | None) -> dict[Path, Value]:
    return {("filter_state", key, name): value for name, value in (peer or {}).items()}
