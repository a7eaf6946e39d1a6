"""A patch for Pods that mounts an image as a volume, so that all proxies of a node share one copy of the module.

* Kubernetes' own image volumes: https://kubernetes.io/docs/concepts/storage/volumes/#image.
* The older way, an ephemeral volume of a CSI driver: https://github.com/warm-metal/container-image-csi-driver.

It is a strategic merge patch: Kubernetes merges containers, their mounts and volumes by their names. Where the proxy is a sidecar that Istio adds to a Pod, annotations
take its place (https://istio.io/latest/docs/reference/config/annotations/).
"""

import json

from proxy_wasm.deploy.errors import OptionError
from proxy_wasm.deploy.manifests.deployment import Deployment
from proxy_wasm.envoy.configuration import Json

CSI_DRIVER = "container-image.csi.k8s.io"
"""What recent versions of the CSI driver call themselves."""
CONTAINER = "istio-proxy"

_MOUNT_PATH = "/var/local/proxy-wasm"
_IMAGE = "oci://"
_TEMPLATES = ("Deployment", "DaemonSet", "StatefulSet")
_API_VERSIONS = {"Pod": "v1", **dict.fromkeys(_TEMPLATES, "apps/v1")}


def pod_patch(deployment: Deployment) -> Json:
    """The patch: of a Pod, unless a workload with a template of Pods is named."""
    volume = _csi_volume(deployment) if deployment.csi_driver is not None else _image_volume(deployment)
    name = _volume_name(deployment)
    mount: Json = {"mountPath": deployment.mount_path or f"{_MOUNT_PATH}/{deployment.name}", "readOnly": True}
    if deployment.istio_sidecar:
        pod = _annotated(deployment, {name: volume}, {name: mount})
    else:
        container: Json = {"name": deployment.container or CONTAINER, "volumeMounts": [{"name": name, **mount}]}
        pod: Json = {"spec": {"containers": [container], "volumes": [{"name": name, **volume}]}}
        if deployment.pull_secret is not None and deployment.csi_driver is None:
            pod["spec"]["imagePullSecrets"] = [{"name": deployment.pull_secret}]
    return _wrapped(deployment, pod)


def _volume_name(deployment: Deployment) -> str:
    """Names of volumes are DNS labels."""
    return f"wasm-{deployment.name}".replace(".", "-").replace("_", "-").lower()[:63].rstrip("-")


def _reference(deployment: Deployment) -> str:
    url = deployment.url or ""
    if not url.startswith(_IMAGE):
        raise OptionError(f"--url {url}: volumes are made of images: {_IMAGE}REGISTRY/NAME:TAG")
    reference = url.removeprefix(_IMAGE)
    if deployment.digest is None or "@" in reference:
        return reference
    return f"{reference}@sha256:{deployment.digest}"


def _image_volume(deployment: Deployment) -> Json:
    image: Json = {"reference": _reference(deployment)}
    if deployment.pull_policy is not None:
        image["pullPolicy"] = deployment.pull_policy
    return {"image": image}


def _csi_volume(deployment: Deployment) -> Json:
    attributes: Json = {"image": _reference(deployment)}
    if deployment.pull_policy == "Never":
        raise OptionError("--pull-policy Never: the CSI driver has IfNotPresent and Always")
    if deployment.pull_policy == "Always":
        attributes["pullAlways"] = "true"
    if deployment.pull_secret is not None:
        attributes["secret"] = deployment.pull_secret
    return {"csi": {"driver": deployment.csi_driver, "readOnly": True, "volumeAttributes": attributes}}


def _annotated(deployment: Deployment, volumes: Json, mounts: Json) -> Json:
    if deployment.container is not None:
        raise OptionError("--container, --istio-sidecar: the sidecar is the container")
    if deployment.pull_secret is not None and deployment.csi_driver is None:
        raise OptionError("--pull-secret, --istio-sidecar: the Pod's own imagePullSecrets are for its image volumes")
    annotations = {
        "sidecar.istio.io/userVolume": json.dumps(volumes),
        "sidecar.istio.io/userVolumeMount": json.dumps(mounts),
    }
    return {"metadata": {"annotations": annotations}}


def _wrapped(deployment: Deployment, pod: Json) -> Json:
    workload = deployment.workload
    if workload is None:
        return pod
    if workload.kind not in _API_VERSIONS:
        raise OptionError(f"--workload {workload.kind}/{workload.name}: kinds are {', '.join(_API_VERSIONS)}")
    metadata: Json = {"name": workload.name}
    if deployment.namespace is not None:
        metadata["namespace"] = deployment.namespace
    head: Json = {"apiVersion": _API_VERSIONS[workload.kind], "kind": workload.kind, "metadata": metadata}
    if workload.kind in _TEMPLATES:
        return {**head, "spec": {"template": pod}}
    head["metadata"] = {**metadata, **pod.pop("metadata", {})}
    return {**head, **pod}
