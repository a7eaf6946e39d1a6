"""An extension's settings and sources, as its `pyproject.toml` and its folder give them.

    [project]
    name = "greeter"
    version = "1.0"
    dependencies = ["PyJWT>=2"]          # pure Python only

    [tool.proxy-wasm]
    plugin = "greeter:Greeter"           # or a table `plugins`: root_id = "module:Class"
    output = "dist/greeter.wasm"         # this is the default
    strip = false                        # true: without function names, which traps' backtraces show
    stdlib = ["decimal"]                 # parts of CPython to keep that are not imported at module level; "all" for everything

    [tool.proxy-wasm.run]                # what `proxy-wasm run` takes unless it is told otherwise
    configuration = "example.json"       # the plugin's configuration

    [tool.proxy-wasm.run.clusters]
    users = "servers/users.py"           # a Python program that serves what the filter calls by that name

Sources are the Python modules and the packages that lie beside `pyproject.toml`, or in `src/` where that folder holds any; tests
are left out.
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from proxy_wasm.build.errors import SettingsError, nearest
from proxy_wasm.build.parts import NAMES

FILE_NAME = "pyproject.toml"

GUEST_PYTHON = "3.14"
"""The Python that filters run on inside Wasm: the one that componentize-py carries."""

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_NO_LETTER = re.compile(r"[^A-Za-z]")
_SOURCE_URLS = ("source", "repository", "sourcecode", "github")
"""Well-known labels of `project.urls`, normalized (packaging.python.org, "Well-known Project URLs in Metadata")."""
_TEST_FOLDERS = frozenset({"test", "tests"})
_NO_SOURCES = frozenset({"setup.py", "noxfile.py"})
_SDK_MODULES = frozenset({"proxy_wasm", "proxy_wasm_settings", "wit_world"})


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What `proxy-wasm run` takes unless it is told otherwise; no part of the module."""

    configuration: Path | None = None
    """The file of the plugin's configuration."""
    clusters: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """The programs that serve what the filter calls, by the names of the clusters."""


@dataclass(frozen=True, slots=True)
class Project:
    """An extension: where it is, what it is called, what it consists of."""

    directory: Path
    name: str
    version: str
    description: str | None
    license: str | None
    """`project.license`, as it is written there."""
    source: str | None
    """The URL of its sources, by one of the names that `project.urls` has for it."""
    plugins: Mapping[str, str]
    """From `root_id` to `"module:Class"`; a single plugin has the `root_id` `""`."""
    dependencies: tuple[str, ...]
    """Requirements as `project.dependencies` lists them, without `proxy-wasm` itself."""
    sources: Mapping[str, Path]
    """From the path that the modules are imported under (`"greeter.py"`, `"pkg/rules.json"`) to the file."""
    output: Path
    """Where the built module goes."""
    strip: bool
    """Whether function names are left out of the module."""
    stdlib: tuple[str, ...] = ()
    """The parts of CPython that are kept whether or not anything imports them, sorted (`proxy_wasm.build.parts`)."""
    run: RunSettings = field(default_factory=RunSettings)

    @property
    def source_root(self) -> Path:
        """The folder that the extension's modules are imported from."""
        return _source_root(self.directory)

    @classmethod
    def load(cls, directory: Path) -> "Project":
        """The project in `directory`.

        Raises `SettingsError` naming the file and the key where a setting is missing, unknown or wrong.
        """
        return _Loader(directory).project()

    @staticmethod
    def is_project(directory: Path) -> bool:
        """Whether `directory` holds a `pyproject.toml` with a table `tool.proxy-wasm`."""
        try:
            document = tomllib.loads((directory / FILE_NAME).read_text("utf-8"))
        except (OSError, ValueError):
            return False
        tool = document.get("tool")
        return isinstance(tool, dict) and "proxy-wasm" in tool


_T = TypeVar("_T")


class _Table:
    """A TOML table that knows its place, for errors."""

    def __init__(self, file: Path, path: str, values: dict[str, Any]) -> None:
        self.file = file
        self.path = path
        self.values = values

    def error(self, key: str, problem: str) -> SettingsError:
        place = ".".join(filter(None, (self.path, key)))
        return SettingsError(f"{self.file}: {place}: {problem}")

    def only(self, *known: str) -> None:
        for key in self.values:
            if key not in known:
                raise self.error(key, f"unknown key{nearest(key, known) or '; known are ' + ', '.join(known)}")

    def get(self, key: str, kind: type[_T], words: str) -> _T | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, kind):
            raise self.error(key, f"must be {words}, not {_described(value)}")
        return value

    def text(self, key: str) -> str | None:
        value = self.get(key, str, "a string")
        if value is not None and not value.strip():
            raise self.error(key, "must not be empty")
        return value

    def table(self, key: str) -> "_Table | None":
        values = cast("dict[str, Any] | None", self.get(key, dict, "a table"))
        return None if values is None else _Table(self.file, ".".join(filter(None, (self.path, key))), values)


class _Loader:
    """Reads one `pyproject.toml` into a `Project`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.file = directory / FILE_NAME
        self.document = _Table(self.file, "", _read(directory, self.file))

    def project(self) -> Project:
        project, settings = self._tables()
        name = self._name(project)
        output = settings.text("output")
        strip = settings.get("strip", bool, "true or false")
        self._check_python(project)
        return Project(
            directory=self.directory,
            name=name,
            version=project.text("version") or "0",
            description=project.text("description"),
            license=self._license(project),
            source=self._source(project),
            plugins=self._plugins(settings),
            dependencies=tuple(self._dependencies(project)),
            sources=self._sources(),
            output=self.directory / (output or f"dist/{name}.wasm"),
            strip=bool(strip),
            stdlib=tuple(sorted(set(self._stdlib(settings)))),
            run=self._run(settings),
        )

    def _tables(self) -> tuple[_Table, _Table]:
        project = self.document.table("project")
        if project is None:
            raise self.document.error("project", 'missing; an extension needs at least [project] with name = "..."')
        tool = self.document.table("tool")
        settings = tool.table("proxy-wasm") if tool else None
        if settings is None:
            raise self.document.error(
                "tool.proxy-wasm", 'missing; name the plugin with [tool.proxy-wasm] plugin = "module:Class"'
            )
        settings.only("plugin", "plugins", "output", "strip", "stdlib", "run")
        return project, settings

    def _stdlib(self, settings: _Table) -> Iterator[str]:
        listed = cast("list[object]", settings.get("stdlib", list, "an array of names") or [])
        for position, name in enumerate(listed):
            key = f"stdlib[{position}]"
            if not isinstance(name, str):
                raise settings.error(key, f"must be a name, a string, not {_described(name)}")
            if name not in NAMES:
                known = nearest(name, NAMES) or "; known are " + ", ".join(NAMES)
                raise settings.error(key, f"there is no part {name!r} of CPython to keep{known}")
            yield name

    def _run(self, settings: _Table) -> RunSettings:
        run = settings.table("run")
        if run is None:
            return RunSettings()
        run.only("configuration", "clusters")
        configuration = None if run.text("configuration") is None else self._file_of(run, "configuration")
        clusters = run.table("clusters")
        programs = {} if clusters is None else {name: self._file_of(clusters, name) for name in clusters.values}
        return RunSettings(configuration, programs)

    def _file_of(self, table: _Table, key: str) -> Path:
        path = self.directory / (table.text(key) or "")
        if not path.is_file():
            raise table.error(key, f"there is no file {table.values[key]!r} in the extension's folder")
        return path

    def _name(self, project: _Table) -> str:
        name = project.text("name")
        if name is None:
            raise project.error("name", "missing")
        if not _NAME.fullmatch(name):
            raise project.error("name", f"{name!r} is no project name (letters, digits, '-', '_' and '.')")
        return name

    def _license(self, project: _Table) -> str | None:
        """Written as text, or, as before PEP 639, as a table that holds the text or names a file of it."""
        if not isinstance(project.values.get("license"), dict):
            return project.text("license")
        table = project.table("license")
        text = None if table is None else table.text("text")
        return None if text is None or "\n" in text else text

    def _source(self, project: _Table) -> str | None:
        urls = project.table("urls")
        if urls is None:
            return None
        named = {_NO_LETTER.sub("", label).lower(): urls.text(label) for label in urls.values}
        return next((named[label] for label in _SOURCE_URLS if label in named), None)

    def _plugins(self, settings: _Table) -> dict[str, str]:
        single, several = settings.get("plugin", str, 'a string, "module:Class"'), settings.table("plugins")
        if single is not None and several is not None:
            raise settings.error("plugins", "give either plugin or plugins, not both")
        if single is not None:
            return {"": self._reference(settings, "plugin", single)}
        if several is None:
            raise settings.error("plugin", 'missing; name the plugin as plugin = "module:Class"')
        if not several.values:
            raise settings.error("plugins", "needs at least one entry: a root_id with its plugin")
        return {
            root_id: self._reference(several, root_id, several.get(root_id, str, 'a string, "module:Class"') or "")
            for root_id in several.values
        }

    def _reference(self, table: _Table, key: str, reference: str) -> str:
        if not _REFERENCE.fullmatch(reference):
            raise table.error(key, f'must name a class as "module:Class", not {reference!r}')
        return reference

    def _dependencies(self, project: _Table) -> Iterator[str]:
        listed = cast("list[object]", project.get("dependencies", list, "an array of requirements") or [])
        if not listed:
            return
        from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - a reused build stays fast

        for position, entry in enumerate(listed):
            key = f"dependencies[{position}]"
            if not isinstance(entry, str):
                raise project.error(key, f"must be a requirement, a string, not {_described(entry)}")
            try:
                requirement = Requirement(entry)
            except InvalidRequirement as error:
                problem = str(error).partition("\n")[0]
                raise project.error(key, f"{entry!r} is no requirement: {problem}") from error
            if requirement.name.lower().replace("_", "-") != "proxy-wasm":
                yield str(requirement)

    def _check_python(self, project: _Table) -> None:
        wanted = project.text("requires-python")
        if wanted is None:
            return
        from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415 - see _dependencies

        try:
            fits = SpecifierSet(wanted).contains(f"{GUEST_PYTHON}.0")
        except InvalidSpecifier as error:
            raise project.error("requires-python", f"{wanted!r} is no version specifier") from error
        if not fits:
            raise project.error(
                "requires-python", f"{wanted!r} excludes Python {GUEST_PYTHON}, which filters run on inside Wasm"
            )

    def _sources(self) -> dict[str, Path]:
        root = _source_root(self.directory)
        sources = {path.relative_to(root).as_posix(): path for path in sorted(_source_files(root))}
        for name, path in sources.items():
            module = name.partition("/")[0].removesuffix(".py")
            if module in sys.stdlib_module_names or module in _SDK_MODULES:
                owner = "Proxy-Wasm's" if module in _SDK_MODULES else "the standard library's"
                raise SettingsError(
                    f"{path}: the name {module!r} is {owner}: the import would find that module; rename yours"
                )
        if not sources:
            raise SettingsError(f"{self.directory}: no Python modules are here beside {FILE_NAME}, nor in src")
        return sources


_WORDS = {
    "bool": "a boolean",
    "int": "a number",
    "float": "a number",
    "str": "a string",
    "list": "an array",
    "dict": "a table",
}


def _read(directory: Path, file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        problem = "is no folder" if not directory.is_dir() else f"holds no {FILE_NAME}"
        raise SettingsError(f"{directory}: {problem}; give the folder of an extension") from None
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{file}: {error}") from error


def _described(value: object) -> str:
    return _WORDS.get(type(value).__name__, "a date or time")


def _source_root(directory: Path) -> Path:
    src = directory / "src"
    return src if src.is_dir() and any(_source_files(src)) else directory


def _source_files(root: Path) -> Iterator[Path]:
    for path in root.iterdir():
        if path.is_dir():
            if (path / "__init__.py").is_file() and not _is_left_out(path):
                yield from _package_files(path)
        elif path.suffix == ".py" and not _is_left_out(path) and path.name not in _NO_SOURCES:
            yield path


def _package_files(package: Path) -> Iterator[Path]:
    for path in package.iterdir():
        if _is_left_out(path):
            continue
        if path.is_dir():
            yield from _package_files(path)
        elif path.suffix != ".pyc":
            yield path


def _is_left_out(path: Path) -> bool:
    name = path.name
    if name.startswith(".") or name == "__pycache__":
        return True
    if path.is_dir():
        return name in _TEST_FOLDERS
    return name == "conftest.py" or (path.suffix == ".py" and (name.startswith("test_") or name.endswith("_test.py")))
