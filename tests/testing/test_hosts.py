"""What a test sees is the same, whichever host runs the plugin."""

from pathlib import Path

import pytest

from proxy_wasm.testing import (
    ConfigurationRejected,
    Exchange,
    LogLevel,
    LogRecord,
    ModuleRefused,
    StartProxy,
    StreamPaused,
    UpstreamRequest,
    UpstreamResponse,
    VmFailed,
    respond,
)

on_modules = pytest.mark.hosts("wasm", "envoy")
on_sources = pytest.mark.hosts("native")


def said(records: list[LogRecord] | tuple[LogRecord, ...]) -> list[tuple[LogLevel, str]]:
    return [(record.level, record.message) for record in records]


@on_modules
def test_a_request_reaches_the_upstream_and_its_response_the_client(start_proxy: StartProxy, module: Path) -> None:
    exchange = start_proxy(module).request("GET", "/path?query", headers={"X-Log": "hello"}, authority="example.com")
    assert exchange.status == 200
    assert exchange.headers.multi_items() == [
        ("content-type", "text/plain"),
        ("content-length", "20"),
        ("x-answered", "yes"),
    ]
    assert exchange.text == "hello from upstream\n"
    assert exchange.details == "via_upstream"
    upstream = exchange.upstream
    assert upstream is not None
    assert (upstream.method, upstream.path, upstream.authority) == ("GET", "/path?query", "example.com")
    assert upstream.headers.multi_items() == [("x-log", "hello"), ("x-seen", "yes")]
    assert said(exchange.logs) == [(LogLevel.WARN, "hello"), (LogLevel.DEBUG, "on_log"), (LogLevel.DEBUG, "on_done")]


@on_modules
def test_a_local_response_never_reaches_the_upstream(start_proxy: StartProxy, module: Path) -> None:
    exchange = start_proxy(module).get("/", headers={"x-deny": "1"})
    assert (exchange.status, exchange.body, exchange.upstream) == (403, b"no\n", None)
    assert exchange.headers["x-reason"] == "header"
    assert exchange.details == "denied_by_test"


@on_modules
def test_the_upstream_may_be_a_response(start_proxy: StartProxy, module: Path) -> None:
    answer = respond(418, [("x-a", "1"), ("x-a", b"\xff")], "tea", {"x-end": "yes"})
    exchange = start_proxy(module).get("/", upstream=answer)
    assert exchange.status == 418
    assert exchange.headers.get_list("x-a") == ["1", "\udcff"]
    assert exchange.body == b"tea"
    assert exchange.trailers.multi_items() == [("x-end", "yes")]


@on_modules
def test_the_upstream_may_be_a_function(start_proxy: StartProxy, module: Path) -> None:
    def echo(request: UpstreamRequest) -> UpstreamResponse:
        return respond(200, body=request.body + b"!", trailers=request.trailers)

    exchange = start_proxy(module).post("/", body="what", trailers={"x-end": "1"}, upstream=echo)
    assert exchange.body == b"what!"
    assert exchange.trailers.multi_items() == [("x-end", "1")]


@on_modules
def test_what_the_upstream_function_raises_fails_the_test(start_proxy: StartProxy, module: Path) -> None:
    def fail(_: UpstreamRequest) -> UpstreamResponse:
        raise LookupError

    with pytest.raises(LookupError):
        start_proxy(module).get("/", upstream=fail)


@on_modules
def test_a_date_from_the_upstream_stays(start_proxy: StartProxy, module: Path) -> None:
    date = "Sat, 31 Jan 2026 10:00:00 GMT"
    assert start_proxy(module).get("/", upstream=respond(headers={"date": date})).headers["date"] == date


@on_modules
def test_x_forwarded_proto_of_the_client_stays(start_proxy: StartProxy, module: Path) -> None:
    upstream = start_proxy(module).get("/", headers={"x-forwarded-proto": "http"}).upstream
    assert upstream is not None
    assert upstream.headers["x-forwarded-proto"] == "http"


@on_modules
def test_odd_and_many_headers_arrive_unchanged(start_proxy: StartProxy, module: Path) -> None:
    sent: list[tuple[str | bytes, str | bytes]] = [("x-empty", ""), ("x-bytes", b"\x80\xff"), ("x-huge", "v" * 60_000)]
    sent += [(f"x-{number}", str(number)) for number in range(1000)]
    upstream = start_proxy(module).get("/", headers=sent).upstream
    assert upstream is not None
    encoded = [(name, value.encode() if isinstance(value, str) else value) for name, value in sent]
    assert [(name.decode(), value) for name, value in upstream.headers.raw if name != b"x-seen"] == encoded


@on_modules
def test_a_host_header_is_the_authority(start_proxy: StartProxy, module: Path) -> None:
    upstream = start_proxy(module).get("/", headers={"Host": "a.example:8080"}).upstream
    assert upstream is not None
    assert upstream.authority == "a.example:8080"
    assert "host" not in upstream.headers


@on_modules
def test_logs_begin_with_what_was_logged_during_configuration(start_proxy: StartProxy, module: Path) -> None:
    proxy = start_proxy(module, "some text")
    assert said(proxy.logs) == [(LogLevel.INFO, "some text")]
    proxy.get("/", headers={"x-log": "hello"})
    assert [record.message for record in proxy.logs] == ["some text", "hello", "on_log", "on_done"]


@on_modules
@pytest.mark.parametrize("configuration", ["te\nxt", b"\xff\x01", {"json": [1, "ä"]}, ["list"]])
def test_configurations_arrive_as_they_are(
    start_proxy: StartProxy, module: Path, configuration: str | bytes | dict[str, object] | list[str]
) -> None:
    texts = {"te\nxt": "te\nxt", b"\xff\x01": "\udcff\x01"}
    expected = (
        texts[configuration]
        if isinstance(configuration, str | bytes)
        else '{"json": [1, "\\u00e4"]}'
        if isinstance(configuration, dict)
        else '["list"]'
    )
    assert [record.message for record in start_proxy(module, configuration).logs] == [expected]


@on_modules
def test_a_refused_configuration_raises_with_the_filters_words(start_proxy: StartProxy, module: Path) -> None:
    with pytest.raises(ConfigurationRejected, match=r"!rules\[2\]: is wrong") as rejected:
        start_proxy(module, "!rules[2]: is wrong")
    assert [record.message for record in rejected.value.logs] == ["!rules[2]: is wrong"]


@on_modules
def test_a_trap_during_configuration_is_no_refusal(start_proxy: StartProxy, module: Path) -> None:
    with pytest.raises(VmFailed, match="unreachable"):
        start_proxy(module, "%")


@on_modules
def test_a_file_that_is_no_module_is_refused(start_proxy: StartProxy, tmp_path: Path) -> None:
    (tmp_path / "text.wasm").write_text("text")
    with pytest.raises(ModuleRefused):
        start_proxy(tmp_path / "text.wasm")


@on_modules
def test_a_vm_can_have_a_configuration_and_an_environment(start_proxy: StartProxy, module: Path) -> None:
    proxy = start_proxy(module, vm_configuration={"a": 1}, environment={"NAME": "value"}, root_id="any")
    assert proxy.get("/").status == 200


@on_modules
def test_metrics_count_what_this_plugin_counted(start_proxy: StartProxy, module: Path) -> None:
    start_proxy(module, "another").get("/")
    proxy = start_proxy(module)
    assert proxy.metrics()["requests"] == 0
    proxy.get("/")
    proxy.get("/")
    assert proxy.metrics()["requests"] == 2


@on_modules
def test_a_trap_fails_closed_and_says_why(start_proxy: StartProxy, module: Path) -> None:
    proxy = start_proxy(module, isolated=True)
    exchange = proxy.get("/", headers={"x-trap": "1"})
    assert (exchange.status, exchange.details) == (503, "wasm_fail_stream")
    assert any("unreachable" in record.message and record.from_host for record in exchange.logs)
    assert proxy.get("/").status == 503


@on_modules
def test_a_request_that_is_never_answered_raises(start_proxy: StartProxy, module: Path) -> None:
    with pytest.raises(StreamPaused):
        start_proxy(module).get("/", headers={"x-pause": "1"}, timeout=0.3)


@on_modules
def test_head_requests_have_no_body(start_proxy: StartProxy, module: Path) -> None:
    exchange = start_proxy(module).request("HEAD", "/", upstream=respond(headers={"content-length": "7"}))
    assert (exchange.status, exchange.body, exchange.headers["content-length"]) == (200, b"", "7")


@on_sources
def test_an_extensions_folder_runs_natively(start_proxy: StartProxy, greeter: Path) -> None:
    proxy = start_proxy(greeter, {"greeting": "good day"})
    exchange = proxy.get("/")
    assert exchange.upstream is not None
    assert exchange.upstream.headers["x-greeting"] == "good day"
    assert proxy.metrics() == {"greeted": 1}
    denied: Exchange = proxy.get("/", headers={"x-deny": "1"})
    assert (denied.status, denied.upstream, denied.details) == (403, None, "not_today")


@on_sources
def test_native_plugins_refuse_configurations_in_their_own_words(start_proxy: StartProxy, greeter: Path) -> None:
    with pytest.raises(ConfigurationRejected, match="greeting: must be text"):
        start_proxy(greeter, {"greeting": 1})


@on_sources
def test_extensions_whose_modules_share_a_name_do_not_mix(start_proxy: StartProxy, greeter: Path) -> None:
    other = greeter.parent / "other"
    other.mkdir()
    for file in greeter.glob("*.*"):
        (other / file.name).write_text(file.read_text().replace('"hello"', '"hi"'))
    for folder, greeting in ((greeter, "hello"), (other, "hi")):
        upstream = start_proxy(folder).get("/").upstream
        assert upstream is not None
        assert upstream.headers["x-greeting"] == greeting
