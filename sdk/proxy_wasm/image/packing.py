"""From a module to an image, in each form: the same module and annotations make the same bytes.

No time and nothing of the machine gets in. What is compressed is compressed by the zlib of the Python that runs this; implementations
other than zlib's own (zlib-ng) may make other bytes of the same module. The other two forms compress nothing.
"""

import io
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy_wasm.image.extraction import (
    CNCF_CONFIG,
    CNCF_LAYER,
    ISTIO_CONFIG,
    ISTIO_LAYER,
    MODULE_FILE,
    OCI_LAYER,
    Form,
)
from proxy_wasm.image.manifests import OCI_CONFIG, OCI_MANIFEST, Descriptor, encoded
from proxy_wasm.image.reference import digest_of

_GZIP_HEADER = bytes.fromhex("1f8b08000000000000ff")
"""Without a name, a time or an operating system (RFC 1952, section 2.3)."""
_LEVEL = 6
"""Level 9 takes three times as long for 1 % less."""
_EPOCH = "1970-01-01T00:00:00Z"
_TITLE = "org.opencontainers.image.title"


@dataclass(frozen=True, slots=True)
class Description:
    """What an image says about its module."""

    annotations: Mapping[str, str]
    abi_version: str
    root_ids: tuple[str, ...] = ()
    """The plugins inside, where they are known."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image, ready to be uploaded."""

    form: Form
    manifest: bytes
    blobs: tuple[bytes, ...]
    """Its configuration and layers."""

    @property
    def media_type(self) -> str:
        """Of the manifest."""
        return OCI_MANIFEST

    @property
    def digest(self) -> str:
        """Of the manifest: by this the image is known."""
        return digest_of(self.manifest)


def pack(module: bytes, form: Form, description: Description) -> Image:
    """The image of `module` in the form `form`."""
    return _PACKERS[form](module, description)


def _compat(module: bytes, description: Description) -> Image:
    """Like a container image, so that what knows only those can store, copy and mount it.

    Its platform is the one that proxies take from an index, and that most nodes have; nothing in the image depends on it.
    """
    archive = _archive(module)
    config = encoded(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": _EPOCH,
            "config": {"Labels": dict(description.annotations)},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(archive)]},
            "history": [{"created": _EPOCH, "created_by": "proxy-wasm push"}],
        }
    )
    layer = _gzip(archive)
    annotations = {**description.annotations, "module.wasm.image/variant": "compat"}
    layers = [Descriptor.of(OCI_LAYER, layer)]
    return _image(Form.COMPAT, Descriptor.of(OCI_CONFIG, config), layers, annotations, (config, layer))


def _oci(module: bytes, description: Description) -> Image:
    """As solo.io's `wasme` makes them: what describes the runtime is the first layer and the configuration at once."""
    runtime = encoded(
        {
            "type": "envoy_proxy",
            "abiVersions": [description.abi_version],
            "config": {"rootIds": list(description.root_ids)},
        }
    )
    config = Descriptor.of(ISTIO_CONFIG, runtime, {_TITLE: "runtime-config.json"})
    annotations = {
        **description.annotations,
        "module.wasm.runtime/type": "envoy_proxy",
        "module.wasm.runtime/abi_version": description.abi_version,
    }
    layers = [config, Descriptor.of(ISTIO_LAYER, module, {_TITLE: MODULE_FILE})]
    return _image(Form.OCI, config, layers, annotations, (runtime, module))


def _cncf(module: bytes, description: Description) -> Image:
    """The CNCF's "Wasm OCI Artifact layout"; a core module's operating system is `wasip1` there."""
    layer = Descriptor.of(CNCF_LAYER, module, {_TITLE: MODULE_FILE})
    config = encoded(
        {"created": _EPOCH, "architecture": "wasm", "os": "wasip1", "layerDigests": [layer.digest]},
    )
    return _image(Form.CNCF, Descriptor.of(CNCF_CONFIG, config), [layer], description.annotations, (config, module))


_PACKERS = {Form.COMPAT: _compat, Form.OCI: _oci, Form.CNCF: _cncf}


def _image(
    form: Form,
    config: Descriptor,
    layers: list[Descriptor],
    annotations: Mapping[str, str],
    blobs: tuple[bytes, ...],
) -> Image:
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.json(),
        "layers": [layer.json() for layer in layers],
        "annotations": dict(annotations),
    }
    return Image(form, encoded(manifest), blobs)


def _archive(module: bytes) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as file:
        member = tarfile.TarInfo(MODULE_FILE)  # of root, of 1970, readable by all
        member.size = len(module)
        file.addfile(member, io.BytesIO(module))
    return archive.getvalue()


def _gzip(data: bytes) -> bytes:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    trailer = zlib.crc32(data).to_bytes(4, "little") + (len(data) & 0xFFFFFFFF).to_bytes(4, "little")
    return _GZIP_HEADER + compressor.compress(data) + compressor.flush() + trailer
