"""In strict mode whatever a plugin does that no plugin should fails the test, on each host and with the same words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy_wasm.testing import NoHosts, PluginFault, Proxy, Silent, StartProxy, respond

pytest_plugins = ["pytester"]

SCRIPTS = Path(__file__).parents[1] / "emulator" / "script_filter"
CALL: list[Any] = [[[":method", "GET"], [":path", "/"], [":authority", "callee"]], "", ""]
StartScript = Callable[..., Proxy]


@pytest.fixture
def start_script(start_proxy: StartProxy) -> StartScript:
    """Starts a strict proxy whose filter does this in each callback; requests go to `/do`."""

    def start(allow: tuple[str, ...] = (), clusters: dict[str, Any] | None = None, **script: list[list[Any]]) -> Proxy:
        return start_proxy(
            SCRIPTS, configuration={"do": script}, strict=True, allowed_faults=allow, clusters=clusters or {}
        )

    return start


@pytest.mark.parametrize(
    ("steps", "hostcall", "said"),
    [
        ([["http_call", "nobody", *CALL, 1000]], "http_call", "BAD_ARGUMENT"),
        ([["get_header_map_value", 2, "x"]], "get_header_map_value", "BAD_ARGUMENT"),
        ([["set_buffer_bytes", 6, 0, 0, "x"]], "set_buffer_bytes", "BAD_ARGUMENT"),
        ([["increment_metric", 4444, 1]], "increment_metric", "NOT_FOUND"),
        ([["enqueue_shared_queue", 4444, "x"]], "enqueue_shared_queue", "NOT_FOUND"),
        ([["call_foreign_function", "nothing", ""]], "call_foreign_function", "NOT_FOUND"),
        ([["continue_stream", 3]], "continue_stream", "UNIMPLEMENTED"),
        ([["done"]], "done", "NOT_FOUND"),
    ],
)
def test_an_error_that_a_hostcall_returned_fails_the_test(
    start_script: StartScript, steps: list[list[Any]], hostcall: str, said: str
) -> None:
    with pytest.raises(PluginFault, match=rf"on_request_headers: proxy_{hostcall}\(.*\) returned {said}$") as raised:
        start_script(on_request_headers=steps).get("/do")
    (fault,) = raised.value.faults
    assert (fault.callback, fault.hostcall, fault.status) == ("on_request_headers", hostcall, fault.status)


def test_looking_for_what_is_not_there_is_no_fault(start_script: StartScript) -> None:
    steps: list[list[Any]] = [
        ["get_property", "nothing"],
        ["get_header_map_value", 0, "x-nothing"],
        ["get_shared_data", "nothing"],
        ["resolve_shared_queue", "", "nothing"],
        ["set_shared_data", "key", "value", 0],
        ["set_shared_data", "key", "other", 4_000_000_000],
        ["set_effective_context", 4444],
        ["get_buffer_bytes", 7, 0, 9],
    ]
    proxy = start_script(on_request_headers=steps)
    assert proxy.get("/do").status == 200
    assert proxy.faults == []


@pytest.mark.hosts("native", "wasm")
def test_the_emulator_tells_the_arguments(start_script: StartScript) -> None:
    with pytest.raises(PluginFault) as raised:
        start_script(on_request_headers=[["http_call", "nobody", *CALL, 1000]]).get("/do")
    assert str(raised.value) == (
        "strict mode: the plugin did what no plugin should\n"
        "  on_request_headers: proxy_http_call(upstream='nobody', headers=':method: GET, :path: /, :authority: callee', "
        "body='', trailers='', timeout_milliseconds=1000) returned BAD_ARGUMENT"
    )


@pytest.mark.hosts("envoy")
def test_envoy_tells_the_sizes_of_arguments(start_script: StartScript) -> None:
    with pytest.raises(PluginFault) as raised:
        start_script(on_request_headers=[["get_header_map_value", 2, "x-long"]]).get("/do")
    assert "proxy_get_header_map_value(map_type=HTTP_RESPONSE_HEADERS, key=<6 bytes>) returned BAD_ARGUMENT" in str(
        raised.value
    )


def test_a_second_local_response_fails_the_test(start_script: StartScript) -> None:
    answers: list[list[Any]] = [["send_local_response", status, "", "", [], -1] for status in (401, 403)]
    with pytest.raises(
        PluginFault, match=r"proxy_send_local_response\(.*403.*\) for a stream that was answered before"
    ):
        start_script(on_request_headers=[*answers, ["return", 1]]).get("/do")


def test_continuing_what_is_not_paused_fails_the_test(start_script: StartScript) -> None:
    with pytest.raises(PluginFault) as raised:
        start_script(on_response_headers=[["continue_stream", 1]]).get("/do")
    (fault,) = raised.value.faults
    assert str(fault) == (
        "on_response_headers: proxy_continue_stream(stream_type=HTTP_RESPONSE) for a stream that is not paused"
    )


def test_continuing_what_is_paused_is_no_fault(start_script: StartScript) -> None:
    script = {"on_request_body": [["return_unless_end", 1]]}
    assert start_script(**script).post("/do", body=["a", "b"]).status == 200


@pytest.mark.parametrize("end", [[], [["continue_stream", 0]]], ids=["paused", "continued"])
def test_continuing_what_was_answered_fails_the_test(start_script: StartScript, end: list[list[Any]]) -> None:
    steps: list[list[Any]] = [["send_local_response", 403, "", "", [], -1], *end, ["return", 1]]
    proxy = start_script(allow=("was answered$",), on_request_headers=steps)
    assert proxy.get("/do").status == 403
    assert len(proxy.faults) == len(end)


@pytest.mark.parametrize(
    ("what", "callback", "buffer"), [("request", "on_request_body", 0), ("response", "on_response_body", 1)]
)
def test_a_body_that_outgrows_its_content_length_fails_the_test(
    start_script: StartScript, what: str, callback: str, buffer: int
) -> None:
    script = {callback: [["set_buffer_bytes", buffer, 5, 0, "more"], ["return", 0]]}
    proxy = start_script(**script)
    with pytest.raises(PluginFault, match=rf"the {what}'s content-length is 5, its body has 13 bytes: on the wire"):
        proxy.post("/do", body="hello", upstream=respond(200, body="howdy"))


def test_a_callout_that_is_never_answered_fails_the_test(start_script: StartScript) -> None:
    proxy = start_script(clusters={"callee": Silent()}, on_request_headers=[["http_call", "callee", *CALL, 0]])
    proxy.get("/do")
    with pytest.raises(PluginFault, match=r"proxy_http_call\(.*\) was never answered, and has no timeout"):
        proxy.stop()


def test_a_callout_that_may_time_out_need_not_be_waited_for(start_script: StartScript) -> None:
    proxy = start_script(clusters={"callee": Silent()}, on_request_headers=[["http_call", "callee", *CALL, 9000]])
    proxy.get("/do")
    proxy.stop()


@pytest.mark.hosts("native", "wasm")
def test_a_plugin_that_is_never_done_fails_the_test(start_proxy: StartProxy) -> None:
    proxy = start_proxy("recorder", configuration="never done", strict=True)
    with pytest.raises(PluginFault, match="the plugin context is left: on_done asked for more time"):
        proxy.stop()


def test_faults_that_are_allowed_do_not_fail_the_test(start_script: StartScript) -> None:
    steps = [["http_call", "callee", *CALL, 100], ["increment_metric", 4444, 1]]
    proxy = start_script(
        allow=(r"http_call.* INTERNAL_FAILURE",), clusters={"callee": NoHosts()}, on_request_headers=steps
    )
    with pytest.raises(PluginFault) as raised:
        proxy.get("/do")
    assert [fault.hostcall for fault in raised.value.faults] == ["increment_metric"]
    assert [fault.hostcall for fault in proxy.faults] == ["http_call", "increment_metric"]


def test_each_fault_fails_a_test_once(start_script: StartScript) -> None:
    proxy = start_script(on_request_headers=[["done"]])
    for count in (1, 2):
        with pytest.raises(PluginFault) as raised:
            proxy.get("/do")
        assert len(raised.value.faults) == 1
        assert len(proxy.faults) == count


def test_a_plugin_is_not_blamed_for_another_ones_faults(start_script: StartScript) -> None:
    bad, good = start_script(on_request_headers=[["done"]]), start_script()
    with pytest.raises(PluginFault):
        bad.get("/do")
    assert good.get("/do").status == 200
    assert good.faults == []


def test_without_strict_mode_faults_are_there_to_be_seen(start_proxy: StartProxy) -> None:
    proxy = start_proxy(SCRIPTS, configuration={"do": {"on_log": [["done"]]}})
    assert proxy.get("/do").status == 200
    assert [str(fault) for fault in proxy.faults] == ["on_log: proxy_done() returned NOT_FOUND"]


@pytest.mark.hosts("wasm", "envoy")
def test_a_trap_fails_the_test(start_proxy: StartProxy, module: Path) -> None:
    proxy = start_proxy(module, strict=True)
    with pytest.raises(PluginFault, match="Function: proxy_on_request_headers failed"):
        proxy.get("/", headers={"x-trap": "1"})


# Where it is said.

EXTENSION = """
from proxy_wasm import HostError, HttpContext, PluginContext


class Wrong(PluginContext):
    def http_context(self):
        return Doing(self)


class Doing(HttpContext):
    def on_request_headers(self, headers, end_of_stream):
        try:
            self.plugin.hostcalls.done()
        except HostError:
            pass
"""
TESTS = """
import pytest

def test_plain(start_proxy): start_proxy().get("/")

@pytest.mark.strict
def test_marked(start_proxy): start_proxy().get("/")

@pytest.mark.strict(allow=["proxy_done"])
def test_allowed(start_proxy): start_proxy().get("/")

@pytest.mark.strict(False)
def test_lenient(start_proxy): start_proxy().get("/")

@pytest.mark.strict
def test_lenient_by_itself(start_proxy): start_proxy(strict=False).get("/")
"""


@pytest.mark.parametrize(("setting", "failed"), [("false", ["test_marked"]), ("true", ["test_plain", "test_marked"])])
def test_marker_and_setting_say_which_tests_are_strict(
    pytester: pytest.Pytester, setting: str, failed: list[str]
) -> None:
    pytester.makepyfile(wrong=EXTENSION, test_wrong=TESTS)
    (pytester.path / "pyproject.toml").write_text(
        '[project]\nname = "wrong"\n[tool.proxy-wasm]\nplugin = "wrong:Wrong"\n'
    )
    result = pytester.runpytest_subprocess("--proxy-hosts", "native", "-o", f"proxy_wasm_strict={setting}")
    result.assert_outcomes(passed=5 - len(failed), failed=len(failed))
    for name in failed:
        result.stdout.fnmatch_lines([f"FAILED *::{name}*"])
    result.stdout.fnmatch_lines(["*on_request_headers: proxy_done() returned NOT_FOUND"])
