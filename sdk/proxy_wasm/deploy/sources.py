"""Where modules come from: files, and images in registries."""

import math
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from proxy_wasm.deploy.errors import Refused, Unavailable
from proxy_wasm.image.errors import ImageError
from proxy_wasm.image.reference import Reference, is_reference

IMAGE_SECONDS = 60.0
"""How long an answer of a registry about a tag is good, unless told."""

_LARGEST = 512 << 20


class ModuleSource(Protocol):
    """Something that may hold another module whenever one looks."""

    def state(self) -> object:
        """Something that differs once there may be another module; raises `Unavailable`."""
        ...

    def read(self) -> bytes:
        """The module; raises `Unavailable`."""
        ...


class ModuleFile:
    """A file, which others may replace or write at any time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def state(self) -> object:
        """Its place on the disk, size and time."""
        return file_state(self.path)

    def read(self) -> bytes:
        """What is in it."""
        return read_file(self.path)


def file_state(path: Path) -> object:
    """Something that differs once another file is there, or other content; raises `Unavailable`."""
    try:
        found = path.stat()
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def read_file(path: Path) -> bytes:
    """What is in a file; raises `Unavailable` where it cannot be read, or is larger than anything that a proxy would load."""
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise Unavailable(f"{path}: {size} bytes are more than any module or configuration has")
        return path.read_bytes()
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error


class ImageModule:
    """An image in a registry. What a tag names is asked for every `seconds` at most; what a digest names, never."""

    def __init__(self, reference: Reference, *, plain_http: bool, seconds: float) -> None:
        self._reference = reference
        self._plain_http = plain_http
        self._seconds = seconds
        self._digest = reference.digest
        self._good_until = math.inf if reference.digest else -math.inf

    def state(self) -> object:
        """The digest of the image."""
        if time.monotonic() > self._good_until:
            from proxy_wasm.image.pulling import image_manifest, open_repository  # noqa: PLC0415 - needs an extra

            with _available():
                repository = open_repository(self._reference, plain_http=self._plain_http)
                self._digest = image_manifest(repository).digest
            self._good_until = time.monotonic() + self._seconds
        return self._digest

    def read(self) -> bytes:
        """The module in the image."""
        from proxy_wasm.image.pulling import pull  # noqa: PLC0415 - needs an extra

        with _available():
            return pull(self._reference, plain_http=self._plain_http).module


@contextmanager
def _available() -> Generator[None]:
    try:
        yield
    except ImageError as error:
        raise Unavailable(str(error)) from error


def source_of(module: str, *, plain_http: bool, image_seconds: float) -> ModuleSource:
    """What is behind the name of a file or of an image; raises `BadReferenceError` where it is none."""
    if is_reference(module):
        return ImageModule(Reference.parse(module), plain_http=plain_http, seconds=image_seconds)
    return ModuleFile(Path(module))


def check_digest(found: str, expected: str) -> None:
    """Raise `Refused` where a module's SHA-256 is not the `expected` one."""
    if found != expected:
        raise Refused(f"its SHA-256 is {found}, and must be {expected}")
