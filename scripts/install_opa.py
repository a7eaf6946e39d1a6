"""Build Open Policy Agent's server, for the tests of extensions/opa_authz: `python scripts/install_opa.py DIRECTORY`.

It comes from source through Go's module proxy, by the `go` on the PATH, and takes some minutes; what is built already stays. By hand it is installed as
https://www.openpolicyagent.org/docs has it; the tests take the first `opa` on the PATH.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "1.22.4"

_MODULE = "github.com/open-policy-agent/opa"


def install(directory: Path) -> Path:
    """The folder of the `opa` command, after its installation below `directory`."""
    target = directory / f"opa{VERSION}"
    if not (target / "opa").exists():
        go = shutil.which("go")
        if go is None:
            sys.exit("OPA is built with Go, and there is no `go` on the PATH: scripts/install_go.py installs one")
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            built = Path(scratch) / "bin"
            command = [go, "install", "-trimpath", "-ldflags=-s -w", f"{_MODULE}@v{VERSION}"]
            subprocess.run(command, env={**os.environ, "GOBIN": str(built)}, stdout=sys.stderr, check=True)
            target.mkdir(exist_ok=True)
            (built / "opa").replace(target / "opa")
    return target


if __name__ == "__main__":
    print(install(Path(sys.argv[1])))
