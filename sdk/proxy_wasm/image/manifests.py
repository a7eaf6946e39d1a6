"""Manifests of images, and what they point to: the parts of the OCI image specification 1.1 that images with a module use."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from proxy_wasm.image.errors import FormatError
from proxy_wasm.image.reference import digest_of

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"

INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
_MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A part of an image: what it is, and which bytes."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    artifact_type: str = ""
    """What the artifact is that the manifest holds which this describes; only in indexes."""

    @classmethod
    def of(cls, media_type: str, data: bytes, annotations: Mapping[str, str] | None = None) -> "Descriptor":
        """The descriptor of `data`."""
        return cls(media_type, digest_of(data), len(data), annotations or {})

    def json(self) -> dict[str, Any]:
        """As manifests have it."""
        found: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            found["annotations"] = dict(self.annotations)
        if self.artifact_type:
            found["artifactType"] = self.artifact_type
        return found


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest, or an index of several."""

    data: bytes
    media_type: str
    config: Descriptor | None
    """`None` in an index."""
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    children: tuple[tuple[Descriptor, Mapping[str, Any] | None], ...]
    """Of an index: manifests with their platforms."""

    @property
    def digest(self) -> str:
        """By which the registry knows it."""
        return digest_of(self.data)

    @property
    def is_index(self) -> bool:
        """Whether it only points to other manifests."""
        return self.media_type in INDEXES

    @classmethod
    def parse(cls, data: bytes, content_type: str) -> "Manifest":
        """The manifest in `data`, which came as `content_type`.

        Raises `FormatError` that says which field is wrong.
        """
        top = _object("manifest", _loaded("manifest", data))
        media_type = str(top.get("mediaType") or content_type.partition(";")[0].strip())
        if media_type in INDEXES:
            children = tuple(_children(top))
            return cls(data, media_type, None, (), _annotations("manifest", top), children)
        if media_type not in _MANIFESTS:
            raise FormatError(f"manifest: is of the type {media_type or 'none'}, which is none of an image")
        layers = _array("layers", top.get("layers"))
        return cls(
            data,
            media_type,
            _descriptor("config", top.get("config")),
            tuple(_descriptor(f"layers[{position}]", layer) for position, layer in enumerate(layers)),
            _annotations("manifest", top),
            (),
        )


def encoded(value: Mapping[str, Any]) -> bytes:
    """JSON that is the same for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def labels(data: bytes) -> dict[str, str]:
    """The labels in an image's configuration: where Docker's images have what others have in annotations."""
    config = _object("config", _loaded("config", data))
    return _texts("config.Labels", _object("config.config", config.get("config")).get("Labels"))


def _loaded(place: str, data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{place}: is no JSON") from error


def _children(top: dict[str, Any]) -> Iterator[tuple[Descriptor, Mapping[str, Any] | None]]:
    for position, entry in enumerate(_array("manifests", top.get("manifests"))):
        place = f"manifests[{position}]"
        platform = _object(place, entry).get("platform")
        yield _descriptor(place, entry), None if platform is None else _object(f"{place}.platform", platform)


def _descriptor(place: str, value: object) -> Descriptor:
    found = _object(place, value)
    media_type, digest, size = found.get("mediaType"), found.get("digest"), found.get("size")
    if not isinstance(media_type, str) or not isinstance(digest, str) or not digest.startswith("sha256:"):
        raise FormatError(f"manifest: {place}: needs a mediaType and a digest of sha256")
    if not isinstance(size, int) or size < 0:
        raise FormatError(f"manifest: {place}.size: must be a number of bytes")
    return Descriptor(media_type, digest, size, _annotations(place, found), str(found.get("artifactType") or ""))


def _annotations(place: str, found: dict[str, Any]) -> dict[str, str]:
    return _texts(f"{place}.annotations", found.get("annotations"))


def _texts(place: str, value: object) -> dict[str, str]:
    return {key: str(text) for key, text in _object(place, value).items()}


def _object(place: str, value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise FormatError(f"{place}: must be an object")
    return cast("dict[str, Any]", value)


def _array(place: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise FormatError(f"manifest: {place}: must be an array")
    return cast("list[object]", value)
