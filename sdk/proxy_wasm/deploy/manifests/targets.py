"""The platforms that manifests are for, what each can be told, and what it must be."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxy_wasm.deploy.errors import OptionError
from proxy_wasm.deploy.manifests import envoy, envoy_gateway, istio, pods
from proxy_wasm.deploy.manifests.deployment import Deployment
from proxy_wasm.deploy.manifests.structure import LARGEST_INTEGER, arriving, as_object
from proxy_wasm.envoy.configuration import Json


def _as_it_is(configuration: bytes | None) -> bytes | None:
    return configuration


def _through_struct(configuration: bytes | None) -> bytes | None:
    return arriving(as_object(configuration, "the manifest"), empty_is_none=True)


def _through_json(configuration: bytes | None) -> bytes | None:
    return arriving(as_object(configuration, "the manifest", LARGEST_INTEGER), empty_is_none=False)


@dataclass(frozen=True, slots=True)
class Target:
    """A platform."""

    make: Callable[[Deployment], Json]
    takes: frozenset[str]
    """The fields of `Deployment` that it can be told, besides the name."""
    needs: tuple[str, ...] = ()
    """Those that must be there."""
    arriving: Callable[[bytes | None], bytes | None] = _as_it_is
    """What of the configuration arrives at the plugin."""


_PLUGIN = frozenset({"configuration", "root_id", "fail_strategy", "host_environment"})
_IMAGES = frozenset({"url", "digest", "namespace", "pull_policy", "pull_secret"})
_ORDER = frozenset({"phase", "priority"})
_VM = frozenset(
    {"vm_configuration", "vm_id", "environment", "capabilities", "allow_on_headers_stop_iteration", "network"}
)
_AROUND = frozenset({"listen", "upstream"})
_FETCHING = frozenset(
    {
        "url",
        "digest",
        "fetch_timeout",
        "retries",
        "retry_interval",
        "longest_retry_interval",
        "ca_file",
    }
)

TARGETS: dict[str, Target] = {
    "istio": Target(
        istio.wasm_plugin,
        _PLUGIN | _IMAGES | _ORDER | {"selector", "targets", "match", "network", "environment"},
        ("url",),
        _through_struct,
    ),
    "higress": Target(istio.higress_plugin, _IMAGES | _ORDER | {"configuration", "root_id"}, ("url",), _through_struct),
    "envoy-gateway": Target(
        envoy_gateway.extension_policy, _PLUGIN | _IMAGES | {"targets"}, ("url", "targets"), _through_json
    ),
    "envoy": Target(envoy.static, _PLUGIN | _VM | _AROUND | {"filename"}, ("filename",)),
    "envoy-remote": Target(envoy.remote, _PLUGIN | _VM | _AROUND | _FETCHING, ("url",)),
    "envoy-ecds": Target(envoy.extension_file, _PLUGIN | _VM | {"filename"}, ("filename",)),
    "envoy-subscriber": Target(envoy.subscriber, _AROUND | {"file", "watched_directory", "network"}, ("file",)),
    "pod-volume": Target(
        pods.pod_patch,
        _IMAGES | {"workload", "container", "mount_path", "csi_driver", "istio_sidecar"},
        ("url",),
    ),
}
"""Every platform, by its name on the command line."""

OPTIONS = {
    "configuration": "--config",
    "environment": "--env",
    "host_environment": "--host-env",
    "capabilities": "--capability",
    "targets": "--target",
    "vm_configuration": "--vm-config",
}
"""The command's options whose names are not those of the fields."""


def option_of(field: str) -> str:
    """The option of the command by which a field is given."""
    return OPTIONS.get(field, f"--{field.replace('_', '-')}")


def manifest(target: str, deployment: Deployment) -> Json:
    """The manifest for a platform.

    Raises `OptionError` where the platform has nothing like what the deployment asks for, or needs what it does not say.
    """
    platform = TARGETS[target]
    for field in Deployment.__dataclass_fields__:
        value: Any = getattr(deployment, field)
        if field in ("name", "sha256") or field in platform.takes or value in (None, (), {}, False):
            continue
        others = ", ".join(name for name, each in TARGETS.items() if field in each.takes)
        raise OptionError(f"{option_of(field)}: --for {target} has nothing like it; {others} have")
    for field in platform.needs:
        if not getattr(deployment, field):
            raise OptionError(f"{option_of(field)}: must be given with --for {target}")
    return platform.make(deployment)
