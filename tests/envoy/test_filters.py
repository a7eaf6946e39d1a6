"""Filters that come and go in a real Envoy."""

import os
from pathlib import Path

import pytest
from wasmtime import wat2wasm

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


def test_a_client_that_disconnects_leaves_its_own_record_and_no_response(running: RunningFilter) -> None:
    request = encode_request("GET", "/", [(b"host", b"h"), (b"x-pause", b"1")])
    outcome = running.abandon(request, lambda _: encode_response(200, []), after=0.05)
    assert (outcome.response, outcome.whole, outcome.upstream) == (None, False, None)
    assert (outcome.access.status, outcome.access.flags) == (0, "DC")
    assert messages(outcome) == ["on_log", "on_done"]
    assert get(running).access.status == 200


def test_a_client_that_disconnects_late_has_its_response(running: RunningFilter) -> None:
    request = encode_request("GET", "/", [(b"host", b"h")])
    outcome = running.abandon(request, lambda _: encode_response(200, [], b"in time"), after=0.3)
    assert outcome.whole
    assert outcome.response is not None
    assert outcome.response.body == b"in time"


def test_a_client_that_disconnects_inside_a_response_has_its_head(running: RunningFilter) -> None:
    headers = [(b"content-length", b"100"), (b"x-head", b"1")]
    request = encode_request("GET", "/", [(b"host", b"h")])
    outcome = running.abandon(request, lambda _: encode_response(200, headers, b"some"), after=0.1)
    assert not outcome.whole
    assert outcome.response is not None
    assert outcome.response.header(b"x-head") == b"1"


def test_what_the_upstream_raises_reaches_the_caller(running: RunningFilter) -> None:
    def fail(_: Message) -> bytes:
        msg = "no such page"
        raise LookupError(msg)

    with pytest.raises(LookupError, match="no such page"):
        running.exchange(encode_request("GET", "/", [(b"host", b"h")]), fail)


def test_filters_of_one_listener_see_a_request_one_after_the_other(envoy: FilteringEnvoy, module: Path) -> None:
    first, second = (WasmFilter(module, root_id=name, configuration=name.encode()) for name in ("first", "second"))
    added = envoy.add(first, second, access_log_fields={"seen": "%REQ(X-SEEN)%", "absent": "%REQ(X-ABSENT)%"})
    outcome = get(added, (b"x-log", b"passing"))
    assert outcome.upstream is not None
    assert [value for name, value in outcome.upstream.headers if name == b"x-seen"] == [b"yes", b"yes"]
    assert [line.wasm.source.split()[1] for line in outcome.log if line.wasm and line.wasm.message == "passing"] == [
        "first",
        "second",
    ]
    assert outcome.access.further == {"seen": "yes", "absent": None}
    added.remove()


def virtual_machines(envoy: FilteringEnvoy) -> int:
    return envoy.process.admin.stats(r"^wasm\.envoy\.wasm\.runtime\.v8\.active$").popitem()[1]


def test_filters_with_the_same_vm_id_share_a_vm(envoy: FilteringEnvoy, module: Path) -> None:
    first = envoy.add(WasmFilter(module, configuration=b"1", vm_id="urn:team"))
    before = virtual_machines(envoy)
    second = envoy.add(WasmFilter(module, configuration=b"2", vm_id="urn:team"))
    assert virtual_machines(envoy) == before
    assert [line.wasm.message for line in second.log if line.wasm] == ["2"]
    for running in (first, second):
        assert messages(get(running, (b"x-log", b"mine"))) == ["mine", "on_log", "on_done"]
        running.remove()
    assert virtual_machines(envoy) < before


HOLDING = """
(module
  (import "env" "proxy_add_header_map_value" (func $add_header (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 100) "x-body")
  (data (i32.const 110) "seen")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
    (drop (call $add_header (i32.const 0) (i32.const 100) (i32.const 6) (i32.const 110) (i32.const 4)))
    (i32.const 0)))
"""


@pytest.mark.parametrize("allowed", [True, False])
def test_headers_are_held_while_the_body_comes_only_where_that_is_allowed(
    envoy: FilteringEnvoy, tmp_path: Path, *, allowed: bool
) -> None:
    (tmp_path / "holding.wasm").write_bytes(wat2wasm(HOLDING))
    added = envoy.add(WasmFilter(tmp_path / "holding.wasm", allow_on_headers_stop_iteration=allowed))
    request = encode_request("POST", "/", [(b"host", b"h")], b"body")
    if allowed:
        outcome = added.exchange(request, lambda _: encode_response(200, []), method="POST")
        assert outcome.upstream is not None
        assert outcome.upstream.header(b"x-body") == b"seen"
    else:
        with pytest.raises(EnvoyFailed, match="no complete response"):
            added.exchange(request, lambda _: encode_response(200, []), method="POST", timeout=0.3)
    added.remove()


def test_a_filter_that_was_removed_leaves_neither_listener_nor_vm(module: Path) -> None:
    with FilteringEnvoy() as envoy:
        left: set[tuple[int, int]] = set()
        for _ in range(3):
            added = envoy.add(WasmFilter(module))
            assert get(added).access.status == 200
            added.remove()
            left.add((len(envoy.process.admin.listeners()), virtual_machines(envoy)))
        assert len(left) == 1


def test_a_filter_can_be_removed_when_its_module_is_gone(envoy: FilteringEnvoy, module: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.wasm").write_bytes(module.read_bytes())
    added = envoy.add(WasmFilter(tmp_path / "copy.wasm"))
    (tmp_path / "copy.wasm").unlink()
    added.remove()
    assert get(envoy.add(WasmFilter(module))).access.status == 200


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
