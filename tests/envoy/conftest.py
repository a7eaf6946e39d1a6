from collections.abc import Iterator
from pathlib import Path

import pytest

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
