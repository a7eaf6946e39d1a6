"""`proxy-wasm run DIR|FILE.wasm|oci://...`."""

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.build import Project, build
from proxy_wasm.build.settings import RunSettings
from proxy_wasm.cli.addresses import UserCluster
from proxy_wasm.cli.companions import Companions, companions
from proxy_wasm.cli.echo import TcpEcho, echo
from proxy_wasm.cli.errors import CommandError, told
from proxy_wasm.cli.interruption import terminated_like_interrupted
from proxy_wasm.cli.progress import terminal_progress
from proxy_wasm.cli.registries import RegistryOptions, fetch, image_errors
from proxy_wasm.cli.text import log_line, printable
from proxy_wasm.envoy import EnvoyError, EnvoyProcess, Upstream, WasmFilter, bootstrap, cluster, listener
from proxy_wasm.envoy.configuration import Json, tcp_listener
from proxy_wasm.envoy.log import AccessRecord, GrowingFile, LogLine, parse_access_record
from proxy_wasm.image.reference import Reference

_LISTENER = "proxy"
_POLL_SECONDS = 0.05
_SIZES = {"from_client": "%BYTES_RECEIVED%", "to_client": "%BYTES_SENT%"}
"""What the access log tells of connections besides."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command was given."""

    source: Path | Reference
    upstream: tuple[str, int] | None
    configuration: Path | None
    root_id: str
    clusters: list[UserCluster]
    allow_on_headers_stop_iteration: bool
    port: int
    log_level: str
    network: bool
    registry: RegistryOptions


def run(options: RunOptions) -> int:
    """Run the filter in Envoy until Ctrl-C or SIGTERM, printing requests and the filter's log."""
    with told(EnvoyError), image_errors(), ExitStack() as stack:
        stack.enter_context(terminated_like_interrupted())
        progress = terminal_progress()
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="proxy-wasm-")))
        module = _module(options, directory)
        upstream = options.upstream or stack.enter_context(TcpEcho() if options.network else Upstream(echo)).address
        own = _own_settings(options.source)
        configured = options.configuration or own.configuration
        configuration = None if configured is None else configured.read_bytes()
        plugin = WasmFilter(
            module,
            configuration,
            root_id=options.root_id,
            allow_on_headers_stop_iteration=options.allow_on_headers_stop_iteration,
        )
        named = {each.name for each in options.clusters}
        programs = {name: program for name, program in own.clusters.items() if name not in named}
        folder = options.source if isinstance(options.source, Path) else directory
        served = stack.enter_context(companions(programs, folder))
        called = [
            cluster(each.host, each.port, name=each.name, http2=each.http2)
            for each in (*options.clusters, *served.clusters)
        ]
        access_log = GrowingFile(directory / "access.log")
        settings = bootstrap(
            clusters=[cluster(*upstream), *called],
            listeners=[_listener(options, plugin, access_log.path)],
        )
        progress("starting Envoy")
        envoy = stack.enter_context(EnvoyProcess(settings, directory=directory, wasm_log_level=options.log_level))
        _print_address(envoy, upstream, network=options.network)
        try:
            _follow(envoy, access_log, served)
        except KeyboardInterrupt:
            _print_news(envoy, access_log, served)
    return 0


def _own_settings(source: Path | Reference) -> RunSettings:
    """What an extension says of how to run it; a built module says nothing."""
    return Project.load(source).run if isinstance(source, Path) and source.is_dir() else RunSettings()


def _module(options: RunOptions, directory: Path) -> Path:
    """The module's file; an image's module is put into `directory`."""
    source = options.source
    if isinstance(source, Reference):
        pulled = fetch(source, options.registry)
        print(f"{source.name}@{pulled.digest}", flush=True)
        path = directory / "plugin.wasm"
        path.write_bytes(pulled.module)
        return path
    return source if source.is_file() else build(source, progress=terminal_progress()).path


def _listener(options: RunOptions, plugin: WasmFilter, access_log: Path) -> Json:
    if options.network:
        return tcp_listener(_LISTENER, [plugin], port=options.port, access_log=access_log, further_fields=_SIZES)
    return listener(_LISTENER, [plugin], port=options.port, access_log=access_log)


def _print_address(envoy: EnvoyProcess, upstream: tuple[str, int], *, network: bool) -> None:
    host, port = envoy.admin.listeners()[_LISTENER]
    scheme = "" if network else "http://"
    print(f"{scheme}{host}:{port} passes through the filter to {upstream[0]}:{upstream[1]}; Ctrl-C ends", flush=True)


def _follow(envoy: EnvoyProcess, access_log: GrowingFile, served: Companions) -> None:
    while envoy.is_running:
        _print_news(envoy, access_log, served)
        time.sleep(_POLL_SECONDS)
    msg = "Envoy ended by itself"
    raise CommandError(msg)


def _print_news(envoy: EnvoyProcess, access_log: GrowingFile, served: Companions) -> None:
    for line in served.new_lines():
        print(printable(line))
    for line in envoy.new_log_lines():
        if _is_shown(line, envoy):
            print(log_line(line.level, line.wasm.message if line.wasm else line.message))
    for entry in access_log.lines():
        print(_told(parse_access_record(entry)))
    sys.stdout.flush()


def _told(record: AccessRecord) -> str:
    """One line about a request or connection that is over."""
    if record.further:
        sizes = f"{record.further['from_client']} bytes from the client, {record.further['to_client']} to it"
        return f"connection{f' ({record.flags})' if record.flags else ''}: {sizes}, {record.milliseconds} ms"
    details = "" if record.details == "via_upstream" else f" ({record.details})"
    return f"{record.method} {printable(record.path)} -> {record.status}{details} {record.milliseconds} ms"


def _is_shown(line: LogLine, envoy: EnvoyProcess) -> bool:
    """The filter's messages, once each (Envoy tries the configuration in its main thread first), and errors of its VM."""
    if line.wasm is not None:
        return line.thread != envoy.pid
    return line.logger == "wasm" and line.level >= LogLevel.ERROR
