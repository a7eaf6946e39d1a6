"""A pytest plugin that records which hostcalls and callbacks of the ABI filters in Python have used, test by test and host by host.

`python -m pytest -p scripts.abi_recording` writes `.abi-calls.json`, from which `scripts/abi_coverage.py` makes docs/abi-coverage.md.

What counts is what happened at the host's side of the boundary, in tests that passed: a hostcall that the host answered with OK, a
callback from which the guest returned. The emulator tells it to an observer. Envoy tells it to its log where its `wasm` logger is at
`trace` (cpp-host, `src/v8/v8.cc`): `[vm<-host] env.proxy_log return: 0` and `[host<-vm] proxy_on_tick return: void`.

A test counts on the host that `start_proxy` runs it on. A test of tests/capabilities without that fixture counts for the Envoys that it
starts itself. All others work with guests that are not written in Python, or with no guest.
"""

import json
import re
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.signatures import ABI_VERSION_EXPORT, CALLBACKS, HOSTCALLS, MEMORY_ALLOCATE_EXPORT
from proxy_wasm.emulator import Emulator
from proxy_wasm.emulator.observer import Arguments, Observer, Results
from proxy_wasm.envoy.process import EnvoyProcess

RECORD = ".abi-calls.json"
ENVOYS_OWN = "tests/capabilities/"
"""Where the tests are that start an Envoy of their own with filters in Python."""

OF_MODULES = {ABI_VERSION_EXPORT, MEMORY_ALLOCATE_EXPORT}
"""What only a module has; a native guest consists of Python objects."""

_HOST_PROPERTY = "proxy-wasm host"
_NO_ARGUMENTS = "_initialize"
_LOGGED = re.compile(
    rb'"message":"\[(?:vm<-host\] env\.(?P<hostcall>proxy_\w+) return: 0"|host<-vm\] (?P<callback>\w+) return: \w+")'
)


def functions_in_log(log: bytes) -> set[str]:
    """The hostcalls that succeeded and the callbacks that returned, by the names of the module's imports and exports."""
    found: set[str] = set()
    for line in _LOGGED.finditer(log):
        name = (line["hostcall"] or line["callback"]).decode()
        # A module without the export of its ABI version is not initialized (cpp-host, `WasmBase::load`).
        found.add(ABI_VERSION_EXPORT if name == _NO_ARGUMENTS else name)
    return found


class EnvoyLogs:
    """What the logs of living Envoys have to tell since they were read last."""

    def __init__(self) -> None:
        self._positions: dict[Path, int] = {}
        self._unread: set[str] = set()

    def follow(self, process: EnvoyProcess) -> None:
        """The process is about to start."""
        self._positions.setdefault(process.log_path, 0)

    def forget(self, path: Path) -> None:
        """The process has ended."""
        self._positions.pop(path, None)

    def read(self) -> set[str]:
        """What was logged since the last call."""
        for path in self._positions:
            self.take(path)
        found, self._unread = self._unread, set()
        return found

    def take(self, path: Path) -> None:
        """Keep what one log has to tell for the next `read`."""
        if path not in self._positions or not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._positions[path])
            content = file.read()
        whole = content.rfind(b"\n") + 1
        self._positions[path] += whole
        self._unread |= functions_in_log(content[:whole])


class Recorder:
    """A plugin of pytest, and an `Observer` of all emulators."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self._tests: dict[str, dict[str, set[str]]] = {}
        self._envoys = EnvoyLogs()
        self._patches = pytest.MonkeyPatch()
        self._host: str | None = None
        self._used: set[str] = set()
        self._outcomes: list[bool] = []
        self._is_partial = False

    def watch(self) -> None:
        """Observe all emulators, and the life of Envoy processes."""
        self._wrap(Emulator, "__init__", self._emulator_made)
        self._wrap(EnvoyProcess, "start", self._envoy_started)
        self._wrap(EnvoyProcess, "stop", self._envoy_stopped)

    def _wrap(self, owner: type, name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        self._patches.setattr(owner, name, wrapper(getattr(owner, name)))

    # The emulator, as one of its observers

    def _emulator_made(self, original: Callable[..., None]) -> Callable[..., None]:
        def init(emulator: Emulator, *arguments: Any, observers: Sequence[Observer] = (), **options: Any) -> None:  # noqa: ANN401 - whatever they are
            original(emulator, *arguments, observers=(*observers, self), **options)

        return init

    def entered(self, callback: str, arguments: tuple[int, ...]) -> None:
        """Wait for its return."""

    def left(self, callback: str, returned: int | None) -> None:
        """A callback has returned; `None` where it trapped."""
        if returned is not None and callback in CALLBACKS:
            self._used.add(CALLBACKS[callback].export_name)
            self._used.add(ABI_VERSION_EXPORT)  # which the emulator demands of a module, `wasm_module`

    def called(self, hostcall: str, arguments: Arguments) -> None:
        """Wait for the answer."""

    def answered(self, hostcall: str, status: int, results: Results) -> None:
        """A hostcall was answered."""
        if status != Status.OK or hostcall not in HOSTCALLS:  # others are those of older versions of the ABI
            return
        self._used.add(HOSTCALLS[hostcall].import_name)
        there = results if isinstance(results, tuple) else (results,)
        if any(isinstance(result, bytes) and result for result in there):
            self._used.add(MEMORY_ALLOCATE_EXPORT)  # it has come in memory that the guest allocated, `compiled_guest`

    # Envoy's logs

    def _envoy_started(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def start(process: EnvoyProcess) -> None:
            self._envoys.follow(process)
            original(process)

        return start

    def _envoy_stopped(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def stop(process: EnvoyProcess) -> None:
            path = process.log_path
            self._envoys.take(path)  # the log may go with the process
            original(process)
            self._envoys.take(path)
            self._envoys.forget(path)

        return stop

    # Tests

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Relate what happens meanwhile to a test."""
        test = item.nodeid.partition("[")[0]
        self._host = cast("str | None", dict(item.user_properties).get(_HOST_PROPERTY))
        if self._host is None and test.startswith(ENVOYS_OWN):
            self._host = "envoy"
        self._outcomes.clear()
        self._used.clear()
        self._envoys.read()
        result = yield
        logged = self._envoys.read()
        if self._host is not None and all(self._outcomes):
            used = logged if self._host == "envoy" else self._used - (OF_MODULES if self._host == "native" else set())
            self._tests.setdefault(test, {}).setdefault(self._host, set()).update(used)
        self._host = None
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note whether a part of the running test has passed."""
        self._outcomes.append(report.outcome == "passed" and not hasattr(report, "wasxfail"))

    def pytest_deselected(self) -> None:
        """Note that not all tests run."""
        self._is_partial = True

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the record."""
        self._patches.undo()
        everything = session.config.args_source is pytest.Config.ArgsSource.TESTPATHS
        record = {
            "complete": everything and not self._is_partial and exitstatus == pytest.ExitCode.OK,
            "tests": {
                test: {host: sorted(functions) for host, functions in sorted(hosts.items())}
                for test, hosts in sorted(self._tests.items())
            },
        }
        self._record.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--abi-calls", metavar="FILE", help=f"where to record used hostcalls and callbacks: {RECORD}")


def pytest_configure(config: pytest.Config) -> None:
    named = cast("str | None", config.getoption("--abi-calls"))
    recorder = Recorder(config.rootpath / RECORD if named is None else Path(named))
    recorder.watch()
    config.pluginmanager.register(recorder)
