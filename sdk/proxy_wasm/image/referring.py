"""What belongs to an image without being a part of it: manifests that name it as their `subject`.

The forms of images leave no room for more layers, and an image's digest must not depend on who else has something to say about it. Where
a registry has no API for referrers, they are listed in an index under a tag made of the image's digest; registries that have the
API say so when they take a manifest with a subject (OCI distribution specification 1.1, "Pushing Manifests with Subject").
"""

from proxy_wasm.image.errors import FormatError, NotFoundError
from proxy_wasm.image.manifests import EMPTY, OCI_INDEX, OCI_MANIFEST, Descriptor, encoded
from proxy_wasm.image.registry import Repository, referrers_tag

_EMPTY_CONFIG = b"{}"


def attach(repository: Repository, subject: Descriptor, artifact_type: str, data: bytes, title: str) -> str:
    """Put `data` beside the image `subject`, which need not be there yet; the digest of the manifest that holds it."""
    layer = Descriptor.of(artifact_type, data, {"org.opencontainers.image.title": title})
    manifest = encoded(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": Descriptor.of(EMPTY, _EMPTY_CONFIG).json(),
            "layers": [layer.json()],
            "subject": subject.json(),
        }
    )
    described = Descriptor.of(OCI_MANIFEST, manifest)
    for blob in (_EMPTY_CONFIG, data):
        repository.upload(blob)
    if not repository.put_manifest(described.digest, OCI_MANIFEST, manifest):
        entry = Descriptor(OCI_MANIFEST, described.digest, described.size, artifact_type=artifact_type)
        _list(repository, subject.digest, entry)
    return described.digest


def _list(repository: Repository, subject: str, entry: Descriptor) -> None:
    """Add `entry` to the index of what refers to `subject`."""
    found = repository.referrers_by_tag(subject)
    listed = [] if found is None else [child for child, _ in found.children]
    if any(child.digest == entry.digest for child in listed):
        return
    manifests = [child.json() for child in (*listed, entry)]
    index = encoded({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})
    repository.put_manifest(referrers_tag(subject), OCI_INDEX, index)


def attached(repository: Repository, subject: str, artifact_type: str) -> list[Descriptor]:
    """The manifests of `artifact_type` that refer to the image `subject`."""
    found = repository.referrers(subject)
    return [] if found is None else [child for child, _ in found.children if child.artifact_type == artifact_type]


def attachment(repository: Repository, descriptor: Descriptor) -> bytes:
    """What the manifest that `descriptor` names holds."""
    manifest = repository.manifest(descriptor.digest)
    if len(manifest.layers) != 1:
        raise FormatError(f"{repository.reference}: {descriptor.digest}: holds {len(manifest.layers)} files, not one")
    return repository.blob(manifest.layers[0])


def only(repository: Repository, subject: str, artifact_type: str, what: str) -> bytes:
    """The attachment of `artifact_type`, of which there should be one; of several the last, which is the newest."""
    listed = attached(repository, subject, artifact_type)
    if not listed:
        raise NotFoundError(f"{repository.reference}: the registry has no {what} of this image")
    return attachment(repository, listed[-1])
