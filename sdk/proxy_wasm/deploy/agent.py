"""What the agent decides: which module and configuration each extension is published with, and what is said about it.

Theory of operation
-------------------
`Agent.handle` takes events, of which there is one for everything that the agent's surroundings notice or have done, and returns actions, which the
surroundings do, in order. There are no files, processes or clocks in here.

    Listed, Withdrawn        the settings name these extensions; none are left
    Looked(version)          what an extension's module and configuration are now    -> TryOut, or Publish what was tried, or nothing
    Missing(problem)         they cannot be read                                     -> Say
    Tried(version, problem)  the trial is over                                       -> Publish, or Say and Discard
    Published, NotPublished  Envoy's file was replaced, or could not be              -> Say
    Passed(now)              time goes by                                            -> Discard

These rules hold:

* Only what was tried and accepted is published, and an extension's file is never removed. So whatever fails, the last good version stays.
* A version that was refused is not tried again, unless another one came in between or the agent starts anew: nothing about it has changed. What could not be read or
  written is tried again each time, and said once.
* What a file at the agent's start already publishes was accepted by an earlier agent.
* A module is removed when no published file names it: at once, where it was refused, and else not before `keep` seconds have passed, in which an Envoy
  that read the previous file reads the module.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

KEEP_SECONDS = 600.0
"""How long a module stays that was published before, unless told."""


@dataclass(frozen=True, slots=True)
class Version:
    """A module with all that a proxy is told besides."""

    digest: str
    """Of all of it: versions with equal ones are equal."""
    module: str
    """The module's SHA-256, in hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The settings name these extensions, and no others any more."""

    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Looked:
    """What would be published of the extension now; its module lies ready."""

    name: str
    version: Version


@dataclass(frozen=True, slots=True)
class Missing:
    """The extension's module or configuration cannot be had."""

    name: str
    problem: str


@dataclass(frozen=True, slots=True)
class Tried:
    """The trial of a version is over; `problem` is empty where it was accepted."""

    name: str
    version: Version
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """Envoy's file of the extension is that of this version now."""

    name: str
    version: Version


@dataclass(frozen=True, slots=True)
class NotPublished:
    """Envoy's file could not be replaced."""

    name: str
    version: Version
    problem: str


@dataclass(frozen=True, slots=True)
class Passed:
    """It is `now`, in seconds of any clock that never goes back."""

    now: float


Event = Listed | Looked | Missing | Tried | Published | NotPublished | Passed


@dataclass(frozen=True, slots=True)
class TryOut:
    """Try the version that was looked at."""

    name: str
    version: Version


@dataclass(frozen=True, slots=True)
class Publish:
    """Replace Envoy's file of the extension."""

    name: str
    version: Version


@dataclass(frozen=True, slots=True)
class Discard:
    """Remove a module that no file names."""

    module: str


@dataclass(frozen=True, slots=True)
class Say:
    """Tell the operator."""

    name: str
    text: str
    is_problem: bool = False


Action = TryOut | Publish | Discard | Say


@dataclass(slots=True)
class _Extension:
    """What is known of one extension."""

    published: Version | None = None
    accepted: Version | None = None
    """The last that was tried and accepted."""
    refused: Version | None = None
    """The last that was tried and refused, where nothing else came since."""
    problem: str = ""
    """What was said last that keeps something from being read or written."""
    is_listed: bool = False

    @property
    def is_well(self) -> bool:
        """Whether what there is, is published."""
        return self.published is not None and self.refused is None and not self.problem


@dataclass(slots=True)
class Agent:
    """See the module. `published` is what Envoy's files say at the start, `modules` which modules are kept then."""

    published: Mapping[str, Version]
    modules: Iterable[str] = ()
    keep: float = KEEP_SECONDS
    _extensions: dict[str, _Extension] = field(default_factory=dict[str, _Extension], init=False)
    _superseded: dict[str, float | None] = field(default_factory=dict[str, float | None], init=False)
    """Modules that no file names, and since when; `None` until the time is told."""

    def __post_init__(self) -> None:
        for name, version in self.published.items():
            self._extensions[name] = _Extension(published=version, accepted=version)
        self._superseded = dict.fromkeys(set(self.modules) - self._in_use(), None)

    @property
    def is_well(self) -> bool:
        """Whether all that the settings name is published as it is now."""
        return all(extension.is_well for extension in self._extensions.values() if extension.is_listed)

    def version_of(self, name: str) -> Version | None:
        """What is published of an extension."""
        return self._extension(name).published

    def handle(self, event: Event) -> list[Action]:
        """What is to be done after `event`."""
        match event:
            case Listed():
                actions = self._list(event.names)
            case Looked():
                actions = self._look(event)
            case Missing():
                actions = self._complain(event.name, f"cannot be read: {event.problem}")
            case Tried():
                actions = self._tried(event)
            case Published():
                actions = self._published(event)
            case NotPublished():
                actions = self._complain(event.name, f"cannot be published: {event.problem}")
            case Passed():
                actions = self._pass(event.now)
        return actions

    def _extension(self, name: str) -> _Extension:
        return self._extensions.setdefault(name, _Extension())

    def _in_use(self) -> set[str]:
        return {each.published.module for each in self._extensions.values() if each.published is not None}

    def _list(self, names: frozenset[str]) -> list[Action]:
        said: list[Action] = []
        for name in sorted(names):
            self._extension(name).is_listed = True
        for name, extension in self._extensions.items():
            if extension.is_listed and name not in names:
                extension.is_listed = False
                said.append(Say(name, f"is not in the settings any more; {_stays(extension.published)}"))
        return said

    def _look(self, event: Looked) -> list[Action]:
        extension = self._extension(event.name)
        if event.version == extension.refused:
            return []
        extension.refused = None
        if event.version == extension.published:
            extension.problem = ""
            return []
        if event.version == extension.accepted:
            return [Publish(event.name, event.version)]
        return [TryOut(event.name, event.version)]

    def _complain(self, name: str, problem: str) -> list[Action]:
        extension = self._extension(name)
        if problem == extension.problem:
            return []
        extension.problem = problem
        return [Say(name, f"{problem}\n{_stays(extension.published)}", is_problem=True)]

    def _tried(self, event: Tried) -> list[Action]:
        extension = self._extension(event.name)
        extension.problem = ""
        if not event.problem:
            before, extension.accepted = extension.accepted, event.version
            self._supersede(before)
            return [Publish(event.name, event.version)]
        extension.refused = event.version
        text = f"refused: {_named(event.version)}: {event.problem}\n{_stays(extension.published)}"
        said: list[Action] = [Say(event.name, text, is_problem=True)]
        if event.version.module not in self._in_use():
            self._superseded.pop(event.version.module, None)
            said.append(Discard(event.version.module))
        return said

    def _published(self, event: Published) -> list[Action]:
        extension = self._extension(event.name)
        before, extension.published = extension.published, event.version
        extension.problem = ""
        self._superseded.pop(event.version.module, None)
        self._supersede(before)
        return [Say(event.name, f"published: {_named(event.version)}")]

    def _supersede(self, version: Version | None) -> None:
        if version is not None and version.module not in self._in_use():
            self._superseded.setdefault(version.module, None)

    def _pass(self, now: float) -> list[Action]:
        gone: list[Action] = []
        for module, since in list(self._superseded.items()):
            if since is None:
                self._superseded[module] = now
            elif now - since >= self.keep:
                del self._superseded[module]
                gone.append(Discard(module))
        return gone


_SHOWN_DIGITS = 12


def _named(version: Version) -> str:
    return f"version {version.digest[:_SHOWN_DIGITS]} (module {version.module[:_SHOWN_DIGITS]})"


def _stays(published: Version | None) -> str:
    return "nothing is published yet" if published is None else f"{_named(published)} stays"
