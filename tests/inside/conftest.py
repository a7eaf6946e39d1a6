import pytest

from proxy_wasm.testing import Proxy, StartProxy


@pytest.fixture
def probe(start_proxy: StartProxy) -> Proxy:
    """The filter that does as it is told."""
    return start_proxy("probe", root_id="probe")
