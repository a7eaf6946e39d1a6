"""Filters whose configuration Envoy reads from a file, and reads again whenever another takes the file's place (ECDS).

A file holds the configuration of one filter: Envoy refuses updates with any other number of them. The file must be there when Envoy starts. Envoy looks
for files that are moved to its place, not for changes inside, since only moves are atomic; so whoever writes it writes aside and renames. While
an update is not valid, for instance because the plugin refuses its configuration, the filter goes on as it was before.
"""

from pathlib import Path

from proxy_wasm.envoy.configuration import Json, WasmFilter

_TYPE = "@type"
_WASM_TYPES = "type.googleapis.com/envoy.extensions.filters.{}.wasm.v3.Wasm"


def extension_update(name: str, version: str, configured: WasmFilter, *, network: bool = False) -> Json:
    """The content of the file from which the filter `name` gets its configuration; `version` is what Envoy shows of it."""
    entry = configured.to_network_json() if network else configured.to_json()
    resource: Json = {
        _TYPE: "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": name,
        "typed_config": entry["typed_config"],
    }
    return {"version_info": version, "resources": [resource]}


def discovered_filter(name: str, file: Path, *, watched_directory: Path | None = None, network: bool = False) -> Json:
    """The entry of `http_filters`, or of a filter chain's `filters`, of a filter whose configuration is in `file`.

    With `watched_directory`, Envoy reads the file again when anything is moved into that folder; so a ConfigMap of Kubernetes is watched, whose files
    are links that never change themselves.
    """
    source: Json = {"path": str(file)}
    if watched_directory is not None:
        source["watched_directory"] = {"path": str(watched_directory)}
    return {
        "name": name,
        "config_discovery": {
            "config_source": {"resource_api_version": "V3", "path_config_source": source},
            "type_urls": [_WASM_TYPES.format("network" if network else "http")],
        },
    }
