"""Bills of materials: what is inside a module, in CycloneDX."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from proxy_wasm.build import build
from proxy_wasm.cli import main
from proxy_wasm.image import Reference
from proxy_wasm.image.bom import bill_of_materials
from proxy_wasm.image.describing import inspected
from proxy_wasm.image.pushing import PushOptions, push
from proxy_wasm.testing import StartProxy

NewImage = Callable[[], Reference]
LIBRARIES = Path(__file__).parent / "libraries"


def bill(module: bytes) -> dict[str, Any]:
    text = bill_of_materials(module, inspected(module))
    assert text is not None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.decode()) is None
    return json.loads(text)


def components(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {component["name"]: component for component in found["components"]}


@pytest.mark.hosts("wasm")
def test_libraries_are_listed_with_the_versions_that_the_interpreter_inside_tells(start_proxy: StartProxy) -> None:
    told: dict[str, str] = json.loads(start_proxy("libraries").get("/").body)
    found = components(bill(build(LIBRARIES).module))

    assert {name: found[name]["version"] for name in told} == told
    assert {"HACL*", "wasi-libc", "proxy-wasm", "componentize-py"} <= found.keys()
    assert found["iniconfig"]["purl"] == "pkg:pypi/iniconfig@2.1.0"
    assert found["iniconfig"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert found["SQLite"]["cpe"] == f"cpe:2.3:a:sqlite:sqlite:{told['SQLite']}:*:*:*:*:*:*:*"


def test_the_packages_of_a_module_are_listed_with_their_licences(described_module: bytes) -> None:
    found = bill(described_module)
    assert found["metadata"]["component"]["name"] == "greeter"
    assert found["metadata"]["component"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    packages = {component["purl"]: component for component in found["components"]}
    assert packages["pkg:pypi/some-package@2.1"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert packages["pkg:pypi/unnamed@3"]["licenses"] == [{"license": {"name": "as is, and more"}}]
    root = next(entry for entry in found["dependencies"] if entry["ref"] == "extension:greeter")
    assert set(root["dependsOn"]) == packages.keys()


def test_the_same_module_has_the_same_bill(described_module: bytes) -> None:
    first, second = (bill_of_materials(described_module, inspected(described_module)) for _ in range(2))
    assert first == second


def test_a_pushed_image_has_its_bill_beside_it(
    new_image: NewImage, described_module: bytes, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pushed = push(described_module, new_image(), PushOptions(plain_http=True))
    assert main(["image", "sbom", str(pushed.reference), "--plain-http"]) == 0
    assert json.loads(capsys.readouterr().out) == bill(described_module)
    file = tmp_path / "sbom.json"
    assert main(["image", "sbom", str(pushed.reference), "--plain-http", "-o", str(file)]) == 0
    assert file.read_bytes() == bill_of_materials(described_module, inspected(described_module))
    assert main(["image", "inspect", str(pushed.reference), "--plain-http", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["billOfMaterials"] == pushed.bom_digest


def test_images_that_share_a_repository_have_a_bill_each(new_image: NewImage, described_module: bytes) -> None:
    reference = new_image()
    annotated = PushOptions(annotations={"a": "b"}, plain_http=True)
    first = push(described_module, reference, PushOptions(plain_http=True))
    second = push(described_module, reference.tagged("2.0"), annotated)
    assert first.bom_digest != second.bom_digest


def test_a_module_that_tells_nothing_of_its_making_has_no_bill(
    new_image: NewImage, module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = str(new_image())
    assert main(["push", str(module), reference, "--plain-http"]) == 0
    assert capsys.readouterr().err == "without a bill of materials: the module does not tell what is in it\n"
    assert main(["image", "sbom", reference, "--plain-http"]) == 1
    assert capsys.readouterr().err == f"error: {reference}: the registry has no bill of materials of this image\n"
