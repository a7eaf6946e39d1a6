"""Filters that come and go in a real Envoy."""

import os
from pathlib import Path

import pytest

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.envoy import (
    EnvoyFailed,
    FilteringEnvoy,
    FilterRefused,
    Message,
    Outcome,
    RunningFilter,
    WasmFilter,
    encode_request,
    encode_response,
)


def get(running: RunningFilter, *headers: tuple[bytes, bytes], timeout: float = 30) -> Outcome:
    request = encode_request("GET", "/path?query", [(b"Host", b"example.com"), *headers])
    return running.exchange(request, lambda _: encode_response(200, [(b"X-Up", b"1")], b"hi"), timeout=timeout)


def messages(outcome: Outcome) -> list[str]:
    return [line.wasm.message for line in outcome.log if line.wasm]


def test_a_request_passes_through_the_filter_to_the_upstream_and_back(running: RunningFilter) -> None:
    outcome = get(running, (b"X-Log", b"one\ttwo"))
    assert outcome.upstream is not None
    assert outcome.upstream.start == (b"GET", b"/path?query", b"HTTP/1.1")
    assert outcome.upstream.header(b"x-seen") == b"yes"
    assert outcome.response is not None
    assert outcome.response.start == (b"HTTP/1.1", b"200", b"OK")
    assert outcome.response.header(b"x-up") == b"1"
    assert outcome.response.header(b"x-answered") == b"yes"
    assert outcome.response.body == b"hi"
    assert outcome.access.details == "via_upstream"
    assert messages(outcome) == ["one\ttwo", "on_log", "on_done"]


def test_a_filter_that_answers_itself_keeps_the_request_from_the_upstream(running: RunningFilter) -> None:
    outcome = get(running, (b"x-deny", b"1"))
    assert outcome.upstream is None
    assert outcome.response is not None
    assert outcome.response.start[1] == b"403"
    assert outcome.response.header(b"x-reason") == b"header"
    assert outcome.response.body == b"no\n"
    assert outcome.access.details == "denied_by_test"


def test_envoy_adds_only_x_forwarded_proto_and_date(running: RunningFilter) -> None:
    outcome = get(running)
    assert outcome.upstream is not None
    assert [name for name, _ in outcome.upstream.headers] == [b"host", b"x-forwarded-proto", b"x-seen"]
    assert outcome.response is not None
    names = [name for name, _ in outcome.response.headers]
    assert names == [b"x-up", b"content-length", b"x-answered", b"date"]


def test_repeated_empty_and_non_utf8_headers_pass_unchanged(running: RunningFilter) -> None:
    sent = [(b"x-a", b"1"), (b"x-empty", b""), (b"x-a", b"2"), (b"x-bytes", bytes(range(0x80, 0x100)) + b"\t ~")]
    outcome = get(running, *sent)
    assert outcome.upstream is not None
    assert [pair for pair in outcome.upstream.headers if pair in sent] == sent


def test_a_thousand_headers_huge_values_bodies_and_trailers_pass_both_ways(running: RunningFilter) -> None:
    headers = [(b"x-%d" % number, b"%d" % number) for number in range(1000)]
    huge = [(b"x-huge", b"v" * 60_000), (b"x-huge", b"w" * 60_000)]
    body = bytes(range(256)) * 20_000
    trailers = ((b"x-end", b"\xff"),)

    def echo(request: Message) -> bytes:
        fields = [pair for pair in request.headers if pair[0].startswith(b"x-") and pair[0] != b"x-forwarded-proto"]
        return encode_response(200, fields, request.body, request.trailers)

    request = encode_request("POST", "/", [(b"host", b"h"), *headers, *huge], body, trailers)
    outcome = running.exchange(request, echo, method="POST")
    for message in (outcome.upstream, outcome.response):
        assert message is not None
        assert set(headers + huge) <= set(message.headers)
        assert message.body == body
        assert message.trailers == trailers


@pytest.mark.parametrize(
    ("sent", "seen"), [([b"a", b"b"], [b"a,b"]), ([b"a", b""], [b"a"]), ([b"", b"a"], [b"a"]), ([b"", b""], [b""])]
)
def test_envoy_joins_repeated_authorization_headers_and_drops_empty_ones(
    running: RunningFilter, sent: list[bytes], seen: list[bytes]
) -> None:
    outcome = get(running, *((b"authorization", value) for value in sent))
    assert outcome.upstream is not None
    assert [value for name, value in outcome.upstream.headers if name == b"authorization"] == seen


@pytest.mark.parametrize(
    ("target", "header", "details"),
    [
        ("/", (b"x-a", b"\x01"), "http1.invalid_characters"),
        ("/#fragment", (b"x-a", b""), "path_normalization_failed"),
        ("/", (b"host", b"bad host"), "http.invalid_authority"),
    ],
)
def test_envoy_refuses_some_requests_before_any_filter_sees_them(
    running: RunningFilter, target: str, header: tuple[bytes, bytes], details: str
) -> None:
    host = [] if header[0] == b"host" else [(b"host", b"h")]
    outcome = running.exchange(encode_request("GET", target, [*host, header]), lambda _: encode_response(200, []))
    assert (outcome.access.status, outcome.access.details) == (400, details)
    assert running.metrics()["requests"] == 0


def test_a_head_request_gets_headers_only(running: RunningFilter) -> None:
    request = encode_request("HEAD", "/", [(b"host", b"h")])
    outcome = running.exchange(
        request, lambda _: encode_response(200, [(b"content-length", b"9")], method="HEAD"), method="HEAD"
    )
    assert outcome.response is not None
    assert outcome.response.header(b"content-length") == b"9"
    assert outcome.response.body == b""


def test_the_log_holds_what_the_worker_logged_while_it_was_configured(running: RunningFilter) -> None:
    running.refresh_log()
    assert [(line.level, line.wasm.message) for line in running.log if line.wasm] == [(LogLevel.INFO, "hello")]


def test_configurations_of_any_bytes_arrive_unchanged(envoy: FilteringEnvoy, module: Path) -> None:
    added = envoy.add(WasmFilter(module, configuration=b'\xff\x01 "text" \\ of\nlines'))
    assert [line.wasm.message for line in added.log if line.wasm] == ['\udcff\x01 "text" \\ of\nlines']


def test_each_filter_sees_its_own_log_and_metrics(envoy: FilteringEnvoy, module: Path) -> None:
    first, second = (envoy.add(WasmFilter(module, configuration=name)) for name in (b"first", b"second"))
    get(first)
    assert [line.wasm.message for line in second.log if line.wasm] == ["second"]
    third = envoy.add(WasmFilter(module, configuration=b"third"))
    get(third)
    get(third)
    assert third.metrics()["requests"] == 2


def test_a_refused_configuration_is_told_in_the_words_of_the_filter(envoy: FilteringEnvoy, module: Path) -> None:
    with pytest.raises(FilterRefused) as refused:
        envoy.add(WasmFilter(module, configuration=b"!rules[2]: is\nwrong"))
    assert str(refused.value) == "!rules[2]: is\nwrong"
    assert "Unable to create Wasm plugin" in refused.value.reason
    added = envoy.add(WasmFilter(module))
    assert get(added).access.status == 200


def test_a_module_that_is_none_is_refused_with_the_reason_of_envoy(envoy: FilteringEnvoy, tmp_path: Path) -> None:
    (tmp_path / "text.wasm").write_text("no module")
    with pytest.raises(FilterRefused, match="corrupted Wasm module"):
        envoy.add(WasmFilter(tmp_path / "text.wasm"))
    with pytest.raises(FilterRefused, match=r"absent\.wasm"):
        envoy.add(WasmFilter(tmp_path / "absent.wasm"))


def test_a_trap_fails_this_filter_and_no_other(envoy: FilteringEnvoy, module: Path) -> None:
    failing, other = envoy.add(WasmFilter(module)), envoy.add(WasmFilter(module))
    outcome = get(failing, (b"x-trap", b"1"))
    assert (outcome.access.status, outcome.access.details) == (503, "wasm_fail_stream")
    assert "unreachable" in outcome.log[0].message
    assert get(failing).access.status == 503
    assert get(other).access.status == 200


def test_a_request_that_is_never_answered_fails_in_time(running: RunningFilter) -> None:
    with pytest.raises(EnvoyFailed, match=r"no complete response within 0\.3 seconds"):
        get(running, (b"x-pause", b"1"), timeout=0.3)
    assert get(running).access.status == 200


def test_what_the_upstream_raises_reaches_the_caller(running: RunningFilter) -> None:
    def fail(_: Message) -> bytes:
        msg = "no such page"
        raise LookupError(msg)

    with pytest.raises(LookupError, match="no such page"):
        running.exchange(encode_request("GET", "/", [(b"host", b"h")]), fail)


def test_many_filters_one_after_another_leave_only_the_last_in_envoy(module: Path) -> None:
    with FilteringEnvoy() as envoy:
        for _ in range(5):
            added = envoy.add(WasmFilter(module))
            assert get(added).access.status == 200
            added.remove()
        assert len(envoy.process.admin.listeners()) <= 3


def test_after_stop_the_process_and_its_directory_are_gone(module: Path) -> None:
    with FilteringEnvoy() as envoy:
        added = envoy.add(WasmFilter(module))
        pid, directory = added.pid, envoy.process.directory
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not directory.exists()


def test_a_crash_of_envoy_is_reported_as_such(module: Path) -> None:
    with FilteringEnvoy() as envoy:
        added = envoy.add(WasmFilter(module))
        os.kill(added.pid, 9)
        with pytest.raises(EnvoyFailed, match=r"SIGKILL|nothing accepts connections"):
            get(added, timeout=1)
