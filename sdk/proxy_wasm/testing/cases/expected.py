"""What a case may expect: of texts and headers, of requests and responses, of the log, of metrics and of callouts."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.metrics import full_name
from proxy_wasm.testing.cases.matching import (
    Absent,
    AllOf,
    Between,
    Contains,
    Each,
    Equals,
    HeaderMatcher,
    Joined,
    JsonEquals,
    Matcher,
    Not,
    Regex,
)
from proxy_wasm.testing.cases.model import LogExpectation, LogLine, Metric, RequestExpectation, ResponseExpectation
from proxy_wasm.testing.cases.octets import BASE64, STATUS, TEXT, UTF8
from proxy_wasm.testing.cases.shapes import (
    Data,
    Flag,
    Integer,
    Key,
    ListOf,
    MapOf,
    Named,
    OneOf,
    Record,
    Shape,
    Variants,
)


def _regex(pattern: str) -> Matcher:
    try:
        return Regex(re.compile(pattern))
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error


def _all_of(matchers: tuple[Matcher, ...]) -> Matcher:
    return matchers[0] if len(matchers) == 1 else AllOf(matchers)


_CONTAINS: Shape[Matcher] = Variants(text=UTF8.mapped(Contains), items=ListOf(UTF8.mapped(Contains)).mapped(AllOf))
MATCHER: Shape[Matcher] = Named(
    "matcher",
    lambda: Variants(text=UTF8.mapped(Equals), mapping=Record(_matcher, _MATCHER_KEYS)),
)
_MATCHER_KEYS = {
    "equals": Key(UTF8.mapped(Equals), "exactly this text; a text alone says the same"),
    "contains": Key(_CONTAINS, "this text somewhere; or a list, all of them"),
    "regex": Key(TEXT.mapped(_regex), "a regular expression (Python's) that matches somewhere; ^ and $ bind it"),
    "json": Key(Data().mapped(JsonEquals), "JSON that says the same"),
    "base64": Key(BASE64.mapped(Equals), "exactly these bytes, in base64"),
    "not": Key(MATCHER, "what must not match"),
}


def _matcher(**parts: Matcher) -> Matcher:
    if not parts:
        raise ValueError(f"is empty; there are {', '.join(_MATCHER_KEYS)}")
    negated = parts.pop("not_", None)
    matchers = tuple(parts.values()) + (() if negated is None else (Not(negated),))
    return _all_of(matchers)


def _header_matcher(
    *, absent: bool = False, any_order: tuple[Matcher, ...] | None = None, **parts: Matcher
) -> HeaderMatcher:
    ways = (absent, any_order is not None, bool(parts))
    if sum(ways) != 1:
        raise ValueError("must say one thing of the header: absent: true, any_order, or what its value is")
    if absent:
        return Absent()
    return Joined(_matcher(**parts)) if any_order is None else Each(any_order, any_order=True)


_HEADER_MATCHERS: Shape[Mapping[str, HeaderMatcher]] = Named(
    "expected_headers",
    lambda: MapOf(
        Variants(
            text=UTF8.mapped(lambda text: Joined(Equals(text))),
            items=ListOf(MATCHER).mapped(Each),
            mapping=Record(
                _header_matcher,
                {
                    **_MATCHER_KEYS,
                    "absent": Key(OneOf({"true": True}), "true: the header must not be there"),
                    "any_order": Key(ListOf(MATCHER), "the values of a repeated header, in any order"),
                },
            ),
        )
    ).mapped(_lowered),
)


def _lowered(headers: Mapping[str, HeaderMatcher]) -> Mapping[str, HeaderMatcher]:
    lowered = {name.lower(): matcher for name, matcher in headers.items()}
    if len(lowered) != len(headers):
        raise ValueError("names a header twice, in upper and lower case; keep one of them")
    return lowered


EXPECTED_REQUEST: Shape[RequestExpectation] = Named(
    "expected_request",
    lambda: Record(
        RequestExpectation,
        {
            "method": Key(MATCHER, "the method"),
            "path": Key(MATCHER, "the path with its query"),
            "authority": Key(MATCHER, "the Host"),
            "headers": Key(_HEADER_MATCHERS, "headers by name; others may be there"),
            "body": Key(MATCHER, "the body"),
            "trailers": Key(_HEADER_MATCHERS, "trailers by name"),
        },
    ),
)

EXPECTED_RESPONSE: Shape[ResponseExpectation] = Record(
    ResponseExpectation,
    {
        "status": Key(STATUS.mapped(lambda status: status), "the status"),
        "headers": Key(_HEADER_MATCHERS, "headers by name; others may be there"),
        "body": Key(MATCHER, "the body"),
        "trailers": Key(_HEADER_MATCHERS, "trailers by name"),
        "reset": Key(Flag(), "true: the connection breaks before the response is whole"),
    },
)


def or_none(shape: Shape[Any]) -> Shape[Any]:
    return Variants(text=OneOf({"none": "none"}), mapping=shape)


_LEVELS = {level.name.lower(): level for level in LogLevel}


def _log_line(*, level: LogLevel | None = None, **parts: Matcher) -> LogLine:
    return LogLine(_matcher(**parts), level)


LOG_LINE: Shape[LogLine] = Named(
    "log_line",
    lambda: Variants(
        text=UTF8.mapped(lambda text: LogLine(Equals(text))),
        mapping=Record(_log_line, {**_MATCHER_KEYS, "level": Key(OneOf(_LEVELS), "the message's level")}),
    ),
)
_LOG_LINES = ListOf(LOG_LINE)
LOGS: Shape[LogExpectation] = Named(
    "logs",
    lambda: Variants(
        text=OneOf({"none": LogExpectation(exactly=())}),
        items=_LOG_LINES.mapped(lambda lines: LogExpectation(in_order=lines)),
        mapping=Record(
            LogExpectation,
            {
                "in_order": Key(
                    _LOG_LINES, "these, in this order; others may stand between; a list alone says the same"
                ),
                "any_order": Key(_LOG_LINES, "these, in any order; others may be there"),
                "none_of": Key(_LOG_LINES, "none of these"),
                "exactly": Key(_LOG_LINES, "these in this order, and nothing else"),
            },
        ),
    ),
)

_MAX_GAUGE = (1 << 64) - 1
_METRIC_NAME = re.compile(r"(?P<name>[^{}]+)(?:\{(?P<labels>.*)\})?")
_METRIC_LABEL = re.compile(r'\s*(?P<label>\w+)="(?P<value>[^"]*)"\s*(?:,|$)')
_METRIC_VALUE = Integer("a whole number", 0, _MAX_GAUGE)


def _metric(written: str, value: Between) -> Metric:
    found = _METRIC_NAME.fullmatch(written)
    labels: dict[str, str] = {}
    rest = "" if found is None else found["labels"] or ""
    while label := _METRIC_LABEL.match(rest):
        labels[label["label"]] = label["value"]
        rest = rest[label.end() :]
    if found is None or rest:
        raise ValueError(f'{written}: a metric is written as name or name{{label="value"}}')
    if labels:
        full_name(found["name"], labels)
    return Metric(found["name"], labels, written, value)


def _between(at_least: int | None = None, at_most: int | None = None) -> Between:
    return Between(at_least, at_most)


def _metrics(values: Mapping[str, Between]) -> tuple[Metric, ...]:
    return tuple(_metric(written, value) for written, value in values.items())


_METRICS: Shape[tuple[Metric, ...]] = Named(
    "metrics",
    lambda: MapOf(
        Variants(
            text=_METRIC_VALUE.mapped(lambda value: Between(value, value)),
            mapping=Record(
                _between,
                {"at_least": Key(_METRIC_VALUE, "a lower limit"), "at_most": Key(_METRIC_VALUE, "an upper limit")},
            ),
        )
    ).mapped(_metrics),
)
_CALLS: Shape[Mapping[str, tuple[RequestExpectation, ...]]] = Named(
    "calls",
    lambda: MapOf(
        Variants(
            text=OneOf({"none": ()}),
            items=ListOf(EXPECTED_REQUEST),
            mapping=EXPECTED_REQUEST.mapped(lambda request: (request,)),
        )
    ),
)


def _shared_value(text: bytes) -> Matcher | Literal["none"]:
    return "none" if text == b"none" else Equals(text)


CHECK_KEYS = {
    "logs": Key(LOGS, "what the plugin logged since it was started"),
    "metrics": Key(_METRICS, "counters and gauges by name"),
    "shared_data": Key(
        MapOf(Variants(text=UTF8.mapped(_shared_value), mapping=MATCHER)),
        "values that the plugin shares, by key; none: there is none",
    ),
    "calls": Key(_CALLS, "by cluster, the requests that reached it, all of them, in order"),
}
