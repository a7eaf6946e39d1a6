"""Which part of an image is the module, where an image is odd or malformed."""

import gzip
import io
import tarfile
from typing import Any

import pytest

from proxy_wasm.image import Form, FormatError
from proxy_wasm.image.extraction import ModuleLayer, chosen, module_in, module_layer
from proxy_wasm.image.manifests import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Descriptor, Manifest, encoded

OCI_ARCHIVE = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_ARCHIVE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
WASM = "application/vnd.module.wasm.content.layer.v1+wasm"
RUNTIME = "application/vnd.module.wasm.config.v1+json"
MODULE = b"\0asm\1\0\0\0"


def image(*layers: str, media_type: str = OCI_MANIFEST) -> Manifest:
    described = [Descriptor.of(layer, str(position).encode()).json() for position, layer in enumerate(layers)]
    config = Descriptor.of("application/vnd.oci.image.config.v1+json", b"{}").json()
    text = encoded({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": described})
    return Manifest.parse(text, media_type)


def archive(*files: tuple[str, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as file:
        for name, contents in files:
            member = tarfile.TarInfo(name)
            member.size = len(contents)
            file.addfile(member, io.BytesIO(contents))
    return gzip.compress(data.getvalue())


def in_archive(data: bytes) -> bytes:
    return module_in(ModuleLayer(Form.COMPAT, Descriptor.of(OCI_ARCHIVE, data)), data)


@pytest.mark.parametrize(
    ("found", "form", "position"),
    [
        (image(OCI_ARCHIVE), Form.COMPAT, 0),
        (image(OCI_ARCHIVE, OCI_ARCHIVE), Form.COMPAT, 1),
        (image(WASM, OCI_ARCHIVE), Form.COMPAT, 1),
        (image(DOCKER_ARCHIVE, media_type=DOCKER_MANIFEST), Form.COMPAT, 0),
        (image(RUNTIME, WASM), Form.OCI, 1),
        (image(WASM, RUNTIME), Form.OCI, 0),
        (image("application/wasm"), Form.CNCF, 0),
    ],
)
def test_the_layer_with_the_module_is_found(found: Manifest, form: Form, position: int) -> None:
    assert module_layer(found) == ModuleLayer(form, found.layers[position])


@pytest.mark.parametrize(
    "found",
    [
        image(),
        image(WASM),
        image(RUNTIME, WASM, RUNTIME),
        image(OCI_ARCHIVE, "application/octet-stream"),
        image(DOCKER_ARCHIVE),
        image(OCI_ARCHIVE, media_type=DOCKER_MANIFEST),
        image(RUNTIME, WASM, media_type=DOCKER_MANIFEST),
        image("application/wasm", "application/wasm"),
    ],
)
def test_what_istio_would_refuse_is_refused(found: Manifest) -> None:
    with pytest.raises(FormatError, match=r"manifest: (has no layers|is no Wasm image that proxies know)"):
        module_layer(found)


def test_the_first_file_of_the_name_is_taken_in_whatever_folder() -> None:
    data = archive(("readme", b"x"), ("./some/plugin.wasm", MODULE + b"1"), ("plugin.wasm", MODULE + b"2"))
    assert in_archive(data) == MODULE + b"1"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"no gzip", "is no gzip"),
        (archive(("plugin.wasm", MODULE))[:-9], "is no gzip"),
        (gzip.compress(b"no archive" * 99), "is no archive of tar"),
        (archive(("module.wasm", MODULE)), "holds no file plugin.wasm"),
        (archive(("plugin.wasm", b"text")), "is no WebAssembly"),
        (gzip.compress(bytes((256 << 20) + 1), 1), "holds more than 256 MiB"),
    ],
    ids=["no gzip", "cut", "no archive", "other name", "no module", "bomb"],
)
def test_a_layer_that_holds_no_module_is_told(data: bytes, problem: str) -> None:
    with pytest.raises(FormatError, match=problem):
        in_archive(data)


def index(*platforms: dict[str, str] | None) -> Manifest:
    children: list[dict[str, Any]] = []
    for position, platform in enumerate(platforms):
        child = Descriptor.of(OCI_MANIFEST, str(position).encode()).json()
        children.append(child if platform is None else child | {"platform": platform})
    return Manifest.parse(encoded({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}), OCI_INDEX)


def test_of_an_index_the_first_image_for_linux_amd64_is_taken_or_the_first_for_no_platform() -> None:
    arm, amd = {"os": "linux", "architecture": "arm64"}, {"os": "linux", "architecture": "amd64"}
    for found, position in ((index(arm, amd, amd), 1), (index(arm, None, amd), 1)):
        assert chosen(found) == found.children[position][0]
    with pytest.raises(FormatError, match="an index without an image for linux/amd64"):
        chosen(index(arm))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"<html>", "manifest: is no JSON"),
        (b"[" * 100_000, "manifest: is no JSON"),
        (b"[]", "manifest: must be an object"),
        (b"{}", "is of the type none"),
        (b'{"mediaType": "text/plain"}', "is of the type text/plain"),
        (b'{"mediaType": "%s"}' % OCI_MANIFEST.encode(), "layers: must be an array"),
        (b'{"mediaType": "%s", "layers": []}' % OCI_MANIFEST.encode(), "config: needs a mediaType and a digest"),
        (
            b'{"mediaType": "%s", "layers": [3]}' % OCI_MANIFEST.encode(),
            r"layers\[0\]: must be an object|config: needs",
        ),
        (b'{"mediaType": "%s", "manifests": {}}' % OCI_INDEX.encode(), "manifests: must be an array"),
    ],
)
def test_a_manifest_that_is_none_is_told_with_the_field(text: bytes, problem: str) -> None:
    with pytest.raises(FormatError, match=problem):
        Manifest.parse(text, "")
