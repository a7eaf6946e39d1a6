import hashlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, cast

import pytest
import yaml
from wasmtime import wat2wasm

from proxy_wasm.build import build
from proxy_wasm.cli import main

ROOT = Path(__file__).parents[2]

Manifest: TypeAlias = dict[str, Any]
WriteManifest: TypeAlias = Callable[..., Manifest]
SchemaOf: TypeAlias = Callable[[str, str], Manifest]


def versioned(version: int) -> bytes:
    """The module of `versioned.wat` that answers with the status 200 and its version."""
    return bytes(wat2wasm((Path(__file__).parent / "versioned.wat").read_text().replace("VERSION", str(version))))


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("versioned") / "shop.wasm"
    path.write_bytes(versioned(1))
    return path


@pytest.fixture
def write_manifest(first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> WriteManifest:
    """Run `proxy-wasm manifest` for the module `first`; what it writes, read back. `configuration` becomes a file."""

    def write(target: str, *options: str, configuration: object = None) -> Manifest:
        given: list[str] = []
        if configuration is not None:
            file = tmp_path / "configuration.json"
            file.write_text(json.dumps(configuration))
            given = ["--config", str(file)]
        status = main(["manifest", str(first), "--for", target, *given, *options])
        captured = capsys.readouterr()
        assert status == 0, captured.err
        return yaml.safe_load(captured.out)

    return write


def _script() -> Any:  # noqa: ANN401 - a module
    """`scripts/published_schemas.py`, which says where the schemas are."""
    specification = importlib.util.spec_from_file_location("published_schemas", ROOT / "scripts/published_schemas.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _read(path: Path) -> Any:  # noqa: ANN401 - any document
    if not path.exists():
        pytest.skip(f"{path.name} is not there: `make schemas` gets the schemas that platforms publish")
    text = path.read_text("utf-8")
    return json.loads(text) if path.suffix == ".json" else list(yaml.safe_load_all(text))


@pytest.fixture(scope="session")
def schema_of() -> SchemaOf:
    """The schema that a platform's custom resource definition has for resources of a kind, which allows no other fields."""
    script = _script()

    def find(platform: str, kind: str) -> Manifest:
        (definition,) = (
            each for each in _read(script.definitions_of(platform)) if each and each["spec"]["names"]["kind"] == kind
        )
        (version,) = (each for each in definition["spec"]["versions"] if each["name"] == "v1alpha1")
        schema = version["schema"]["openAPIV3Schema"]
        head = {
            "apiVersion": {"const": f"{definition['spec']['group']}/v1alpha1"},
            "kind": {"const": kind},
            "metadata": {"type": "object"},
        }
        properties = {**schema["properties"], **head}
        return _closed({**schema, "properties": properties, "required": [*head, "spec"]})

    return find


def _closed(schema: Any) -> Any:  # noqa: ANN401 - any part of a schema
    """Refuse fields that are not named, as the API server prunes or refuses them."""
    if isinstance(schema, list):
        return [_closed(inner) for inner in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    part = cast("Manifest", schema)
    closed: Manifest = {name: _closed(inner) for name, inner in part.items() if name != "properties"}
    if "properties" in part:
        closed["properties"] = {name: _closed(inner) for name, inner in part["properties"].items()}
        closed.setdefault("additionalProperties", part.get("x-kubernetes-preserve-unknown-fields", False))
    return closed


@pytest.fixture(scope="session")
def kubernetes_schema() -> Callable[[str], Manifest]:
    """Kubernetes' own schema of a type, such as `io.k8s.api.core.v1.Pod`; it allows no other fields."""
    script = _script()

    def find(kind: str) -> Manifest:
        return {**_read(script.kubernetes_schemas()), "$ref": f"#/$defs/{kind}"}

    return find


@pytest.fixture(scope="session")
def first_sha256(first: Path) -> str:
    return hashlib.sha256(first.read_bytes()).hexdigest()


Versioned: TypeAlias = Callable[[int], bytes]


@pytest.fixture(scope="session")
def module_of() -> Versioned:
    """The module of `versioned.wat`, by its version."""
    return versioned


@pytest.fixture(scope="session")
def basic_auth() -> Path:
    """The module of the extension `basic_auth`."""
    return build(ROOT / "extensions" / "basic_auth").path
