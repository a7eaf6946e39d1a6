"""Where files of cases are found, and what they are for."""

from collections.abc import Iterator
from pathlib import Path

from proxy_wasm.build.settings import Project
from proxy_wasm.testing.cases.errors import CasesError
from proxy_wasm.testing.cases.model import Case, CaseFile
from proxy_wasm.testing.extension import Extension
from proxy_wasm.testing.hosts import HOST_NAMES, HostName

SUFFIX = ".proxy-wasm.yaml"
"""What the names of files of cases end in."""


def load(path: Path) -> CaseFile:
    """The cases of a file; raises `CasesError` where something is wrong with them, `OSError` where there is no such file."""
    try:
        from proxy_wasm.testing.cases.format import load as read  # noqa: PLC0415 - the one part that needs PyYAML
    except ModuleNotFoundError as error:
        if error.name != "yaml":
            raise
        raise CasesError(f"{path}: to read it PyYAML is missing: pip install 'proxy-wasm[test]'") from error
    return read(path)


def find(folder: Path, *, deep: bool = True) -> Iterator[Path]:
    """The files of cases in a folder and, where `deep`, those below it, but for hidden ones."""
    pattern = f"*{SUFFIX}"
    for path in sorted(folder.rglob(pattern) if deep else folder.glob(pattern)):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def filter_of(file: CaseFile) -> Path:
    """The extension or module that a file's cases are for: the one that it names, or the extension around it."""
    if file.filter is not None:
        path = file.filter.resolve()
        if not path.exists():
            raise CasesError(f"{file.path}: filter: {file.filter}: no such folder or file")
        return path
    for folder in file.path.resolve().parents:
        if Project.is_project(folder):
            return folder
    raise CasesError(
        f"{file.path}: no folder above is an extension (a pyproject.toml with [tool.proxy-wasm]); "
        "name the filter: 'filter: path/to/extension', or a .wasm file"
    )


def hosts_of(case: Case, extension: Extension) -> tuple[HostName, ...]:
    """The hosts that a case can run on."""
    return tuple(
        name for name in HOST_NAMES if (case.hosts is None or name in case.hosts) and _is_able(name, case, extension)
    )


def _is_able(host: HostName, case: Case, extension: Extension) -> bool:
    """Native runs sources only; in Envoy properties are those of the real connection and configuration."""
    return not ((host == "native" and extension.is_module) or (host == "envoy" and case.plugin.properties))
