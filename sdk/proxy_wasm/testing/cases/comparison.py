"""What came, held against what was expected: the differences, for a report."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from proxy_wasm.emulator import Exchange, LogRecord, UpstreamRequest
from proxy_wasm.emulator.header_map import HeaderMap, to_bytes
from proxy_wasm.metrics import full_name
from proxy_wasm.testing.cases.matching import ABSENT, HeaderMatcher, Matcher, missing_in_order, text_of, unmatched
from proxy_wasm.testing.cases.model import (
    LogExpectation,
    LogLine,
    Metric,
    RequestExpectation,
    RequestStep,
    ResponseExpectation,
)


@dataclass(frozen=True, slots=True)
class Difference:
    """Something else came than was expected."""

    place: str
    """Of what: `response.headers.x-greeting`."""
    expected: str
    came: str


def exchange_differences(step: RequestStep, exchange: Exchange) -> Iterator[Difference]:
    """Of a request: the response, what reached the upstream, the details and the log."""
    if step.response == "none":
        yield Difference("response", "none", _told(exchange))
    elif step.response is not None:
        leaves = step.request.disconnect_after is not None
        yield from _response_differences(step.response, exchange, reset_matters=not leaves)
    if step.upstream == "none":
        if exchange.upstream is not None:
            yield Difference("upstream", "none", f"{exchange.upstream.method} {exchange.upstream.path}")
    elif step.upstream is not None:
        yield from _upstream_differences(step.upstream, exchange)
    if step.details is not None:
        yield from _text_differences("details", step.details, to_bytes(exchange.details))
    if step.logs is not None:
        yield from log_differences(step.logs, exchange.logs)


def _told(exchange: Exchange) -> str:
    return f"{exchange.status} ({exchange.details})" if exchange.details else str(exchange.status)


def _response_differences(
    expected: ResponseExpectation, exchange: Exchange, *, reset_matters: bool
) -> Iterator[Difference]:
    if expected.status not in (None, exchange.status):
        yield Difference("response.status", str(expected.status), str(exchange.status))
    if exchange.reset != bool(expected.reset) and (reset_matters or expected.reset is not None):
        yield Difference("response.reset", str(bool(expected.reset)).lower(), str(exchange.reset).lower())
    yield from _header_differences("response.headers", expected.headers, exchange.headers)
    yield from _text_differences("response.body", expected.body, exchange.body)
    yield from _header_differences("response.trailers", expected.trailers, exchange.trailers)


def _upstream_differences(expected: RequestExpectation, exchange: Exchange) -> Iterator[Difference]:
    if exchange.upstream is None:
        yield Difference("upstream", "a request", f"none; the client got {_told(exchange)}")
    else:
        yield from request_differences("upstream", expected, exchange.upstream)


def request_differences(place: str, expected: RequestExpectation, request: UpstreamRequest) -> Iterator[Difference]:
    """Of a request where it arrived."""
    yield from _text_differences(f"{place}.method", expected.method, to_bytes(request.method))
    yield from _text_differences(f"{place}.path", expected.path, to_bytes(request.path))
    yield from _text_differences(f"{place}.authority", expected.authority, to_bytes(request.authority))
    yield from _header_differences(f"{place}.headers", expected.headers, request.headers)
    yield from _text_differences(f"{place}.body", expected.body, request.body)
    yield from _header_differences(f"{place}.trailers", expected.trailers, request.trailers)


def _text_differences(place: str, expected: Matcher | None, came: bytes) -> Iterator[Difference]:
    if expected is not None and not expected.matches(came):
        yield Difference(place, str(expected), text_of(came))


def _header_differences(place: str, expected: Mapping[str, HeaderMatcher], came: HeaderMap) -> Iterator[Difference]:
    for name, matcher in expected.items():
        values = came.values_of(name)
        if not matcher.matches(values):
            yield Difference(f"{place}.{name}", str(matcher), " | ".join(map(text_of, values)) if values else ABSENT)


def calls_differences(
    cluster: str, expected: Sequence[RequestExpectation], came: Sequence[UpstreamRequest]
) -> Iterator[Difference]:
    """Of the requests that reached a cluster."""
    place = f"calls.{cluster}"
    if len(expected) != len(came):
        told = ", ".join(f"{request.method} {request.path}" for request in came)
        yield Difference(place, _count(len(expected)), f"{_count(len(came))}: {told}" if told else _count(0))
    for number, (each, request) in enumerate(zip(expected, came, strict=False)):
        yield from request_differences(f"{place}[{number}]", each, request)


def _count(number: int) -> str:
    return f"{number} request{'' if number == 1 else 's'}"


def log_differences(expected: LogExpectation, came: Sequence[LogRecord]) -> Iterator[Difference]:
    """Of the log."""
    for line in missing_in_order(expected.in_order, came, is_logged)[:1]:
        place = "in the log" if len(expected.in_order) == 1 else "in the log, in this order"
        yield Difference("logs", f"{place}: {line}", "not there")
    for line in unmatched(expected.any_order, came, is_logged):
        yield Difference("logs.any_order", str(line), "not there")
    for line in expected.none_of:
        for record in came:
            if is_logged(line, record):
                yield Difference("logs.none_of", f"not in the log: {line}", record.message)
    if expected.exactly is not None:
        yield from _exact_differences(expected.exactly, [record for record in came if not record.from_host])


def _exact_differences(expected: Sequence[LogLine], came: Sequence[LogRecord]) -> Iterator[Difference]:
    pairs = zip(expected, came, strict=False)
    if len(expected) != len(came) or not all(is_logged(line, record) for line, record in pairs):
        lines = "\n".join(str(line) for line in expected) or "none"
        records = "\n".join(f"{record.level.name.lower()}: {record.message}" for record in came) or "none"
        yield Difference("logs.exactly" if expected else "logs", lines, records)


def is_logged(line: LogLine, record: LogRecord) -> bool:
    """Whether this record is the line that is expected."""
    return line.level in (None, record.level) and line.message.matches(to_bytes(record.message))


def shared_data_differences(
    expected: Mapping[str, Matcher | Literal["none"]], came: Callable[[str], bytes | None]
) -> Iterator[Difference]:
    """Of values that the plugin shares."""
    for key, matcher in expected.items():
        value = came(key)
        matches = value is None if matcher == "none" else value is not None and matcher.matches(value)
        if not matches:
            yield Difference(f"shared_data.{key}", str(matcher), "none" if value is None else text_of(value))


def metric_differences(expected: Sequence[Metric], came: Mapping[str, int]) -> Iterator[Difference]:
    """Of counters and gauges; one that was not made yet is 0."""
    for metric in expected:
        name = full_name(metric.name, dict(metric.labels)) if metric.labels else metric.name
        value = came.get(name, 0)
        if not metric.value.matches(value):
            known = str(value) if name in came else "0: there is no such metric yet"
            yield Difference(f"metrics.{metric.written}", str(metric.value), known)
