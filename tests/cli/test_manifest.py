"""`proxy-wasm manifest`: what is refused before anything is written, and where the manifest goes."""

import json
from pathlib import Path

import pytest
import yaml

from proxy_wasm.cli import main

BAD_INPUT = 2
FAILED = 1
IMAGE = ["--url", "oci://registry.example.com/shop:1"]


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("nginx", [], "invalid choice: 'nginx'"),
        ("istio", [], "--url: must be given with --for istio"),
        ("istio", ["--url", "ftp://a"], "--url 'ftp://a': must begin with one of oci://, https://, http://, file://"),
        ("istio", [*IMAGE, "--digest", "12"], "--digest '12': must be 64 hexadecimal digits"),
        ("istio", [*IMAGE, "--digest", "0" * 64, "--unpinned"], "--unpinned, --digest: the one or the other"),
        ("istio", [*IMAGE, "--name", "Shop"], "--name Shop: Kubernetes takes lower-case letters"),
        ("istio", [*IMAGE, "--priority", "x"], "--priority 'x': must be a whole number of 32 bits"),
        ("istio", [*IMAGE, "--selector", "app"], "--selector 'app': must be NAME=VALUE"),
        ("istio", [*IMAGE, "--selector", "a=b", "--target", "Gateway/a"], "--selector, --target: a WasmPlugin has"),
        ("istio", [*IMAGE, "--target", "Gateway"], "--target 'Gateway': must be KIND/NAME, or KIND/NAME/SECTION"),
        ("istio", [*IMAGE, "--target", "Pod/a"], "--target Pod/...: kinds are GRPCRoute, Gateway"),
        ("istio", [*IMAGE, "--target", "HTTPRoute/a"], "--target HTTPRoute/a: a WasmPlugin is attached to"),
        ("istio", [*IMAGE, "--target", "Gateway/a/b"], "--target Gateway/a/b: a WasmPlugin is attached to"),
        ("istio", [*IMAGE, "--match", "INBOUND"], "--match 'INBOUND': must be one of CLIENT, SERVER"),
        ("istio", [*IMAGE, "--match", "CLIENT:1,1"], "--match 'CLIENT:1,1': a port is from 1 to 65535, and there once"),
        ("istio", [*IMAGE, "--pull-policy", "Never"], "--pull-policy Never: is for volumes of images"),
        ("istio", [*IMAGE, "--upstream", "a:1"], "--upstream: --for istio has nothing like it; envoy, envoy-remote"),
        ("higress", [*IMAGE, "--fail-strategy", "open"], "--fail-strategy: --for higress has nothing like it; istio"),
        ("envoy-gateway", IMAGE, "--target: must be given with --for envoy-gateway"),
        ("envoy-gateway", [*IMAGE, "--target", "Service/a"], "--target Service/a: an EnvoyExtensionPolicy is attached"),
        (
            "envoy-gateway",
            [*IMAGE, "--target", "Gateway/a", "--fail-strategy", "reload"],
            "--fail-strategy reload: an EnvoyExtensionPolicy has open and closed",
        ),
        (
            "envoy-gateway",
            ["--url", "https://a/b", "--target", "Gateway/a", "--pull-secret", "s"],
            "--pull-secret: is for images; the URL names a module",
        ),
        ("envoy", ["--filename", "a.wasm"], "--filename 'a.wasm': must be an absolute path"),
        ("envoy", ["--unpinned"], "--unpinned: --for envoy has nothing like it"),
        ("envoy", ["--listen", "8080"], "--listen '8080': must be HOST:PORT"),
        ("envoy-remote", IMAGE, "--url oci://registry.example.com/shop:1: Envoy fetches modules over http"),
        ("envoy-remote", ["--url", "http://a/b", "--ca-file", "/a"], "--ca-file: is for https:// alone"),
        ("envoy-remote", ["--url", "http://a/b", "--retry-interval", "1"], "--retries: must be given with"),
        ("envoy-remote", ["--url", "http://a/b", "--retries", "-1"], "--retries '-1': must be a whole number from 0"),
        ("envoy-remote", ["--url", "http://a/b", "--fetch-timeout", "0"], "'0' is no number of seconds"),
        ("envoy-subscriber", [], "--file: must be given with --for envoy-subscriber"),
        ("envoy-subscriber", ["--file", "/a", "--root-id", "b"], "--root-id: --for envoy-subscriber has nothing like"),
        ("pod-volume", ["--url", "https://a/b"], "--url https://a/b: volumes are made of images"),
        ("pod-volume", [*IMAGE, "--workload", "Job/a"], "--workload Job/a: kinds are Pod, Deployment"),
        ("pod-volume", [*IMAGE, "--mount-path", "a"], "--mount-path 'a': must be an absolute path"),
        ("pod-volume", [*IMAGE, "--istio-sidecar", "--container", "a"], "the sidecar is the container"),
        ("pod-volume", [*IMAGE, "--istio-sidecar", "--pull-secret", "a"], "the Pod's own imagePullSecrets"),
        ("pod-volume", [*IMAGE, "--csi-driver", "--pull-policy", "Never"], "the CSI driver has IfNotPresent and"),
    ],
)
def test_what_a_platform_does_not_have_is_refused_with_the_options_name(
    target: str, options: list[str], message: str, module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["manifest", str(module), "--for", target, *options]) == BAD_INPUT
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ("[]", "takes a JSON object, and nothing else"),
        ("{]", "takes a JSON object, and this is no JSON"),
        ('{"a": 1, "a": 2}', "'a' is there twice"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": {"b": [0, 9007199254740993]}}', "a.b[1]: Istio's pluginConfig keeps no more digits than"),
    ],
)
def test_a_configuration_that_would_arrive_as_another_one_is_refused(
    configuration: str, message: str, module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(configuration)
    options = ["--config", str(tmp_path / "config.json"), *IMAGE]
    assert main(["manifest", str(module), "--for", "istio", *options]) == BAD_INPUT
    assert message in capsys.readouterr().err


def test_a_configuration_that_the_plugin_refuses_leaves_what_was_written_before(
    module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config").write_text("!rules[0]: no such user")
    before = tmp_path / "envoy.yaml"
    before.write_text("before")
    options = ["--config", str(tmp_path / "config"), "-o", str(before)]
    assert main(["manifest", str(module), "--for", "envoy", *options]) == FAILED
    assert "critical: !rules[0]: no such user" in capsys.readouterr().err
    assert before.read_text() == "before"


def test_istio_is_asked_as_its_proxies_will_be(module: Path, tmp_path: Path) -> None:
    """They get an empty object as no configuration, and names in order."""
    (tmp_path / "config").write_text("{}")
    assert main(["manifest", str(module), "--for", "istio", *IMAGE, "--config", str(tmp_path / "config")]) == 0


def test_an_extensions_folder_gives_name_and_module(greeter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--for", "envoy-subscriber", "--file", "/var/lib/envoy/greeter.json", "--json"]
    assert main(["manifest", str(greeter), *options]) == 0
    written = json.loads(capsys.readouterr().out)
    (listener,) = written["static_resources"]["listeners"]
    (entry, _) = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    assert entry["name"] == "greeter"


def test_yaml_reads_as_what_json_says(module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = ["1e3", "0o7", "yes", "~", "-", "1_0", "a: b", "# a", "", " a", "a\nb ", "\u00e9\u2028", "2020-01-01", "="]
    (tmp_path / "config.json").write_text(json.dumps({"values": values}))
    options = ["--for", "istio", *IMAGE, "--config", str(tmp_path / "config.json")]
    assert main(["manifest", str(module), *options]) == 0
    text = capsys.readouterr().out
    assert main(["manifest", str(module), *options, "--json"]) == 0
    assert yaml.safe_load(text) == json.loads(capsys.readouterr().out)
    for unquoted in ("- 1e3\n", "- 0o7\n", "- yes\n", "- ~\n"):
        assert unquoted not in text


def test_an_output_that_cannot_be_is_refused(module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, problem in ((tmp_path, "is a folder"), (tmp_path / "absent" / "a.yaml", "its folder does not exist")):
        assert main(["manifest", str(module), "--for", "envoy", "-o", str(path)]) == BAD_INPUT
        assert f"-o {path}: {problem}" in capsys.readouterr().err
