from collections.abc import Iterator
from pathlib import Path

import pytest
from wasmtime import wat2wasm

from proxy_wasm.envoy import FilteringEnvoy, RunningFilter, WasmFilter


@pytest.fixture(scope="session")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`filter.wat`, assembled."""
    path = tmp_path_factory.mktemp("module") / "filter.wasm"
    path.write_bytes(wat2wasm((Path(__file__).parent / "filter.wat").read_text()))
    return path


@pytest.fixture(scope="module")
def envoy() -> Iterator[FilteringEnvoy]:
    with FilteringEnvoy() as running:
        yield running


@pytest.fixture
def running(envoy: FilteringEnvoy, module: Path) -> Iterator[RunningFilter]:
    """The filter of `filter.wat` in a living Envoy."""
    added = envoy.add(WasmFilter(module, configuration=b"hello"))
    yield added
    added.remove()
