"""The peers: what each needs to be there, and how Envoy is told to have it do a work."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.modules import FILTERS, Modules
from benchmarks.peers.works import Work

from proxy_wasm.envoy import WasmFilter
from proxy_wasm.envoy.configuration import Json

NONE, PYTHON, LUA, GO, C, NATIVE = "none", "python", "lua", "go", "c", "native"
EXT_AUTHZ, EXT_PROC = "ext_authz", "ext_proc"
MAX_BODY = 4 << 20
"""Bytes that the proxies hold of a request."""

_FILTERS = "type.googleapis.com/envoy.extensions.filters.http"
_BASIC_AUTH = {
    "basic_auth_rules": [{"prefix": "/", "request_methods": ["GET"], "credentials": ["alice:secret"]}],
    "forward_username_header": "x-user",
}
_HTPASSWD = "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="


@dataclass(frozen=True, slots=True)
class Peer:
    """Something that does the works, or none of them."""

    name: str
    title: str
    filters: Callable[[Work, Modules], list[Json]]
    """The entries of an HTTP connection manager's `http_filters` for a work."""
    packages: tuple[str, ...] = ()
    """The Python packages that it needs, by what they are imported as."""
    program: str = ""
    """The program that it needs."""
    server: str = ""
    """The program in `servers` that Envoy asks."""

    @property
    def absence(self) -> str:
        """Why it cannot be measured here; empty where it can."""
        if self.program and not shutil.which(self.program):
            return f"{self.program} is not installed"
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if not missing:
            return ""
        verb = "is" if len(missing) == 1 else "are"
        return f"the package{'s' * (len(missing) > 1)} {', '.join(missing)} {verb} not installed"


def _no_filter(_work: Work, _modules: Modules) -> list[Json]:
    return []


def _python(work: Work, modules: Modules) -> list[Json]:
    configuration = json.dumps(_BASIC_AUTH).encode() if work.name == "basic_auth" else None
    return [_wasm(PYTHON, work, modules.of(PYTHON, work.folder), configuration)]


def _go(work: Work, modules: Modules) -> list[Json]:
    configuration = json.dumps(_BASIC_AUTH).encode() if work.name == "basic_auth" else None
    return [_wasm(GO, work, modules.of(GO, work.folder), configuration)]


def _c(work: Work, modules: Modules) -> list[Json]:
    configuration = b"alice:secret" if work.name == "basic_auth" else None
    return [_wasm(C, work, modules.of(C, work.folder), configuration)]


def _wasm(peer: str, work: Work, module: Path, configuration: bytes | None) -> Json:
    name = f"{peer}-{work.folder}"
    return WasmFilter(module, configuration, name=name, vm_id=name).to_json()


def _lua(work: Work, _modules: Modules) -> list[Json]:
    source = (FILTERS / "lua" / f"{work.folder}.lua").read_text("utf-8")
    return [_filter("lua", "Lua", {"default_source_code": {"inline_string": source}})]


def _native(_work: Work, _modules: Modules) -> list[Json]:
    return [
        _filter(
            "basic_auth",
            "BasicAuth",
            {"users": {"inline_string": _HTPASSWD}, "forward_username_header": "x-user"},
        )
    ]


def _ext_authz(work: Work, _modules: Modules) -> list[Json]:
    everything = {"patterns": [{"safe_regex": {"regex": ".*"}}]}
    upstream = {"patterns": [{"exact": "x-size"}, {"exact": "x-user"}]}
    service: Json = {
        "server_uri": {"uri": "http://ext_authz", "cluster": EXT_AUTHZ, "timeout": "10s"},
        "path_prefix": f"/{work.name}",
        "authorization_response": {"allowed_upstream_headers": upstream},
    }
    config: Json = {"transport_api_version": "V3", "http_service": service, "allowed_headers": everything}
    return [_filter("ext_authz", "ExtAuthz", config)]


def _ext_proc(work: Work, _modules: Modules) -> list[Json]:
    mode: Json = {
        "request_header_mode": "SEND",
        "response_header_mode": "SKIP",
        "request_body_mode": "BUFFERED" if work.has_body else "NONE",
        "response_body_mode": "NONE",
        "request_trailer_mode": "SKIP",
        "response_trailer_mode": "SKIP",
    }
    service: Json = {
        "envoy_grpc": {"cluster_name": EXT_PROC, "max_receive_message_length": MAX_BODY},
        "timeout": "10s",
        "initial_metadata": [{"key": "x-work", "value": work.name}],
    }
    config: Json = {"grpc_service": service, "processing_mode": mode, "message_timeout": "10s"}
    return [_filter("ext_proc", "ExternalProcessor", config)]


def _filter(name: str, message: str, config: Json) -> Json:
    typed = {"@type": f"{_FILTERS}.{name}.v3.{message}", **config}
    return {"name": f"envoy.filters.http.{name}", "typed_config": typed}


PEERS = {
    peer.name: peer
    for peer in (
        Peer(NONE, "no filter", _no_filter),
        Peer(PYTHON, "Python filter", _python),
        Peer(LUA, "Lua filter", _lua),
        Peer(GO, "Go filter", _go, program="go"),
        Peer(C, "C filter", _c, packages=("ziglang",)),
        Peer(NATIVE, "Envoy's own filter", _native),
        Peer(EXT_AUTHZ, "ext_authz, aiohttp", _ext_authz, ("aiohttp", "uvloop"), server="ext_authz_server.py"),
        Peer(EXT_PROC, "ext_proc, grpc.aio", _ext_proc, ("grpc", "grpc_tools"), server="ext_proc_server.py"),
    )
}
