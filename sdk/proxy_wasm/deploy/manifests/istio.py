"""Istio's WasmPlugin (extensions.istio.io/v1alpha1), and Higress's, which has grown out of it.

Fields: https://istio.io/latest/docs/reference/config/proxy_extensions/wasm-plugin/ and https://higress.cn/en/docs/latest/user/plugins/intro/.
"""

from collections.abc import Iterator

from proxy_wasm.deploy.errors import OptionError
from proxy_wasm.deploy.manifests.deployment import Deployment
from proxy_wasm.deploy.manifests.structure import as_object
from proxy_wasm.emulator import FailurePolicy
from proxy_wasm.envoy.configuration import Json

STRATEGIES = {
    FailurePolicy.CLOSED: "FAIL_CLOSE",
    FailurePolicy.OPEN: "FAIL_OPEN",
    FailurePolicy.RELOAD: "FAIL_RELOAD",
}
_TARGET_KINDS = ("Gateway", "GatewayClass", "Service", "ServiceEntry")


def wasm_plugin(deployment: Deployment) -> Json:
    """Istio's resource."""
    if deployment.selector and deployment.targets:
        raise OptionError("--selector, --target: a WasmPlugin has the one or the other")
    spec: Json = {}
    if deployment.selector:
        spec["selector"] = {"matchLabels": dict(deployment.selector)}
    if deployment.targets:
        spec["targetRefs"] = list(_targets(deployment))
    spec |= _common(deployment)
    if deployment.network:
        spec["type"] = "NETWORK"
    if deployment.fail_strategy is not None:
        spec["failStrategy"] = STRATEGIES[deployment.fail_strategy]
    configuration = as_object(deployment.configuration, "Istio's pluginConfig")
    if configuration is not None:
        spec["pluginConfig"] = configuration
    if environment := _environment(deployment):
        spec["vmConfig"] = {"env": environment}
    if deployment.match:
        spec["match"] = [_match(each.mode, each.ports) for each in deployment.match]
    return _resource("extensions.istio.io/v1alpha1", deployment, spec)


def higress_plugin(deployment: Deployment) -> Json:
    """Higress's resource.

    Its `matchRules` are left out: they reach the plugin as a part of its configuration (`_rules_`), for SDKs that go by them.
    """
    spec = _common(deployment)
    configuration = as_object(deployment.configuration, "Higress's defaultConfig")
    if configuration is not None:
        spec["defaultConfig"] = configuration
    return _resource("extensions.higress.io/v1alpha1", deployment, spec)


def _common(deployment: Deployment) -> Json:
    """The fields that both have."""
    if deployment.pull_policy == "Never":
        raise OptionError("--pull-policy Never: is for volumes of images; a WasmPlugin has IfNotPresent and Always")
    spec: Json = {"url": deployment.url}
    optional = {
        "sha256": deployment.digest,
        "imagePullPolicy": deployment.pull_policy,
        "imagePullSecret": deployment.pull_secret,
        "pluginName": deployment.root_id,
        "phase": deployment.phase,
        "priority": deployment.priority,
    }
    return spec | {name: value for name, value in optional.items() if value is not None}


def _targets(deployment: Deployment) -> Iterator[Json]:
    for each in deployment.targets:
        if each.kind not in _TARGET_KINDS or each.section:
            kinds = ", ".join(_TARGET_KINDS)
            raise OptionError(
                f"--target {each}: a WasmPlugin is attached to resources of the kinds {kinds}, as a whole"
            )
        yield {"group": each.group, "kind": each.kind, "name": each.name}


def _environment(deployment: Deployment) -> list[Json]:
    return [
        *({"name": name, "value": value} for name, value in deployment.environment.items()),
        *({"name": name, "valueFrom": "HOST"} for name in deployment.host_environment),
    ]


def _match(mode: str, ports: tuple[int, ...]) -> Json:
    numbers: Json = {"ports": [{"number": port} for port in ports]} if ports else {}
    return {"mode": mode, **numbers}


def _resource(api_version: str, deployment: Deployment, spec: Json) -> Json:
    metadata: Json = {"name": deployment.name}
    if deployment.namespace is not None:
        metadata["namespace"] = deployment.namespace
    return {"apiVersion": api_version, "kind": "WasmPlugin", "metadata": metadata, "spec": spec}
