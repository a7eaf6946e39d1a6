import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from proxy_wasm import TRACE, Headers, HttpContext, LogLevel, PluginContext
from proxy_wasm.log import ProxyLogHandler, log_bytes, proxy_level

if TYPE_CHECKING:
    from conftest import MakeProxy, MemoryHost, Proxy, StartProxy

logger = logging.getLogger("filter.under.test")


def talking(say: Callable[[], object]) -> type[PluginContext]:
    class Talking(HttpContext[PluginContext]):
        def on_request_headers(self, headers: Headers, end_of_stream: bool) -> None:
            say()

    class Plugin(PluginContext):
        def http_context(self) -> Talking:
            return Talking(self)

    return Plugin


def say_everything() -> None:
    for level in (TRACE, logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logger.log(level, "at %d", level)


def test_levels_keep_their_meaning(start: "StartProxy") -> None:
    proxy = start(talking(say_everything))
    proxy.stream().request_headers()
    assert proxy.host.logged == [
        (LogLevel.TRACE, "at 5"),
        (LogLevel.DEBUG, "at 10"),
        (LogLevel.INFO, "at 20"),
        (LogLevel.WARN, "at 30"),
        (LogLevel.ERROR, "at 40"),
        (LogLevel.CRITICAL, "at 50"),
    ]


def test_levels_between_pythons_count_as_the_lower_one() -> None:
    levels = [proxy_level(level) for level in (1, 9, 15, 25, 35, 45, 99)]
    assert levels == [LogLevel.TRACE, LogLevel.TRACE, LogLevel.DEBUG, LogLevel.INFO, LogLevel.WARN, LogLevel.ERROR, 5]


@pytest.mark.parametrize(("level", "heard"), [(0, 6), (2, 4), (4, 2), (5, 1), (6, 0)])
def test_what_the_proxy_would_drop_never_reaches_it(start: "StartProxy", level: int, heard: int) -> None:
    proxy = start(talking(say_everything))
    proxy.host.log_level = level
    proxy.stream().request_headers()
    assert len(proxy.host.logged) == heard


def test_what_the_proxy_would_drop_is_never_formatted(start: "StartProxy") -> None:
    class Costly:
        def __str__(self) -> str:
            raise AssertionError("formatted")

    proxy = start(talking(lambda: logger.debug("%s", Costly())))
    proxy.host.log_level = LogLevel.INFO
    proxy.stream().request_headers()
    assert proxy.host.logged == []


def test_a_proxy_that_does_not_tell_its_level_gets_information(start: "StartProxy") -> None:
    proxy = start(talking(say_everything))
    proxy.host.refused = {"get_log_level"}
    proxy.stream().request_headers()
    assert len(proxy.host.logged) == 4


def test_an_exception_is_logged_in_one_entry_with_its_traceback(start: "StartProxy") -> None:
    def say() -> None:
        try:
            {}["boom"]
        except KeyError:
            logger.exception("failed:")

    proxy = start(talking(say))
    proxy.stream().request_headers()
    (message,) = proxy.host.messages(LogLevel.ERROR)
    assert message.startswith("failed:\nTraceback (most recent call last):\n")
    assert message.endswith("KeyError: 'boom'")


def test_text_from_a_client_is_logged_as_valid_utf8(start: "StartProxy") -> None:
    proxy = start(talking(lambda: logger.info("né\n%s", "\udcff\ud800")))
    proxy.stream().request_headers()
    assert proxy.host.messages(LogLevel.INFO) == ["né\n\\udcff\\ud800"]
    assert log_bytes("\udcff") == b"\\udcff"


def test_a_message_that_cannot_be_formatted_is_reported_on_standard_error(
    host: "MemoryHost", capsys: pytest.CaptureFixture[str]
) -> None:
    record = logging.LogRecord("name", logging.INFO, __file__, 1, "%d", ("seven",), None)
    ProxyLogHandler(host.hostcalls).handle(record)
    assert host.logged == []
    assert "--- Logging error ---" in capsys.readouterr().err


def test_outside_of_callbacks_pythons_logging_is_the_tests_own(start: "StartProxy") -> None:
    before = logging.root.level, list(logging.root.handlers)
    proxy = start(talking(say_everything))
    proxy.stream().request_headers()
    logger.critical("outside")
    assert (logging.root.level, logging.root.handlers) == before
    assert "outside" not in [message for _, message in proxy.host.logged]


def test_two_proxies_in_one_process_have_a_log_each(start: "StartProxy") -> None:
    first, second = start(talking(lambda: logger.info("first"))), start(talking(lambda: logger.info("second")))
    for proxy in (first, second, first):
        proxy.stream().request_headers()
    assert first.host.messages(LogLevel.INFO) == ["first", "first"]
    assert second.host.messages(LogLevel.INFO) == ["second"]


def test_a_callback_within_a_callback_keeps_the_log(start: "StartProxy") -> None:
    proxies: list[Proxy] = []

    def say() -> None:
        proxies[0].call("on_log", 1)
        logger.info("still here")

    proxies.append(start(talking(say)))
    proxies[0].stream().request_headers()
    assert proxies[0].host.messages(LogLevel.INFO) == ["still here"]


def level_queries(proxy: "Proxy") -> int:
    return proxy.host.calls.count("get_log_level")


def test_in_wasm_streams_that_log_nothing_ask_for_no_level(proxy_in_wasm: "MakeProxy") -> None:
    proxy = proxy_in_wasm({"": talking(lambda: None)})
    proxy.plugin()
    for _ in range(3):
        proxy.stream().request_headers()
    assert level_queries(proxy) == 0


def test_in_wasm_a_change_of_the_level_is_seen_by_the_next_stream(proxy_in_wasm: "MakeProxy") -> None:
    proxy = proxy_in_wasm({"": talking(say_everything)})
    proxy.plugin()
    heard: list[int] = []
    for level in (2, 0, 4):
        proxy.host.log_level = level
        proxy.stream().request_headers()
        heard.append(len(proxy.host.logged))
        proxy.host.logged.clear()
    assert heard == [4, 6, 2]
    assert level_queries(proxy) == 3


def test_in_wasm_the_root_logger_and_warnings_are_heard_too(proxy_in_wasm: "MakeProxy") -> None:
    def say() -> None:
        logging.root.info("plain")
        logging.getLogger("py.warnings").warning("careful\n")

    proxy = proxy_in_wasm({"": talking(say)})
    proxy.plugin()
    proxy.stream().request_headers()
    assert proxy.host.logged == [(LogLevel.INFO, "plain"), (LogLevel.WARN, "careful")]
