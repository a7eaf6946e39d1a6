"""`proxy-wasm request DIR|FILE.wasm PATH`."""

import json as json_format
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from textwrap import indent
from typing import Any, Literal

from proxy_wasm.build import BuildError, SettingsError
from proxy_wasm.cli.addresses import UserCluster
from proxy_wasm.cli.clusters import served
from proxy_wasm.cli.errors import InputError, told
from proxy_wasm.cli.extensions import check_host, default_host, prepare
from proxy_wasm.cli.progress import terminal_progress
from proxy_wasm.cli.text import log_line, printable
from proxy_wasm.emulator import EmulatorError
from proxy_wasm.envoy import EnvoyError
from proxy_wasm.errors import PluginReferenceError
from proxy_wasm.testing import Exchange, Extension, HostName, LogRecord, PluginSettings, Proxy, StreamPaused, open_host
from proxy_wasm.tracing import Trace

_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class TraceOption:
    """In which form the trace is wanted, and in which file; printed unless there is one."""

    form: Literal["text", "json", "html"]
    file: Path | None = None

    def write(self, trace: Trace) -> str:
        """The trace in that form, where it was not written to the file."""
        content = {"text": trace.text, "json": trace.json, "html": trace.html}[self.form]()
        if self.file is None:
            return content
        self.file.write_text(content.removesuffix("\n") + "\n", "utf-8")
        return ""


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """What the command was given."""

    source: Path
    path: str
    method: str
    headers: list[tuple[str, str]]
    body: str
    configuration: Path | None
    root_id: str
    clusters: list[UserCluster]
    allow_on_headers_stop_iteration: bool
    host: HostName | None
    json: bool
    trace: TraceOption | None = None


Shown = tuple[Exchange, list[LogRecord], Trace]
"""What came of a request."""


def run(options: RequestOptions) -> int:
    """Send one request through the filter, and print what the client got, what the upstream saw, and the log."""
    with told(BuildError, PluginReferenceError, EmulatorError, EnvoyError, bad_input=(SettingsError,)):
        exchange, logs, trace = _exchange(options)
    traced = "" if options.trace is None else options.trace.write(trace)
    form = options.trace.form if options.trace is not None and traced else ""
    if options.json:
        inside = {"trace": trace.to_json()} if form else {}
        print(json_format.dumps({**_as_json(exchange, logs), **inside}, indent=2))
    elif form in ("json", "html"):
        print(traced.removesuffix("\n"))
    else:
        print("\n".join(_lines(exchange, logs)))
        if traced:
            print(f"trace:\n{indent(traced, '  ')}")
    return 0


def _check(options: RequestOptions) -> None:
    trace = options.trace
    if options.json and trace is not None and trace.form != "json" and trace.file is None:
        msg = f"--trace {trace.form}: --json prints one object; write the trace to a file: --trace {trace.form}=FILE"
        raise InputError(msg)


def _exchange(options: RequestOptions) -> Shown:
    _check(options)
    for cluster in options.clusters:
        if cluster.http2:
            msg = f"--cluster {cluster.name}: `request` calls clusters in HTTP/1.1; `run` has HTTP/2"
            raise InputError(msg)
    progress = terminal_progress()
    extension = Extension(options.source, progress)
    host = open_host(options.host or default_host(extension))
    check_host(extension, host.name)
    configuration = None if options.configuration is None else options.configuration.read_bytes()
    try:
        prepare(extension, host.name)
        if host.name != "native":
            progress("starting Envoy" if host.name == "envoy" else "compiling the module")
        settings = PluginSettings(
            configuration,
            root_id=options.root_id,
            clusters=served(options.clusters),
            allow_on_headers_stop_iteration=options.allow_on_headers_stop_iteration,
        )
        proxy = Proxy.start(host, extension, settings)
        try:
            exchange = proxy.request(options.method, options.path, headers=options.headers, body=options.body)
        except StreamPaused:
            if options.trace is not None and (traced := options.trace.write(proxy.trace())):
                print(traced.removesuffix("\n"))
            raise
        return exchange, proxy.logs, proxy.trace()
    finally:
        host.close()


def _as_json(exchange: Exchange, logs: list[LogRecord]) -> dict[str, Any]:
    """Bytes that are no UTF-8 appear as lone surrogates, as `surrogateescape` has them."""
    upstream = exchange.upstream
    return {
        "status": exchange.status,
        "details": exchange.details,
        "headers": exchange.headers.multi_items(),
        "body": exchange.text,
        "trailers": exchange.trailers.multi_items(),
        "reset": exchange.reset,
        "upstream": None
        if upstream is None
        else {
            "method": upstream.method,
            "path": upstream.path,
            "authority": upstream.authority,
            "headers": upstream.headers.multi_items(),
            "body": upstream.text,
            "trailers": upstream.trailers.multi_items(),
        },
        "log": [{"level": record.level.name.lower(), "message": record.message} for record in logs],
    }


def _lines(exchange: Exchange, logs: list[LogRecord]) -> Iterator[str]:
    yield f"response: {_status(exchange)}"
    yield from _message(exchange.headers.multi_items(), exchange.text, exchange.trailers.multi_items())
    upstream = exchange.upstream
    if upstream is None:
        yield "upstream: not reached"
    else:
        yield f"upstream: {upstream.method} {printable(upstream.path)}"
        headers = [("host", upstream.authority), *upstream.headers.multi_items()]
        yield from _message(headers, upstream.text, upstream.trailers.multi_items())
    yield "log:" if logs else "log: empty"
    for record in logs:
        yield log_line(record.level, record.message)


def _status(exchange: Exchange) -> str:
    if exchange.status in _REASONS:
        status = f"{exchange.status} {_REASONS[exchange.status]}"
    else:
        status = str(exchange.status or "connection closed")
    return f"{status} ({exchange.details})" if exchange.details else status


def _message(headers: list[tuple[str, str]], body: str, trailers: list[tuple[str, str]]) -> Iterator[str]:
    for name, value in headers:
        yield f"  {printable(name)}: {printable(value)}"
    if body:
        yield ""
        yield from (f"  {line}" for line in printable(body).splitlines())
    if trailers:
        yield ""
        for name, value in trailers:
            yield f"  {printable(name)}: {printable(value)}"
