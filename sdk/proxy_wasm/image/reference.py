"""Names of images: `oci://REGISTRY/NAME:TAG`, `oci://REGISTRY/NAME@sha256:...`, or with both.

Grammar: OCI distribution specification 1.1, "Pulling manifests", for names and tags; `oci://` is how Istio and Envoy Gateway write
that an URL is an image's. Where there is a digest it decides, and the tag is for readers.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from proxy_wasm.image.errors import BadReferenceError

SCHEME = "oci://"
DEFAULT_TAG = "latest"

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    r"(?P<registry>(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?)"
    rf"/(?P<repository>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_DOCKER_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


def digest_of(data: bytes) -> str:
    """The digest by which registries know `data`: `"sha256:..."`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def is_reference(text: str) -> bool:
    """Whether `text` is meant to name an image rather than a file."""
    return text.startswith(SCHEME)


@dataclass(frozen=True)
class Reference:
    """Which image, in which registry."""

    registry: str
    """Host, with its port where that is not 443: `"ghcr.io"`, `"127.0.0.1:5000"`."""
    repository: str
    """`"acme/filters/greeter"`."""
    tag: str | None = None
    digest: str | None = None
    """`"sha256:..."`."""

    FORM: ClassVar[str] = "oci://REGISTRY/NAME:TAG or oci://REGISTRY/NAME@sha256:..."

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """The reference that `text` is.

        Raises `BadReferenceError` that says what is wrong with it.
        """
        match = _REFERENCE.fullmatch(text.removeprefix(SCHEME)) if is_reference(text) else None
        if match is None:
            raise BadReferenceError(f"{text!r} names no image: {_problem(text)}; the form is {cls.FORM}")
        registry, repository = match["registry"], match["repository"]
        if registry in _DOCKER_HUB:
            registry, repository = "docker.io", repository if "/" in repository else f"library/{repository}"
        return cls(registry, repository, match["tag"], match["digest"])

    @property
    def name(self) -> str:
        """The image's name without tag and digest: `"oci://ghcr.io/acme/greeter"`."""
        return f"{SCHEME}{self.registry}/{self.repository}"

    @property
    def identifier(self) -> str:
        """What the registry is asked for: the digest, else the tag, else `latest`."""
        return self.digest or self.tag or DEFAULT_TAG

    @cached_property
    def api_host(self) -> str:
        """The host that answers for the registry."""
        return "registry-1.docker.io" if self.registry == "docker.io" else self.registry

    def at(self, digest: str) -> "Reference":
        """The same name, pinned to `digest`."""
        return Reference(self.registry, self.repository, self.tag, digest)

    def tagged(self, tag: str) -> "Reference":
        """The same name with the tag `tag`, and no digest."""
        return Reference(self.registry, self.repository, tag)

    def __str__(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        digest = "" if self.digest is None else f"@{self.digest}"
        return f"{self.name}{tag}{digest}"


def _problem(text: str) -> str:
    if not is_reference(text):
        return f"it does not begin with {SCHEME}"
    name, at, digest = text.removeprefix(SCHEME).partition("@")
    if at and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        return "a digest is sha256: and 64 hexadecimal digits"
    registry, slash, repository = name.partition("/")
    if not registry or not slash or not repository:
        return "registry and name must be given"
    if any(character.isupper() for character in repository.partition(":")[0]):
        return "names are of lower-case letters"
    if ":" in repository and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", repository.rpartition(":")[2]):
        return "a tag is of at most 128 letters, digits, '.', '_' and '-'"
    return "names are of letters, digits, '.', '_', '-' and '/'"
