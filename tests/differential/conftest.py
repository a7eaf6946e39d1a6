"""One Envoy and two emulators, of the compiled filter and of the same in Python, for all cases."""

from collections.abc import Iterator

import pytest
from scripted.building import build
from scripted.emulated import EmulatedHost
from scripted.hunt import Hunt
from scripted.real import RealHost


@pytest.fixture(scope="session")
def hunt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hunt]:
    module = build(tmp_path_factory.mktemp("scripted") / "filter.wasm")
    with RealHost(module) as real:
        yield Hunt(real, EmulatedHost(module), EmulatedHost(None))
