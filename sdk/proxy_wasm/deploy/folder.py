"""The folder that an agent serves: a file for each extension, which Envoy watches, and the modules that these name.

    NAME.json                what Envoy reads of the extension NAME
    modules/SHA256.wasm      modules, by their digests
    .lock                    held by the agent

Files appear whole or not at all: they are written aside, brought to the disk, and renamed. Modules are below, in a folder of their own, since Envoy can be
told to look at its file whenever anything is moved into the folder of that. Files are readable for the owner and the group alone: configurations
hold secrets.
"""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from proxy_wasm.deploy.agent import Version
from proxy_wasm.deploy.errors import ServingError

if sys.platform != "win32":
    import fcntl

_MODE = 0o640
_MODULES = "modules"
_ASIDE = ".new-"


class ServedFolder:
    """See the module; folders are made where they are not there. Raises `ServingError` where they cannot be."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._modules = root / _MODULES
        try:
            self._modules.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ServingError(f"{error.filename}: cannot be made: {error.strerror}") from error

    @contextmanager
    def held(self) -> Generator[None]:
        """Keep other agents away meanwhile; raises `ServingError` where one is there. Removes what an agent that was killed left half-written."""
        try:
            file = (self.root / ".lock").open("ab")
        except OSError as error:
            raise ServingError(f"{error.filename}: cannot be written: {error.strerror}") from error
        with file:
            if sys.platform != "win32":
                try:
                    fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    raise ServingError(f"{self.root}: another agent serves this folder") from None
            for folder in (self.root, self._modules):
                for path in folder.glob(f"{_ASIDE}*"):
                    path.unlink(missing_ok=True)
            yield

    def file_of(self, name: str) -> Path:
        """What Envoy reads of an extension."""
        return self.root / f"{name}.json"

    def reserve(self, name: str) -> None:
        """Have a file for an extension of which nothing is published yet, with nothing in it: Envoy wants one to start, and answers 500 meanwhile."""
        if not self.file_of(name).exists():
            self.publish(name, {"version_info": "", "resources": []})

    def path_of(self, module: str) -> Path:
        """Where a module is kept, by its SHA-256."""
        return self._modules / f"{module}.wasm"

    def published(self) -> dict[str, Version]:
        """What the files say that Envoy reads. Those whose module is not there as they name it are left out: they are to be published anew."""
        found: dict[str, Version] = {}
        for path in sorted(self.root.glob("*.json")):
            with suppress(OSError, ValueError, LookupError, TypeError):
                version = _version_in(cast("dict[str, Any]", json.loads(path.read_bytes())))
                if _digest_of(self.path_of(version.module)) == version.module:
                    found[path.stem] = version
        return found

    def modules(self) -> list[str]:
        """The modules that are kept."""
        return sorted(path.stem for path in self._modules.glob("*.wasm"))

    def keep(self, module: bytes) -> str:
        """Keep a module; its SHA-256. Raises `OSError`, as the other methods do."""
        digest = hashlib.sha256(module).hexdigest()
        path = self.path_of(digest)
        if _digest_of(path) != digest:
            _write(path, module)
        return digest

    def publish(self, name: str, content: Mapping[str, Any]) -> None:
        """Replace what Envoy reads of an extension."""
        _write(self.file_of(name), json.dumps(content, indent=1).encode() + b"\n")

    def discard(self, module: str) -> None:
        """Remove a module."""
        self.path_of(module).unlink(missing_ok=True)


def _version_in(content: Mapping[str, Any]) -> Version:
    code = content["resources"][0]["typed_config"]["config"]["vm_config"]["code"]
    return Version(content["version_info"], Path(code["local"]["filename"]).stem)


def _digest_of(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def _write(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=_ASIDE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(_MODE)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
