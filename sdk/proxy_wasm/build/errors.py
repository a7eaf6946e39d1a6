"""What can go wrong while an extension is built, in words for its author.

    BuildError
    ├── SettingsError       pyproject.toml says something that cannot be
    ├── DependencyError     a dependency cannot be installed or cannot run inside Wasm
    ├── SourceError         the extension's own code fails when it is imported
    ├── ComponentizeError   componentize-py fails otherwise
    ├── LinkError           the component cannot become a module
    ├── CheckError          a module is not what Proxy-Wasm hosts load
    └── CacheError          the cache folder cannot be used

Each message names the thing, the place and, where there is one, the way out; commands print it without a traceback.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


class BuildError(Exception):
    """An extension cannot be built."""


class SettingsError(BuildError):
    """`pyproject.toml` is missing, is no TOML, or holds an unknown key or a value that cannot be."""


class DependencyError(BuildError):
    """A dependency cannot be found, cannot be installed or cannot run inside Wasm."""


class SourceError(BuildError):
    """The extension's code, or a dependency, raises where it is imported."""


class ComponentizeError(BuildError):
    """componentize-py fails for another reason than the extension's code."""


class LinkError(BuildError):
    """The component cannot be turned into a core module."""


class CacheError(BuildError):
    """The cache folder cannot be read or written."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing for which a host refuses a module."""

    name: str
    """The import, the export or the part."""
    problem: str

    def __str__(self) -> str:
        return f"{self.name}: {self.problem}"


class CheckError(BuildError):
    """A module that Proxy-Wasm hosts refuse; `violations` lists every reason."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("\n  ".join(["Proxy-Wasm hosts refuse this module:", *map(str, self.violations)]))


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'plugin'?` for a name close to a known one, else the empty string."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
