"""The agent's settings: a TOML file.

    directory = "served"              # where Envoy finds its files

    [extensions.basic-auth]
    module = "basic-auth.wasm"
    configuration = "basic-auth.json"

Unknown keys, wrong types and values that cannot be are refused with the file and the key.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar, cast

from proxy_wasm.build.errors import nearest
from proxy_wasm.deploy.agent import KEEP_SECONDS
from proxy_wasm.deploy.errors import ServingError
from proxy_wasm.deploy.sources import IMAGE_SECONDS
from proxy_wasm.deploy.trial import SECONDS
from proxy_wasm.emulator import FailurePolicy
from proxy_wasm.image.errors import BadReferenceError
from proxy_wasm.image.reference import Reference, is_reference

POLICIES = {"closed": FailurePolicy.CLOSED, "open": FailurePolicy.OPEN, "reload": FailurePolicy.RELOAD}
"""What becomes of requests once the plugin's VM has failed, by its name on the command line and in settings."""

_INTERVAL = 2.0
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ServedExtension:
    """One extension that the agent publishes."""

    name: str
    module: str
    """A file, or an image: `oci://REGISTRY/NAME:TAG`."""
    plain_http: bool
    """Whether the image's registry has no TLS."""
    sha256: str | None
    """What the module's must be."""
    configuration: Path | None
    vm_configuration: Path | None
    root_id: str
    failure_policy: FailurePolicy
    environment: Mapping[str, str]
    host_environment: tuple[str, ...]
    capabilities: tuple[str, ...]
    allow_on_headers_stop_iteration: bool
    network: bool


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """What the agent serves, and how."""

    directory: Path
    interval: float
    """Seconds between two looks at the extensions."""
    image_interval: float
    """Seconds between two looks at what an image's tag names."""
    keep: float
    """Seconds for which a module that was published before is kept."""
    time_limit: float
    """Seconds that a trial may take."""
    extensions: tuple[ServedExtension, ...]


def load(file: Path) -> ServingSettings:
    """Read the settings; relative paths in there are relative to the file's folder. Raises `ServingError`."""
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ServingError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ServingError(f"{file}: {error}") from error
    return _Reader(file, "", values).settings()


@dataclass(frozen=True, slots=True)
class _Reader:
    """A table of the file."""

    file: Path
    path: str
    values: Mapping[str, Any]

    def settings(self) -> ServingSettings:
        self.only("directory", "interval", "image_interval", "keep", "time_limit", "extensions")
        extensions = self.table("extensions")
        if not extensions:
            raise self.error("extensions", "missing; name an extension with [extensions.NAME]")
        return ServingSettings(
            directory=self.file_at("directory") or self.file.parent / "served",
            interval=self.seconds("interval", _INTERVAL),
            image_interval=self.seconds("image_interval", IMAGE_SECONDS),
            keep=self.seconds("keep", KEEP_SECONDS),
            time_limit=self.seconds("time_limit", SECONDS),
            extensions=tuple(extension.extension(name) for name, extension in extensions.items()),
        )

    def extension(self, name: str) -> ServedExtension:
        if not _NAME.fullmatch(name):
            raise self.error("", f"{name!r} is no name (letters, digits, '-', '_' and '.')")
        known = tuple(ServedExtension.__dataclass_fields__)
        self.only(*(key for key in known if key != "name"))
        module = self.text("module")
        if module is None:
            raise self.error("module", "missing; a .wasm file or an image")
        return ServedExtension(
            name=name,
            module=self.module_at(module),
            plain_http=self.flag("plain_http"),
            sha256=self.sha256(),
            configuration=self.file_at("configuration"),
            vm_configuration=self.file_at("vm_configuration"),
            root_id=self.text("root_id") or "",
            failure_policy=self.policy(),
            environment=self.texts_by_name("environment"),
            host_environment=self.texts("host_environment"),
            capabilities=self.texts("capabilities"),
            allow_on_headers_stop_iteration=self.flag("allow_on_headers_stop_iteration"),
            network=self.flag("network"),
        )

    def error(self, key: str, problem: str) -> ServingError:
        return ServingError(f"{self.file}: {'.'.join(filter(None, (self.path, key)))}: {problem}")

    def only(self, *known: str) -> None:
        for key in self.values:
            if key not in known:
                raise self.error(key, f"unknown key{nearest(key, known)}")

    def get(self, key: str, kind: type[_T], words: str) -> _T | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, kind):
            raise self.error(key, f"must be {words}")
        return value

    def text(self, key: str) -> str | None:
        return self.get(key, str, "a string")

    def flag(self, key: str) -> bool:
        return self.get(key, bool, "true or false") or False

    def seconds(self, key: str, default: float) -> float:
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value <= 0:
            raise self.error(key, "must be a number of seconds above 0")
        return float(value)

    def beside(self, path: str) -> Path:
        return (self.file.parent / path).absolute()

    def file_at(self, key: str) -> Path | None:
        path = self.text(key)
        if path == "":
            raise self.error(key, "must be a path")
        return None if path is None else self.beside(path)

    def module_at(self, module: str) -> str:
        if not is_reference(module):
            return str(self.beside(module))
        try:
            Reference.parse(module)
        except BadReferenceError as error:
            raise self.error("module", str(error)) from error
        return module

    def sha256(self) -> str | None:
        value = self.text("sha256")
        if value is not None and not _SHA256.fullmatch(value):
            raise self.error("sha256", "must be 64 hexadecimal digits in lower case")
        return value

    def policy(self) -> FailurePolicy:
        name = self.text("failure_policy") or "closed"
        if name not in POLICIES:
            raise self.error("failure_policy", f"must be one of {', '.join(POLICIES)}")
        return POLICIES[name]

    def texts(self, key: str) -> tuple[str, ...]:
        values = cast("list[object]", self.get(key, list, "an array of strings") or [])
        if not all(isinstance(value, str) for value in values):
            raise self.error(key, "must be an array of strings")
        return tuple(cast("list[str]", values))

    def texts_by_name(self, key: str) -> Mapping[str, str]:
        values = cast("dict[str, object]", self.get(key, dict, "a table of strings") or {})
        if not all(isinstance(value, str) for value in values.values()):
            raise self.error(key, "must be a table of strings")
        return cast("dict[str, str]", values)

    def table(self, key: str) -> dict[str, "_Reader"]:
        """The tables in a table."""
        found: dict[str, _Reader] = {}
        for name, value in cast("dict[str, object]", self.get(key, dict, "a table") or {}).items():
            if not isinstance(value, dict):
                raise self.error(f"{key}.{name}", "must be a table")
            found[name] = _Reader(self.file, f"{key}.{name}", cast("dict[str, Any]", value))
        return found
