from collections.abc import Iterator
from pathlib import Path

import pytest
from wasmtime import wat2wasm

from proxy_wasm.envoy import FilteringEnvoy, RunningFilter, WasmFilter


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


def assembled(name: str, directory: Path) -> Path:
    path = directory / f"{name}.wasm"
    path.write_bytes(wat2wasm((Path(__file__).parent / f"{name}.wat").read_text()))
    return path


@pytest.fixture(scope="session")
def calls(tmp_path_factory: pytest.TempPathFactory) -> WasmFilter:
    """The filter of `calls.wat`."""
    return WasmFilter(assembled("calls", tmp_path_factory.mktemp("calls")))


@pytest.fixture(scope="session")
def connections(tmp_path_factory: pytest.TempPathFactory) -> WasmFilter:
    """The filter of `connections.wat`."""
    return WasmFilter(assembled("connections", tmp_path_factory.mktemp("connections")))


@pytest.fixture
def running_calls(envoy: FilteringEnvoy, calls: WasmFilter) -> Iterator[RunningFilter]:
    """The filter of `calls.wat` in a living Envoy."""
    added = envoy.add(calls)
    yield added
    added.remove()


@pytest.fixture
def module_refusing(module: Path) -> WasmFilter:
    """A filter that refuses its configuration."""
    return WasmFilter(module, configuration=b"!no")
