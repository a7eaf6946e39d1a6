"""How commands speak to registries, and what becomes of what fails there."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy_wasm.cli.progress import terminal_progress
from proxy_wasm.image.reference import Reference

if TYPE_CHECKING:
    from proxy_wasm.image import PulledImage


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """What commands that speak to a registry are given for it."""

    plain_http: bool = False
    retries: int = 3


def image_errors() -> AbstractContextManager[None]:
    """Turn errors of builds and of images into those of commands."""
    from proxy_wasm.build import BuildError, SettingsError  # noqa: PLC0415 - every command's options come from here
    from proxy_wasm.cli.errors import told  # noqa: PLC0415
    from proxy_wasm.image import BadReferenceError, CredentialsError, ImageError, MissingExtraError  # noqa: PLC0415

    bad_input = (SettingsError, BadReferenceError, CredentialsError, MissingExtraError)
    return told(BuildError, ImageError, bad_input=bad_input)


def fetch(reference: Reference, options: RegistryOptions) -> "PulledImage":
    """Pull the image, and tell on a terminal that it is being done."""
    from proxy_wasm.image import Retries, pull  # noqa: PLC0415 - they need the extra

    terminal_progress()(f"pulling {reference}")
    return pull(reference, plain_http=options.plain_http, retries=Retries(options.retries))
