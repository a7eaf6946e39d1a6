"""Modules from a real registry: published by the agent, and named in manifests."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest
import yaml
from docker_registry import DockerRegistry

from proxy_wasm.cli import main
from proxy_wasm.image import Reference
from proxy_wasm.image.pushing import PushOptions, push

if TYPE_CHECKING:
    from conftest import Versioned

NAME = "filters/shop"
Push: TypeAlias = Callable[[bytes], str]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    with DockerRegistry(tmp_path) as running:
        yield running


@pytest.fixture
def push_shop(registry: DockerRegistry) -> Push:
    """Have the tag `1` name an image of a module; its digest."""

    def run(module: bytes) -> str:
        pushed = push(module, Reference(registry.host, NAME, "1"), PushOptions(replace_tag=True, plain_http=True))
        assert pushed.reference.digest is not None
        return pushed.reference.digest

    return run


def test_an_image_is_published_when_its_tag_moves_and_stays_when_the_registry_is_gone(
    registry: DockerRegistry,
    push_shop: Push,
    tmp_path: Path,
    module_of: "Versioned",
    capsys: pytest.CaptureFixture[str],
) -> None:
    def once(status: int) -> str:
        assert main(["serve", str(settings), "--once"]) == status
        captured = capsys.readouterr()
        return captured.out + captured.err

    settings = tmp_path / "serve.toml"
    image = f"oci://{registry.host}/{NAME}"
    settings.write_text(f'[extensions.shop]\nmodule = "{image}:1"\nplain_http = true\n')
    assert f"{image}:1" in once(1), "there is none yet"
    push_shop(module_of(1))
    assert "shop: published: " in once(0)
    digest = push_shop(module_of(2))
    assert hashlib.sha256(module_of(2)).hexdigest()[:12] in once(0)
    push_shop(module_of(3).replace(b"proxy_log", b"proxy_lug"))
    assert "missing import: env.proxy_lug" in once(1)
    settings.write_text(f'[extensions.shop]\nmodule = "{image}@{digest}"\nplain_http = true\n')
    assert once(0) == "", "the digest names what is published"
    for layer in (registry.storage / "docker/registry/v2/blobs").rglob("data"):
        layer.write_bytes(layer.read_bytes()[:-1] + b"\0")
    said = once(1)
    assert "shop: cannot be read: " in said
    assert " stays" in said


def test_manifests_name_the_image_with_the_digest_of_what_was_tried(
    registry: DockerRegistry, push_shop: Push, module_of: "Versioned", capsys: pytest.CaptureFixture[str]
) -> None:
    digest = push_shop(module_of(1))
    image = f"oci://{registry.host}/{NAME}:1"

    def written(target: str, *options: str) -> dict[str, object]:
        assert main(["manifest", image, "--for", target, "--plain-http", *options]) == 0
        return yaml.safe_load(capsys.readouterr().out)

    plugin = written("istio")
    assert plugin["metadata"] == {"name": "shop"}
    assert plugin["spec"] == {"url": image, "sha256": digest.removeprefix("sha256:")}
    assert written("istio", "--unpinned")["spec"] == {"url": image}
    elsewhere = "oci://mirror.example.com/shop:1"
    assert written("istio", "--url", elsewhere)["spec"] == {"url": elsewhere}
    pod = written("pod-volume", "--istio-sidecar")
    assert f"{registry.host}/{NAME}:1@{digest}" in str(pod)
