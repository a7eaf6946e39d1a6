"""A real Envoy as a child process."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self, TypeVar

from proxy_wasm.envoy.admin import Admin
from proxy_wasm.envoy.binary import find_envoy
from proxy_wasm.envoy.configuration import Json
from proxy_wasm.envoy.errors import EnvoyError, EnvoyFailed, FilterRefused
from proxy_wasm.envoy.log import LOG_FORMAT, GrowingFile, LogLine, parse_log_line

START_SECONDS = 120
"""How long Envoy may take until it is ready: it compiles modules before."""
STOP_SECONDS = 5
"""How long Envoy may take to end by itself before it is killed."""

_DYING_SECONDS = 2.0
"""How long Envoy may take to end after it has closed its connections: it prints where it crashed."""
_LAST_WORDS = 30
_POLL_SECONDS = 0.005
_T = TypeVar("_T")


_WATCHER = """
import os, signal, sys
if not sys.stdin.buffer.read(1):
    os.kill(int(sys.argv[1]), signal.SIGKILL)
"""
"""Ends Envoy when the process that started it is gone without having ended it: killed, or ended by a signal that Python does not handle."""


class EnvoyProcess:
    """One Envoy with one worker, or `concurrency` of them; a context manager that starts and stops it.

    Ports are chosen by the system, and nothing is shared with other Envoys on the machine. `directory`, a temporary one
    unless given, holds its configuration and logs.
    """

    def __init__(
        self,
        bootstrap: Json,
        *,
        binary: str | os.PathLike[str] | None = None,
        directory: Path | None = None,
        wasm_log_level: str = "info",
        concurrency: int = 1,
    ) -> None:
        self._bootstrap = bootstrap
        self._concurrency = concurrency
        self._binary = find_envoy(binary)
        self._wasm_log_level = wasm_log_level
        self._cleanup = ExitStack()
        self.directory = directory or Path(
            self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="proxy-wasm-"))
        )
        self._log = GrowingFile(self.directory / "envoy.log")
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._admin: Admin | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process's id; raises `EnvoyFailed` before the start and after the stop."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        """Whether the process has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def admin(self) -> Admin:
        """The admin interface; raises `EnvoyFailed` while there is none."""
        if self._admin is None:
            msg = "Envoy is not running"
            raise EnvoyFailed(msg)
        return self._admin

    @property
    def log_path(self) -> Path:
        """The application log: one JSON object per record."""
        return self._log.path

    def new_log_lines(self) -> list[LogLine]:
        """What was logged since the last call."""
        return [parse_log_line(line) for line in self._log.lines()]

    def start(self) -> None:
        """Start, and return when the admin interface says that Envoy is ready.

        Raises `FilterRefused` where Envoy refuses its configuration, `EnvoyFailed` where it ends or takes too long.
        """
        config = self.directory / "envoy.json"
        config.write_text(json.dumps(self._bootstrap, indent=1))
        address_file = self.directory / "admin-address"
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._binary),
                    *("--config-path", str(config)),
                    *("--admin-address-path", str(address_file)),
                    *("--concurrency", str(self._concurrency)),
                    "--disable-hot-restart",
                    *("--drain-time-s", "0"),  # a listener that is taken out ends at once, and with it the VM
                    *("--file-flush-interval-msec", "5"),
                    *("--log-level", "warning"),
                    *("--component-log-level", f"wasm:{self._wasm_log_level}"),
                    *("--log-format", LOG_FORMAT),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WATCHER, str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._admin = self._wait_until_ready(address_file)
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self, address_file: Path) -> Admin:
        address = self.wait_for(lambda: _read_address(address_file), "start", START_SECONDS)
        admin = Admin(*address, why_gone=self._why_gone)

        def ready() -> bool:
            with suppress(EnvoyFailed):  # not listening yet, or gone already, which `wait_for` notices
                return admin.is_ready()
            return False

        self.wait_for(ready, "start", START_SECONDS)
        return admin

    def wait_for(self, probe: Callable[[], _T | None], purpose: str, seconds: float) -> _T:
        """The first true value of `probe`.

        Raises `FilterRefused` where Envoy ends because of its configuration meanwhile, `EnvoyFailed` where it ends for any
        other reason or `seconds` have passed; `purpose` completes "Envoy did not ... within".
        """
        process = self._running()
        deadline = time.monotonic() + seconds
        while not (value := probe()):
            if (code := process.poll()) is not None:
                raise self._ended(code)
            if time.monotonic() > deadline:
                msg = f"Envoy did not {purpose} within {seconds:g} seconds"
                raise EnvoyFailed(msg)
            time.sleep(_POLL_SECONDS)
        return value

    def _why_gone(self) -> EnvoyError | None:
        """What to raise where the process has ended by itself, or is about to; `None` where it runs."""
        if self._process is None:
            return None
        try:
            return self._ended(self._process.wait(_DYING_SECONDS))
        except subprocess.TimeoutExpired:
            return None

    def _ended(self, code: int) -> EnvoyError:
        """What to raise after Envoy ended by itself: it exits with 1 where it refuses its configuration."""
        lines = self.new_log_lines()
        if code == 1:
            reason = lines[-1].message.strip() if lines else "Envoy refused its configuration without a word"
            return FilterRefused(reason, lines)
        words = "\n".join(line.message for line in lines[-_LAST_WORDS:])
        how = signal.Signals(-code).name if code < 0 else f"status {code}"
        return EnvoyFailed(f"Envoy ended with {how}:\n{words}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            msg = "Envoy is not running"
            raise EnvoyFailed(msg)
        return self._process

    def stop(self) -> None:
        """End the process, first politely, and remove its temporary directory; does nothing where it is not running."""
        process, self._process, self._admin = self._process, None, None
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.communicate(b"ended")
        self._cleanup.close()


def _read_address(path: Path) -> tuple[str, int] | None:
    """The address in Envoy's `--admin-address-path`, once it is there."""
    with suppress(FileNotFoundError):
        host, colon, port = path.read_text().rpartition(":")
        if colon:
            return host, int(port)
    return None
