"""What came of cases, for people to read."""

from collections.abc import Iterator, Sequence

from proxy_wasm.emulator import Exchange, LogRecord
from proxy_wasm.emulator.header_map import HeaderMap, to_bytes
from proxy_wasm.testing.cases.comparison import Difference
from proxy_wasm.testing.cases.matching import text_of
from proxy_wasm.testing.cases.runner import Failure, Result

_WIDEST = 60
"""Characters of a value that still stands in a column."""
_LONGEST = 2000
"""Characters of a value that is shown whole."""
_SHOWN = 400
"""Characters of each end of a longer one."""
_LOG_LINES = 100


def lines_of(result: Result) -> Iterator[str]:
    """Why a case failed: what was expected and what came, side by side; what came of the request; the log."""
    failure = result.failure
    if failure is None:
        return
    yield f"{result.case.file}:{result.case.line}: {result.case.name} (on {result.host})"
    yield f"  {failure.step}:"
    yield from _failure_lines(failure)
    if failure.exchange is not None:
        yield from _exchange_lines(failure.exchange)
    yield from _log_lines(result.logs)


def _failure_lines(failure: Failure) -> Iterator[str]:
    yield from (f"    {line}" for line in failure.problem.splitlines())
    short = [each for each in failure.differences if _is_short(each)]
    if short:
        rows = [("", "expected", "came"), *((each.place, each.expected, each.came) for each in short)]
        first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
        for place, expected, came in rows:
            yield f"    {place:{first}}  {expected:{second}}  {came}".rstrip()
    for each in failure.differences:
        if not _is_short(each):
            yield f"    {each.place}"
            yield from _block("expected", each.expected)
            yield from _block("came", each.came)


def _is_short(difference: Difference) -> bool:
    return all("\n" not in text and len(text) <= _WIDEST for text in (difference.expected, difference.came))


def _block(title: str, text: str) -> Iterator[str]:
    for number, line in enumerate(_shortened(text).splitlines() or [""]):
        yield f"      {title if number == 0 else '':8}  {line}".rstrip()


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_SHOWN]} ... {len(text):,} characters ... {text[-_SHOWN:]}"


def _exchange_lines(exchange: Exchange) -> Iterator[str]:
    status = "connection closed" if exchange.status == 0 else str(exchange.status)
    details = f" ({exchange.details})" if exchange.details else ""
    yield f"  the client got {status}{details}"
    yield from _message_lines(exchange.headers, exchange.body, exchange.trailers)
    upstream = exchange.upstream
    if upstream is None:
        yield "  the upstream got nothing"
    else:
        yield f"  the upstream got {upstream.method} {text_of(to_bytes(upstream.path))}"
        yield from _message_lines(upstream.headers, upstream.body, upstream.trailers)


def _message_lines(headers: HeaderMap, body: bytes, trailers: HeaderMap) -> Iterator[str]:
    yield from (f"    {text_of(name)}: {text_of(value)}" for name, value in headers.raw)
    if body:
        yield ""
        yield from (f"    {line}" for line in _shortened(text_of(body)).splitlines())
    if trailers.pair_count:
        yield ""
        yield from (f"    {text_of(name)}: {text_of(value)}" for name, value in trailers.raw)


def _log_lines(records: Sequence[LogRecord]) -> Iterator[str]:
    if not records:
        yield "  the log is empty"
        return
    yield "  the log:"
    if len(records) > _LOG_LINES:
        yield f"    ... {len(records) - _LOG_LINES} lines before"
    for record in records[-_LOG_LINES:]:
        first, *others = _shortened(text_of(to_bytes(record.message))).splitlines() or [""]
        yield f"    {record.level.name.lower():8}  {first}".rstrip()
        yield from (f"    {'':8}  {line}".rstrip() for line in others)
