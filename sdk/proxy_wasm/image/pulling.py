"""From a registry to a module."""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy_wasm.image.credentials import Credentials, find_credentials
from proxy_wasm.image.errors import FormatError
from proxy_wasm.image.extraction import Form, chosen, module_in, module_layer
from proxy_wasm.image.manifests import DOCKER_CONFIG, OCI_CONFIG, Manifest, labels
from proxy_wasm.image.reference import Reference
from proxy_wasm.image.registry import Repository, Retries


@dataclass(frozen=True, slots=True)
class PulledImage:
    """An image, and the module in it; every byte was checked against its digest."""

    reference: Reference
    """What was asked for."""
    digest: str
    """Of the image's manifest: `"sha256:..."`. An index that led to it has another one."""
    form: Form
    annotations: Mapping[str, str]
    """Of the manifest; of an image without any, the labels of its configuration."""
    module: bytes


def open_repository(
    reference: Reference,
    *,
    credentials: Credentials | None = None,
    plain_http: bool = False,
    retries: Retries | None = None,
) -> Repository:
    """The repository of `reference`, with the credentials that Docker's configuration has for it unless given."""
    known = credentials or find_credentials(reference.registry)
    return Repository(reference, known, plain_http=plain_http, retries=retries)


def pull(
    reference: Reference,
    *,
    credentials: Credentials | None = None,
    plain_http: bool = False,
    retries: Retries | None = None,
) -> PulledImage:
    """Fetch the image that `reference` names, and take the module out of it.

    `credentials` are those that Docker's configuration has for the registry unless given; `plain_http` is for registries without
    TLS; `retries` says how often what may pass is tried again.

    Raises an `ImageError` of one line.
    """
    repository = open_repository(reference, credentials=credentials, plain_http=plain_http, retries=retries)
    manifest = image_manifest(repository)
    try:
        found = module_layer(manifest)
        module = module_in(found, repository.blob(found.layer))
    except FormatError as error:
        raise FormatError(f"{reference}: {error}") from error
    return PulledImage(reference, manifest.digest, found.form, image_annotations(repository, manifest), module)


def image_manifest(repository: Repository) -> Manifest:
    """The manifest of the repository's image; of an index, that of the image which proxies take."""
    reference = repository.reference
    manifest = repository.manifest(reference.identifier)
    if not manifest.is_index:
        return manifest
    try:
        child = chosen(manifest)
    except FormatError as error:
        raise FormatError(f"{reference}: {error}") from error
    found = repository.manifest(child.digest)
    if found.is_index:
        raise FormatError(f"{reference}: manifest: is an index of indexes")
    return found


def image_annotations(repository: Repository, manifest: Manifest) -> Mapping[str, str]:
    """What the manifest, or else the labels of its configuration, say about the image."""
    config = manifest.config
    if manifest.annotations or config is None or config.media_type not in (OCI_CONFIG, DOCKER_CONFIG):
        return manifest.annotations
    try:
        return labels(repository.blob(config))
    except FormatError as error:
        raise FormatError(f"{repository.reference}: {error}") from error
