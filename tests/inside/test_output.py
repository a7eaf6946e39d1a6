"""Where text goes that is printed or logged inside the module."""

import pytest

from proxy_wasm.testing import LogLevel, Proxy

INFO, WARN, ERROR = LogLevel.INFO, LogLevel.WARN, LogLevel.ERROR


def logged(proxy: Proxy, act: str) -> list[tuple[LogLevel, str]]:
    exchange = proxy.get("/", headers={"act": act})
    assert exchange.status == 200
    return [(record.level, record.message) for record in exchange.logs]


@pytest.mark.hosts("wasm", "envoy")
def test_a_printed_line_is_one_message(probe: Proxy) -> None:
    assert logged(probe, "print words") == [(INFO, "two words"), (INFO, "1 and 2 and 3"), (INFO, "one line")]


@pytest.mark.hosts("wasm", "envoy")
def test_several_printed_lines_are_several_messages_without_empty_ones(probe: Proxy) -> None:
    assert logged(probe, "print lines") == [(INFO, line) for line in ("first", "second", "third", "fourth", "fifth")]


@pytest.mark.hosts("wasm", "envoy")
def test_flushing_ends_a_message(probe: Proxy) -> None:
    assert logged(probe, "print without an end") == [(INFO, "no end")]


@pytest.mark.hosts("wasm", "envoy")
def test_a_long_line_arrives_whole(probe: Proxy) -> None:
    assert "".join(message for _, message in logged(probe, "print long text")) == "x" * 50_000 + " y"


@pytest.mark.hosts("wasm", "envoy")
def test_text_that_is_no_utf8_is_printed_escaped(probe: Proxy) -> None:
    ((level, message),) = logged(probe, "print odd text")
    assert level is INFO
    assert message.startswith("caf\xe9 \\udcff nul")


@pytest.mark.hosts("wasm", "envoy")
def test_standard_error_is_logged_at_error(probe: Proxy) -> None:
    assert logged(probe, "print errors") == [
        (ERROR, "an error"),
        (ERROR, "kept since the import"),
        (ERROR, "logged by a handler of its own"),
    ]


@pytest.mark.hosts("wasm", "envoy")
def test_bytes_written_below_the_text_are_logged_too(probe: Proxy) -> None:
    assert logged(probe, "print bytes") == [(INFO, "bytes to a descriptor"), (INFO, "bytes to a buffer")]


def test_each_level_of_logging_has_its_level_in_the_proxys_log(probe: Proxy) -> None:
    assert logged(probe, "log") == [
        (LogLevel.DEBUG, "level 10"),
        (LogLevel.INFO, "level 20"),
        (LogLevel.WARN, "level 30"),
        (LogLevel.ERROR, "level 40"),
        (LogLevel.CRITICAL, "level 50"),
    ]


@pytest.mark.hosts("wasm", "envoy")
def test_a_warning_is_logged_with_its_place(probe: Proxy) -> None:
    ((level, message),) = logged(probe, "warn")
    assert level is WARN
    assert "acts.py" in message
    assert "UserWarning: careful" in message


@pytest.mark.hosts("wasm", "envoy")
def test_an_exception_in_del_is_logged_and_nothing_else_happens(probe: Proxy) -> None:
    messages = logged(probe, "raise in del")
    for error in ("ValueError", "SystemExit", "KeyboardInterrupt"):
        assert (ERROR, f"{error}: in __del__") in messages


@pytest.mark.hosts("wasm", "envoy")
def test_a_forgotten_coroutine_is_a_warning(probe: Proxy) -> None:
    ((level, message),) = logged(probe, "leave a coroutine")
    assert level is WARN
    assert "was never awaited" in message
