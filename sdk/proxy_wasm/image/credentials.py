"""Who we are to a registry, as Docker's configuration says: `config.json` in `DOCKER_CONFIG`, else in `~/.docker`.

    {"auths": {"ghcr.io": {"auth": "<base64 of user:password>"}},
     "credHelpers": {"registry.example.com": "pass"},
     "credsStore": "desktop"}

A helper for the registry comes first, then the store for all registries, then `auths`, as in Docker's own client (docker/cli,
`cli/config/configfile`). Helpers are programs `docker-credential-NAME`: `get`, the registry on stdin, JSON on stdout
(docker/docker-credential-helpers). What they and the file hold is never shown.
"""

import binascii
import json
import os
import subprocess
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from proxy_wasm.image.errors import CredentialsError

_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_NOT_FOUND = "credentials not found in native keychain"
_TOKEN_USER = "<token>"  # noqa: S105 - what helpers put in place of a user's name
_HELPER_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's name and password, or a token that a registry's token server exchanges for others."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


def find_credentials(registry: str, environment: Mapping[str, str] = os.environ) -> Credentials | None:
    """What Docker's configuration has for `registry` (`"ghcr.io"`, `"127.0.0.1:5000"`), or `None`.

    Raises `CredentialsError` where the file or a helper that it names cannot be used.
    """
    folder = environment.get("DOCKER_CONFIG")
    file = (Path(folder) if folder else Path.home() / ".docker") / "config.json"
    configuration = _read(file)
    key = _DOCKER_HUB_KEY if registry == "docker.io" else registry
    helper = _table(file, configuration, "credHelpers").get(key) or configuration.get("credsStore")
    if helper:
        return _ask(f"docker-credential-{helper}", key, environment)
    for name, entry in _table(file, configuration, "auths").items():
        if name == key or _host(name) == registry:
            return _entry(f'{file}: auths."{name}"', entry)
    return None


def _read(file: Path) -> dict[str, Any]:
    try:
        found: object = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CredentialsError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CredentialsError(f"{file}: is no JSON") from error
    if not isinstance(found, dict):
        raise CredentialsError(f"{file}: must be an object")
    return cast("dict[str, Any]", found)


def _table(file: Path, configuration: dict[str, Any], key: str) -> dict[str, Any]:
    value: object = configuration.get(key) or {}
    if not isinstance(value, dict):
        raise CredentialsError(f"{file}: {key}: must be an object")
    return cast("dict[str, Any]", value)


def _host(name: str) -> str:
    """The host of a key, which may be an URL."""
    return name.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _entry(place: str, entry: object) -> Credentials | None:
    values = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
    if token := values.get("identitytoken"):
        return Credentials(identity_token=str(token))
    encoded = values.get("auth")
    if not encoded:
        user, password = values.get("username"), values.get("password")
        return Credentials(str(user), str(password)) if user and password else None
    try:
        user, colon, password = b64decode(str(encoded), validate=True).decode().rstrip("\0").partition(":")
    except (binascii.Error, ValueError) as error:
        raise CredentialsError(f"{place}.auth: is not base64 of user:password") from error
    if not colon:
        raise CredentialsError(f"{place}.auth: is not base64 of user:password")
    return Credentials(user, password)


def _ask(program: str, key: str, environment: Mapping[str, str]) -> Credentials | None:
    try:
        done = subprocess.run(
            [program, "get"],
            input=key,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_HELPER_SECONDS,
            env=dict(environment),
            check=False,
        )
    except FileNotFoundError as error:
        raise CredentialsError(f"{program}: Docker's configuration names it, and it is not in PATH") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else f"gave no answer for {_HELPER_SECONDS} s"
        raise CredentialsError(f"{program}: {reason}") from error
    if done.returncode:
        if _NOT_FOUND in done.stdout + done.stderr:
            return None
        raise CredentialsError(f"{program}: ended with status {done.returncode} when asked for {key}")
    try:
        found = json.loads(done.stdout)
        user, secret = str(found["Username"]), str(found["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise CredentialsError(f"{program}: answered something else than credentials for {key}") from error
    return Credentials(identity_token=secret) if user == _TOKEN_USER else Credentials(user, secret)
