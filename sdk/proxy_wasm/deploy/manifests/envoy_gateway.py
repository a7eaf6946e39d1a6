"""Envoy Gateway's EnvoyExtensionPolicy (gateway.envoyproxy.io/v1alpha1).

Fields: https://gateway.envoyproxy.io/docs/api/extension_types/#envoyextensionpolicy.
"""

from collections.abc import Iterator

from proxy_wasm.deploy.errors import OptionError
from proxy_wasm.deploy.manifests.deployment import GATEWAY_API, Deployment
from proxy_wasm.deploy.manifests.structure import LARGEST_INTEGER, as_object
from proxy_wasm.emulator import FailurePolicy
from proxy_wasm.envoy.configuration import Json

_IMAGE = "oci://"


def extension_policy(deployment: Deployment) -> Json:
    """The policy with one Wasm extension."""
    if deployment.fail_strategy is FailurePolicy.RELOAD:
        raise OptionError("--fail-strategy reload: an EnvoyExtensionPolicy has open and closed")
    wasm: Json = {"name": deployment.name, "code": _code(deployment)}
    if deployment.root_id is not None:
        wasm["rootID"] = deployment.root_id
    configuration = as_object(deployment.configuration, "an EnvoyExtensionPolicy", LARGEST_INTEGER)
    if configuration is not None:
        wasm["config"] = configuration
    if deployment.fail_strategy is not None:
        wasm["failOpen"] = deployment.fail_strategy is FailurePolicy.OPEN
    if deployment.host_environment:
        wasm["env"] = {"hostKeys": list(deployment.host_environment)}
    metadata: Json = {"name": deployment.name}
    if deployment.namespace is not None:
        metadata["namespace"] = deployment.namespace
    return {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyExtensionPolicy",
        "metadata": metadata,
        "spec": {"targetRefs": list(_targets(deployment)), "wasm": [wasm]},
    }


def _targets(deployment: Deployment) -> Iterator[Json]:
    for each in deployment.targets:
        if each.group != GATEWAY_API or each.kind == "GatewayClass":
            raise OptionError(
                f"--target {each}: an EnvoyExtensionPolicy is attached to Gateways, ListenerSets and routes"
            )
        section: Json = {"sectionName": each.section} if each.section else {}
        yield {"group": each.group, "kind": each.kind, "name": each.name, **section}


def _code(deployment: Deployment) -> Json:
    if deployment.pull_policy == "Never":
        raise OptionError("--pull-policy Never: is for volumes of images; a policy has IfNotPresent and Always")
    url = deployment.url or ""
    if not url.startswith((_IMAGE, "https://", "http://")):
        raise OptionError(f"--url {url}: Envoy Gateway gets modules from {_IMAGE}, https:// and http://")
    digest: Json = {} if deployment.digest is None else {"sha256": deployment.digest}
    policy: Json = {} if deployment.pull_policy is None else {"pullPolicy": deployment.pull_policy}
    if url.startswith(_IMAGE):
        image: Json = {"url": url.removeprefix(_IMAGE), **digest}
        if deployment.pull_secret is not None:
            image["pullSecretRef"] = {"kind": "Secret", "name": deployment.pull_secret}
        return {"type": "Image", "image": image, **policy}
    if deployment.pull_secret is not None:
        raise OptionError("--pull-secret: is for images; the URL names a module")
    return {"type": "HTTP", "http": {"url": url, **digest}, **policy}
