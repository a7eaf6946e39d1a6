"""An Open Policy Agent for all tests of this folder, and words about which one it is."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [path for path in (str(HERE), str(HERE / "opa_server")) if path not in sys.path]

from opa_process import POLICIES, OpaServer, running_opa  # noqa: E402 - found by the line above

_RAN = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def opa(request: pytest.FixtureRequest) -> Iterator[OpaServer]:
    """A server with the example policies."""
    with running_opa() as server:
        request.config.stash[_RAN] = server.name
        server.load(POLICIES)
        yield server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which OPA was asked."""
    if name := config.stash.get(_RAN, ""):
        terminalreporter.write_line(f"opa_authz: asked {name}")
