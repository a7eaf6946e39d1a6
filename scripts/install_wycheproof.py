"""Install Project Wycheproof's test vectors for signatures: `python scripts/install_wycheproof.py [DIRECTORY]`.

They are a Go module that the project publishes, which the `go` on the PATH downloads; its checksum is known here. What is installed already stays. Without DIRECTORY they are
installed where the tests of extensions/jwt_headers look for them.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "v0.0.0-20260902155932-3fa63dd0344a"
CHECKSUM = "h1:pNbL2nztRsWfW/ispAwsvcDFxs9Id38uIsR2/Up5G2c="
"""As in a go.sum."""

_MODULE = "github.com/c2sp/wycheproof"
_PREFIXES = (
    "ecdsa_secp256r1_sha",
    "ecdsa_secp384r1_sha",
    "ecdsa_secp521r1_sha",
    "ed25519_",
    "hmac_sha",
    "json_web_",
    "rsa_pkcs1_",
    "rsa_pss_",
    "rsa_signature_",
)
"""What the names of the files begin with that are kept: a fifth of all."""


def install(directory: Path) -> Path:
    """The folder of the vectors, after their installation below `directory`."""
    target = directory / f"wycheproof-{VERSION}"
    if not target.exists():
        source = _downloaded() / "testvectors_v1"
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            copy = Path(scratch) / "vectors"
            copy.mkdir()
            for file in source.glob("*.json"):
                if file.name.startswith(_PREFIXES):
                    shutil.copyfile(file, copy / file.name)  # not their mode: what Go keeps cannot be written to
            copy.replace(target)
    return target


def _downloaded() -> Path:
    """The folder of the module in Go's own cache; ends the program where there is no Go, or the module is another one."""
    go = shutil.which("go")
    if go is None:
        sys.exit("the vectors come as a Go module, and there is no `go` on the PATH")
    command = [go, "mod", "download", "-json", f"{_MODULE}@{VERSION}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    told = json.loads(done.stdout or "{}")
    if done.returncode != 0:
        sys.exit(f"{_MODULE}@{VERSION}: {told.get('Error', 'not downloaded')}")
    if told["Sum"] != CHECKSUM:
        sys.exit(f"{_MODULE}@{VERSION}: its checksum is {told['Sum']}, not {CHECKSUM}")
    return Path(told["Dir"])


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "proxy-wasm-ci"


if __name__ == "__main__":
    print(install(Path(sys.argv[1]) if sys.argv[1:] else _cache()))
