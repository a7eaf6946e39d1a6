"""The pytest plugin: one test, run on each host.

    def test_it_greets(start_proxy: StartProxy) -> None:
        proxy = start_proxy(configuration={"greeting": "hello"})
        assert proxy.get("/").upstream.headers["x-greeting"] == "hello"

A test that uses `start_proxy` is run on native, wasm and envoy: those of them that its marker
`@pytest.mark.hosts("native", "wasm")` names, if it has one, and that `--proxy-hosts` selects.
"""

import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from proxy_wasm.build.settings import Project, SettingsError
from proxy_wasm.emulator import FailurePolicy
from proxy_wasm.emulator.clusters import Cluster
from proxy_wasm.emulator.properties import Properties
from proxy_wasm.testing.agreement import COMPARED, Observations
from proxy_wasm.testing.cases.files import SUFFIX
from proxy_wasm.testing.hosts import HOST_NAMES, HostName, PluginSettings
from proxy_wasm.testing.proxy import Configuration, Proxy, StartProxy, configuration_bytes
from proxy_wasm.testing.session import SESSION, Session

_STARTED = pytest.StashKey[list[Proxy]]()
"""The proxies that a test has started."""
_HOST_PROPERTY = "proxy-wasm host"
_STRICT = "proxy_wasm_strict"
_DIFFERS = "differs_between_hosts"
_OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("proxy-wasm").addoption(
        "--proxy-hosts",
        default=",".join(HOST_NAMES),
        metavar="HOSTS",
        help="hosts on which tests of filters run, separated by commas: native, wasm, envoy (default: all)",
    )
    parser.addini(
        _STRICT, "whether whatever a plugin does that no plugin should fails its test", type="bool", default=False
    )

    parser.getgroup("proxy-wasm").addoption(
        "--proxy-trace",
        action="store_true",
        help="show with each failing test of a filter what went on between proxy and filter in its last request",
    )
    parser.getgroup("proxy-wasm").addoption(
        "--proxy-compare",
        action="store_true",
        help="fail each test that saw anything else on the built module (wasm) than natively, whatever it asserts",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "strict(enabled=True, allow=()): whatever a plugin does that no plugin should fails the test, but for what one of the "
        "regular expressions `allow` is found in",
    )
    config.addinivalue_line("markers", "hosts(*names): run a test of a filter on these hosts only: native, wasm, envoy")
    _selected_hosts(config)
    config.addinivalue_line("markers", f"{_DIFFERS}(reason): what a test sees differs between native and wasm, and why")
    config.stash[SESSION] = Session(Observations() if config.getoption("--proxy-compare") else None)


def pytest_unconfigure(config: pytest.Config) -> None:
    if (session := config.stash.get(SESSION, None)) is not None:
        session.close()


def _selected_hosts(config: pytest.Config) -> list[HostName]:
    named = [name.strip() for name in cast("str", config.getoption("--proxy-hosts")).split(",")]
    return _known(named, "--proxy-hosts")


def _known(named: list[str], place: str) -> list[HostName]:
    for name in named:
        if name not in HOST_NAMES:
            msg = f"{place}: unknown host {name!r}; hosts are {', '.join(HOST_NAMES)}"
            raise pytest.UsageError(msg)
    return [name for name in HOST_NAMES if name in named]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Files of cases: tests without code."""
    if not file_path.name.endswith(SUFFIX):
        return None
    from proxy_wasm.testing.cases.collection import CasesCollector  # noqa: PLC0415 - most runs have none

    return CasesCollector.made(parent, file_path)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "start_proxy" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("hosts")
    names = list(HOST_NAMES) if marker is None else _known(list(marker.args), f"{metafunc.definition.nodeid}: hosts")
    metafunc.parametrize("proxy_host", names, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    selected = _selected_hosts(config)
    deselected: list[pytest.Item] = []
    kept: list[pytest.Item] = []
    for item in items:
        host = _host_of(item)
        if host is not None:
            item.user_properties.append((_HOST_PROPERTY, host))
        (kept if host is None or host in selected else deselected).append(item)
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = kept


def _host_of(item: pytest.Item) -> HostName | None:
    """The host that a test runs on; `None` for tests of anything else."""
    if hasattr(item, "proxy_host"):
        return cast("HostName", getattr(item, "proxy_host"))  # noqa: B009 - of a case, which is no function
    call = cast("pytest.Function", item).callspec if hasattr(item, "callspec") else None
    return None if call is None else cast("HostName | None", call.params.get("proxy_host"))


@pytest.fixture
def proxy_host(request: pytest.FixtureRequest) -> HostName:
    """The name of the host that a test runs on."""
    return request.param


@pytest.fixture
def start_proxy(request: pytest.FixtureRequest, proxy_host: HostName) -> Iterator[StartProxy]:
    """Starts a proxy with a plugin in it; see `StartProxy`."""
    session = request.config.stash[SESSION]
    started = request.node.stash[_STARTED] = list[Proxy]()
    wanted = _Strictness.of(request)
    with ExitStack() as running:

        def start(  # noqa: PLR0913 - as `StartProxy`
            project: str | Path | None = None,
            configuration: Configuration = None,
            *,
            vm_configuration: Configuration = None,
            root_id: str = "",
            environment: Mapping[str, str] | None = None,
            isolated: bool = False,
            clusters: Mapping[str, Cluster] | None = None,
            vm_id: str = "",
            allow_on_headers_stop_iteration: bool = False,
            network: bool = False,
            properties: Properties | None = None,
            shared_data: Mapping[str, bytes | str] | None = None,
            observed_properties: Iterable[str] = (),
            strict: bool | None = None,
            allowed_faults: Iterable[str] = (),
            failure_policy: FailurePolicy = FailurePolicy.CLOSED,
            capabilities: Iterable[str] = (),
        ) -> Proxy:
            settings = PluginSettings(
                configuration_bytes(configuration),
                configuration_bytes(vm_configuration),
                root_id,
                environment or {},
                isolated,
                clusters or {},
                vm_id,
                allow_on_headers_stop_iteration,
                network,
                properties or {},
                {
                    key: value.encode() if isinstance(value, str) else value
                    for key, value in (shared_data or {}).items()
                },
                tuple(observed_properties),
                wanted.strict if strict is None else strict,
                (*wanted.allowed, *allowed_faults),
                failure_policy,
                tuple(capabilities),
            )
            extension = session.extension(_extension_path(request.path, project))
            proxy = Proxy.start(session.host(proxy_host), extension, settings)
            running.callback(proxy.stop)
            started.append(proxy)
            return proxy

        yield start
        started.clear()  # pytest keeps each test to the end of the run, and a VM takes many megabytes


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What is seen from now on belongs to this test."""
    host = _host_of(item)
    observations = item.config.stash[SESSION].observations
    if observations is not None and host is not None:
        observations.begin(_whatever_host(item, host), host)


def _whatever_host(item: pytest.Item, host: HostName) -> str:
    """A test's name without its host."""
    return re.sub(rf"(?<=[\[-]){host}(?=[\]-])", "*", item.nodeid, count=1)


@dataclass(frozen=True, slots=True)
class _Strictness:
    """Whether a test is strict, unless it says otherwise where it starts a proxy."""

    strict: bool
    allowed: tuple[str, ...] = ()

    @classmethod
    def of(cls, request: pytest.FixtureRequest) -> "_Strictness":
        node = cast("pytest.Item", request.node)  # pyright: ignore[reportUnknownMemberType] - pytest leaves it untyped
        marker = node.get_closest_marker("strict")
        if marker is None:
            return cls(bool(request.config.getini(_STRICT)))
        return cls(bool(marker.args[0]) if marker.args else True, tuple(marker.kwargs.get("allow", ())))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add traces to the report of a test that failed."""
    report = yield
    if call.when == "call" and report.failed and item.config.getoption("--proxy-trace"):
        for proxy in item.stash.get(_STARTED, list[Proxy]()):
            with suppress(Exception):  # an Envoy that is gone has no log; the test's own failure is what counts
                report.sections.append(("proxy-wasm trace", proxy.trace().text()))
    if call.when == "teardown" and report.passed:
        _compare(item, report)
    return report


def _compare(item: pytest.Item, report: pytest.TestReport) -> None:
    """Fail a test on the second of the hosts that are compared, where it saw anything else than on the first."""
    host = _host_of(item)
    observations = item.config.stash[SESSION].observations
    if host is None or observations is None or host != COMPARED[-1] or item.get_closest_marker(_DIFFERS) is not None:
        return
    difference = observations.difference(_whatever_host(item, host))
    if difference:
        report.outcome = "failed"
        report.longrepr = f"{' and '.join(COMPARED)} differ in what the test saw:\n{difference}"


def _extension_path(test_file: Path, project: str | Path | None) -> Path:
    if project is not None:
        return (test_file.parent / project).resolve()
    for folder in test_file.parents:
        if Project.is_project(folder):
            return folder
    msg = (
        f"{test_file}: no folder above is an extension (a pyproject.toml with [tool.proxy-wasm]); "
        "name one: start_proxy('path/to/extension')"
    )
    raise SettingsError(msg)


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    """Say how many tests ran on each host."""
    yield
    counts: dict[str, Counter[str]] = {name: Counter() for name in HOST_NAMES}
    for outcome in _OUTCOMES:
        for report in terminalreporter.getreports(outcome):
            if not isinstance(report, pytest.TestReport):  # a file that could not be imported
                continue
            host = dict(report.user_properties).get(_HOST_PROPERTY)
            if isinstance(host, str):
                counts[host][outcome] += 1
    told = [
        f"{host} " + ", ".join(f"{count} {outcome}" for outcome, count in found.items())
        for host, found in counts.items()
        if found
    ]
    if told:
        terminalreporter.write_line(f"proxy-wasm: {'; '.join(told)}")
