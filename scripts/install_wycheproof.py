"""Install Project Wycheproof's test vectors for signatures: `python scripts/install_wycheproof.py [DIRECTORY]`.

They come from Go's module proxy, as a module that the project publishes; its checksum is known here. What is installed already stays. Without DIRECTORY they are installed where the tests
of extensions/jwt_headers look for them.
"""

import os
import sys
import tempfile
import zipfile
from pathlib import Path

from go_modules import download

VERSION = "v0.0.0-20260902155932-3fa63dd0344a"
CHECKSUM = "2bf812135610eccf6edd097546789499a3bbe6a1f71aa7a03915fd707d64d5d9"

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
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            archive, unpacked = Path(scratch) / "module.zip", Path(scratch) / "unpacked"
            download(_MODULE, VERSION, archive, CHECKSUM)
            _unpack(archive, unpacked)
            unpacked.replace(target)
    return target


def _unpack(archive: Path, target: Path) -> None:
    target.mkdir()
    with zipfile.ZipFile(archive) as content:
        for entry in content.infolist():
            _, folder, name = entry.filename.rpartition("/testvectors_v1/")
            if folder and name.startswith(_PREFIXES):
                (target / name).write_bytes(content.read(entry))


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "proxy-wasm-ci"


if __name__ == "__main__":
    print(install(Path(sys.argv[1]) if sys.argv[1:] else _cache()))
