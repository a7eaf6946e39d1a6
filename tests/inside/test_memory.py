"""Requests that ask for more memory than there is."""

import pytest

from proxy_wasm.testing import Proxy, StartProxy

HUGE = ("one huge block", "one huge number", "one huge list")
GROWING = ("blocks", "texts", "doubling", "a dict")


def assert_refused(proxy: Proxy, what: str) -> None:
    exchange = proxy.get("/", headers={"act": f"allocate {what}"}, timeout=60)
    assert (exchange.status, exchange.details) == (500, "python_exception"), what
    assert any("MemoryError" in record.message for record in exchange.logs), what
    assert proxy.get("/").status == 200, what
    assert proxy.get("/", headers={"act": "library"}).status == 200, what


@pytest.mark.hosts("wasm", "envoy")
def test_a_request_for_more_than_all_memory_is_answered_with_500_and_the_next_one_served(probe: Proxy) -> None:
    for what in HUGE:
        assert_refused(probe, what)


@pytest.mark.hosts("wasm", "envoy")
def test_requests_that_take_all_memory_are_answered_with_500_and_the_next_ones_served(start_proxy: StartProxy) -> None:
    proxy = start_proxy("probe", root_id="probe", isolated=True)
    for what in GROWING:
        assert_refused(proxy, what)
