"""Install Go, for tests of filters in Go where it is missing: `python scripts/install_go.py DIRECTORY`.

The toolchain comes from Go's module proxy (`GOPROXY`, or else the public one), as Go itself gets other versions of it; its checksum is known
here. What is installed already stays. Only for Linux; elsewhere, and by hand, Go is installed as https://go.dev/doc/install has it.
"""

import platform
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from go_modules import download

VERSION = "1.26.8"
CHECKSUMS = {
    "amd64": "30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7",
    "arm64": "02b36b6787b3ac767668f630e2998df45a3b1f9ffee08d1bf3ef6487cd658d99",
}
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}

_MODULE = "golang.org/toolchain"
_RENAMED = "_go.mod"
"""What go.mod is called in the module: it would otherwise end where another module begins."""


def install(directory: Path) -> Path:
    """The folder of the `go` command, after its installation below `directory`."""
    machine = MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None:
        sys.exit(f"Go is not installed on {sys.platform} {platform.machine()} by this: see https://go.dev/doc/install")
    target = directory / f"go{VERSION}.linux-{machine}"
    if not (target / "bin" / "go").exists():
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            archive = Path(scratch) / "toolchain.zip"
            version = f"v0.0.1-go{VERSION}.linux-{machine}"
            download(_MODULE, version, archive, CHECKSUMS[machine])
            unpacked = Path(scratch) / "unpacked"
            _unpack(archive, f"{_MODULE}@{version}/", unpacked)
            unpacked.replace(target)
    return target / "bin"


def _unpack(archive: Path, prefix: str, target: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        for entry in content.infolist():
            path = target / entry.filename.removeprefix(prefix)
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.name == _RENAMED:
                path = path.with_name("go.mod")
            with content.open(entry) as source, path.open("wb") as file:
                shutil.copyfileobj(source, file)
    for folder in ("bin", "pkg/tool"):
        for path in (target / folder).rglob("*"):
            path.chmod(0o755)


if __name__ == "__main__":
    print(install(Path(sys.argv[1])))
