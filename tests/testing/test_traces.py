"""Traces of requests and connections in tests, on each host."""

from pathlib import Path

from proxy_wasm.testing import LogLevel, Proxy, StartProxy, respond
from proxy_wasm.tracing import Octets, Pairs, Symbol, Trace, TracedCallback, TracedHostcall, TracedLog

RAW_ABI = Path(__file__).parents[1] / "capabilities" / "raw_abi"
OK = Symbol(0, "OK")


def callback(trace: Trace, name: str) -> TracedCallback:
    (found,) = [callback for callback in trace.callbacks if callback.name == name]
    return found


def call(proxy: Proxy, path: str) -> Trace:
    """The trace of a request whose filter calls a cluster and does not wait for the answer."""
    proxy.get(path, headers={"x-do": "call", "x-timeout": "1000", "x-value": "<script>"})
    proxy.advance(0.2)
    return proxy.trace()


def test_a_trace_is_of_the_last_request(start_proxy: StartProxy) -> None:
    proxy = start_proxy("recorder", clusters={"callee": respond()})
    call(proxy, "/first")
    trace = call(proxy, "/second")
    assert (trace.title, trace.host) == ("GET /second", proxy.host)
    names = [callback.name for callback in trace.callbacks if callback.name != "on_http_call_response"]
    assert names[:3] == ["on_context_create", "on_request_headers", "on_response_headers"]
    assert set(names[3:-3]) == {"on_response_body"}
    assert names[-3:] == ["on_log", "on_done", "on_delete"]


def test_calls_come_with_what_they_returned_and_how_long_they_took(start_proxy: StartProxy) -> None:
    trace = call(start_proxy("recorder", clusters={"callee": respond()}), "/")
    headers = callback(trace, "on_request_headers")
    assert headers.returned == Symbol(0, "CONTINUE")
    assert dict(headers.arguments)["end_of_stream"] is True
    (made,) = trace.hostcalls("http_call")
    assert made in headers.inner
    assert made.status == OK
    assert dict(made.arguments)["timeout_milliseconds"] == 1000
    assert 0 <= made.duration <= headers.duration
    assert headers.duration > 0


def test_arguments_are_told_as_far_as_the_host_tells_them(start_proxy: StartProxy) -> None:
    proxy = start_proxy("recorder", clusters={"callee": respond()})
    (made,) = call(proxy, "/").hostcalls("http_call")
    arguments = dict(made.arguments)
    if proxy.host == "envoy":
        assert arguments["upstream"] == Octets(6, seen=False)
        assert made.results == ()
    else:
        assert arguments["upstream"] == Octets(6, b"callee")
        assert isinstance(arguments["headers"], Pairs)
        assert [name for name, _ in made.results] == ["call_id"]


def test_log_lines_are_where_they_were_written(start_proxy: StartProxy) -> None:
    trace = call(start_proxy("recorder", clusters={"callee": respond()}), "/")
    first, *further = callback(trace, "on_request_headers").inner
    lines = [event for event in (first, *further) if isinstance(event, TracedLog)]
    assert [(line.level, line.message.rpartition(": ")[2], line.from_host) for line in lines] == [
        (LogLevel.INFO, "request ends", False)
    ]
    assert isinstance(further[-1], TracedHostcall)
    assert not trace.hostcalls("log")


def test_each_host_gives_text_json_and_a_page(start_proxy: StartProxy) -> None:
    proxy = start_proxy("recorder", clusters={"callee": respond()})
    trace = call(proxy, "/")
    assert f"GET / on {proxy.host}\n" in trace.text()
    assert "http_call(upstream=" in trace.text()
    assert trace.to_json()["events"][1]["name"] == "on_request_headers"
    assert "http_call" in trace.html()
    assert "<script" not in trace.html()


def test_a_connection_is_traced(start_proxy: StartProxy) -> None:
    proxy = start_proxy(RAW_ABI, root_id="callbacks", network=True)
    connection = proxy.connect()
    connection.send(b"hello")
    connection.receive(5)
    connection.close()
    trace = proxy.trace()
    assert trace.title == "connection"
    names = [callback.name for callback in trace.callbacks]
    assert names[:2] == ["on_context_create", "on_new_connection"]
    assert {"on_downstream_data", "on_upstream_data", "on_done", "on_delete"} <= set(names)


def test_before_the_first_request_a_trace_is_of_the_start(start_proxy: StartProxy) -> None:
    trace = start_proxy("recorder").trace()
    assert [callback.name for callback in trace.callbacks][-3:] == ["on_context_create", "on_vm_start", "on_configure"]
    assert callback(trace, "on_configure").returned == 1
