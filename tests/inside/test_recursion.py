"""No recursion kills the VM: each program of `probe/recursion` ends in an exception or a result, the same in Envoy and in the emulator."""

import pytest

from proxy_wasm.testing import Exchange, Proxy

GROUPS = ("calls", "containers", "exceptions", "generators", "iterators", "objects", "source", "text", "wrappers")


def ending(exchange: Exchange) -> str:
    """How the program ended, as it says itself, or what the proxy says where it cannot any more."""
    said = [record.message for record in exchange.logs if record.message.startswith("ended: ")]
    if len(said) == 1 and exchange.status == (200 if said == ["ended: returned"] else 500):
        return said[0].removeprefix("ended: ")
    return f"status {exchange.status}: {[record.message for record in exchange.logs]}"


@pytest.mark.hosts("wasm", "envoy")
@pytest.mark.parametrize("group", GROUPS)
def test_recursion_ends_in_an_exception_or_a_result_and_the_next_request_is_served(probe: Proxy, group: str) -> None:
    expected = probe.get("/", headers={"list": group}).json()
    assert expected
    endings: dict[str, str] = {}
    for case in expected:
        endings[case] = ending(probe.get("/", headers={"group": group, "case": case}, timeout=60))
        if probe.get("/").status != 200:
            endings[case] += ", and the next request was not served"
            break
    assert endings == expected
