"""What the tests of images share: a registry for all of them, and a module that tells of its making."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from docker_registry import DockerRegistry
from wasmtime import wat2wasm

from proxy_wasm.build.provenance import SECTION, Package, Provenance
from proxy_wasm.build.wasm.binary import custom_section
from proxy_wasm.guest import manifest
from proxy_wasm.image import Reference

_names = count()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with DockerRegistry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def new_image(registry: DockerRegistry) -> Callable[[], Reference]:
    """A name that nothing was pushed under, with the tag 1.0."""

    def make() -> Reference:
        return Reference(registry.host, f"tests/image-{next(_names)}", "1.0")

    return make


@pytest.fixture(autouse=True)
def no_docker_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' credentials are not those of whoever runs them."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-docker"))


@pytest.fixture(scope="session")
def described_module() -> bytes:
    """A module that tells of its making as those of this SDK do, small enough to be written here."""
    told = manifest.encode({"sdk": "1.2", "plugins": {"b": "m:B", "a": "m:A"}, "modules": ["m"], "callbacks": []})
    data = "".join(f"\\{byte:02x}" for byte in told)
    provenance = Provenance(
        "ab" * 32,
        {"componentize-py": "0.25.1"},
        Package("greeter", "1.0", "Apache-2.0", "Greets", "https://code.example/greeter"),
        (Package("Some_Package", "2.1", "MIT"), Package("unnamed", "3", "as is, and more")),
    )
    module = wat2wasm(
        f'(module (func (export "proxy_abi_version_0_2_1")) (memory (export "memory") 1) (data (i32.const 64) "{data}"))'
    )
    return bytes(module) + custom_section(SECTION, provenance.section())
