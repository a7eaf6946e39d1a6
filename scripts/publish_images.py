"""Push an image of each extension of this repository: `python scripts/publish_images.py ghcr.io/acme [options of proxy-wasm push]`.

An extension's image is named after its project, and tagged with its version. The annotation `revision` is the last commit that
changed the extension or the SDK; where something of them is not committed, there is none.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from proxy_wasm.build import Project
from proxy_wasm.cli import main as command

ROOT = Path(__file__).parents[1]
EXTENSIONS = ROOT / "extensions"


def main(arguments: Sequence[str]) -> int:
    """Push them all; the status of the first that fails."""
    if not arguments or arguments[0].startswith("-"):
        print("error: give the registry, such as ghcr.io/acme: make images REGISTRY=ghcr.io/acme", file=sys.stderr)
        return 2
    registry, *options = arguments
    for folder in sorted(path for path in EXTENSIONS.iterdir() if Project.is_project(path)):
        project = Project.load(folder)
        reference = f"oci://{registry.rstrip('/')}/{project.name}:{project.version}"
        if status := command(["push", str(folder), reference, *_revision(folder), *options]):
            return status
    return 0


def _revision(folder: Path) -> list[str]:
    paths = [str(folder), str(ROOT / "sdk"), str(ROOT / "pyproject.toml")]
    if _git("status", "--porcelain", "--", *paths) == "" and (commit := _git("log", "-1", "--format=%H", "--", *paths)):
        return ["--revision", commit]
    print(f"{folder.name}: without a revision: it, or the SDK, has changes that are not committed", file=sys.stderr)
    return []


def _git(*arguments: str) -> str | None:
    """What git prints; `None` where this is no checkout, or there is no git."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
