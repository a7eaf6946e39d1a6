"""Everything that a build depends on, and its hash.

Two builds with the same hash may share one module; so nothing of the machine enters it (no path, no time), and everything else
does: the extension's files, its dependencies' files, the SDK's, the settings, the tools' versions and the code of the build itself.
The hash is recorded in the module: see `proxy_wasm.build.provenance`.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from proxy_wasm.abi import wit
from proxy_wasm.build import parts
from proxy_wasm.build.provenance import Provenance, extension_package, installed_packages
from proxy_wasm.build.settings import Project

SDK, EXTENSION, DEPENDENCIES = "sdk", "extension", "dependencies"
"""The folders that the guest's modules are imported from, in this order."""

SETTINGS_MODULE = "proxy_wasm_settings"

_ASYNC_SUPPORT = {
    "__init__": "def callback(*_):\n    raise NotImplementedError\n",
    "streams": "ByteStreamReader = ByteStreamWriter = StreamReader = StreamWriter = object\n",
    "futures": "FutureReader = FutureWriter = object\n",
}
"""Stands in for componentize-py's package of that name, which its runtime imports whether or not the world has anything
asynchronous, and which imports all of asyncio: 1.6 MB of snapshot."""

_PACKAGE = Path(__file__).parents[1]
_ONLY_OUTSIDE = frozenset({"__main__.py", "abi/signatures.py", "abi/wit.py"})
"""Modules beside those that run in Wasm that never do."""
_GUEST_PACKAGES = ("abi", "guest", "properties")
_TOOLS = ("componentize-py", "wasmtime")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What one build is made from."""

    files: Mapping[str, bytes]
    """From folder and path below it (`"extension/greeter.py"`) to contents."""
    world: str
    """The WIT world."""
    strip: bool
    stdlib: tuple[str, ...]
    """The parts of CPython that are kept whether or not anything imports them."""
    provenance: Provenance

    @property
    def hash(self) -> str:
        """Hexadecimal SHA-256 of all of it."""
        return self.provenance.hash

    @property
    def tools(self) -> Mapping[str, str]:
        """From name to version: what the module is made with."""
        return self.provenance.tools


def collect(project: Project, dependencies: Path) -> Inputs:
    """The inputs of a build of `project` with the packages that were installed into the folder `dependencies`."""
    tools = {"proxy-wasm": version("proxy-wasm"), **{tool: version(tool) for tool in _TOOLS}}
    files = {f"{SDK}/proxy_wasm/{name}": path.read_bytes() for name, path in _guest_sources()}
    files[f"{SDK}/{SETTINGS_MODULE}.py"] = _settings_module(project, tools["proxy-wasm"]).encode()
    for name, text in _ASYNC_SUPPORT.items():
        files[f"{SDK}/componentize_py_async_support/{name}.py"] = text.encode()
    files |= {f"{EXTENSION}/{name}": path.read_bytes() for name, path in project.sources.items()}
    files |= {f"{DEPENDENCIES}/{name}": path.read_bytes() for name, path in _files(dependencies)}
    world = wit.TEXT
    extension, packages = extension_package(project), installed_packages(dependencies)
    facts = [tools, world, project.strip, project.stdlib, asdict(extension), [asdict(package) for package in packages]]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, contents in sorted(files.items()):
        digest.update(f"\n{name}\n".encode() + hashlib.sha256(contents).digest())
    for name, path in _files(_PACKAGE / "build", "*.py"):
        digest.update(f"\nbuild/{name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return Inputs(
        files, world, project.strip, project.stdlib, Provenance(digest.hexdigest(), tools, extension, packages)
    )


def _guest_sources() -> Iterator[tuple[str, Path]]:
    folders = [_PACKAGE.glob("*.py"), *((_PACKAGE / package).rglob("*.py") for package in _GUEST_PACKAGES)]
    for path in sorted(path for folder in folders for path in folder):
        name = path.relative_to(_PACKAGE).as_posix()
        if name not in _ONLY_OUTSIDE:
            yield name, path


def _files(folder: Path, pattern: str = "*") -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob(pattern)):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(folder).as_posix(), path


def _settings_module(project: Project, sdk_version: str) -> str:
    return (
        '"""What the build knows and the guest needs."""\n'
        f"NAME = {project.name!r}\n"
        f"VERSION = {project.version!r}\n"
        f"SDK_VERSION = {sdk_version!r}\n"
        f"PLUGINS = {dict(project.plugins)!r}\n"
        f"IMPORTS = {parts.imported_for(project.stdlib)!r}\n"
        f"LEFT_OUT = {parts.refused(project.stdlib)!r}\n"
        f"COMPILER = {parts.keeps(project.stdlib, parts.COMPILE)!r}\n"
    )
