"""What Istio's puller takes out of our images.

The extractor below is written from the table in docs/images.md, number by number, and shares no code with the SDK.
"""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from docker_registry import DockerRegistry, skopeo

from proxy_wasm.build import build
from proxy_wasm.image import Form, Reference, pull
from proxy_wasm.image.pushing import PushOptions, push

NewImage = Callable[[], Reference]
BASIC_AUTH = Path(__file__).parents[2] / "extensions" / "basic_auth"
LIMIT = 256 * 1024 * 1024
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPT = f"{DOCKER_MANIFEST}, application/vnd.oci.image.manifest.v1+json"


class RefusedError(Exception):
    pass


class Istio:
    """Pulls as Istio's agent does."""

    def __init__(self, reference: Reference) -> None:
        self.base = f"http://{reference.registry}/v2/{reference.repository}"
        self.identifier = reference.identifier

    def get(self, path: str, accept: str = "*/*") -> bytes:
        with urlopen(Request(f"{self.base}/{path}", headers={"Accept": accept}), timeout=10) as response:  # noqa: S310 - http
            return response.read()

    def blob(self, layer: dict[str, Any]) -> bytes:
        data = self.get(f"blobs/{layer['digest']}")
        assert f"sha256:{hashlib.sha256(data).hexdigest()}" == layer["digest"]
        return data

    def pull(self) -> tuple[bytes, str]:
        """The module, and the digest by which Istio knows it."""
        text = self.get(f"manifests/{self.identifier}", ACCEPT)
        manifest = json.loads(text)
        module = self.extract(manifest)
        if len(module) < 8 or module[:4] != b"\0asm":  # 7
            raise RefusedError("invalid Wasm")
        return module, hashlib.sha256(text).hexdigest()

    def extract(self, manifest: dict[str, Any]) -> bytes:
        if manifest.get("mediaType") == DOCKER_MANIFEST:  # 2
            return self.archived(manifest, "application/vnd.docker.image.rootfs.diff.tar.gzip")
        try:  # 3
            return self.archived(manifest, "application/vnd.oci.image.layer.v1.tar+gzip")
        except RefusedError:
            return self.plain(manifest)

    def archived(self, manifest: dict[str, Any], media_type: str) -> bytes:
        layers = manifest["layers"]
        if not layers or layers[-1]["mediaType"] != media_type:
            raise RefusedError(media_type)
        data = gzip.decompress(self.blob(layers[-1]))[:LIMIT]  # 4
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:  # 5
                if member.name.rsplit("/", 1)[-1] == "plugin.wasm":
                    file = archive.extractfile(member)
                    assert file is not None
                    return file.read()
        raise RefusedError("plugin.wasm not found")

    def plain(self, manifest: dict[str, Any]) -> bytes:
        if len(manifest["layers"]) != 2:  # 6
            raise RefusedError("number of layers")
        for layer in manifest["layers"]:
            if layer["mediaType"] == "application/vnd.module.wasm.content.layer.v1+wasm":
                return self.blob(layer)[:LIMIT]
        raise RefusedError("no layer")


@pytest.mark.parametrize("form", [Form.COMPAT, Form.OCI])
def test_istio_takes_the_module_that_was_built_out_of_both_its_forms(form: Form, new_image: NewImage) -> None:
    built = build(BASIC_AUTH).path.read_bytes()
    pushed = push(built, new_image(), PushOptions(form=form, plain_http=True)).reference
    module, digest = Istio(pushed).pull()
    assert module == built
    assert f"sha256:{digest}" == pushed.digest


def test_istio_and_we_take_the_same_out_of_an_image_of_dockers_types(
    registry: DockerRegistry, new_image: NewImage, described_module: bytes
) -> None:
    reference, converted = new_image(), new_image()
    push(described_module, reference, PushOptions(plain_http=True))
    names = [f"docker://{name.name.removeprefix('oci://')}:{name.tag}" for name in (reference, converted)]
    skopeo("copy", "--format", "v2s2", "--src-tls-verify=false", "--dest-tls-verify=false", *names)
    pulled = pull(converted, plain_http=True)
    module, digest = Istio(converted).pull()
    assert module == pulled.module == described_module
    assert f"sha256:{digest}" == pulled.digest
    assert pulled.annotations["org.opencontainers.image.title"] == "greeter"


def test_istio_refuses_the_cncfs_form_which_is_why_it_is_not_the_default(
    new_image: NewImage, described_module: bytes
) -> None:
    pushed = push(described_module, new_image(), PushOptions(form=Form.CNCF, plain_http=True)).reference
    with pytest.raises(RefusedError, match="number of layers"):
        Istio(pushed).pull()
    assert pull(pushed, plain_http=True).module == described_module
