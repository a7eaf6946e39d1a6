"""`proxy-wasm manifest SOURCE --for TARGET`."""

import argparse
import json
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from proxy_wasm.build import build
from proxy_wasm.build.output import write_whole
from proxy_wasm.build.settings import Project
from proxy_wasm.cli.errors import CommandError, InputError, told
from proxy_wasm.cli.progress import terminal_progress
from proxy_wasm.cli.registries import RegistryOptions, fetch, image_errors
from proxy_wasm.deploy.errors import DeployError, OptionError
from proxy_wasm.deploy.manifests import TARGETS, Deployment, TargetReference, TrafficMatch, Workload, manifest
from proxy_wasm.deploy.serving import POLICIES
from proxy_wasm.deploy.trial import SECONDS, Trial, try_out
from proxy_wasm.envoy.configuration import Json
from proxy_wasm.image.reference import Reference, is_reference

_KUBERNETES = ("istio", "higress", "envoy-gateway")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_LONGEST_NAME = 253


@dataclass(frozen=True, slots=True)
class _Source:
    """What was given: the module, and what follows from where it came from."""

    name: str
    module: Path
    url: str | None = None
    digest: str | None = None
    """Of the image, where it is one."""


def run(options: argparse.Namespace) -> int:
    """Try the plugin with its configuration, and write the manifest."""
    with told(DeployError, bad_input=(OptionError,)), image_errors(), _found(options) as source:
        target = TARGETS[options.target]
        deployment = _completed(_deployment(options, source.name), options, source)
        written = manifest(options.target, deployment)
        if "configuration" in target.takes:
            terminal_progress()("trying the plugin with its configuration")
            arriving = replace(deployment, configuration=target.arriving(deployment.configuration))
            _try_out(arriving, source.module, options.time_limit or SECONDS)
        text = _text(written, as_json=options.json)
    if options.output is None:
        print(text, end="")
    else:
        _write(options.output, text)
    return 0


@contextmanager
def _found(options: argparse.Namespace) -> Generator[_Source]:
    given: Reference | Path = options.source
    if isinstance(given, Reference):
        image = fetch(given, RegistryOptions(options.plain_http))
        with TemporaryDirectory(prefix="proxy-wasm-") as folder:
            module = Path(folder) / "plugin.wasm"
            module.write_bytes(image.module)
            name = given.repository.rpartition("/")[2]
            yield _Source(name, module, str(given), image.digest.removeprefix("sha256:"))
    elif given.is_file():
        yield _Source(given.stem, given)
    elif "configuration" in TARGETS[options.target].takes:
        built = build(given, progress=terminal_progress())
        yield _Source(built.project.name, built.path)
    else:
        project = Project.load(given)
        yield _Source(project.name, project.output)


def _deployment(options: argparse.Namespace, name: str) -> Deployment:
    """What the options say."""
    for kind, *_ in options.targets:
        if kind not in TargetReference.kinds():
            raise OptionError(f"--target {kind}/...: kinds are {', '.join(TargetReference.kinds())}")
    return Deployment(
        name=options.name or name,
        url=options.url,
        digest=options.digest,
        configuration=_content(options.config),
        vm_configuration=_content(options.vm_config),
        root_id=options.root_id,
        vm_id=options.vm_id,
        environment=dict(options.env),
        host_environment=tuple(options.host_env),
        fail_strategy=None if options.fail_strategy is None else POLICIES[options.fail_strategy],
        capabilities=tuple(options.capabilities),
        allow_on_headers_stop_iteration=options.allow_on_headers_stop_iteration,
        network=options.network,
        namespace=options.namespace,
        phase=options.phase,
        priority=options.priority,
        selector=dict(options.selector),
        targets=tuple(TargetReference(*each) for each in options.targets),
        pull_policy=options.pull_policy,
        pull_secret=options.pull_secret,
        match=tuple(TrafficMatch(*each) for each in options.match),
        filename=options.filename,
        listen=options.listen,
        upstream=options.upstream,
        file=options.file,
        watched_directory=options.watched_directory,
        fetch_timeout=options.fetch_timeout,
        retries=options.retries,
        retry_interval=options.retry_interval,
        longest_retry_interval=options.longest_retry_interval,
        ca_file=options.ca_file,
        workload=None if options.workload is None else Workload(*options.workload),
        container=options.container,
        mount_path=options.mount_path,
        csi_driver=options.csi_driver,
        istio_sidecar=options.istio_sidecar,
    )


def _completed(deployment: Deployment, options: argparse.Namespace, source: _Source) -> Deployment:
    """What follows from the source, where the options do not say otherwise."""
    if options.target in _KUBERNETES and not (
        _NAME.fullmatch(deployment.name) and len(deployment.name) <= _LONGEST_NAME
    ):
        raise OptionError(f"--name {deployment.name}: Kubernetes takes lower-case letters, digits, '-' and '.'")
    takes = TARGETS[options.target].takes
    if "filename" in takes and deployment.filename is None:
        deployment = replace(deployment, filename=source.module.absolute())
    if "url" in takes and deployment.url is None:
        deployment = replace(deployment, url=source.url)
    if "configuration" in takes:
        deployment = replace(deployment, sha256=sha256(source.module.read_bytes()).hexdigest())
    if options.unpinned:
        return _unpinned(deployment, options.target)
    if "digest" in takes and deployment.digest is None:
        deployment = replace(deployment, digest=_digest(deployment, source))
    return deployment


def _unpinned(deployment: Deployment, target: str) -> Deployment:
    if "digest" not in TARGETS[target].takes or target == "envoy-remote":
        raise OptionError(f"--unpinned: --for {target} has nothing like it")
    if deployment.digest is not None:
        raise OptionError("--unpinned, --digest: the one or the other")
    return deployment


def _digest(deployment: Deployment, source: _Source) -> str | None:
    """What is known of that which is at the URL: of a module, its hash; of an image, that of the one that was pulled by that name."""
    url = deployment.url or ""
    if is_reference(url):
        return source.digest if url == source.url else None
    return deployment.sha256 if url.startswith("http") else None


def _try_out(deployment: Deployment, module: Path, seconds: float) -> None:
    host = {name: os.environ[name] for name in deployment.host_environment if name in os.environ}
    trial = Trial(
        module,
        deployment.configuration,
        deployment.vm_configuration,
        deployment.root_id or "",
        {**host, **deployment.environment},
        deployment.capabilities,
    )
    try_out(trial, seconds)


def _content(file: Path | None) -> bytes | None:
    return None if file is None else file.read_bytes()


def _text(document: Json, *, as_json: bool) -> str:
    if as_json:
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    try:
        from proxy_wasm.deploy.manifests.text import as_yaml  # noqa: PLC0415 - the one part that needs PyYAML
    except ModuleNotFoundError as error:
        if error.name != "yaml":
            raise
        msg = "to write YAML, PyYAML is missing: pip install 'proxy-wasm[deploy]'; --json does without"
        raise CommandError(msg) from error
    return as_yaml(document)


def _write(path: Path, text: str) -> None:
    """Replace the file whole: an Envoy may be watching it."""
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"-o {path}: {'is a folder' if path.is_dir() else 'its folder does not exist'}")
    write_whole(path, text.encode("utf-8", "surrogatepass"))
