"""The configurations that lie beside each extension are ones that the extension accepts and that Envoy and Istio know."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy_wasm.build import build
from proxy_wasm.envoy.binary import find_envoy
from proxy_wasm.testing import StartProxy, respond

ROOT = Path(__file__).parents[2]
EXTENSIONS = sorted(path.parent for path in (ROOT / "extensions").glob("*/pyproject.toml"))
Json = dict[str, Any]

extension_names = pytest.mark.parametrize("extension", EXTENSIONS, ids=lambda path: path.name)


def http_filter(extension: Path) -> Json:
    document = yaml.safe_load((extension / "envoy.yaml").read_text("utf-8"))
    (listener,) = document["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager["http_filters"][0]["typed_config"]["config"]


def plugin_configuration(extension: Path, source: str) -> Json:
    if source == "envoy.yaml":
        return json.loads(http_filter(extension)["configuration"]["value"])
    text = (extension / source).read_text("utf-8")
    return json.loads(text) if source == "example.json" else yaml.safe_load(text)["spec"]["pluginConfig"]


@extension_names
@pytest.mark.parametrize("source", ["example.json", "envoy.yaml", "wasmplugin.yaml"])
@pytest.mark.hosts("native")
def test_an_extension_accepts_its_example_configurations(start_proxy: StartProxy, extension: Path, source: str) -> None:
    configuration = plugin_configuration(extension, source)
    asked = [value for name, value in configuration.items() if name == "opa_cluster"]
    clusters = dict.fromkeys(asked, respond(200, body='{"result": true}'))
    assert start_proxy(extension, configuration=configuration, clusters=clusters).get("/").status == 200


@extension_names
def test_the_examples_load_the_module_that_the_build_makes(extension: Path) -> None:
    module = http_filter(extension)["vm_config"]["code"]["local"]["filename"]
    assert module == f"dist/{extension.name.replace('_', '-')}.wasm"


@extension_names
def test_envoy_accepts_the_example_with_the_module_in_it(extension: Path, tmp_path: Path) -> None:
    module = http_filter(extension)["vm_config"]["code"]["local"]["filename"]
    build(extension, output=tmp_path / module)
    command = [find_envoy(), "--mode", "validate", "--log-level", "warning", "-c", extension / "envoy.yaml"]
    validation = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert validation.returncode == 0, validation.stderr


@extension_names
def test_the_istio_example_is_a_wasm_plugin_that_fails_closed(extension: Path) -> None:
    document = yaml.safe_load((extension / "wasmplugin.yaml").read_text("utf-8"))
    assert (document["apiVersion"], document["kind"]) == ("extensions.istio.io/v1alpha1", "WasmPlugin")
    assert document["spec"]["failStrategy"] == "FAIL_CLOSE"
