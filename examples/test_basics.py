"""Examples about headers, configuration, answers and failures."""

import json
import re

import pytest

from proxy_wasm.testing import ConfigurationRejected, LogLevel, Proxy, StartProxy, respond


def said(proxy: Proxy) -> list[str]:
    return [record.message for record in proxy.logs if record.level is LogLevel.INFO]


@pytest.mark.differs_between_hosts("the lucky number is drawn at random")
def test_hello_world_tells_the_time_every_second(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="hello_world")
    proxy.advance(2.9)
    hello, *told = said(proxy)
    assert hello == "Hello, World!"
    assert len(told) == 2 or (proxy.host == "envoy" and len(told) > 2)  # its main thread has a plugin of its own
    assert all(re.fullmatch(r"It's \d{4}-\d\d-\d\d .*, your lucky number is \d\d?\.", line) for line in told)


def test_http_headers_are_logged_and_changed(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="http_headers")
    exchange = proxy.get("/", headers={"x-a": "1", "x-internal": "2"}, upstream=respond(200, {"x-b": "3"}))
    assert exchange.headers["powered-by"] == "proxy-wasm"
    assert exchange.upstream is not None
    assert exchange.upstream.headers["test"] == "best"
    assert "x-internal" not in exchange.upstream.headers
    messages = [re.sub(r"^#\d+ ", "", message) for message in said(proxy)]
    assert {"-> :path: /", "-> x-a: 1", "-> x-internal: 2", "<- x-b: 3", "<- powered-by: proxy-wasm"} <= {*messages}
    assert messages[-1] == "completed"


def test_http_headers_answers_hello_by_itself(start_proxy: StartProxy) -> None:
    exchange = start_proxy(root_id="http_headers").get("/hello")
    assert (exchange.status, exchange.text, exchange.headers["hello"]) == (200, "Hello, World!\n", "World")
    assert exchange.upstream is None


def test_http_config_adds_the_configured_header(start_proxy: StartProxy) -> None:
    proxy = start_proxy(configuration={"header": "x-team", "value": "shop"}, root_id="http_config")
    assert proxy.get("/").headers["x-team"] == "shop"


@pytest.mark.parametrize("configuration", [{"header": "x-team"}, {"header": "x-team", "value": ""}])
def test_http_config_refuses_a_header_without_value(start_proxy: StartProxy, configuration: dict[str, str]) -> None:
    with pytest.raises(ConfigurationRejected, match="value: needs some text"):
        start_proxy(configuration=configuration, root_id="http_config")


def test_vm_plugin_configuration_knows_both(start_proxy: StartProxy) -> None:
    proxy = start_proxy(configuration="of the plugin", vm_configuration="of the VM", root_id="vm_plugin_configuration")
    assert said(proxy) == ["vm configuration: of the VM", "plugin configuration: of the plugin"]


def test_typed_properties_describe_the_request(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="typed_properties")
    exchange = proxy.get("/cart?id=1", upstream=respond(404))
    assert exchange.upstream is not None
    seen = exchange.upstream.headers
    assert seen["x-client-address"].startswith("127.0.0.1:")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*\+00:00", seen["x-received"])
    assert seen["x-query"] == "id=1"
    assert re.fullmatch(r"GET /cart -> 404 in \d\.\d{3} s", said(proxy)[-1])


def test_trailers_count_how_grpc_calls_end(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="trailers")
    exchange = proxy.post("/", upstream=respond(200, {}, "message", {"grpc-status": "0"}))
    assert exchange.trailers["x-counted"] == "yes"
    proxy.post("/", upstream=respond(200, {"grpc-status": "7"}))
    proxy.post("/", upstream=respond(200, {"grpc-status": "made up"}))
    assert proxy.metric("grpc_calls", status="0") == 1
    assert proxy.metric("grpc_calls", status="7") == 1
    assert not [name for name in proxy.metrics() if "made up" in name]


def test_grpc_denial_is_understood_by_grpc_clients_and_others(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="grpc_denial")
    refused = proxy.post("/pkg.Service/Method", headers={"content-type": "application/grpc"})
    assert (refused.status, refused.headers["grpc-status"]) == (200, "16")
    assert refused.headers["grpc-message"] == "who are you?"
    plain = proxy.get("/")
    assert (plain.status, plain.text) == (401, "who are you?")
    assert proxy.get("/", headers={"x-user": "alice"}).status == 200


def test_fail_open_lets_pass_what_it_fails_for(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="fail_open")
    exchange = proxy.get("/", headers={"x-app-version": "12.3"})
    assert exchange.upstream is not None
    assert exchange.upstream.headers["x-app-major"] == "12"
    for headers in ({}, {"x-app-version": "unversioned"}):
        exchange = proxy.get("/", headers=headers)
        assert exchange.upstream is not None
        assert "x-app-major" not in exchange.upstream.headers
        assert any("on_request_headers" in record.message for record in exchange.logs if record.level is LogLevel.ERROR)


def test_reset_stream_gives_scanners_no_answer(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="reset_stream")
    for path in ("/.env", "/.git/config", "/wp-login.php?x=1"):
        exchange = proxy.get(path)
        assert (exchange.reset, exchange.status, exchange.upstream) == (True, 0, None)
    assert proxy.get("/environment").status == 200


def test_raw_hostcalls_limit_the_headers_size(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="raw_hostcalls")
    assert proxy.get("/", headers={"x-a": "a" * 3000}).status == 200
    exchange = proxy.get("/", headers={"x-a": "a" * 5000})
    assert exchange.status == 431
    assert int(exchange.text.split()[0]) > 5000


def test_log_json_logs_every_request(start_proxy: StartProxy) -> None:
    proxy = start_proxy(root_id="log_json")
    proxy.get("/a?b", headers={"user-agent": "test"}, upstream=respond(404, {}, "nothing"))
    proxy.post("/c", body="x")
    first, second = [json.loads(message) for message in said(proxy)]
    assert first == {
        "method": "GET",
        "path": "/a?b",
        "agent": "test",
        "status": 404,
        "details": "via_upstream",
        "bytes": 7,
    }
    assert (second["method"], second["path"], second["agent"], second["status"]) == ("POST", "/c", None, 200)
