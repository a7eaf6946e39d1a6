"""What the tests of several parts share."""

from pathlib import Path

import pytest
from wasmtime import wat2wasm


@pytest.fixture(scope="session")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The filter of envoy/filter.wat, assembled."""
    path = tmp_path_factory.mktemp("module") / "filter.wasm"
    path.write_bytes(wat2wasm((Path(__file__).parent / "envoy" / "filter.wat").read_text()))
    return path
