"""Examples for which the proxy has to be configured: metadata, routes and access logs, in the emulator and in an Envoy of their own."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy_wasm.emulator import Emulator, HeaderMap, Plugin, Request, native_guest, wasm_guest
from proxy_wasm.emulator.properties import Properties
from proxy_wasm.envoy import EnvoyProcess, Message, WasmFilter, bootstrap, cluster, encode_request, listener, send
from proxy_wasm.testing import Extension, StartProxy
from proxy_wasm.testing.hosts import HostName

Json = dict[str, Any]
EXTENSION = Extension(Path(__file__).parent)
TYPES = "type.googleapis.com/envoy.extensions"
AUTH = {"envoy.filters.http.wasm": {"auth": "x-token"}}
DYNAMIC = {"com.example": {"greeting": "hello"}}


# In the emulator, whose properties a test gives


@pytest.fixture
def emulate(start_proxy: StartProxy, proxy_host: HostName) -> Iterator[Callable[[str, Properties], Plugin]]:
    """Starts an example in an emulator in which streams have certain properties."""
    emulators: list[Emulator] = []

    def start(root_id: str, attributes: Properties) -> Plugin:
        guest = (
            native_guest(EXTENSION.plugins()) if proxy_host == "native" else wasm_guest(EXTENSION.module().read_bytes())
        )
        emulators.append(Emulator(guest, attributes=attributes))
        return emulators[-1].start_plugin(root_id=root_id)

    yield start
    for emulator in emulators:
        emulator.close()


Emulate = Callable[[str, Properties], Plugin]


@pytest.mark.hosts("native", "wasm")  # in Envoy below
def test_properties_ask_for_the_header_that_the_route_names(emulate: Emulate) -> None:
    guarded = emulate("properties", {"xds.route_metadata": {"filter_metadata": AUTH}})
    assert guarded.exchange().status == 401
    assert guarded.exchange(Request(headers=HeaderMap({"x-token": "t"}))).status == 200
    assert emulate("properties", {}).exchange().status == 200


@pytest.mark.hosts("native", "wasm")
def test_envoy_filter_metadata_answers_with_metadata(emulate: Emulate) -> None:
    exchange = emulate("envoy_filter_metadata", {"metadata": {"filter_metadata": DYNAMIC}}).exchange()
    assert (exchange.text, exchange.headers["x-metadata"]) == ("Metadata: hello\n", "hello")
    assert emulate("envoy_filter_metadata", {}).exchange().upstream is not None


# In Envoy


def answer(text: str) -> Json:
    return {"status": 200, "body": {"inline_string": text}}


def routes_by_metadata(manager: Json) -> None:
    manager["route_config"]["virtual_hosts"][0]["routes"] = [
        {"match": {"prefix": "/private"}, "direct_response": answer("in"), "metadata": {"filter_metadata": AUTH}},
        {"match": {"prefix": "/"}, "direct_response": answer("in")},
    ]


def another_filter_sets_metadata(manager: Json) -> None:
    config = {
        "@type": f"{TYPES}.filters.http.set_metadata.v3.Config",
        "metadata": [{"metadata_namespace": "com.example", "value": DYNAMIC["com.example"]}],
    }
    manager["http_filters"].insert(0, {"name": "envoy.filters.http.set_metadata", "typed_config": config})


def routes_by_plan(manager: Json) -> None:
    gold = {"key": "wasm.plan", "string_match": {"exact": "gold"}}
    manager["route_config"]["virtual_hosts"][0]["routes"] = [
        {"match": {"prefix": "/", "filter_state": [gold]}, "direct_response": answer("fast")},
        {"match": {"prefix": "/"}, "direct_response": answer("slow")},
    ]


def routes_by_host(manager: Json) -> None:
    manager["route_config"]["virtual_hosts"] = [
        {"name": name, "domains": [host], "routes": [{"match": {"prefix": "/"}, "direct_response": answer(name)}]}
        for name, host in (("canary", "shop-canary"), ("stable", "shop"))
    ]


class ConfiguredEnvoy:
    """An Envoy with a listener for each of the examples, and the access log of one of them."""

    def __init__(self, process: EnvoyProcess, access_log: Path) -> None:
        self.process = process
        self.access_log = access_log
        self._listeners = process.admin.listeners()

    def get(self, root_id: str, path: str = "/", **headers: str) -> Message:
        fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        message = send(
            self._listeners[root_id], encode_request("GET", path, [(b"host", b"shop"), *fields]), timeout=30
        ).message
        assert message is not None
        return message

    def body(self, root_id: str, **headers: str) -> bytes:
        return self.get(root_id, **headers).body

    def status(self, root_id: str, path: str, **headers: str) -> bytes:
        return self.get(root_id, path, **headers).start[1]


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConfiguredEnvoy]:
    access_log = tmp_path_factory.mktemp("access") / "access.log"
    module = EXTENSION.module()

    def logs_the_state(manager: Json) -> None:
        log_format = {"json_format": {"tier": "%FILTER_STATE(wasm.tier:PLAIN)%"}}
        config = {
            "@type": f"{TYPES}.access_loggers.file.v3.FileAccessLog",
            "path": str(access_log),
            "log_format": log_format,
        }
        manager["access_log"] = [{"name": "file", "typed_config": config}]
        answers_itself(manager)

    def logs_by_wasm(manager: Json) -> None:
        """The plugin as an access logger, in place of a filter."""
        plugin = manager["http_filters"].pop(0)["typed_config"]["config"]
        config = {"@type": f"{TYPES}.access_loggers.wasm.v3.WasmAccessLog", "config": plugin}
        manager["access_log"] = [{"name": "envoy.access_loggers.wasm", "typed_config": config}]
        answers_itself(manager)

    def answers_itself(manager: Json) -> None:
        manager["route_config"]["virtual_hosts"][0]["routes"] = [
            {"match": {"prefix": "/"}, "direct_response": answer("here")}
        ]

    adapted: dict[str, tuple[bytes | None, Callable[[Json], None]]] = {
        "properties": (None, routes_by_metadata),
        "envoy_filter_metadata": (None, another_filter_sets_metadata),
        "route_by_plan": (b'{"k1": "gold"}', routes_by_plan),
        "http_routing": (b"100", routes_by_host),
        "access_log_state": (None, logs_the_state),
        "access_logger": (None, logs_by_wasm),
    }
    listeners: list[Json] = []
    for root_id, (configuration, adapt) in adapted.items():
        config = listener(root_id, [WasmFilter(module, configuration, root_id=root_id, vm_id=root_id)])
        adapt(config["filter_chains"][0]["filters"][0]["typed_config"])
        listeners.append(config)
    with EnvoyProcess(bootstrap(clusters=[cluster("127.0.0.1", 1)], listeners=listeners)) as process:
        yield ConfiguredEnvoy(process, access_log)


def test_properties_in_envoy_ask_for_the_header_that_the_route_names(envoy: ConfiguredEnvoy) -> None:
    assert envoy.status("properties", "/private") == b"401"
    assert envoy.status("properties", "/private", x_token="t") == b"200"
    assert envoy.status("properties", "/public") == b"200"


def test_envoy_filter_metadata_in_envoy_answers_with_what_another_filter_set(envoy: ConfiguredEnvoy) -> None:
    message = envoy.get("envoy_filter_metadata")
    assert (message.body, message.header(b"x-metadata")) == (b"Metadata: hello\n", b"hello")


def test_route_by_plan_has_the_route_chosen_anew(envoy: ConfiguredEnvoy) -> None:
    assert envoy.body("route_by_plan", x_api_key="k1") == b"fast"
    assert envoy.body("route_by_plan", x_api_key="k2") == b"slow"
    assert envoy.body("route_by_plan") == b"slow"


def test_http_routing_in_envoy_reaches_the_canary(envoy: ConfiguredEnvoy) -> None:
    assert envoy.body("http_routing") == b"canary"


def test_access_log_state_is_in_envoys_access_log(envoy: ConfiguredEnvoy) -> None:
    envoy.get("access_log_state", x_user="alice")
    envoy.get("access_log_state")
    log = envoy.access_log
    envoy.process.wait_for(lambda: len(log.read_text().splitlines()) == 2, "write its access log", 10)
    tiers = [json.loads(line)["tier"] for line in log.read_text().splitlines()]
    assert tiers == ["gold", "standard"]


def test_access_logger_logs_what_no_filter_sees(envoy: ConfiguredEnvoy) -> None:
    envoy.get("access_logger", "/cart?id=1")

    def logged() -> int:
        return envoy.process.admin.stats("access_logger").get("wasmcustom.access_logger.requests", 0)

    envoy.process.wait_for(lambda: logged() == 1, "log the request", 10)
    said = [line.wasm.message for line in envoy.process.new_log_lines() if line.wasm is not None]
    assert "GET /cart?id=1 -> 200" in said
