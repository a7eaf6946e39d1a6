import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from proxy_wasm.build.cache import Cache, CacheError, default_root


def test_what_was_written_is_read_back(cache: Cache) -> None:
    cache.write("modules", "ab12", b"bytes")

    assert cache.read("modules", "ab12") == b"bytes"
    assert Cache(cache.root).read("modules", "ab12") == b"bytes"
    assert cache.read("modules", "cd34") is None
    assert cache.read("libraries", "ab12") is None


def test_a_damaged_entry_counts_as_absent(cache: Cache) -> None:
    cache.write("modules", "ab12", b"bytes")
    path = cache.root / "modules" / "ab12"

    for damaged in (b"", path.read_bytes()[:-1], path.read_bytes() + b"x"):
        path.write_bytes(damaged)
        assert cache.read("modules", "ab12") is None
        cache.write("modules", "ab12", b"bytes")

    assert cache.read("modules", "ab12") == b"bytes"


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, bounds={"modules": 1000})
    for key in ("a", "b", "c"):
        cache.write("modules", key, bytes(250))
    long_ago = time.time() - 100
    os.utime(tmp_path / "modules" / "a", (long_ago, long_ago))
    os.utime(tmp_path / "modules" / "b", (long_ago + 1, long_ago + 1))
    assert cache.read("modules", "a") is not None

    cache.write("modules", "d", bytes(250))

    assert {path.name for path in (tmp_path / "modules").iterdir()} == {"a", "c", "d"}


def test_an_entry_larger_than_the_bound_stays_until_the_next(tmp_path: Path) -> None:
    cache = Cache(tmp_path, bounds={"modules": 100})
    cache.write("modules", "a", bytes(500))
    assert cache.read("modules", "a") == bytes(500)

    cache.write("modules", "b", bytes(500))

    assert cache.read("modules", "a") is None
    assert cache.read("modules", "b") == bytes(500)


def test_what_a_killed_build_left_goes_after_a_day(cache: Cache) -> None:
    cache.write("modules", "a", b"1")
    fresh, old = cache.root / "modules" / ".new-1", cache.root / "modules" / ".new-2"
    fresh.write_bytes(b"")
    old.mkdir()
    two_days_ago = time.time() - 2 * 86400
    os.utime(old, (two_days_ago, two_days_ago))

    cache.write("modules", "b", b"2")

    assert fresh.exists()
    assert not old.exists()


def test_a_folder_is_filled_once(cache: Cache) -> None:
    calls: list[Path] = []

    def fill(folder: Path) -> None:
        calls.append(folder)
        (folder / "file").write_text("x")

    first = cache.folder("dependencies", "ab12", fill)
    second = cache.folder("dependencies", "ab12", fill)

    assert first == second
    assert (first / "file").read_text() == "x"
    assert len(calls) == 1


def test_a_folder_that_could_not_be_filled_leaves_nothing(cache: Cache) -> None:
    def fill(folder: Path) -> None:
        (folder / "file").write_text("x")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.folder("dependencies", "ab12", fill)

    assert list((cache.root / "dependencies").iterdir()) == []


def test_folders_are_evicted_by_the_size_of_their_files(tmp_path: Path) -> None:
    cache = Cache(tmp_path, bounds={"dependencies": 100})

    def fill(folder: Path) -> None:
        (folder / "file").write_bytes(bytes(80))

    first = cache.folder("dependencies", "a", fill)
    second = cache.folder("dependencies", "b", fill)

    assert not first.exists()
    assert second.exists()


def test_of_several_that_want_the_same_folder_one_fills_it(cache: Cache) -> None:
    calls: list[Path] = []

    def fill(folder: Path) -> None:
        calls.append(folder)
        time.sleep(0.05)

    threads = [threading.Thread(target=lambda: cache.folder("dependencies", "ab12", fill)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(calls) == 1


def test_the_lock_holds_between_processes(cache: Cache) -> None:
    program = (
        "import sys; from pathlib import Path; from proxy_wasm.build.cache import Cache\n"
        "with Cache(Path(sys.argv[1])).lock('modules', 'ab12'): print('inside', flush=True)\n"
    )
    with cache.lock("modules", "ab12"):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(cache.root)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
    output, _ = process.communicate(timeout=30)
    assert output.strip() == b"inside"


def test_a_folder_that_cannot_be_used_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file" / "cache")

    with pytest.raises(CacheError, match="PROXY_WASM_CACHE"):
        cache.write("modules", "a", b"")
    with pytest.raises(CacheError, match=str(tmp_path / "file" / "cache")):
        cache.folder("dependencies", "a", lambda _: None)
    assert cache.read("modules", "a") is None


def test_the_users_cache_folder_follows_the_environment() -> None:
    assert default_root({"PROXY_WASM_CACHE": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert default_root({"XDG_CACHE_HOME": "/b"}) == Path("/b/proxy-wasm")
    assert default_root({}) == Path.home() / ".cache" / "proxy-wasm"
