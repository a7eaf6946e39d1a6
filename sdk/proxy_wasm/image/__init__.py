"""Modules as images in OCI registries, in the forms that Istio, Envoy Gateway and others pull.

    reference     names of images
    credentials   who we are, from Docker's configuration
    registry      manifests and blobs of one repository; needs the extra `image`
    manifests     what an image consists of
    extraction    which part of an image is the module
    packing       from a module to an image, in each form
    describing    what an image says about its module
    bom           the bill of materials of a module; needs the extra
    referring     what belongs to an image without being a part of it
    pulling, pushing, surveying   what commands do

What decides (forms, extraction, descriptions) does no I/O; `registry` does it all.
"""

from typing import TYPE_CHECKING, Any

from proxy_wasm.image.credentials import Credentials, find_credentials
from proxy_wasm.image.errors import (
    AccessError,
    BadReferenceError,
    CredentialsError,
    DigestError,
    FormatError,
    ImageError,
    MissingExtraError,
    NotFoundError,
    RegistryError,
    TagTakenError,
)
from proxy_wasm.image.extraction import Form
from proxy_wasm.image.reference import Reference, digest_of, is_reference

if TYPE_CHECKING:
    from proxy_wasm.image.pulling import PulledImage, pull
    from proxy_wasm.image.registry import Repository, Retries

__all__ = [
    "AccessError",
    "BadReferenceError",
    "Credentials",
    "CredentialsError",
    "DigestError",
    "Form",
    "FormatError",
    "ImageError",
    "MissingExtraError",
    "NotFoundError",
    "PulledImage",
    "Reference",
    "RegistryError",
    "Repository",
    "Retries",
    "TagTakenError",
    "digest_of",
    "find_credentials",
    "is_reference",
    "pull",
]

_LATER = {"PulledImage": "pulling", "pull": "pulling", "Repository": "registry", "Retries": "registry"}
"""Names whose modules need the extra: whoever only reads references does without it."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any of several
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
