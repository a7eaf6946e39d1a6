"""Manifests for Kubernetes, by the schemas that the platforms publish: every option, and no field that is not there."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import pytest
from jsonschema import Draft202012Validator

from proxy_wasm.deploy.manifests import TARGETS
from proxy_wasm.deploy.manifests.targets import option_of

if TYPE_CHECKING:
    from conftest import Manifest, SchemaOf, WriteManifest

DIGEST = "5" * 64
IMAGE = ["--url", "oci://registry.example.com/filters/shop:1.0"]
CONFIGURATION = {"rules": [{"prefix": "/admin", "limit": 5, "share": 0.5, "text": "1e3\n"}], "on": True, "none": None}
TARGET_LISTENER = ["--target", "Gateway/main/https"]

Cases: TypeAlias = dict[str, tuple[list[str], dict[str, Any]]]
"""Options, and what the specification has because of them."""

ISTIO: Cases = {
    "nothing more": ([], {"url": IMAGE[1]}),
    "for some Pods": (
        [
            *("--selector", "app=cart", "--selector", "tier=web"),
            *("--digest", f"sha256:{DIGEST}", "--pull-policy", "Always", "--pull-secret", "registry"),
            *("--phase", "AUTHZ", "--priority", "-3", "--root-id", "audit", "--fail-strategy", "closed"),
            *("--env", "A=1=2", "--env", "EMPTY=", "--host-env", "TOKEN"),
            *("--match", "SERVER:8080,8443", "--match", "CLIENT"),
        ],
        {
            "selector": {"matchLabels": {"app": "cart", "tier": "web"}},
            "sha256": DIGEST,
            "imagePullPolicy": "Always",
            "imagePullSecret": "registry",
            "phase": "AUTHZ",
            "priority": -3,
            "pluginName": "audit",
            "failStrategy": "FAIL_CLOSE",
            "vmConfig": {
                "env": [
                    {"name": "A", "value": "1=2"},
                    {"name": "EMPTY", "value": ""},
                    {"name": "TOKEN", "valueFrom": "HOST"},
                ]
            },
            "match": [{"mode": "SERVER", "ports": [{"number": 8080}, {"number": 8443}]}, {"mode": "CLIENT"}],
        },
    ),
    "for resources": (
        [
            *("--target", "Gateway/main", "--target", "Service/cart"),
            *("--target", "ServiceEntry/x", "--target", "GatewayClass/y"),
            *("--network", "--fail-strategy", "open", "--priority", "0", "--phase", "STATS"),
        ],
        {
            "targetRefs": [
                {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "main"},
                {"group": "", "kind": "Service", "name": "cart"},
                {"group": "networking.istio.io", "kind": "ServiceEntry", "name": "x"},
                {"group": "gateway.networking.k8s.io", "kind": "GatewayClass", "name": "y"},
            ],
            "type": "NETWORK",
            "failStrategy": "FAIL_OPEN",
            "priority": 0,
            "phase": "STATS",
        },
    ),
    "reload": (
        ["--fail-strategy", "reload", "--phase", "AUTHN", "--pull-policy", "IfNotPresent"],
        {"failStrategy": "FAIL_RELOAD", "phase": "AUTHN", "imagePullPolicy": "IfNotPresent"},
    ),
}
HIGRESS: Cases = {
    "everything": (
        [
            *("--digest", DIGEST, "--pull-policy", "Always", "--pull-secret", "registry"),
            *("--phase", "AUTHZ", "--priority", "3", "--root-id", "audit"),
        ],
        {
            "url": IMAGE[1],
            "sha256": DIGEST,
            "imagePullPolicy": "Always",
            "imagePullSecret": "registry",
            "phase": "AUTHZ",
            "priority": 3,
            "pluginName": "audit",
        },
    ),
}
GATEWAY: Cases = {
    "nothing more": ([], {"code": {"type": "Image", "image": {"url": "registry.example.com/filters/shop:1.0"}}}),
    "everything": (
        [
            *("--digest", DIGEST, "--pull-policy", "IfNotPresent", "--pull-secret", "registry"),
            *("--root-id", "audit", "--fail-strategy", "closed", "--host-env", "TOKEN"),
        ],
        {
            "code": {
                "image": {"sha256": DIGEST, "pullSecretRef": {"kind": "Secret", "name": "registry"}},
                "pullPolicy": "IfNotPresent",
            },
            "rootID": "audit",
            "failOpen": False,
            "env": {"hostKeys": ["TOKEN"]},
        },
    ),
    "open": (["--fail-strategy", "open", "--pull-policy", "Always"], {"failOpen": True}),
}


def assert_has(found: Any, expected: Any) -> None:  # noqa: ANN401
    """All of `expected` is in `found`."""
    if isinstance(expected, dict):
        for name, value in cast("dict[str, Any]", expected).items():
            assert_has(found[name], value)
    else:
        assert found == expected
        assert type(found) is type(expected)


def check(document: "Manifest", schema: "Manifest") -> None:
    errors: Any = Draft202012Validator(schema).iter_errors(document)  # pyright: ignore[reportUnknownMemberType] - an overload
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


@pytest.mark.parametrize("option", ISTIO)
def test_a_wasm_plugin_of_istio_is_as_its_definition_says(
    option: str, write_manifest: "WriteManifest", schema_of: "SchemaOf"
) -> None:
    options, expected = ISTIO[option]
    written = write_manifest("istio", *IMAGE, *options, configuration=CONFIGURATION)
    check(written, schema_of("istio", "WasmPlugin"))
    assert_has(written["spec"], {**expected, "pluginConfig": CONFIGURATION})


@pytest.mark.parametrize("option", HIGRESS)
def test_a_wasm_plugin_of_higress_is_as_its_definition_says(
    option: str, write_manifest: "WriteManifest", schema_of: "SchemaOf"
) -> None:
    options, expected = HIGRESS[option]
    written = write_manifest("higress", *IMAGE, *options, configuration=CONFIGURATION)
    check(written, schema_of("higress", "WasmPlugin"))
    assert_has(written["spec"], {**expected, "defaultConfig": CONFIGURATION})


@pytest.mark.parametrize("option", GATEWAY)
def test_an_extension_policy_is_as_its_definition_says(
    option: str, write_manifest: "WriteManifest", schema_of: "SchemaOf"
) -> None:
    options, expected = GATEWAY[option]
    written = write_manifest("envoy-gateway", *IMAGE, *TARGET_LISTENER, *options, configuration=CONFIGURATION)
    check(written, schema_of("envoy-gateway", "EnvoyExtensionPolicy"))
    assert written["spec"]["targetRefs"] == [
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "main", "sectionName": "https"}
    ]
    (wasm,) = written["spec"]["wasm"]
    assert_has(wasm, {**expected, "name": "shop", "config": CONFIGURATION})


def test_a_module_at_a_web_server_is_named_with_its_hash(
    write_manifest: "WriteManifest", schema_of: "SchemaOf", first_sha256: str
) -> None:
    url = "https://modules.example.com:8443/shop-1.0.wasm"
    plugin = write_manifest("istio", "--url", url, "--namespace", "shop", "--name", "shop-front")
    check(plugin, schema_of("istio", "WasmPlugin"))
    assert plugin["metadata"] == {"name": "shop-front", "namespace": "shop"}
    assert plugin["spec"] == {"url": url, "sha256": first_sha256}
    policy = write_manifest("envoy-gateway", "--url", url, "--target", "HTTPRoute/shop", "--namespace", "shop")
    check(policy, schema_of("envoy-gateway", "EnvoyExtensionPolicy"))
    assert policy["metadata"] == {"name": "shop", "namespace": "shop"}
    assert policy["spec"]["wasm"] == [
        {"name": "shop", "code": {"type": "HTTP", "http": {"url": url, "sha256": first_sha256}}}
    ]
    unpinned = write_manifest("istio", "--url", url, "--unpinned")
    check(unpinned, schema_of("istio", "WasmPlugin"))
    assert unpinned["spec"] == {"url": url}


# Pods

REFERENCE = "registry.example.com/filters/shop:1.0"
MOUNT = {"mountPath": "/var/local/proxy-wasm/shop", "readOnly": True}
GATEWAY_DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "ingress"},
    "spec": {
        "selector": {"matchLabels": {"app": "ingress"}},
        "template": {
            "metadata": {"labels": {"app": "ingress"}},
            "spec": {
                "containers": [
                    {
                        "name": "istio-proxy",
                        "image": "auto",
                        "volumeMounts": [{"name": "certs", "mountPath": "/certs"}],
                    },
                    {"name": "other", "image": "other"},
                ],
                "volumes": [{"name": "certs", "secret": {"secretName": "certs"}}],
            },
        },
    },
}
KEYS = {"containers": "name", "volumes": "name", "imagePullSecrets": "name", "volumeMounts": "mountPath"}
"""By which names Kubernetes merges entries of these lists (`x-kubernetes-patch-merge-key`)."""


def patched(document: Any, patch: Any, name: str = "") -> Any:  # noqa: ANN401
    """What a strategic merge patch makes of a document."""
    if isinstance(patch, dict) and isinstance(document, dict):
        before = cast("Manifest", document)
        changes = {key: patched(before.get(key), value, key) for key, value in cast("Manifest", patch).items()}
        return {**before, **changes}
    if isinstance(patch, list) and isinstance(document, list):
        key = KEYS[name]
        merged = {entry[key]: entry for entry in cast("list[Manifest]", document)}
        for entry in cast("list[Manifest]", patch):
            merged[entry[key]] = patched(merged.get(entry[key]), entry)
        return list(merged.values())
    return cast("Any", patch)


PODS: Cases = {
    "image volume": ([], {"image": {"reference": REFERENCE}}),
    "digest": (["--digest", DIGEST], {"image": {"reference": f"{REFERENCE}@sha256:{DIGEST}"}}),
    "pull policy": (["--pull-policy", "Never"], {"image": {"pullPolicy": "Never"}}),
    "csi": (
        ["--csi-driver"],
        {"csi": {"driver": "container-image.csi.k8s.io", "readOnly": True, "volumeAttributes": {"image": REFERENCE}}},
    ),
    "csi, other driver": (
        ["--csi-driver", "csi-image.warm-metal.tech"],
        {"csi": {"driver": "csi-image.warm-metal.tech"}},
    ),
    "csi, pull policy": (
        ["--csi-driver", "--pull-policy", "Always"],
        {"csi": {"volumeAttributes": {"pullAlways": "true"}}},
    ),
    "csi, pull secret": (["--csi-driver", "--pull-secret", "r"], {"csi": {"volumeAttributes": {"secret": "r"}}}),
}


@pytest.mark.parametrize("option", PODS)
def test_a_patch_mounts_the_image_into_the_proxy_of_a_deployment(
    option: str, write_manifest: "WriteManifest", kubernetes_schema: Callable[[str], "Manifest"]
) -> None:
    options, expected = PODS[option]
    patch = write_manifest("pod-volume", *IMAGE, "--workload", "Deployment/ingress", *options)
    result = patched(GATEWAY_DEPLOYMENT, patch)
    check(result, kubernetes_schema("io.k8s.api.apps.v1.Deployment"))
    pod = result["spec"]["template"]["spec"]
    certs, volume = pod["volumes"]
    assert certs == {"name": "certs", "secret": {"secretName": "certs"}}
    assert_has(volume, {"name": "wasm-shop", **expected})
    proxy, other = pod["containers"]
    assert proxy["volumeMounts"] == [{"name": "certs", "mountPath": "/certs"}, {"name": "wasm-shop", **MOUNT}]
    assert "volumeMounts" not in other


@pytest.mark.parametrize("kind", ["Pod", "DaemonSet", "StatefulSet"])
def test_a_patch_fits_other_workloads(
    kind: str, write_manifest: "WriteManifest", kubernetes_schema: Callable[[str], "Manifest"]
) -> None:
    patch = write_manifest("pod-volume", *IMAGE, "--workload", f"{kind}/w", "--namespace", "n")
    assert patch["metadata"] == {"name": "w", "namespace": "n"}
    if kind == "Pod":
        document: dict[str, Any] = {"spec": {"containers": [{"name": "istio-proxy"}]}}
        schema = kubernetes_schema("io.k8s.api.core.v1.Pod")
    else:
        service = {"serviceName": "w"} if kind == "StatefulSet" else {}
        document = {"spec": {**GATEWAY_DEPLOYMENT["spec"], **service}}
        schema = kubernetes_schema(f"io.k8s.api.apps.v1.{kind}")
    check(patched(document, patch), schema)


def test_a_patch_of_a_pod_names_container_path_and_secret(
    write_manifest: "WriteManifest", kubernetes_schema: Callable[[str], "Manifest"]
) -> None:
    options = ["--container", "envoy", "--mount-path", "/wasm", "--pull-secret", "registry"]
    patch = write_manifest("pod-volume", *IMAGE, *options)
    assert patch == {
        "spec": {
            "containers": [
                {"name": "envoy", "volumeMounts": [{"name": "wasm-shop", "mountPath": "/wasm", "readOnly": True}]}
            ],
            "volumes": [{"name": "wasm-shop", "image": {"reference": REFERENCE}}],
            "imagePullSecrets": [{"name": "registry"}],
        }
    }
    check({**patch, "apiVersion": "v1", "kind": "Pod"}, kubernetes_schema("io.k8s.api.core.v1.Pod"))


def test_a_sidecar_gets_the_volume_by_annotations(
    write_manifest: "WriteManifest", kubernetes_schema: Callable[[str], "Manifest"]
) -> None:
    patch = write_manifest("pod-volume", *IMAGE, "--istio-sidecar", "--workload", "Deployment/cart")
    check(patched(GATEWAY_DEPLOYMENT, patch), kubernetes_schema("io.k8s.api.apps.v1.Deployment"))
    annotations = patch["spec"]["template"]["metadata"]["annotations"]
    assert {name: json.loads(value) for name, value in annotations.items()} == {
        "sidecar.istio.io/userVolume": {"wasm-shop": {"image": {"reference": REFERENCE}}},
        "sidecar.istio.io/userVolumeMount": {"wasm-shop": MOUNT},
    }
    pod = write_manifest("pod-volume", *IMAGE, "--istio-sidecar", "--workload", "Pod/cart", "--csi-driver")
    assert set(pod["metadata"]["annotations"]) == set(annotations)


def test_every_option_of_a_platform_is_tested_here() -> None:
    here: dict[str, Cases] = {"istio": ISTIO, "higress": HIGRESS, "envoy-gateway": GATEWAY}
    for target, cases in here.items():
        tested = {word for options, _ in cases.values() for word in options}
        tested |= {"--url", "--config", "--namespace", "--target"}
        assert {option_of(field) for field in TARGETS[target].takes} <= tested
