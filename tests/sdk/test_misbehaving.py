"""What authors' mistakes come to, on each host."""

import pytest

from proxy_wasm.testing import Exchange, LogLevel, Proxy, StartProxy, respond


@pytest.fixture
def proxy(start_proxy: StartProxy) -> Proxy:
    return start_proxy("misbehaving")


def errors(proxy: Proxy) -> list[str]:
    return [record.message for record in proxy.logs if record.level is LogLevel.ERROR]


def assert_failed(exchange: Exchange) -> None:
    assert (exchange.status, exchange.body, exchange.details) == (500, b"", "python_exception")


@pytest.mark.parametrize("where", ["request headers", "request body", "response headers"])
def test_a_failure_is_answered_with_500_and_the_next_request_served(proxy: Proxy, where: str) -> None:
    assert_failed(proxy.post("/", headers={"do": f"fail in {where}"}, body="body"))
    assert proxy.post("/", headers={"do": ""}, body="body").status == 200
    (message,) = errors(proxy)
    assert f"exception in MisbehavingStream.on_{where.replace(' ', '_')}" in message
    assert "raise LookupError(where)" in message
    assert message.endswith(f"LookupError: {where}")


def test_a_request_that_failed_in_its_headers_never_reaches_the_upstream(proxy: Proxy) -> None:
    assert proxy.get("/", headers={"do": "fail in request headers"}).upstream is None


def test_a_failure_after_the_response_began_cuts_it_off(proxy: Proxy) -> None:
    exchange = proxy.get("/", headers={"do": "fail in response body"}, upstream=respond(200, body="secret"))
    assert b"secret" not in exchange.body
    assert exchange.reset
    assert proxy.get("/").status == 200


def test_a_failure_at_the_end_is_only_logged(proxy: Proxy) -> None:
    assert proxy.get("/", headers={"do": "fail in the end"}).status == 200
    assert proxy.get("/").status == 200
    assert "exception in MisbehavingStream.on_log" in errors(proxy)[0]


@pytest.mark.parametrize("where", ["request headers", "request body", "response headers", "response body"])
def test_a_filter_that_fails_open_lets_the_stream_pass(start_proxy: StartProxy, where: str) -> None:
    proxy = start_proxy("misbehaving", "fail open")
    exchange = proxy.post("/", headers={"do": f"fail in {where}"}, body="in", upstream=respond(200, body="out"))
    assert (exchange.status, exchange.text) == (200, "out")
    assert exchange.upstream is not None
    assert exchange.upstream.body == b"in"
    assert len(errors(proxy)) == 1


def test_a_local_response_passes_the_filters_own_response_callbacks(proxy: Proxy) -> None:
    exchange = proxy.get("/", headers={"do": "answer"})
    assert (exchange.status, exchange.text, exchange.details) == (403, "no\n", "told_to")
    assert exchange.headers["x-seen"] == "403"


def test_the_first_local_response_counts(proxy: Proxy) -> None:
    assert proxy.get("/", headers={"do": "answer twice"}).status == 403
    assert any("local response 404 ignored" in record.message for record in proxy.logs)


def test_a_failure_right_after_an_answer_leaves_the_answer_or_nothing(proxy: Proxy) -> None:
    exchange = proxy.get("/", headers={"do": "answer and fail"})
    assert exchange.status == 403
    assert exchange.upstream is None
    assert len(errors(proxy)) == 1


def test_what_ends_a_program_ends_one_stream(proxy: Proxy) -> None:
    for act, message in (("recurse", "RecursionError: maximum recursion depth exceeded"), ("exit", "SystemExit")):
        assert_failed(proxy.get("/", headers={"do": act}))
        assert message in errors(proxy)[-1]
    assert proxy.get("/").status == 200


@pytest.mark.hosts("wasm", "envoy")
@pytest.mark.parametrize(
    ("act", "message"),
    [
        ("allocate", "MemoryError"),
        ("open", "'/etc/passwd'"),
        ("late import", "No module named 'wave' in this build: a compiled filter has no file system"),
    ],
)
def test_what_a_module_cannot_do_is_an_exception(start_proxy: StartProxy, act: str, message: str) -> None:
    proxy = start_proxy("misbehaving", isolated=act == "allocate")
    assert_failed(proxy.get("/", headers={"do": act}))
    assert message in errors(proxy)[0]
    assert proxy.get("/").status == 200


@pytest.mark.parametrize("act", ["random", "uuid"])
@pytest.mark.differs_between_hosts("that is what they are for")
def test_random_numbers_differ_from_start_to_start(start_proxy: StartProxy, act: str) -> None:
    drawn: set[str] = set()
    for vm in ("a", "b"):
        exchange = start_proxy("misbehaving", vm_configuration=vm).get("/", headers={"do": act})
        assert exchange.upstream is not None
        drawn.add(exchange.upstream.headers["did"])
    assert len(drawn) == 2


@pytest.mark.filterwarnings("ignore:careful")
@pytest.mark.differs_between_hosts("a native filter prints and warns to pytest")
def test_a_filter_logs_through_python(proxy: Proxy) -> None:
    exchange = proxy.get("/", headers={"do": "say"})
    assert exchange.upstream is not None
    assert exchange.upstream.headers["did"] == "said"
    logged = [(record.level, record.message) for record in proxy.logs]
    assert (LogLevel.WARN, "warning: \\udcff") in logged
    if proxy.host != "native":
        assert (LogLevel.INFO, "printed") in logged
        assert any(level is LogLevel.WARN and "UserWarning: careful" in message for level, message in logged)


def test_the_headers_can_be_read_again_in_the_log(proxy: Proxy) -> None:
    proxy.get("/path", headers={"do": "log"})
    assert (LogLevel.INFO, "over: /path 200") in [(record.level, record.message) for record in proxy.logs]
