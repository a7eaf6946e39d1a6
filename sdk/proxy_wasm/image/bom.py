"""The bill of materials of a module: CycloneDX, from what the module itself tells.

Python packages are those that the build recorded. CPython and the C libraries in it are found by what they leave in the module's
memory: their versions, as they print them themselves. A library that is there and does not say which version it is, is listed
without one. The same module makes the same bytes.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from proxy_wasm.build.inspection import Inspection, memory_image
from proxy_wasm.build.provenance import Package
from proxy_wasm.build.wasm.module import read_module
from proxy_wasm.image.errors import MissingExtraError

try:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.dependency import Dependency
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f"bills of materials need the Python package {error.name}; install it with: pip install 'proxy-wasm[image]'"
    ) from error

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAMESPACE = uuid.UUID("0e1c5e0c-3c1a-4a86-9d53-9f4a6f3b1d27")
"""In which serial numbers are made of digests of modules."""


@dataclass(frozen=True, slots=True)
class _Library:
    """Something written in C that may be in a module's memory."""

    name: str
    sign: bytes
    """An expression that only it leaves there."""
    version: bytes | None
    """An expression whose group is its version."""
    license: str
    cpe: str | None = None
    """Vendor and product, as vulnerabilities are filed under."""


_LIBRARIES = (
    _Library("CPython", rb"\d+\.\d+\.\d+\S* \(main, ", rb"\0(\d+\.\d+\.\d+\S*) \(main, ", "PSF-2.0", "python:python"),
    _Library("expat", rb"expat_\d", rb"expat_(\d+\.\d+\.\d+)\0", "MIT", "libexpat_project:libexpat"),
    _Library("HACL*", rb"HACL\* internal routine", None, "MIT"),
    _Library("libmpdec", rb"libmpdec: internal error", rb"\0((?:2\.[4-9]|[34]\.0)\.\d+)\0", "BSD-2-Clause"),
    _Library("SQLite", rb"unable to allocate SQLite", rb"\0(3\.[2-9]\d\.\d+)\0", "blessing", "sqlite:sqlite"),
    _Library("wasi-libc", rb"-wasi-sdk ", None, "Apache-2.0 WITH LLVM-exception"),
    _Library("zlib", rb"incorrect header check\0", rb"\0(1\.[23]\.\d+(?:\.\d+)?)\0", "Zlib", "zlib:zlib"),
)


def bill_of_materials(module: bytes, found: Inspection) -> bytes | None:
    """The bill, as JSON of CycloneDX 1.6; `None` for a module that this SDK did not make, of which nothing is known.

    `found` is what was read of `module`.
    """
    if found.sdk_version is None or found.extension is None:
        return None
    main = _extension(found.extension, module)
    components = [*_python(found), *_libraries(memory_image(read_module(module)))]
    tools = [Component(name=name, version=version, bom_ref=f"tool:{name}") for name, version in found.tools.items()]
    bom = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, hashlib.sha256(module).hexdigest()),
        metadata=BomMetaData(component=main, timestamp=_EPOCH, tools=ToolRepository(components=tools)),
        components=components,
        dependencies=[
            Dependency(main.bom_ref, [Dependency(component.bom_ref) for component in components]),
            *(Dependency(component.bom_ref) for component in components),
        ],
    )
    written = json.loads(JsonV1Dot6(bom).output_as_string())
    return json.dumps(written, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"


def _extension(package: Package, module: bytes) -> Component:
    return Component(
        type=ComponentType.APPLICATION,
        name=package.name,
        version=package.version,
        description=package.description,
        bom_ref=f"extension:{package.name}",
        licenses=[LicenseFactory().make_from_string(package.license)] if package.license else (),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(module).hexdigest())],
    )


def _python(found: Inspection) -> Iterator[Component]:
    """The SDK and the runtime of componentize-py, which are in the module, too, and the extension's dependencies."""
    inside = [Package("proxy-wasm", found.sdk_version or "", "Apache-2.0")]
    if runtime := found.tools.get("componentize-py"):
        inside.append(Package("componentize-py", runtime, "Apache-2.0 WITH LLVM-exception"))
    for package in (*inside, *found.packages):
        name = re.sub(r"[-_.]+", "-", package.name).lower()
        purl = PackageURL("pypi", None, name, package.version)
        yield Component(
            name=package.name,
            version=package.version,
            bom_ref=str(purl),
            purl=purl,
            licenses=[LicenseFactory().make_from_string(package.license)] if package.license else (),
        )


def _libraries(memory: bytes) -> Iterator[Component]:
    for library in _LIBRARIES:
        if re.search(library.sign, memory):
            yield _library(library, _version(library, memory))


def _version(library: _Library, memory: bytes) -> str | None:
    """The first that fits: C's constants lie below everything that Python has made, such as a string of the same form."""
    found = re.search(library.version, memory) if library.version else None
    return None if found is None else found[1].decode("ascii", "replace")


def _library(library: _Library, version: str | None) -> Component:
    name = re.sub(r"[^a-z0-9-]", "", library.name.lower())
    purl = PackageURL("generic", None, name, version)
    return Component(
        type=ComponentType.FRAMEWORK if library.name == "CPython" else ComponentType.LIBRARY,
        name=library.name,
        version=version,
        bom_ref=str(purl),
        purl=purl,
        cpe=f"cpe:2.3:a:{library.cpe}:{version}:*:*:*:*:*:*:*" if library.cpe and version else None,
        licenses=[LicenseFactory().make_from_string(library.license)],
    )
