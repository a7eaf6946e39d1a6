"""What tracebacks in the proxy's log name: the author's own files, as they are named in the filter's folder, on each host."""

import re

import pytest

from proxy_wasm.testing import LogLevel, Proxy, StartProxy, respond

DEEPEST = """, line 2, in choose
    return words[word]
           ~~~~~^^^^^^
KeyError: 'absent'"""
FRAME = re.compile(r'  File "([^"]+)", line (\d+), in (\w+)')


@pytest.fixture
def proxy(start_proxy: StartProxy) -> Proxy:
    return start_proxy("failing")


def failure(proxy: Proxy, fail: str) -> str:
    """The message that a failed request leaves in the log."""
    assert proxy.get("/", headers={"fail": fail}).status == 500
    (message,) = [record.message for record in proxy.logs if record.level is LogLevel.ERROR]
    return message


def frames(message: str, proxy: Proxy) -> list[tuple[str, str]]:
    """The files and functions of a traceback; natively the files' paths end as they are named in Wasm."""
    found = [(file, function) for file, _, function in FRAME.findall(message)]
    return [(file.partition("/failing/")[2] if proxy.host == "native" else file, function) for file, function in found]


@pytest.mark.parametrize("fail", ["at once", "after a wait"])
def test_a_traceback_begins_in_the_authors_code_and_names_files_lines_and_source(proxy: Proxy, fail: str) -> None:
    message = failure(proxy, fail)
    assert frames(message, proxy) == [("failing.py", "on_request_headers"), ("words/deep.py", "choose")]
    assert '    choose({}, "absent")\n' in message
    assert message.endswith(DEEPEST)


def test_a_cause_is_told_with_its_files_too(proxy: Proxy) -> None:
    message = failure(proxy, "with a cause")
    assert frames(message, proxy) == [
        ("failing.py", "on_request_headers"),
        ("words/deep.py", "choose"),
        ("failing.py", "on_request_headers"),
    ]
    assert f"{DEEPEST}\n\nThe above exception was the direct cause of the following exception:" in message
    assert '    raise ValueError("no such word") from error\n' in message


def test_a_traceback_that_the_author_logs_names_them_as_well(proxy: Proxy) -> None:
    assert proxy.get("/", headers={"fail": "in a log record"}).status == 200
    (message,) = [record.message for record in proxy.logs if record.level is LogLevel.ERROR]
    assert frames(message, proxy) == [("failing.py", "on_request_headers"), ("words/deep.py", "choose")]
    assert message.endswith(DEEPEST)


def test_what_fails_in_the_sdk_alone_is_told_with_the_frames_there(proxy: Proxy) -> None:
    assert proxy.get("/", upstream=respond(200, {"fail": "yes"})).status == 500
    (message,) = [record.message for record in proxy.logs if record.level is LogLevel.ERROR]
    assert message.startswith("exception in FailingStream.on_response_headers\n")
    assert "nonsense" in message


@pytest.mark.hosts("wasm", "envoy")
@pytest.mark.parametrize("fail", ["in a debugger", "in a debugger by name"])
def test_a_breakpoint_in_a_compiled_filter_says_where_there_is_a_debugger(proxy: Proxy, fail: str) -> None:
    message = failure(proxy, fail)
    assert frames(message, proxy)[0] == ("failing.py", "on_request_headers")
    assert "a compiled filter has no terminal for a debugger; run it natively" in message
    assert proxy.get("/").status == 200
