"""What builds keep for later ones: finished modules, installed dependencies, frames of the linker, machine code.

An entry is found by its kind and by a key that is a hash of everything it was made from, so an entry never becomes stale. Entries
appear whole or not at all (written aside, then renamed), are checked when they are read, and the least recently used go when a
kind grows beyond its bound. Several processes may use one cache at the same time.
"""

import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from proxy_wasm.build.errors import CacheError

if sys.platform == "win32":
    _flock = None
else:
    import fcntl

    def _flock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)


CACHE_VARIABLE = "PROXY_WASM_CACHE"

_MEGABYTE = 1 << 20
_DEFAULT_BOUND = 256 * _MEGABYTE
_BOUNDS = {"modules": 512 * _MEGABYTE, "machine-code": 1024 * _MEGABYTE}
_ABANDONED = 24 * 3600.0
_TEMPORARY = ".new-"
_DIGEST_SIZE = 32


def default_root(environment: Mapping[str, str] = os.environ) -> Path:
    """The user's cache folder: `PROXY_WASM_CACHE`, else `proxy-wasm` in `XDG_CACHE_HOME` or in `~/.cache`."""
    if own := environment.get(CACHE_VARIABLE):
        return Path(own).expanduser()
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "proxy-wasm"


class Cache:
    """Entries below `root`, the user's cache folder unless told; `bounds` gives a kind's size in bytes."""

    def __init__(self, root: Path | None = None, bounds: Mapping[str, int] = _BOUNDS) -> None:
        self.root = default_root() if root is None else root
        self._bounds = bounds

    def read(self, kind: str, key: str) -> bytes | None:
        """The bytes written under `key`, or `None` where there are none or they were damaged."""
        path = self.root / kind / key
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, data = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
        if hashlib.sha256(data).digest() != digest:
            path.unlink(missing_ok=True)
            return None
        _touch(path)
        return data

    def write(self, kind: str, key: str, data: bytes) -> None:
        """Keep `data` under `key`. Raises `CacheError` where the folder cannot be written."""
        with self._explained():
            folder = self._folder(kind)
            descriptor, name = tempfile.mkstemp(dir=folder, prefix=_TEMPORARY)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(hashlib.sha256(data).digest())
                    file.write(data)
                Path(name).replace(folder / key)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            self._evict(kind, keep=key)

    def folder(self, kind: str, key: str, fill: Callable[[Path], None]) -> Path:
        """The folder kept under `key`; where there is none, `fill` is given an empty one to fill.

        What `fill` raises leaves nothing behind. Raises `CacheError` where the folder cannot be written.
        """
        path = self.root / kind / key
        with self.lock(kind, key):
            if path.is_dir():
                _touch(path)
                return path
            with self._explained():
                fresh = Path(tempfile.mkdtemp(dir=self._folder(kind), prefix=_TEMPORARY))
            try:
                fill(fresh)
                with self._explained():
                    fresh.replace(path)
                    _touch(path)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
            self._evict(kind, keep=key)
        return path

    @contextmanager
    def lock(self, kind: str, key: str) -> Generator[None]:
        """Keep other processes and threads from making the same entry meanwhile.

        Not for nesting: keys share lock files, of which there are at most 256 for each kind.
        """
        with self._explained():
            file = (self._folder("locks") / f"{kind}-{key[:2]}").open("ab")
        with file:
            if _flock is not None:
                _flock(file.fileno())
            yield

    def _folder(self, kind: str) -> Path:
        folder = self.root / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise CacheError(
                f"the cache folder {self.root} cannot be used: {error.strerror or error}; "
                f"name another one with the environment variable {CACHE_VARIABLE}"
            ) from error

    def _evict(self, kind: str, keep: str) -> None:
        """Remove what was used longest ago until the kind fits its bound, and what a killed build left behind."""
        entries: list[tuple[float, int, Path]] = []
        for path in (self.root / kind).iterdir():
            with suppress(OSError):
                used = path.stat().st_mtime
                if not path.name.startswith(_TEMPORARY):
                    entries.append((used, _size(path), path))
                elif time.time() - used > _ABANDONED:
                    _remove(path)
        excess = sum(size for _, size, _ in entries) - self._bounds.get(kind, _DEFAULT_BOUND)
        for _, size, path in sorted(entries):
            if excess <= 0:
                return
            if path.name != keep:
                _remove(path)
                excess -= size


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _touch(path: Path) -> None:
    with suppress(OSError):
        os.utime(path)
