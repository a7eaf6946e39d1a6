"""How plugins and streams begin and end, alone in a VM and together."""

# What was logged after a plugin was stopped, only Envoy's own log tells.
# pyright: reportPrivateUsage=false

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm.emulator import ConfigurationRejected
from proxy_wasm.envoy import EnvoyProcess, WasmFilter, bootstrap, cluster, encode_request, listener, send
from proxy_wasm.envoy.log import parse_log_line
from proxy_wasm.testing import LogLevel, Proxy, StartProxy
from proxy_wasm.testing.envoy_host import EnvoyPlugin

if TYPE_CHECKING:
    from conftest import Build, StartEnvoy

SECONDS = 10
"""Until something in Envoy must have happened."""


def said(proxy: Proxy) -> list[str]:
    return [record.message for record in proxy.logs if record.level is LogLevel.INFO]


def test_a_plugin_is_made_started_and_configured_once_in_this_order(start_proxy: StartProxy) -> None:
    proxy = start_proxy("lifecycle", "a", vm_configuration="b", root_id="one")
    assert said(proxy) == ["new one", "VM started with b", "configured with a"]


def test_streams_end_with_their_log(start_proxy: StartProxy) -> None:
    proxy = start_proxy("lifecycle", root_id="one")
    for _ in range(3):
        exchange = proxy.get("/")
        assert [record.message for record in exchange.logs] == ["stream log", "stream done"]


@pytest.mark.parametrize(
    ("options", "callback", "words"),
    [
        ({"configuration": "refused"}, "on_configure", "plugin: this one is refused"),
        ({"vm_configuration": "refused"}, "on_vm_start", "vm: this one is refused"),
        (
            {"root_id": "three"},
            "on_vm_start",
            "root_id 'three': no such plugin in this module; it has awaits, fails, later, logger, one, two",
        ),
    ],
)
def test_what_a_plugin_refuses_it_explains(
    start_proxy: StartProxy, options: dict[str, Any], callback: str, words: str
) -> None:
    arguments: dict[str, Any] = {"root_id": "one", **options}
    with pytest.raises(ConfigurationRejected, match=callback) as refused:
        start_proxy("lifecycle", **arguments)
    errors = {record.message for record in refused.value.logs if record.level is LogLevel.ERROR}
    assert errors == {words}


def test_plugins_of_one_vm_have_configurations_metrics_and_streams_of_their_own(start_proxy: StartProxy) -> None:
    plugins = [
        start_proxy("lifecycle", "a", root_id="one", vm_id="shared"),
        start_proxy("lifecycle", "b", root_id="two", vm_id="shared"),
        start_proxy("lifecycle", "c", root_id="one", vm_id="shared"),
    ]
    alone = start_proxy("lifecycle", "d", root_id="one", vm_id="another")
    for _ in range(2):
        seen: list[tuple[str, str]] = []
        for proxy in (*plugins, alone):
            upstream = proxy.get("/").upstream
            assert upstream is not None
            seen.append((upstream.headers["x-plugin"], upstream.headers["x-in-this-vm"]))
        assert seen == [("one a", "a b c"), ("two b", "a b c"), ("one c", "a b c"), ("one d", "d")]
    assert plugins[0].metric("lifecycle.requests", plugin="two") == 2


def test_a_plugin_that_leaves_leaves_the_others_of_its_vm(start_proxy: StartProxy) -> None:
    staying = start_proxy("lifecycle", "a", root_id="one", vm_id="shared")
    leaving = start_proxy("lifecycle", "b", root_id="two", vm_id="shared")
    leaving.stop()
    assert said(leaving)[-2:] == ["done", "forgotten two"]
    upstream = staying.get("/").upstream
    assert upstream is not None
    assert upstream.headers["x-in-this-vm"] == "a"


@pytest.mark.parametrize("root_id", ["awaits", "later", "fails"])
def test_a_plugin_takes_the_time_that_it_needs_for_its_end(start_proxy: StartProxy, root_id: str) -> None:
    """Envoy (1.40) gives it that as long as another plugin keeps the VM."""
    staying = start_proxy("lifecycle", "a", root_id="one", vm_id=f"shared with {root_id}")
    leaving = start_proxy("lifecycle", "b", root_id=root_id, vm_id=f"shared with {root_id}")
    leaving.stop()
    messages = messages_until(leaving, f"forgotten {root_id}")
    ended = messages[messages.index("needs time") + 1 :]
    assert len(ended) == 2
    if root_id == "fails":
        assert ended[0].endswith("LookupError: at the end")
    else:
        assert ended[0] == "done"
    upstream = staying.get("/").upstream
    assert upstream is not None
    assert upstream.headers["x-in-this-vm"] == "a"


def messages_until(stopped: Proxy, last: str) -> list[str]:
    """What a plugin that was stopped has logged, up to `last`."""
    if stopped.host != "envoy":
        stopped.advance(1)
        return [record.message for record in stopped.logs]
    plugin = stopped._plugin
    assert isinstance(plugin, EnvoyPlugin)
    process, source = plugin._running._envoy.process, plugin._running.sources[-1]

    def logged() -> list[str]:
        """What it logged in the worker; nobody keeps the lines of a filter that was taken out."""
        lines = [parse_log_line(line) for line in process.log_path.read_bytes().splitlines()]
        own = [line for line in lines if line.wasm is not None and line.wasm.source == source]
        return [line.wasm.message for line in own if line.wasm is not None and line.thread != process.pid]

    process.wait_for(lambda: last in logged(), f"log {last!r}", SECONDS)
    return logged()


@pytest.mark.parametrize("workers", [1, 2])
def test_envoy_tells_plugins_in_each_worker_that_it_shuts_down(built: "Build", tmp_path: Path, workers: int) -> None:
    """It gives time to those alone whose VM another one keeps; so the first of the two is forgotten, in every worker and the main thread."""
    filters = [WasmFilter(built("lifecycle"), b"a", root_id=root_id, vm_id="v") for root_id in ("one", "two")]
    config = bootstrap(clusters=[cluster("127.0.0.1", 1)], listeners=[listener("only", filters)])
    process = EnvoyProcess(config, directory=tmp_path, concurrency=workers)
    with process:
        process.new_log_lines()
    lines = [line.wasm.message for line in process.new_log_lines() if line.wasm is not None]
    assert lines.count("done") == 2 * (workers + 1)
    assert not [line for line in lines if line.startswith("exception")]


def access_logger(module: Path) -> dict[str, Any]:
    """The entry of an HTTP connection manager's `access_log` for a plugin that logs."""
    entry = WasmFilter(module, root_id="logger", vm_id="logger").to_json()
    config = entry["typed_config"]["config"]
    kind = "type.googleapis.com/envoy.extensions.access_loggers.wasm.v3.WasmAccessLog"
    return {"name": "envoy.access_loggers.wasm", "typed_config": {"@type": kind, "config": config}}


def test_a_plugin_is_envoys_access_logger(built: "Build", start_envoy: "StartEnvoy") -> None:
    module = built("lifecycle")

    def adapt(config: dict[str, Any]) -> None:
        (entry,) = config["static_resources"]["listeners"]
        manager = entry["filter_chains"][0]["filters"][0]["typed_config"]
        manager["access_log"].append(access_logger(module))

    envoy = start_envoy({"only": WasmFilter(module, b"a", root_id="one", vm_id="v")}, adapt=adapt)
    envoy.process.new_log_lines()
    request = encode_request("PUT", "/path?x=1", [(b"host", b"test"), (b"user-agent", b"tests")])
    for _ in range(2):
        send(envoy.listeners["only"], request)
    logged: list[str] = []

    def both() -> bool:
        logged.extend(line.wasm.message for line in envoy.process.new_log_lines() if line.wasm is not None)
        return sum(message.startswith("PUT") for message in logged) == 2

    envoy.process.wait_for(both, "log both requests", SECONDS)
    assert [message for message in logged if message.startswith("PUT")] == ["PUT /path?x=1 503 by tests"] * 2
    counters = envoy.process.admin.stats("lifecycle.logged")
    assert counters == {"wasmcustom.lifecycle.logged": 2}
