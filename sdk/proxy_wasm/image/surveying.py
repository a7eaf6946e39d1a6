"""What an image in a registry is, and what belongs to it, without its module."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy_wasm.image import referring
from proxy_wasm.image.errors import FormatError
from proxy_wasm.image.extraction import module_layer
from proxy_wasm.image.manifests import Descriptor
from proxy_wasm.image.pulling import image_annotations, image_manifest, open_repository
from proxy_wasm.image.reference import Reference
from proxy_wasm.image.registry import Retries

BOM_MEDIA_TYPE = "application/vnd.cyclonedx+json"


@dataclass(frozen=True, slots=True)
class Survey:
    """An image, as its manifest describes it."""

    reference: Reference
    digest: str
    media_type: str
    """Of the manifest."""
    form: str
    layer: Descriptor
    """The layer that holds the module."""
    annotations: Mapping[str, str]
    bom_digest: str | None
    """Of the manifest of its bill of materials; `None` where the registry has none."""

    def json(self) -> dict[str, Any]:
        """As one JSON object."""
        return {
            "reference": str(self.reference),
            "digest": self.digest,
            "mediaType": self.media_type,
            "form": self.form,
            "layer": self.layer.json(),
            "annotations": dict(self.annotations),
            "billOfMaterials": self.bom_digest,
        }


def survey(reference: Reference, *, plain_http: bool = False, retries: int = 3) -> Survey:
    """What the image that `reference` names is. Raises an `ImageError` of one line."""
    repository = open_repository(reference, plain_http=plain_http, retries=Retries(retries))
    manifest = image_manifest(repository)
    try:
        found = module_layer(manifest)
    except FormatError as error:
        raise FormatError(f"{reference}: {error}") from error
    boms = referring.attached(repository, manifest.digest, BOM_MEDIA_TYPE)
    return Survey(
        reference,
        manifest.digest,
        manifest.media_type,
        found.form.value,
        found.layer,
        image_annotations(repository, manifest),
        boms[-1].digest if boms else None,
    )


def fetch_bom(reference: Reference, *, plain_http: bool = False, retries: int = 3) -> bytes:
    """The bill of materials of the image that `reference` names. Raises `NotFoundError` where there is none."""
    repository = open_repository(reference, plain_http=plain_http, retries=Retries(retries))
    digest = image_manifest(repository).digest
    return referring.only(repository, digest, BOM_MEDIA_TYPE, "bill of materials")
