"""From a module to a registry.

The order matters to whoever pulls meanwhile: layers first, then the bill of materials, then the image under its digest or tag. Whoever
sees the image finds everything that belongs to it; what was interrupted leaves nothing that a name leads to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy_wasm.image import referring
from proxy_wasm.image.bom import bill_of_materials
from proxy_wasm.image.credentials import Credentials
from proxy_wasm.image.describing import describe, inspected
from proxy_wasm.image.errors import BadReferenceError, DigestError, FormatError, TagTakenError
from proxy_wasm.image.extraction import MOST_BYTES, Form
from proxy_wasm.image.manifests import Descriptor
from proxy_wasm.image.packing import Image, pack
from proxy_wasm.image.pulling import open_repository
from proxy_wasm.image.reference import Reference
from proxy_wasm.image.registry import Repository, Retries
from proxy_wasm.image.surveying import BOM_MEDIA_TYPE


@dataclass(frozen=True, slots=True)
class Prepared:
    """A module made ready to be pushed; nothing has gone to a registry."""

    image: Image
    bom: bytes | None
    """Its bill of materials; `None` where the module tells nothing of its making."""


@dataclass(frozen=True, slots=True)
class PushedImage:
    """What a push has led to."""

    reference: Reference
    """With tag, if one was given, and digest."""
    unchanged: bool
    """Whether the registry had this image under this name already."""
    bom_digest: str | None
    """Of the manifest of its bill of materials."""


@dataclass(frozen=True, slots=True)
class PushOptions:
    """How a module is pushed."""

    form: Form = Form.COMPAT
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    """On top of those that the module gives."""
    replace_tag: bool = False
    """Whether a tag that names another image already may be moved."""
    credentials: Credentials | None = None
    """Those of Docker's configuration unless given."""
    plain_http: bool = False
    retries: Retries | None = None


def prepare(module: bytes, options: PushOptions) -> Prepared:
    """Make the image of `module` and its bill of materials. Raises `FormatError` where it is no Proxy-Wasm module."""
    if len(module) > MOST_BYTES:
        raise FormatError(f"the module has {len(module)} bytes; {MOST_BYTES >> 20} MiB are the most that proxies take")
    found = inspected(module)
    image = pack(module, options.form, describe(module, found, options.annotations))
    return Prepared(image, bill_of_materials(module, found))


def push(module: bytes, reference: Reference, options: PushOptions | None = None) -> PushedImage:
    """Put `module` into a registry under the tag or the digest of `reference`, with its bill of materials.

    A digest must be that of the image which the module makes. A tag that names another image already is refused, unless
    `options.replace_tag`; registries offer no way to make the check and the change one step.

    Raises an `ImageError` of one line; where the bytes themselves are wrong, before anything was sent.
    """
    options = options or PushOptions()
    if reference.tag is None and reference.digest is None:
        raise BadReferenceError(f"{reference}: a tag is needed to push to, such as {reference}:0.1.0")
    try:
        prepared = prepare(module, options)
    except FormatError as error:
        raise FormatError(f"{reference}: {error}") from error
    image = prepared.image
    if reference.digest not in (None, image.digest):
        raise DigestError(f"{reference}: the image of this module is {image.digest}")
    repository = open_repository(
        reference, credentials=options.credentials, plain_http=options.plain_http, retries=options.retries
    )
    identifier = reference.tag or image.digest
    present = repository.digest(identifier)
    if present not in (None, image.digest) and not options.replace_tag:
        raise TagTakenError(
            f"{reference}: the tag names another image already, {present}; --replace-tag moves it to {image.digest}"
        )
    if present != image.digest:
        for blob in image.blobs:
            repository.upload(blob)
    bom_digest = None if prepared.bom is None else _attach(repository, image, prepared.bom)
    if present != image.digest:
        repository.put_manifest(identifier, image.media_type, image.manifest)
    return PushedImage(reference.at(image.digest), present == image.digest, bom_digest)


def _attach(repository: Repository, image: Image, bom: bytes) -> str:
    subject = Descriptor.of(image.media_type, image.manifest)
    return referring.attach(repository, subject, BOM_MEDIA_TYPE, bom, "sbom.cdx.json")
