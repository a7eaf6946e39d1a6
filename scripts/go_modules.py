"""Go's module proxy (`GOPROXY`, or else the public one), from which some of what the tests need comes as zip archives."""

import hashlib
import os
import sys
import urllib.request
from pathlib import Path

_TIMEOUT = 60
_PUBLIC_PROXY = "https://proxy.golang.org"


def download(module: str, version: str, target: Path, checksum: str) -> None:
    """Write the archive of a module to `target`; ends the program where its SHA-256, in hexadecimal, is another one."""
    url = f"{_proxy()}/{module}/@v/{version}.zip"
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as response, target.open("wb") as file:  # noqa: S310 - http is what GOPROXY says
        while chunk := response.read(1 << 20):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != checksum:
        sys.exit(f"{url}: its checksum is {digest.hexdigest()}, not {checksum}")


def _proxy() -> str:
    first = os.environ.get("GOPROXY", "").replace("|", ",").split(",")[0]
    return first.rstrip("/") if first.startswith("http") else _PUBLIC_PROXY
