"""Envoy's logs, read back."""

from pathlib import Path

import pytest

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.envoy.log import (
    AccessRecord,
    GrowingFile,
    LogLine,
    WasmMessage,
    parse_access_record,
    parse_log_line,
)


def line(message: str, logger: str = "wasm") -> LogLine:
    return LogLine(LogLevel.INFO, logger, message)


def test_a_record_of_several_lines_with_odd_bytes_stays_one_record() -> None:
    record = b'{"time":"2026-01-31T10:00:00.000001","thread":7,"level":"warning","logger":"wasm","message":"wasm log a: 1\\n\xff\\t\\"2\\""}\n'
    parsed = parse_log_line(record)
    assert parsed == LogLine(
        LogLevel.WARN, "wasm", 'wasm log a: 1\n\udcff\t"2"', thread=7, time="2026-01-31T10:00:00.000001"
    )


def test_what_envoy_writes_without_the_format_is_kept_as_critical() -> None:
    assert parse_log_line(b"Caught Segmentation fault\n") == LogLine(LogLevel.CRITICAL, "", "Caught Segmentation fault")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wasm log: plain", WasmMessage("", "plain")),
        ("wasm log name root vm: a: b", WasmMessage("name root vm", "a: b")),
        ("wasm log vm: first\nwasm log vm: second", WasmMessage("vm", "first\nwasm log vm: second")),
        ("wasm log vm: ", WasmMessage("vm", "")),
        ("wasm log name urn:vm: message", WasmMessage("name urn:vm", "message")),
    ],
)
def test_a_filters_message_is_told_from_its_source(text: str, message: WasmMessage) -> None:
    assert line(text).wasm == message


def test_other_records_are_no_filters_message() -> None:
    assert line("Base Wasm created 1 now active").wasm is None
    assert line("wasm log vm: x", logger="config").wasm is None


def test_a_growing_file_gives_each_complete_line_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    growing = GrowingFile(path)
    assert list(growing.lines()) == []
    path.write_bytes(b"one\ntwo\nthr")
    assert list(growing.lines()) == [b"one", b"two"]
    with path.open("ab") as file:
        file.write(b"ee\n")
    assert list(growing.lines()) == [b"three"]
    assert list(growing.lines()) == []


def test_an_access_record_of_a_request_without_response_has_status_zero() -> None:
    record = b'{"client_port":5,"status":0,"details":null,"flags":"DC","method":"GET","path":"/x?y","milliseconds":12}'
    assert parse_access_record(record) == AccessRecord(5, 0, "", "DC", "GET", "/x?y", 12)


def test_fields_of_an_access_record_besides_its_own_are_kept() -> None:
    record = b'{"client_port":5,"status":200,"details":"","flags":"-","method":"GET","path":"/","milliseconds":1,"x":"y","z":null}'
    assert parse_access_record(record).further == {"x": "y", "z": None}


def test_another_line_is_no_access_record() -> None:
    with pytest.raises(ValueError, match="access log"):
        parse_access_record(b"{}")
