"""Manifests for Envoy: each option is accepted by a real one, and a module is fetched if its hash is right."""

import json
import subprocess
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import yaml
from pip._vendor import certifi

from proxy_wasm.cli import main
from proxy_wasm.deploy.manifests import TARGETS
from proxy_wasm.deploy.manifests.targets import option_of
from proxy_wasm.envoy import EnvoyProcess, Upstream, encode_request, encode_response, find_envoy, send
from proxy_wasm.envoy.http1 import Message

if TYPE_CHECKING:
    from conftest import Manifest, WriteManifest

Validate: TypeAlias = Callable[[dict[str, Any]], None]

CONFIGURATION = {"text": "1e3", "lines": "a\nb\n"}


@pytest.fixture
def validate(tmp_path: Path) -> Validate:
    """Have Envoy look at a configuration, as the command wrote it."""

    def run(document: "Manifest") -> None:
        file = tmp_path / "envoy.yaml"
        file.write_text(yaml.safe_dump(document))
        command = [str(find_envoy()), "--mode", "validate", "--config-path", str(file), "--log-level", "error"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert "OK" in done.stdout

    return run


def config_of(document: "Manifest") -> "Manifest":
    """The plugin's configuration in a manifest."""
    (listener,) = document["static_resources"]["listeners"]
    filters = listener["filter_chains"][0]["filters"]
    http = filters[0]["typed_config"].get("http_filters")
    return (http or filters)[0]["typed_config"]["config"]


PLUGIN = [
    *("--root-id", "audit", "--env", "A=1", "--host-env", "HOME", "--vm-id", "shared", "--vm-config", "VM"),
    *("--capability", "proxy_on_configure", "--capability", "proxy_get_buffer_bytes", "--capability", "proxy_log"),
    *("--capability", "proxy_on_memory_allocate", "--fail-strategy", "reload", "--allow-on-headers-stop-iteration"),
    *("--listen", "127.0.0.1:0", "--upstream", "localhost:9001", "--name", "Shop_1"),
]
FETCHING = [
    *("--url", "https://modules.example.com/shop.wasm", "--fetch-timeout", "5.5"),
    *("--retries", "3", "--retry-interval", "0.5", "--longest-retry-interval", "4"),
    *("--ca-file", certifi.where()),
]


@pytest.fixture
def vm_file(tmp_path: Path) -> str:
    file = tmp_path / "vm.json"
    file.write_text('{"vm": 1}')
    return str(file)


@pytest.mark.parametrize(
    "options", [[], PLUGIN, ["--network", "--fail-strategy", "open"]], ids=["least", "most", "tcp"]
)
def test_envoy_accepts_a_static_configuration(
    options: list[str], write_manifest: "WriteManifest", validate: Validate, vm_file: str, first: Path
) -> None:
    given = [vm_file if option == "VM" else option for option in options]
    written = write_manifest("envoy", *given, configuration=CONFIGURATION)
    validate(written)
    config = config_of(written)
    assert json.loads(config["configuration"]["value"]) == CONFIGURATION
    assert config["vm_config"]["code"] == {"local": {"filename": str(first)}}
    if "--root-id" in options:
        assert config["root_id"] == "audit"
        assert config["failure_policy"] == "FAIL_RELOAD"
        assert config["vm_config"]["environment_variables"] == {"host_env_keys": ["HOME"], "key_values": {"A": "1"}}
        assert config["vm_config"]["configuration"]["value"] == '{"vm": 1}'
        assert config["vm_config"]["vm_id"] == "shared"
        assert config["name"] == "Shop_1"
        assert len(config["capability_restriction_config"]["allowed_capabilities"]) == 4
        assert config["allow_on_headers_stop_iteration"] is True


@pytest.mark.parametrize(
    "options",
    [
        ["--url", "http://127.0.0.1:8000/shop.wasm"],
        [*FETCHING, *PLUGIN],
        ["--url", FETCHING[1], "--ca-file", certifi.where(), "--network"],
    ],
    ids=["least", "most", "tcp"],
)
def test_envoy_accepts_a_configuration_to_fetch_the_module(
    options: list[str], write_manifest: "WriteManifest", validate: Validate, vm_file: str, first_sha256: str
) -> None:
    given = [vm_file if option == "VM" else option for option in options]
    written = write_manifest("envoy-remote", *given, configuration=CONFIGURATION)
    validate(written)
    remote = config_of(written)["vm_config"]["code"]["remote"]
    assert remote["sha256"] == first_sha256
    _, modules = written["static_resources"]["clusters"]
    assert remote["http_uri"]["cluster"] == modules["name"]
    if "--retries" in options:
        assert remote["http_uri"] == {"uri": FETCHING[1], "cluster": modules["name"], "timeout": "5.5s"}
        back_off = {"base_interval": "0.5s", "max_interval": "4s"}
        assert remote["retry_policy"] == {"num_retries": 3, "retry_back_off": back_off}
        assert modules["transport_socket"]["typed_config"]["sni"] == "modules.example.com"


def test_every_option_of_envoy_is_tested_here() -> None:
    tested = {*PLUGIN, *FETCHING, "--config", "--network", "--digest", "--filename", "--file", "--watched-directory"}
    for target in ("envoy", "envoy-remote", "envoy-ecds", "envoy-subscriber"):
        assert {option_of(field) for field in TARGETS[target].takes} <= tested


@pytest.mark.parametrize("network", [False, True], ids=["http", "tcp"])
def test_envoy_accepts_a_configuration_that_watches_a_file_and_reads_the_file(
    network: bool, write_manifest: "WriteManifest", validate: Validate, tmp_path: Path, first: Path
) -> None:
    kind = ["--network"] if network else []
    file = tmp_path / "shop.yaml"
    written = write_manifest("envoy-ecds", *kind, "--filename", str(first), configuration=CONFIGURATION)
    file.write_text(yaml.safe_dump(written))
    options = [
        "--file",
        str(file),
        "--watched-directory",
        str(tmp_path),
        "--listen",
        "127.0.0.1:0",
        "--upstream",
        "[::1]:9001",
    ]
    subscriber = write_manifest("envoy-subscriber", *kind, *options)
    validate(subscriber)
    with EnvoyProcess({"admin": ADMIN, **subscriber}) as envoy:
        kinds = "network_filter" if network else "http_filter"
        stats = envoy.admin.stats(rf"^extension_config_discovery\.{kinds}\.shop\.")
        assert stats[f"extension_config_discovery.{kinds}.shop.config_reload"] == 1
        dump = envoy.admin.get_json("/config_dump?resource=ecds_filters")
        (found,) = dump["configs"]
        assert found["version_info"] == written["version_info"]


ADMIN = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}


@pytest.fixture
def fetching(first: Path, tmp_path: Path) -> Generator[tuple[Callable[[str], int], list[str]]]:
    """An Envoy with two listeners, of which each fetches the module; `wrong` does so with another hash. What was fetched."""
    fetched: list[str] = []

    def serve(request: Message) -> bytes:
        fetched.append(request.start[1].decode())
        return encode_response(200, [], first.read_bytes())

    with ExitStack() as stack:
        server = stack.enter_context(Upstream(serve))
        upstream = stack.enter_context(Upstream(lambda _: encode_response(200, [], b"")))
        listeners: list[Any] = []
        clusters: dict[str, Any] = {}
        for name, digest in (("right", []), ("wrong", ["--digest", "0" * 64])):
            written = _manifest(tmp_path, first, name, server.address, upstream.address, digest)
            (listener,) = written["static_resources"]["listeners"]
            listeners.append({**listener, "name": name})
            clusters |= {cluster["name"]: cluster for cluster in written["static_resources"]["clusters"]}
        resources = {"listeners": listeners, "clusters": list(clusters.values())}
        envoy = stack.enter_context(EnvoyProcess({"admin": ADMIN, "static_resources": resources}))

        def status_of(name: str) -> int:
            reply = send(envoy.admin.listeners()[name], encode_request("GET", "/", [(b"host", b"shop")]))
            assert reply.message is not None
            return int(reply.message.start[1])

        yield status_of, fetched


def _manifest(
    folder: Path, module: Path, name: str, server: tuple[str, int], upstream: tuple[str, int], digest: list[str]
) -> "Manifest":
    file = folder / f"{name}.yaml"
    options = ["--url", f"http://{server[0]}:{server[1]}/{name}.wasm", "--listen", "127.0.0.1:0", "--retries", "1"]
    options += ["--retry-interval", "0.01", "--upstream", f"{upstream[0]}:{upstream[1]}", "-o", str(file), *digest]
    assert main(["manifest", str(module), "--for", "envoy-remote", "--name", name, *options]) == 0
    return yaml.safe_load(file.read_text())


def test_envoy_runs_the_module_it_has_fetched_if_its_hash_is_right(
    fetching: tuple[Callable[[str], int], list[str]],
) -> None:
    status_of, fetched = fetching
    assert status_of("right") == 201
    assert status_of("wrong") == 503
    assert set(fetched) == {"/right.wasm", "/wrong.wasm"}
    assert fetched.count("/right.wasm") == 1
    assert fetched.count("/wrong.wasm") == 2, "it was tried once more, as it was told"
