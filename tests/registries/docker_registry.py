"""A real registry for tests: Debian's `docker-registry`, on a port of its own."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import pytest

_START_SECONDS = 30
_LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)")


def needs(program: str) -> str:
    """The path of a program that tests run; where it is not installed, the test is skipped."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed (Debian has it: apt-get install {program})")
    return path


class DockerRegistry:
    """A registry that keeps its data below `folder`; a context manager.

    `settings` are merged into its configuration.
    """

    def __init__(self, folder: Path, settings: dict[str, Any] | None = None) -> None:
        self._program = needs("docker-registry")
        self.storage = folder / "storage"
        self._log = folder / "registry.log"
        self._file = folder / "registry.json"
        configuration = {
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": str(self.storage)}},
            "http": {"addr": "127.0.0.1:0", "secret": "test"},
        }
        self._file.write_text(json.dumps(configuration | (settings or {})))  # JSON is YAML
        self.host = ""

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([self._program, "serve", str(self._file)], stdout=log, stderr=log)
        end = time.monotonic() + _START_SECONDS
        while not (match := _LISTENING.search(self._log.read_text())):
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() < end, "the registry does not begin to listen"
            time.sleep(0.02)
        self.host = f"127.0.0.1:{match[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    @property
    def port(self) -> int:
        return int(self.host.rpartition(":")[2])

    def blob(self, digest: str) -> Path:
        """The file that holds the bytes of `digest`."""
        name = digest.removeprefix("sha256:")
        return self.storage / "docker/registry/v2/blobs/sha256" / name[:2] / name / "data"

    def files(self) -> dict[str, str]:
        """Everything that the registry keeps: from path to the digest of what is there."""
        return {
            path.relative_to(self.storage).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.storage.rglob("*")
            if path.is_file()
        }


def docker_config(folder: Path, host: str, user: str, password: str) -> Path:
    """A folder with Docker's configuration, for `DOCKER_CONFIG`."""
    folder.mkdir(exist_ok=True)
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": encoded}}}))
    return folder


def skopeo(*arguments: str) -> str:
    """What skopeo prints. It must succeed."""
    done = subprocess.run([needs("skopeo"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sys.stderr.write(done.stderr)
    return done.stdout
