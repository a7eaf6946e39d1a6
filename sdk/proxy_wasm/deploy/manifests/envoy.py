"""Configurations for a plain Envoy: complete, with one listener in front of one upstream."""

import json
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from proxy_wasm.deploy.errors import OptionError
from proxy_wasm.deploy.manifests.deployment import Deployment
from proxy_wasm.emulator import FailurePolicy
from proxy_wasm.envoy.configuration import Json, RemoteModule, Retries, WasmFilter
from proxy_wasm.envoy.configuration import address as socket_address
from proxy_wasm.envoy.discovery import discovered_filter, extension_update

LISTEN = ("127.0.0.1", 8080)
UPSTREAM = ("127.0.0.1", 9000)

_TYPE = "@type"
_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_UPSTREAM = "upstream"
_MODULES = "wasm-modules"
_CA_FILE = Path("/etc/ssl/certs/ca-certificates.crt")
_PORTS = {"http": 80, "https": 443}


def static(deployment: Deployment) -> Json:
    """An Envoy with the module in a file of its machine."""
    return _bootstrap(deployment, _entry(deployment, _configured(deployment)), [])


def remote(deployment: Deployment) -> Json:
    """An Envoy that fetches the module over HTTP."""
    url = urlsplit(deployment.url or "")
    if url.scheme not in _PORTS or not url.hostname:
        raise OptionError(f"--url {deployment.url}: Envoy fetches modules over http:// and https://")
    if deployment.digest is None:
        raise OptionError("--digest: Envoy fetches only what it knows the SHA-256 of; give it, or the module")
    if deployment.ca_file is not None and url.scheme == "http":
        raise OptionError("--ca-file: is for https:// alone")
    configured = _configured(deployment, _remote_module(deployment, deployment.digest))
    cluster = _cluster(_MODULES, url.hostname, url.port or _PORTS[url.scheme])
    if url.scheme == "https":
        cluster["transport_socket"] = _tls(url.hostname, deployment.ca_file or _CA_FILE)
    return _bootstrap(deployment, _entry(deployment, configured), [cluster])


def subscriber(deployment: Deployment) -> Json:
    """An Envoy that reads the filter's configuration from a file, whenever another takes its place."""
    if deployment.file is None:
        raise OptionError("--file: what Envoy watches; must be given")
    entry = discovered_filter(
        deployment.name,
        deployment.file,
        watched_directory=deployment.watched_directory,
        network=deployment.network,
    )
    # Envoy wants to know its own name where it reads parts of its configuration from elsewhere.
    return {"node": {"id": deployment.name, "cluster": deployment.name}, **_bootstrap(deployment, entry, [])}


def extension_file(deployment: Deployment) -> Json:
    """What an Envoy of `subscriber` reads; its version is the hash of the module and of all that is said here."""
    update = extension_update(deployment.name, "", _configured(deployment), network=deployment.network)
    content = json.dumps([deployment.sha256, update], sort_keys=True).encode()
    return {**update, "version_info": sha256(content).hexdigest()}


def _configured(deployment: Deployment, source: RemoteModule | None = None) -> WasmFilter:
    return WasmFilter(
        deployment.filename or Path(),
        deployment.configuration,
        deployment.vm_configuration,
        root_id=deployment.root_id or "",
        name=deployment.name,
        vm_id=deployment.vm_id or "",
        failure_policy=deployment.fail_strategy or FailurePolicy.CLOSED,
        environment=deployment.environment,
        allow_on_headers_stop_iteration=deployment.allow_on_headers_stop_iteration,
        capabilities=deployment.capabilities,
        host_environment=deployment.host_environment,
        remote=source,
    )


def _remote_module(deployment: Deployment, sha256: str) -> RemoteModule:
    retries = None
    if deployment.retries is not None:
        interval = 1.0 if deployment.retry_interval is None else deployment.retry_interval
        retries = Retries(deployment.retries, interval, deployment.longest_retry_interval)
    elif (deployment.retry_interval, deployment.longest_retry_interval) != (None, None):
        raise OptionError("--retries: must be given with --retry-interval and --longest-retry-interval")
    return RemoteModule(
        deployment.url or "",
        sha256,
        _MODULES,
        timeout=30.0 if deployment.fetch_timeout is None else deployment.fetch_timeout,
        retries=retries,
    )


def _entry(deployment: Deployment, configured: WasmFilter) -> Json:
    entry = configured.to_network_json() if deployment.network else configured.to_json()
    return {**entry, "name": deployment.name}


def _bootstrap(deployment: Deployment, entry: Json, clusters: list[Json]) -> Json:
    last = _tcp_proxy(entry) if deployment.network else _http_manager(entry)
    listener: Json = {
        "name": "main",
        "address": socket_address(*(deployment.listen or LISTEN)),
        "filter_chains": [{"filters": last}],
    }
    upstream = _cluster(_UPSTREAM, *(deployment.upstream or UPSTREAM))
    return {"static_resources": {"listeners": [listener], "clusters": [upstream, *clusters]}}


def _http_manager(entry: Json) -> list[Json]:
    """Paths are normalized, so that the upstream sees what filters judge."""
    router: Json = {
        "name": "envoy.filters.http.router",
        "typed_config": {_TYPE: f"{_EXTENSIONS}.filters.http.router.v3.Router"},
    }
    route: Json = {"match": {"prefix": "/"}, "route": {"cluster": _UPSTREAM}}
    manager: Json = {
        _TYPE: f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [entry, router],
    }
    return [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]


def _tcp_proxy(entry: Json) -> list[Json]:
    proxy: Json = {
        _TYPE: f"{_EXTENSIONS}.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp",
        "cluster": _UPSTREAM,
    }
    return [entry, {"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]


def _cluster(name: str, host: str, port: int) -> Json:
    endpoint: Json = {"endpoint": {"address": socket_address(host, port)}}
    return {
        "name": name,
        "type": "STATIC" if _is_address(host) else "STRICT_DNS",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _tls(host: str, ca_file: Path) -> Json:
    """TLS to a server with a certificate for `host`."""
    kind = "IP_ADDRESS" if _is_address(host) else "DNS"
    names: Json = {"san_type": kind, "matcher": {"exact": host}}
    context: Json = {
        _TYPE: f"{_EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "validation_context": {"trusted_ca": {"filename": str(ca_file)}, "match_typed_subject_alt_names": [names]}
        },
    }
    if kind == "DNS":
        context["sni"] = host
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}
