"""What the tests of several parts share."""

import resource
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from wasmtime import wat2wasm


@pytest.fixture(scope="session")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The filter of envoy/filter.wat, assembled."""
    path = tmp_path_factory.mktemp("module") / "filter.wasm"
    path.write_bytes(wat2wasm((Path(__file__).parent / "envoy" / "filter.wat").read_text()))
    return path


@pytest.fixture
def full_disk() -> Callable[[], AbstractContextManager[None]]:
    """While it is entered, this process can write no file beyond 1,000 bytes.

    To a program that is as a disk that fills up: a write fails half-way.
    """

    @contextmanager
    def limited() -> Generator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
