"""`proxy-wasm push`, `pull`, `image` and `run oci://...`, and `make images`."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from docker_registry import DockerRegistry, skopeo

from proxy_wasm.build import Project, build
from proxy_wasm.cli import main
from proxy_wasm.image import Reference

NewImage = Callable[[], Reference]
Captured = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]
BASIC_AUTH = ROOT / "extensions" / "basic_auth"


def test_push_prints_the_name_with_its_digest_and_pull_the_file(
    new_image: NewImage, described_module: bytes, capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reference = new_image()
    Path("greeter.wasm").write_bytes(described_module)
    assert main(["push", "greeter.wasm", str(reference), "--plain-http", "--revision", "c0ffee"]) == 0
    pushed = capsys.readouterr().out.strip()
    assert re.fullmatch(rf"{reference}@sha256:[0-9a-f]{{64}}", pushed)
    digest = pushed.partition("@")[2]

    assert main(["push", "greeter.wasm", str(reference), "--plain-http", "--revision", "c0ffee"]) == 0
    assert capsys.readouterr().out == f"{pushed} (unchanged)\n"

    assert main(["pull", pushed, "--plain-http"]) == 0
    file = Path(f"{reference.repository.rpartition('/')[2]}.wasm")
    assert capsys.readouterr().out == f"{file} ({len(described_module)} B, {digest})\n"
    assert file.read_bytes() == described_module

    assert main(["push", "greeter.wasm", str(reference), "--plain-http"]) == 1
    assert "the tag names another image already" in capsys.readouterr().err
    assert main(["push", "greeter.wasm", str(reference), "--plain-http", "--replace-tag"]) == 0


def test_image_inspect_shows_form_layer_and_annotations(
    new_image: NewImage, described_module: bytes, capsys: Captured, tmp_path: Path
) -> None:
    file = tmp_path / "greeter.wasm"
    file.write_bytes(described_module)
    name = str(new_image())
    annotation = ["--annotation", "org.opencontainers.image.vendor=ACME = us"]
    assert main(["push", str(file), name, "--plain-http", "--form", "cncf", *annotation]) == 0
    pushed = capsys.readouterr().out.strip()

    assert main(["image", "inspect", name, "--plain-http"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"oci://{pushed.removeprefix('oci://').replace(':1.0@', '@')}\n")
    assert re.search(r"^  form +cncf$", shown, re.MULTILINE)
    assert re.search(r"^  module's layer +sha256:[0-9a-f]{64} \(\d+ B, application/wasm\)$", shown, re.MULTILINE)
    assert re.search(r"^  org.opencontainers.image.vendor +ACME = us$", shown, re.MULTILINE)

    assert main(["image", "inspect", name, "--plain-http", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert f"{name}@{found['digest']}" == pushed
    assert found["annotations"]["proxy-wasm/abi-version"] == "0.2.1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["push", ".", "ghcr.io/acme/greeter:1"],
            "'ghcr.io/acme/greeter:1' names no image: it does not begin with oci://",
        ),
        (["push", "absent", "oci://ghcr.io/greeter:1"], "absent: no such folder or file"),
        (["push", ".", "oci://ghcr.io/greeter:1", "--annotation", "x"], "--annotation 'x': must be KEY=VALUE"),
        (["push", ".", "oci://ghcr.io/greeter:1", "--form", "zip"], "invalid choice: 'zip'"),
        (["pull", "oci://ghcr.io/greeter", "--retries", "-1"], "--retries '-1': must be a whole number from 0 to 20"),
        (["run", "oci://ghcr.io"], "'oci://ghcr.io' names no image: registry and name must be given"),
    ],
)
def test_wrong_arguments_are_told_before_a_registry_is_asked(
    arguments: list[str], message: str, capsys: Captured
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_without_the_extra_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "oras.py").write_text("raise ModuleNotFoundError(\"No module named 'oras'\", name='oras')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "proxy_wasm.cli", "pull", "oci://127.0.0.1:1/greeter:1"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "error: images need the Python package oras; install it with: pip install 'proxy-wasm[image]'\n"
    )


def make_images(registry: DockerRegistry) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "images", f"REGISTRY={registry.host}/made", "IMAGE_ARGS=--plain-http"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_make_images_publishes_every_extension_and_one_of_them_runs_from_there(registry: DockerRegistry) -> None:
    done = make_images(registry)
    assert done.returncode == 0, done.stderr
    pushed = dict(re.findall(r"^oci://\S+/made/([^:]+):\S+?(@sha256:[0-9a-f]{64})$", done.stdout, re.MULTILINE))
    extensions = [Project.load(path) for path in (ROOT / "extensions").iterdir() if Project.is_project(path)]
    assert pushed.keys() == {project.name for project in extensions}
    for project in extensions:
        tags = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{registry.host}/made/{project.name}"))[
            "Tags"
        ]
        assert project.version in tags
    again = make_images(registry)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("(unchanged)") == len(extensions)

    name = f"oci://{registry.host}/made/basic-auth{pushed['basic-auth']}"
    command = [sys.executable, "-m", "proxy_wasm.cli", "run", name, "--plain-http"]
    process = subprocess.Popen(
        [*command, "--config", str(BASIC_AUTH / "example.json")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{name}\n"
        url = process.stdout.readline().partition(" ")[0]
        with pytest.raises(HTTPError) as denied:
            urlopen(f"{url}/admin", timeout=10)  # noqa: S310 - http
        assert denied.value.code == 401
        assert denied.value.headers["WWW-Authenticate"] == 'Basic realm="staff"'
        with urlopen(f"{url}/open", timeout=10) as response:  # noqa: S310
            assert response.status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def test_make_images_wants_a_registry() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "images"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "error: give the registry, such as ghcr.io/acme: make images REGISTRY=ghcr.io/acme" in done.stderr


def test_a_folder_and_the_file_built_from_it_make_the_same_image(registry: DockerRegistry, capsys: Captured) -> None:
    built = build(BASIC_AUTH).path
    for source, name in ((BASIC_AUTH, "folder"), (built, "file")):
        assert main(["push", str(source), f"oci://{registry.host}/same/{name}:1", "--plain-http"]) == 0
    first, second = (line.partition("@")[2] for line in capsys.readouterr().out.splitlines())
    assert first == second
    assert first.startswith("sha256:")
