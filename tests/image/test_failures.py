"""What goes wrong between us and a registry is one clear line, and leaves nothing half-written."""

import os
import re
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from cutting_proxy import CuttingProxy
from docker_registry import DockerRegistry
from wasmtime import wat2wasm

from proxy_wasm.cli import main
from proxy_wasm.image import Form, NotFoundError, Reference, RegistryError, Repository, Retries, digest_of, pull
from proxy_wasm.image.manifests import OCI_MANIFEST, Descriptor, encoded
from proxy_wasm.image.pushing import PushOptions, push

NewImage = Callable[[], Reference]
FullDisk = Callable[[], AbstractContextManager[None]]
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="session")
def large_module() -> bytes:
    """One that is longer than what a connection passes at once."""
    return bytes(
        wat2wasm(
            '(module (func (export "proxy_abi_version_0_2_1")) (memory (export "memory") 9)'
            f' (data (i32.const 0) "{"x" * 500_000}"))'
        )
    )


@pytest.fixture
def image(new_image: NewImage, large_module: bytes) -> Reference:
    """An image, pinned to its digest, whose layer is as large as its module."""
    return push(large_module, new_image(), PushOptions(form=Form.OCI, plain_http=True)).reference


def refused(capsys: Captured, *arguments: str, status: int = 1) -> str:
    """The one line that the command ends with."""
    assert main([*arguments, "--plain-http", "--retries", "0"]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    return lines[0]


def layer_file(registry: DockerRegistry, module: bytes) -> Path:
    return registry.blob(digest_of(module))


def test_a_missing_tag_is_told(image: Reference, capsys: Captured, tmp_path: Path) -> None:
    name = f"{image.name}:9.9"
    output = tmp_path / "module.wasm"
    assert refused(capsys, "pull", name, "-o", str(output)) == (
        f"error: {name}: the registry has no such image (404 Not Found: manifest unknown)"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["pull"], ["image", "inspect"], ["image", "sbom"], ["run"]])
def test_every_command_tells_of_a_missing_image(command: list[str], image: Reference, capsys: Captured) -> None:
    name = f"{image.name}@sha256:{'0' * 64}"
    assert refused(capsys, *command, name).startswith(f"error: {name}: the registry has no such image (404 Not Found")


def test_a_byte_that_changed_in_the_registry_is_noticed(
    registry: DockerRegistry, image: Reference, large_module: bytes, capsys: Captured, tmp_path: Path
) -> None:
    file = layer_file(registry, large_module)
    original = file.read_bytes()
    changed = bytearray(original)
    changed[300_000] ^= 1
    file.write_bytes(changed)
    try:
        line = refused(capsys, "pull", str(image), "-o", str(tmp_path / "module.wasm"))
    finally:
        file.write_bytes(original)
    assert re.fullmatch(rf"error: {image}: the registry sent bytes that are not sha256:[0-9a-f]{{64}}", line)
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_that_changed_in_the_registry_is_noticed(
    registry: DockerRegistry, image: Reference, capsys: Captured, tmp_path: Path
) -> None:
    assert image.digest is not None
    file = registry.blob(image.digest)
    original = file.read_bytes()
    file.write_bytes(original.replace(b"envoy_proxy", b"envoy_proxi"))
    try:
        line = refused(capsys, "pull", str(image), "-o", str(tmp_path / "module.wasm"))
    finally:
        file.write_bytes(original)
    assert line.startswith(f"error: {image}: the registry ")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_half_written(
    image: Reference, capsys: Captured, tmp_path: Path, full_disk: FullDisk
) -> None:
    output = tmp_path / "module.wasm"
    output.write_bytes(b"the old one")
    with full_disk():
        line = refused(capsys, "pull", str(image), "-o", str(output))
    assert line == f"error: {output}: File too large"
    assert output.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.skipif(not Path("/dev/full").exists() or os.geteuid() != 0, reason="needs root, to mount a small disk")
def test_a_small_disk_leaves_nothing_half_written(image: Reference, capsys: Captured, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        line = refused(capsys, "pull", str(image), "-o", str(disk / "module.wasm"))
        assert line == f"error: {disk / 'module.wasm'}: No space left on device"
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def through(proxy: CuttingProxy, image: Reference) -> Reference:
    return Reference(proxy.host, image.repository, digest=image.digest)


def test_a_connection_cut_in_the_middle_of_a_layer_leaves_nothing_half_written(
    registry: DockerRegistry, image: Reference, capsys: Captured, tmp_path: Path
) -> None:
    with CuttingProxy(registry.port, cuts=99, limit=100_000) as proxy:
        name = through(proxy, image)
        line = refused(capsys, "pull", str(name), "-o", str(tmp_path / "module.wasm"))
    assert re.fullmatch(rf"error: {name}: the connection broke after \d+ of 500\d+ bytes", line)
    assert proxy.cut == 1
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_was_cut_is_tried_again(
    registry: DockerRegistry, image: Reference, large_module: bytes
) -> None:
    with CuttingProxy(registry.port, cuts=2, limit=100_000) as proxy:
        pulled = pull(through(proxy, image), plain_http=True, retries=Retries(2, first_wait=0.01))
    assert pulled.module == large_module
    assert proxy.cut == 2


def test_a_connection_cut_while_a_module_is_pushed_leaves_no_image(
    registry: DockerRegistry, new_image: NewImage, large_module: bytes
) -> None:
    with CuttingProxy(registry.port, cuts=99, limit=0) as proxy:
        reference = Reference(proxy.host, new_image().repository, "1.0")
        options = PushOptions(plain_http=True, retries=Retries(1, first_wait=0.01))
        with pytest.raises(RegistryError, match=f"{reference}: the registry cannot be reached: Remote end closed"):
            push(large_module, reference, options)
    with pytest.raises(NotFoundError):
        pull(Reference(registry.host, reference.repository, "1.0"), plain_http=True)


def test_a_registry_that_is_not_there_is_told(capsys: Captured) -> None:
    assert refused(capsys, "image", "inspect", "oci://127.0.0.1:1/greeter:1") == (
        "error: oci://127.0.0.1:1/greeter:1: the registry cannot be reached: Connection refused"
    )


def test_plain_http_is_used_only_where_it_is_asked_for(image: Reference, capsys: Captured) -> None:
    assert main(["image", "inspect", str(image)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {image}: no TLS connection to the registry: ")
    assert error.endswith("is this a registry without TLS? then: --plain-http\n")


def test_an_image_of_something_else_is_told(registry: DockerRegistry, new_image: NewImage, capsys: Captured) -> None:
    reference = new_image()
    repository = Repository(reference, plain_http=True)
    for blob in (b"{}", b"chart"):
        repository.upload(blob)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor.of("application/vnd.cncf.helm.config.v1+json", b"{}").json(),
        "layers": [Descriptor.of("application/vnd.cncf.helm.chart.content.v1.tar+gzip", b"chart").json()],
    }
    repository.put_manifest("1.0", OCI_MANIFEST, encoded(manifest))
    assert refused(capsys, "pull", str(reference)) == (
        f"error: {reference}: manifest: is no Wasm image that proxies know: its layers are of "
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
    )
