"""`proxy-wasm serve FILE.toml`."""

import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from proxy_wasm.cli.errors import told
from proxy_wasm.cli.interruption import terminated_like_interrupted
from proxy_wasm.cli.text import printable
from proxy_wasm.deploy.agent import (
    Action,
    Agent,
    Discard,
    Event,
    Listed,
    Looked,
    Missing,
    NotPublished,
    Passed,
    Publish,
    Published,
    Say,
    Tried,
    TryOut,
    Version,
)
from proxy_wasm.deploy.errors import Refused, ServingError, Unavailable
from proxy_wasm.deploy.folder import ServedFolder
from proxy_wasm.deploy.serving import ServedExtension, ServingSettings, load
from proxy_wasm.deploy.sources import ModuleSource, check_digest, file_state, read_file, source_of
from proxy_wasm.deploy.trial import Trial, try_out
from proxy_wasm.envoy.configuration import Json, WasmFilter
from proxy_wasm.envoy.discovery import extension_update


def run(file: Path, *, once: bool) -> int:
    """Publish what the settings in `file` name, and go on doing so until Ctrl-C or SIGTERM; with `once`, once.

    Then the status is 1 where something that the settings name is not published as it is.
    """
    with told(bad_input=(ServingError,)), terminated_like_interrupted():
        settings = load(file)
        folder = ServedFolder(settings.directory)
        with folder.held():
            serving = _Serving(settings, folder)
            serving.look()
            if once:
                return 0 if serving.agent.is_well else 1
            watched = _Watched(file, settings)
            with suppress(KeyboardInterrupt):
                while True:
                    time.sleep(serving.settings.interval)
                    watched.refresh(serving)
                    serving.look()
    return 0


@dataclass(frozen=True, slots=True)
class _Ready:
    """A version that lies ready: its module is kept in the folder."""

    version: Version
    resource: Json
    trial: Trial


@dataclass(slots=True)
class _Serving:
    """Does what the agent decides."""

    settings: ServingSettings
    folder: ServedFolder
    agent: Agent = field(init=False)
    _sources: dict[str, ModuleSource] = field(default_factory=dict[str, ModuleSource])
    _seen: dict[str, object] = field(default_factory=dict[str, object])
    """What the files of an extension were like when everything about it was done."""
    _ready: dict[str, _Ready] = field(default_factory=dict[str, _Ready])

    def __post_init__(self) -> None:
        self.agent = Agent(self.folder.published(), self.folder.modules(), self.settings.keep)
        self.use(self.settings)

    def use(self, settings: ServingSettings) -> None:
        """Go by other settings, but for their folder."""
        self.settings = settings
        self.agent.keep = settings.keep
        self._sources = {
            each.name: source_of(each.module, plain_http=each.plain_http, image_seconds=settings.image_interval)
            for each in settings.extensions
        }
        self._seen.clear()
        self._handle(Listed(frozenset(self._sources)))
        for name in self._sources:
            with suppress(OSError):  # told of when something is to be published
                self.folder.reserve(name)

    def look(self) -> None:
        """Look at every extension once."""
        for extension in self.settings.extensions:
            self._look(extension)
        self._handle(Passed(time.monotonic()))

    def _look(self, extension: ServedExtension) -> None:
        try:
            state = self._state(extension)
            if self._seen.get(extension.name) == state:
                return
            self._seen.pop(extension.name, None)
            event = Looked(extension.name, self._prepare(extension).version)
        except Unavailable as error:
            event = Missing(extension.name, str(error))
        except OSError as error:
            event = Missing(extension.name, f"{self.folder.root}: {error.strerror}")
        else:
            if self._handle(event):
                self._seen[extension.name] = state
            return
        self._handle(event)

    def _state(self, extension: ServedExtension) -> object:
        files = [file for file in (extension.configuration, extension.vm_configuration) if file is not None]
        return (self._sources[extension.name].state(), *(file_state(file) for file in files))

    def _prepare(self, extension: ServedExtension) -> _Ready:
        """Read everything, and keep the module, so that what is tried is what will be published."""
        configured = WasmFilter(
            self.folder.path_of(self.folder.keep(self._sources[extension.name].read())),
            _content(extension.configuration),
            _content(extension.vm_configuration),
            root_id=extension.root_id,
            name=extension.name,
            failure_policy=extension.failure_policy,
            environment=extension.environment,
            host_environment=extension.host_environment,
            capabilities=extension.capabilities,
            allow_on_headers_stop_iteration=extension.allow_on_headers_stop_iteration,
        )
        content = extension_update(extension.name, "", configured, network=extension.network)
        wanted = json.dumps([content, extension.sha256], sort_keys=True).encode()
        version = Version(hashlib.sha256(wanted).hexdigest(), configured.module.stem)
        resource = extension_update(extension.name, version.digest, configured, network=extension.network)
        ready = _Ready(version, resource, _trial(configured))
        self._ready[extension.name] = ready
        return ready

    def _handle(self, event: Event) -> bool:
        """Do what follows from `event`, and from what is done; whether nothing about it has to be tried again."""
        is_done = not isinstance(event, Missing | NotPublished)
        for action in self.agent.handle(event):
            following = self._do(action)
            if following is not None:
                is_done = self._handle(following) and is_done
        return is_done

    def _do(self, action: Action) -> Event | None:
        match action:
            case Say():
                _say(action)
            case Discard():
                with suppress(OSError):
                    self.folder.discard(action.module)
            case TryOut():
                return self._try_out(action)
            case Publish():
                return self._publish(action)
        return None

    def _try_out(self, action: TryOut) -> Event:
        ready = self._ready[action.name]
        (expected,) = (each.sha256 for each in self.settings.extensions if each.name == action.name)
        try:
            if expected is not None:
                check_digest(ready.version.module, expected)
            try_out(ready.trial, self.settings.time_limit)
        except Refused as error:
            return Tried(action.name, action.version, str(error))
        except OSError as error:
            return NotPublished(action.name, action.version, f"it cannot be tried: {error.strerror}")
        return Tried(action.name, action.version)

    def _publish(self, action: Publish) -> Event:
        try:
            self.folder.publish(action.name, self._ready[action.name].resource)
        except OSError as error:
            return NotPublished(
                action.name, action.version, f"{self.folder.file_of(action.name)}: {error.strerror or error}"
            )
        return Published(action.name, action.version)


@dataclass(slots=True)
class _Watched:
    """The settings' file."""

    file: Path
    settings: ServingSettings
    _state: object = None
    _problem: str = ""

    def __post_init__(self) -> None:
        self._state = self._look()

    def refresh(self, serving: _Serving) -> None:
        """Have new settings used; those that cannot be are told of, and the former ones stay."""
        state = self._look()
        if state == self._state:
            return
        self._state = state
        try:
            serving.use(self._loaded())
        except ServingError as error:
            _say(Say(str(self.file), f"{error}\nthe settings from before stay", is_problem=True))

    def _loaded(self) -> ServingSettings:
        settings = load(self.file)
        if settings.directory != self.settings.directory:
            raise ServingError(f"{self.file}: directory: another one is served after the agent's next start")
        return settings

    def _look(self) -> object:
        try:
            return file_state(self.file)
        except Unavailable as error:
            return str(error)


def _content(file: Path | None) -> bytes | None:
    return None if file is None else read_file(file)


def _trial(configured: WasmFilter) -> Trial:
    host: Mapping[str, str] = {name: os.environ[name] for name in configured.host_environment if name in os.environ}
    return Trial(
        configured.module,
        configured.configuration,
        configured.vm_configuration,
        configured.root_id,
        {**host, **configured.environment},
        configured.capabilities,
    )


def _say(said: Say) -> None:
    first, *rest = printable(said.text).splitlines()
    lines: Sequence[str] = [
        f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {said.name}: {first}",
        *(f"  {line}" for line in rest),
    ]
    print("\n".join(lines), file=sys.stderr if said.is_problem else sys.stdout, flush=True)
