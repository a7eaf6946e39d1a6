"""The arguments of `proxy-wasm manifest`."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from proxy_wasm.cli.arguments import existing_file, folder_module_or_image, host_and_port, port
from proxy_wasm.cli.errors import InputError
from proxy_wasm.image.reference import SCHEME

TARGETS = (
    "istio",
    "higress",
    "envoy-gateway",
    "envoy",
    "envoy-remote",
    "envoy-ecds",
    "envoy-subscriber",
    "pod-volume",
)
_PHASES = ("AUTHN", "AUTHZ", "STATS")
_MODES = ("CLIENT", "SERVER", "CLIENT_AND_SERVER")
_SCHEMES = (SCHEME, "https://", "http://", "file://")
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_INT32 = 1 << 31
_TARGET_PARTS = (2, 3)


def add_manifest(parser: argparse.ArgumentParser) -> None:
    """Give the command its arguments."""
    parser.add_argument(
        "source",
        metavar=f"DIR|FILE.wasm|{SCHEME}...",
        type=folder_module_or_image,
        help="an extension's folder, a module, or an image",
    )
    parser.add_argument("--for", dest="target", choices=TARGETS, required=True, help="what the manifest is for")
    parser.add_argument("--name", help="the plugin's name (default: that of the extension, the file or the image)")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="where to write it (default: stdout)")
    parser.add_argument("--json", action="store_true", help="write JSON in place of YAML")
    parser.add_argument("--time-limit", metavar="SECONDS", type=_seconds, help="how long the plugin may take to start")
    _add_plugin(parser)
    _add_kubernetes(parser)
    _add_pods(parser)
    _add_envoy(parser)

    def command(options: argparse.Namespace) -> int:
        from proxy_wasm.cli.manifest import run  # noqa: PLC0415 - each command imports what it needs

        return run(options)

    parser.set_defaults(command=command)


def _add_plugin(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the plugin")
    group.add_argument("--config", metavar="FILE", type=existing_file, help="its configuration")
    group.add_argument("--root-id", metavar="ID", help="which plugin, where the module holds several")
    group.add_argument(
        "--fail-strategy",
        choices=("closed", "open", "reload"),
        help="what becomes of requests once the plugin's VM has failed",
    )
    group.add_argument(
        "--env", metavar="NAME=VALUE", type=_pair("--env"), action="append", default=[], help="an environment variable"
    )
    group.add_argument(
        "--host-env",
        metavar="NAME",
        action="append",
        default=[],
        help="an environment variable that has the value that it has for the proxy",
    )
    group.add_argument("--network", action="store_true", help="it filters connections, not requests")


def _add_kubernetes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("istio, higress, envoy-gateway, pod-volume")
    group.add_argument(
        "--url",
        type=_url,
        help=f"where proxies get the module: {', '.join(_SCHEMES)} (default: the image that is given)",
    )
    group.add_argument(
        "--digest",
        metavar="SHA256",
        type=_digest,
        help="what is at the URL must have it; of an image, its manifest's (default: that of the image or module given)",
    )
    group.add_argument("--unpinned", action="store_true", help="leave the digest out: whatever the tag names is run")
    group.add_argument("--plain-http", action="store_true", help="the registry of the image that is given has no TLS")
    group.add_argument("--namespace", metavar="NAME")
    group.add_argument("--phase", choices=_PHASES, help="before which of Istio's filters it comes")
    group.add_argument("--priority", metavar="N", type=_priority, help="among plugins of one phase, higher ones first")
    group.add_argument(
        "--selector",
        metavar="LABEL=VALUE",
        type=_pair("--selector"),
        action="append",
        default=[],
        help="a label of the Pods that get the plugin",
    )
    group.add_argument(
        "--target",
        metavar="KIND/NAME[/SECTION]",
        dest="targets",
        type=_target,
        action="append",
        default=[],
        help="a resource that the plugin is attached to, such as Gateway/main or HTTPRoute/shop",
    )
    group.add_argument(
        "--match",
        metavar="MODE[:PORT,...]",
        type=_match,
        action="append",
        default=[],
        help=f"traffic that passes through the plugin: {', '.join(_MODES)}",
    )
    group.add_argument("--pull-policy", choices=("IfNotPresent", "Always", "Never"))
    group.add_argument("--pull-secret", metavar="NAME", help="the Secret with the registry's credentials")


def _add_pods(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("pod-volume")
    group.add_argument("--workload", metavar="KIND/NAME", type=_workload, help="what the patch is for (default: a Pod)")
    group.add_argument("--container", metavar="NAME", help="the proxy's container (default: istio-proxy)")
    group.add_argument("--mount-path", metavar="PATH", type=_mount_path, help="default: /var/local/proxy-wasm/NAME")
    group.add_argument(
        "--csi-driver",
        metavar="DRIVER",
        nargs="?",
        const="container-image.csi.k8s.io",
        help="an ephemeral volume of a CSI driver in place of an image volume",
    )
    group.add_argument(
        "--istio-sidecar", action="store_true", help="by annotations, for the proxy that Istio adds to Pods"
    )


def _add_envoy(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("envoy, envoy-remote, envoy-ecds, envoy-subscriber")
    group.add_argument(
        "--filename",
        metavar="PATH",
        type=_absolute("--filename"),
        help="where the module is on the proxy's machine (default: where it is here)",
    )
    group.add_argument("--listen", metavar="HOST:PORT", type=host_and_port("--listen"), help="default: 127.0.0.1:8080")
    group.add_argument(
        "--upstream", metavar="HOST:PORT", type=host_and_port("--upstream"), help="default: 127.0.0.1:9000"
    )
    group.add_argument("--vm-config", metavar="FILE", type=existing_file, help="the VM's configuration")
    group.add_argument("--vm-id", metavar="ID", help="plugins with the same one share VMs, data and queues")
    group.add_argument(
        "--capability",
        metavar="NAME",
        dest="capabilities",
        action="append",
        default=[],
        help="a hostcall or callback, such as proxy_log, that the plugin gets; then it gets no others",
    )
    group.add_argument(
        "--allow-on-headers-stop-iteration",
        action="store_true",
        help="let the body pass while headers wait for it",
    )
    group.add_argument(
        "--file", metavar="PATH", type=_absolute("--file"), help="envoy-subscriber: what Envoy watches; see envoy-ecds"
    )
    group.add_argument(
        "--watched-directory",
        metavar="PATH",
        type=_absolute("--watched-directory"),
        help="read the file again when anything is moved into this folder, as in a mounted ConfigMap",
    )
    group.add_argument("--fetch-timeout", metavar="SECONDS", type=_seconds, help="default: 30")
    group.add_argument("--retries", metavar="N", type=_count, help="how often to fetch again (default: once)")
    group.add_argument(
        "--retry-interval", metavar="SECONDS", type=_seconds, help="before the first of them (default: 1)"
    )
    group.add_argument(
        "--longest-retry-interval", metavar="SECONDS", type=_seconds, help="default: ten times the first"
    )
    group.add_argument("--ca-file", metavar="PATH", type=_absolute("--ca-file"), help="who vouches for the server")


def _pair(option: str) -> Callable[[str], tuple[str, str]]:
    def parse(text: str) -> tuple[str, str]:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise InputError(f"{option} {text!r}: must be NAME=VALUE")
        return name, value

    return parse


def _absolute(option: str) -> Callable[[str], Path]:
    def parse(text: str) -> Path:
        if not text.startswith("/"):
            raise InputError(f"{option} {text!r}: must be an absolute path: it is one of the proxy's machine")
        return Path(text)

    return parse


def _url(text: str) -> str:
    if not text.startswith(_SCHEMES):
        raise InputError(f"--url {text!r}: must begin with one of {', '.join(_SCHEMES)}")
    return text


def _digest(text: str) -> str:
    found = _SHA256.fullmatch(text)
    if found is None:
        raise InputError(f"--digest {text!r}: must be 64 hexadecimal digits, which sha256: may precede")
    return found[1]


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?[0-9]{1,10}", text) else None


def _priority(text: str) -> int:
    number = _whole(text)
    if number is None or not -_INT32 <= number < _INT32:
        raise InputError(f"--priority {text!r}: must be a whole number of 32 bits")
    return number


def _count(text: str) -> int:
    number = _whole(text)
    if number is None or not 0 <= number < _INT32:
        raise InputError(f"--retries {text!r}: must be a whole number from 0 on")
    return number


_LONGEST_SECONDS = 86_400.0


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.001 <= value <= _LONGEST_SECONDS:  # noqa: PLR2004 - a millisecond
        raise InputError(f"{text!r} is no number of seconds, from 0.001 to a day")
    return value


def _target(text: str) -> tuple[str, str, str]:
    parts = text.split("/")
    if len(parts) not in _TARGET_PARTS or not all(parts):
        raise InputError(f"--target {text!r}: must be KIND/NAME, or KIND/NAME/SECTION")
    kind, name, *section = parts
    return kind, name, "".join(section)


def _workload(text: str) -> tuple[str, str]:
    kind, _, name = text.partition("/")
    if not kind or not name:
        raise InputError(f"--workload {text!r}: must be KIND/NAME, such as Deployment/istio-ingressgateway")
    return kind, name


def _match(text: str) -> tuple[str, tuple[int, ...]]:
    mode, _, ports = text.partition(":")
    if mode not in _MODES:
        raise InputError(f"--match {text!r}: must be one of {', '.join(_MODES)}, and may go on with :PORT,PORT")
    numbers = tuple(map(port, ports.split(","))) if ports else ()
    if 0 in numbers or len(set(numbers)) < len(numbers):
        raise InputError(f"--match {text!r}: a port is from 1 to 65535, and there once")
    return mode, numbers


def _mount_path(text: str) -> str:
    if not text.startswith("/") or ":" in text:
        raise InputError(f"--mount-path {text!r}: must be an absolute path without a colon")
    return text
