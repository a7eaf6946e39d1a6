"""Files that appear whole or not at all."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from proxy_wasm.build.output import write_whole

FullDisk = Callable[[], AbstractContextManager[None]]


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "new" / "module.wasm"
    write_whole(file, b"old")
    write_whole(file, b"new")
    assert file.read_bytes() == b"new"
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_is_the_same_already_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "module.wasm"
    write_whole(file, b"same")
    inode = file.stat().st_ino
    write_whole(file, b"same")
    assert file.stat().st_ino == inode


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path, full_disk: FullDisk) -> None:
    file = tmp_path / "module.wasm"
    file.write_bytes(b"old")
    with full_disk(), pytest.raises(OSError, match="File too large"):
        write_whole(file, bytes(5000))
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]
