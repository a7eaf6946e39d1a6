"""Which part of an image is the module: the rules of Istio's puller, and the CNCF's form besides.

Istio's rules, with their sources, are the table in docs/images.md. This module follows them, so that what we take from an image is
what Istio's agents and Envoy Gateway take from it, and adds the one form that they do not know.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from proxy_wasm.image.errors import FormatError
from proxy_wasm.image.manifests import DOCKER_MANIFEST, Descriptor, Manifest

MODULE_FILE = "plugin.wasm"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
ISTIO_LAYER = "application/vnd.module.wasm.content.layer.v1+wasm"
ISTIO_CONFIG = "application/vnd.module.wasm.config.v1+json"
CNCF_LAYER = "application/wasm"
CNCF_CONFIG = "application/vnd.wasm.config.v0+json"

MOST_BYTES = 256 << 20
"""The largest module that Istio takes (`ISTIO_WASM_MAX_BINARY_SIZE_BYTES`)."""

_ISTIO_LAYERS = 2
_MAGIC = b"\0asm"
_HEADER_SIZE = 8


class Form(Enum):
    """How an image holds its module."""

    COMPAT = "compat"
    """Like a container image: one layer, an archive with `plugin.wasm` in it."""
    OCI = "oci"
    """Two layers of media types of their own: metadata, and the module itself."""
    CNCF = "cncf"
    """The CNCF's layout for Wasm of any kind: one layer, the module itself."""


@dataclass(frozen=True, slots=True)
class ModuleLayer:
    """The layer that holds the module."""

    form: Form
    layer: Descriptor


def chosen(index: Manifest) -> Descriptor:
    """The image of an index that is taken: the first for linux/amd64, or without a platform.

    Source: go-containerregistry, `pkg/v1/remote/index.go`, `childByPlatform`, with the platform that Istio leaves at its default.
    """
    for child, platform in index.children:
        if platform is None or _is_default(platform):
            return child
    raise FormatError("manifest: is an index without an image for linux/amd64, which is what proxies take from one")


def _is_default(platform: Mapping[str, Any]) -> bool:
    return platform.get("os") == "linux" and platform.get("architecture") == "amd64"


def module_layer(manifest: Manifest) -> ModuleLayer:
    """The layer of an image that holds the module.

    Raises `FormatError` where it is in none of the forms, or larger than what proxies take.
    """
    found = _module_layer(manifest)
    if found.layer.size > MOST_BYTES:
        raise FormatError(f"the image's layer has {found.layer.size} bytes; {MOST_BYTES >> 20} MiB are the most")
    return found


def _module_layer(manifest: Manifest) -> ModuleLayer:
    layers = manifest.layers
    if not layers:
        raise FormatError("manifest: has no layers")
    archive = DOCKER_LAYER if manifest.media_type == DOCKER_MANIFEST else OCI_LAYER
    if layers[-1].media_type == archive:
        return ModuleLayer(Form.COMPAT, layers[-1])
    if manifest.media_type != DOCKER_MANIFEST:
        if len(layers) == _ISTIO_LAYERS:
            for layer in layers:
                if layer.media_type == ISTIO_LAYER:
                    return ModuleLayer(Form.OCI, layer)
        if len(layers) == 1 and layers[0].media_type == CNCF_LAYER:
            return ModuleLayer(Form.CNCF, layers[0])
    types = ", ".join(layer.media_type for layer in layers)
    raise FormatError(f"manifest: is no Wasm image that proxies know: its layers are of {types}")


def module_in(found: ModuleLayer, data: bytes) -> bytes:
    """The module in the bytes of its layer.

    Raises `FormatError` where they hold none.
    """
    module = _unpacked(data) if found.form is Form.COMPAT else data
    if len(module) < _HEADER_SIZE or not module.startswith(_MAGIC):
        raise FormatError("what the image holds as its module is no WebAssembly")
    return module


def _unpacked(data: bytes) -> bytes:
    """The first file of the archive that is called `plugin.wasm`, in whatever folder."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            unpacked = stream.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError("the image's layer is no gzip") from error
    if len(unpacked) > MOST_BYTES:
        raise FormatError(f"the image's layer holds more than {MOST_BYTES >> 20} MiB")
    try:
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as archive:
            for member in archive:
                if member.name.rpartition("/")[2] == MODULE_FILE and member.isfile():
                    file = archive.extractfile(member)
                    return b"" if file is None else file.read()
    except (tarfile.TarError, EOFError) as error:
        raise FormatError("the image's layer is no archive of tar") from error
    raise FormatError(f"the image's layer holds no file {MODULE_FILE}")
