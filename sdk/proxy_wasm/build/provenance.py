"""What a module tells about its making, in its custom section `proxy-wasm.inputs`, as JSON.

It is there for whoever has the module and nothing else: which inputs it was built from, by which tools, what the extension is called
and which packages are inside. Images are described by it, so that the same module makes the same image, wherever it comes from.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, cast

from proxy_wasm.build.settings import Project

SECTION = "proxy-wasm.inputs"
"""The name of the custom section."""

_LONGEST_LICENSE = 80
"""The field `License` of older packages may hold the whole text."""


@dataclass(frozen=True, slots=True)
class Package:
    """A Python package inside a module, or the extension itself."""

    name: str
    version: str
    license: str | None = None
    """An SPDX expression where the package has one, else its own words."""
    description: str | None = None
    source: str | None = None
    """The URL of its sources."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a module was made from, and by what."""

    hash: str
    """Hexadecimal SHA-256 of all inputs."""
    tools: Mapping[str, str] = field(default_factory=dict[str, str])
    """From name to version: `proxy-wasm`, `componentize-py`, ..."""
    extension: Package | None = None
    """`None` in modules of versions that did not record it."""
    packages: tuple[Package, ...] = ()
    """The extension's dependencies, sorted by name."""

    def section(self) -> bytes:
        """The contents of the custom section."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def read(cls, section: bytes | None) -> "Provenance | None":
        """What the contents of a module's custom section say; `None` where there is none of ours."""
        try:
            found: object = json.loads(section or b"")
        except ValueError:
            return None
        values = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        if not isinstance(values.get("hash"), str):
            return None
        tools: object = values.get("tools")
        packages: object = values.get("packages")
        return cls(
            values["hash"],
            {str(name): str(version) for name, version in cast("dict[str, Any]", tools).items()}
            if isinstance(tools, dict)
            else {},
            _package(values.get("extension")),
            tuple(_packages(cast("list[object]", packages) if isinstance(packages, list) else [])),
        )


def extension_package(project: Project) -> Package:
    """The extension as its settings describe it."""
    return Package(project.name, project.version, project.license, project.description, project.source)


def installed_packages(folder: Path) -> tuple[Package, ...]:
    """The packages that were installed into `folder`, by their own metadata, sorted by name."""
    found = (_described(distribution) for distribution in distributions(path=[str(folder)]))
    return tuple(sorted(found, key=lambda package: package.name.lower()))


def _described(distribution: Distribution) -> Package:
    metadata = distribution.metadata
    stated = (metadata[key] for key in ("License-Expression", "License") if key in metadata)
    named = (text for text in stated if text and "\n" not in text and len(text) <= _LONGEST_LICENSE)
    return Package(metadata["Name"], distribution.version, next(named, None))


def _packages(entries: Iterable[object]) -> Iterator[Package]:
    for entry in entries:
        if package := _package(entry):
            yield package


def _package(value: object) -> Package | None:
    values = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    name, version = values.get("name"), values.get("version")
    if not isinstance(name, str) or not isinstance(version, str):
        return None
    further = {key: str(values[key]) for key in ("license", "description", "source") if values.get(key)}
    return Package(name, version, **further)
