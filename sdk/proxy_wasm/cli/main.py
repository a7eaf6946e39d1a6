"""Arguments, and what becomes of errors: one line on stderr, status 2 for what the user gave, 1 for what failed."""

import argparse
import os
import sys
from bdb import BdbQuit
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from textwrap import dedent, indent
from typing import NoReturn, cast

from proxy_wasm.cli.addresses import UserCluster
from proxy_wasm.cli.arguments import (
    existing_file,
    existing_folder,
    folder_module_or_image,
    folder_or_module,
    host_and_port,
    image_reference,
    port,
)
from proxy_wasm.cli.errors import CommandError, InputError
from proxy_wasm.cli.manifest_arguments import add_manifest
from proxy_wasm.cli.registries import RegistryOptions

Command = Callable[[argparse.Namespace], int]

INTERRUPTED = 130
"""What shells report of a program that ended at Ctrl-C; here of one whose debugger was left, too."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments`, those of the process unless told; the exit status."""
    try:
        options = _parser().parse_args(arguments)
        status = cast("Command", options.command)(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the output has left, as `head` does; nothing more can be said, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except BdbQuit:  # someone has left the debugger of a native filter
        return INTERRUPTED
    except CommandError as error:
        return _report(str(error), error.status)
    except OSError as error:
        return _report(f"{error.filename}: {error.strerror}" if error.filename else str(error), CommandError.status)
    return status


def _report(message: str, status: int) -> int:
    """Print an error; lines after its first are indented, so that they are seen to belong to it."""
    first, _, rest = message.strip().partition("\n")
    print(f"error: {first}", file=sys.stderr)
    if rest:
        print(indent(dedent(rest), "  "), file=sys.stderr)
    return status


class _Parser(argparse.ArgumentParser):
    """Reports wrong arguments as every other error."""

    def error(self, message: str) -> NoReturn:
        msg = f"{message} (see {self.prog} --help)"
        raise InputError(msg)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="proxy-wasm", description="Envoy and Istio filters written in plain Python.")
    parser.add_argument("--version", action="version", version=f"proxy-wasm {metadata.version('proxy-wasm')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    _add_build(commands.add_parser("build", help="build an extension into one .wasm file"))
    _add_run(commands.add_parser("run", help="build an extension and run it in Envoy until interrupted"))
    _add_request(commands.add_parser("request", help="send one request through an extension and show what came of it"))
    _add_test(
        commands.add_parser("test", help="run an extension's or a module's tests without code: cases in YAML files")
    )
    _add_bench(commands.add_parser("bench", help="measure an extension's or a module's time and memory"))
    _add_inspect(commands.add_parser("inspect", help="show what a .wasm file consists of"))
    _add_push(commands.add_parser("push", help="put an extension or a module into an OCI registry"))
    _add_pull(commands.add_parser("pull", help="get a module from an OCI registry"))
    _add_image(commands.add_parser("image", help="look at images in OCI registries"))
    add_manifest(commands.add_parser("manifest", help="write a plugin's configuration for Istio, Envoy and others"))
    _add_serve(commands.add_parser("serve", help="publish modules and configurations to Envoys, if they are in order"))
    return parser


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise InputError(f"-H {text!r}: a header is given as 'name: value'")
    return name.strip(), value.strip()


_LOG_LEVELS = ("trace", "debug", "info", "warning", "error", "critical")


_HTTP2 = "http2://"


def _cluster(text: str) -> UserCluster:
    name, equals, address = text.partition("=")
    http2 = address.startswith(_HTTP2)
    host, colon, number = address.removeprefix(_HTTP2).rpartition(":")
    if not (name and equals and host and colon):
        raise InputError(f"--cluster {text!r}: must be NAME=HOST:PORT, or NAME={_HTTP2}HOST:PORT")
    return UserCluster(name, host.removeprefix("[").removesuffix("]"), port(number), http2)


def _add_plugin_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", type=existing_file, help="the plugin's configuration")
    parser.add_argument("--root-id", metavar="ID", default="", help="which plugin, where the module holds several")
    parser.add_argument(
        "--cluster",
        metavar="NAME=HOST:PORT",
        dest="clusters",
        type=_cluster,
        action="append",
        default=[],
        help="a server that the filter may call by that name; can be given again (run: http2://HOST:PORT for gRPC)",
    )
    parser.add_argument(
        "--allow-on-headers-stop-iteration",
        action="store_true",
        help="let the body pass while headers wait for it, as Envoy's option of the name",
    )


_MOST_RETRIES = 20


def _add_registry_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--plain-http",
        action="store_true",
        help="the registry has no TLS: what is sent, passwords too, can be read on the way",
    )
    parser.add_argument(
        "--retries",
        metavar="N",
        type=_number("--retries", 0, _MOST_RETRIES),
        default=3,
        help="how often what may pass is tried again: lost connections, an overloaded registry (default: 3)",
    )


def _registry_options(options: argparse.Namespace) -> RegistryOptions:
    return RegistryOptions(options.plain_http, options.retries)


def _add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=existing_folder, help="the extension's folder")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="where to write it (default: DIR/dist/NAME.wasm)"
    )

    def command(options: argparse.Namespace) -> int:
        from proxy_wasm.cli.build import run  # noqa: PLC0415 - each command imports what it needs

        return run(options.directory, options.output)

    parser.set_defaults(command=command)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory",
        metavar="DIR|FILE.wasm|oci://...",
        type=folder_module_or_image,
        help="the extension's folder, a module, or an image in a registry",
    )
    _add_registry_options(parser)
    parser.add_argument(
        "--upstream",
        metavar="HOST:PORT",
        type=host_and_port("--upstream"),
        help="the server behind the proxy (default: one that echoes requests)",
    )
    parser.add_argument(
        "--network",
        action="store_true",
        help="the filter is one of connections, not of requests (default upstream: one that sends back what it gets)",
    )
    _add_plugin_options(parser)
    parser.add_argument("--port", metavar="N", type=port, default=0, help="the proxy's port (default: any free one)")
    parser.add_argument(
        "--log-level", choices=_LOG_LEVELS, default="info", help="the least severe messages shown (default: info)"
    )

    def command(options: argparse.Namespace) -> int:
        from proxy_wasm.cli.run import RunOptions, run  # noqa: PLC0415

        return run(
            RunOptions(
                source=options.directory,
                upstream=options.upstream,
                configuration=options.config,
                root_id=options.root_id,
                clusters=options.clusters,
                allow_on_headers_stop_iteration=options.allow_on_headers_stop_iteration,
                port=options.port,
                log_level=options.log_level,
                network=options.network,
                registry=_registry_options(options),
            )
        )

    parser.set_defaults(command=command)


def _trace(text: str) -> tuple[str, Path | None]:
    form, equals, file = text.partition("=")
    if form not in ("text", "json", "html") or (equals and not file):
        raise InputError(f"--trace {text!r}: must be text, json or html, or one of them with =FILE")
    path = Path(file) if file else None
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise InputError(f"--trace {text!r}: {'is a folder' if path.is_dir() else 'its folder does not exist'}")
    return form, path


def _add_request(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="DIR|FILE.wasm", type=folder_or_module, help="an extension's folder, or a module"
    )
    parser.add_argument("path", metavar="PATH", help="the request's path, with its query if any")
    parser.add_argument("-X", "--method", metavar="METHOD", help="default: GET, or POST with -d")
    parser.add_argument(
        "-H", "--header", metavar="'NAME: VALUE'", dest="headers", type=_header, action="append", default=[]
    )
    parser.add_argument("-d", "--data", metavar="BODY", default="", help="the request's body")
    _add_plugin_options(parser)
    parser.add_argument(
        "--host",
        choices=("native", "wasm", "envoy"),
        help="where the filter runs: its Python code as it is, the module in the emulator, or the module in a real Envoy"
        " (default: native for a folder, wasm for a module)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--trace",
        metavar="FORM[=FILE]",
        type=_trace,
        help="show each callback and hostcall: as text, below the rest; as json or html, in place of the rest; or in a file",
    )

    def command(options: argparse.Namespace) -> int:
        from proxy_wasm.cli.request import RequestOptions, TraceOption, run  # noqa: PLC0415

        return run(
            RequestOptions(
                source=options.source,
                path=options.path,
                method=options.method or ("POST" if options.data else "GET"),
                headers=options.headers,
                body=options.data,
                configuration=options.config,
                root_id=options.root_id,
                clusters=options.clusters,
                allow_on_headers_stop_iteration=options.allow_on_headers_stop_iteration,
                host=options.host,
                json=options.json,
                trace=None if options.trace is None else TraceOption(*options.trace),
            )
        )

    parser.set_defaults(command=command)


_HOSTS = ("native", "wasm", "envoy")


def _hosts(text: str) -> list[str]:
    hosts = [name.strip() for name in text.split(",")]
    for name in hosts:
        if name not in _HOSTS:
            raise InputError(f"--host {text!r}: unknown host {name!r}; hosts are {', '.join(_HOSTS)}")
    return [name for name in _HOSTS if name in hosts]


def _add_test(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="DIR|FILE.wasm", type=folder_or_module, help="an extension's folder, or a module"
    )
    parser.add_argument(
        "cases",
        metavar="CASES",
        type=folder_or_module,
        nargs="*",
        help="YAML files of cases, or folders with *.proxy-wasm.yaml in them (default: those in DIR, or beside the module)",
    )
    parser.add_argument(
        "--host",
        metavar="HOSTS",
        dest="hosts",
        type=_hosts,
        default=[],
        help="native, wasm, envoy, or several with commas between (default: native for a folder, wasm for a module)",
    )
    parser.add_argument("-k", metavar="TEXT", dest="select", default="", help="only cases with this in their names")
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    parser.add_argument("--junit", metavar="FILE", type=Path, help="write the results as JUnit XML, too")

    def command(options: argparse.Namespace) -> int:
        from proxy_wasm.cli.test import TestOptions, run  # noqa: PLC0415

        return run(
            TestOptions(
                source=options.source,
                cases=options.cases,
                hosts=options.hosts,
                select=options.select,
                json=options.json,
                junit=options.junit,
            )
        )

    parser.set_defaults(command=command)


_MOST_ROUNDS = 1000
_MOST_STREAMS = 1_000_000
_MOST_SECONDS = 3600


def _number(option: str, least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
            raise InputError(f"{option} {text!r}: must be a whole number from {least} to {most}")
        return int(text)

    return parse


def _tolerance(text: str) -> float:
    percent = text.endswith("%")
    try:
        value = float(text.removesuffix("%")) / (100 if percent else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InputError(f"--tolerance {text!r}: must be a share, such as 0.25 or 25%")
    return value


def _writable(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"{text}: {'is a folder' if path.is_dir() else 'its folder does not exist'}")
    return path


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="DIR|FILE.wasm", type=folder_or_module, help="an extension's folder, or a module"
    )
    parser.add_argument("--config", metavar="FILE", type=existing_file, help="the plugin's configuration")
    parser.add_argument("--root-id", metavar="ID", default="", help="which plugin, where the module holds several")
    parser.add_argument(
        "--cases",
        metavar="CASES.yaml",
        type=existing_file,
        help="what is sent: the cases of a file, without what they expect (default: one plain request)",
    )
    parser.add_argument(
        "--host",
        choices=_HOSTS,
        default="wasm",
        help="wasm, native: time and memory in the emulator; envoy: added CPU per request (default: wasm)",
    )
    parser.add_argument(
        "--rounds", metavar="N", type=_number("--rounds", 1, _MOST_ROUNDS), default=5, help="default: 5"
    )
    parser.add_argument(
        "--streams",
        metavar="N",
        type=_number("--streams", 1, _MOST_STREAMS),
        default=200,
        help="wasm, native: how many streams of each case pass in a round (default: 200)",
    )
    parser.add_argument(
        "--seconds",
        metavar="N",
        type=_number("--seconds", 1, _MOST_SECONDS),
        default=3,
        help="envoy: how long a round loads each Envoy with each case (default: 3)",
    )
    parser.add_argument("--save", metavar="FILE", type=_writable, help="keep the run, to compare others with it")
    parser.add_argument(
        "--compare",
        metavar="FILE",
        type=existing_file,
        help="print ratios to a saved run; status 1 where something is worse",
    )
    parser.add_argument(
        "--tolerance",
        metavar="SHARE",
        type=_tolerance,
        default=0.25,
        help="by how much it must be worse for that (default: 25%%)",
    )
    parser.add_argument("--html", metavar="FILE", type=_writable, help="write a report with plots")
    parser.add_argument("--json", metavar="FILE", type=_writable, help="write everything as one JSON object")

    def command(options: argparse.Namespace) -> int:
        from proxy_wasm.cli.bench import BenchOptions, run  # noqa: PLC0415

        return run(
            BenchOptions(
                source=options.source,
                configuration=options.config,
                root_id=options.root_id,
                cases=options.cases,
                host=options.host,
                rounds=options.rounds,
                streams=options.streams,
                seconds=options.seconds,
                save=options.save,
                compare=options.compare,
                tolerance=options.tolerance,
                html=options.html,
                json=options.json,
            )
        )

    parser.set_defaults(command=command)


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE.wasm", type=existing_file)
    parser.add_argument("--json", action="store_true", help="print one JSON object")

    def command(options: argparse.Namespace) -> int:
        from proxy_wasm.cli.inspect import run  # noqa: PLC0415

        return run(options.file, as_json=options.json)

    parser.set_defaults(command=command)


def _annotation(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InputError(f"--annotation {text!r}: must be KEY=VALUE")
    return key, value


def _add_push(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="DIR|FILE.wasm", type=folder_or_module, help="an extension's folder, or a module"
    )
    parser.add_argument("reference", metavar="oci://REGISTRY/NAME:TAG", type=image_reference, help="where to put it")
    parser.add_argument(
        "--form",
        choices=("compat", "oci", "cncf"),
        default="compat",
        help="compat: like a container image, for Istio, Envoy Gateway and volumes; oci: Istio's own media types;"
        " cncf: the CNCF's layout (default: compat)",
    )
    parser.add_argument(
        "--revision", metavar="COMMIT", help="the annotation org.opencontainers.image.revision: what it was built from"
    )
    parser.add_argument(
        "--annotation",
        metavar="KEY=VALUE",
        dest="annotations",
        type=_annotation,
        action="append",
        default=[],
        help="a further annotation, or another value for one; can be given again",
    )
    parser.add_argument("--replace-tag", action="store_true", help="move a tag that names another image already")
    _add_registry_options(parser)

    def command(options: argparse.Namespace) -> int:
        from proxy_wasm.cli.images import PushCommand, run_push  # noqa: PLC0415

        revision = {"org.opencontainers.image.revision": options.revision} if options.revision else {}
        return run_push(
            PushCommand(
                source=options.source,
                reference=options.reference,
                form=options.form,
                annotations=revision | dict(options.annotations),
                replace_tag=options.replace_tag,
                registry=_registry_options(options),
            )
        )

    parser.set_defaults(command=command)


def _add_image_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", metavar="oci://REGISTRY/NAME[:TAG][@DIGEST]", type=image_reference)


def _add_pull(parser: argparse.ArgumentParser) -> None:
    _add_image_name(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="where to write it (default: the image's last name, .wasm)"
    )
    _add_registry_options(parser)

    def command(options: argparse.Namespace) -> int:
        from proxy_wasm.cli.images import run_pull  # noqa: PLC0415

        return run_pull(options.reference, options.output, _registry_options(options))

    parser.set_defaults(command=command)


def _add_image(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    _add_image_inspect(commands.add_parser("inspect", help="show an image's form, digest and annotations"))
    _add_image_bom(commands.add_parser("sbom", help="print an image's bill of materials (CycloneDX)"))


def _add_image_inspect(parser: argparse.ArgumentParser) -> None:
    _add_image_name(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    _add_registry_options(parser)

    def command(options: argparse.Namespace) -> int:
        from proxy_wasm.cli.images import run_inspect  # noqa: PLC0415

        return run_inspect(options.reference, _registry_options(options), as_json=options.json)

    parser.set_defaults(command=command)


def _add_image_bom(parser: argparse.ArgumentParser) -> None:
    _add_image_name(parser)
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="where to write it (default: printed)")
    _add_registry_options(parser)

    def command(options: argparse.Namespace) -> int:
        from proxy_wasm.cli.images import run_bom  # noqa: PLC0415

        return run_bom(options.reference, options.output, _registry_options(options))

    parser.set_defaults(command=command)


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE.toml", type=existing_file, help="what to publish, and where")
    parser.add_argument(
        "--once",
        action="store_true",
        help="look once and end; status 1 where something could not be published",
    )

    def command(options: argparse.Namespace) -> int:
        from proxy_wasm.cli.serve import run  # noqa: PLC0415

        return run(options.file, once=options.once)

    parser.set_defaults(command=command)
