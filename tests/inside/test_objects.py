"""A stream's object is new, whatever the one before it did to itself or to its class: a module makes and reuses objects without the interpreter."""

import json
from typing import Any

import pytest

from proxy_wasm.testing import Proxy, StartProxy

pytestmark = pytest.mark.hosts("wasm", "envoy")  # each test changes the classes of a VM of its own

FRESH: dict[str, object] = {
    "kind": "Stream",
    "attributes": [],
    "plugin": True,
    "numbers are apart": True,
    "kept": [],
    "alive": 0,
    "gone": False,
}


@pytest.fixture
def proxy(start_proxy: StartProxy, request: pytest.FixtureRequest) -> Proxy:
    return start_proxy("objects", configuration=request.node.name)


def told(proxy: Proxy, act: str = "") -> dict[str, Any]:
    """What the stream of a request that asks for `act` told at its beginning, and `response`, of its end."""
    exchange = proxy.get("/", headers={"act": act} if act else {})
    assert exchange.upstream is not None
    return {**json.loads(exchange.upstream.headers["x-told"]), "response": exchange.headers["x-response"]}


def fresh(**changed: object) -> dict[str, object]:
    return {**FRESH, "response": "Stream's", **changed}


@pytest.mark.parametrize("act", ["mark", "mark by dictionary", "refer", "give up plugin"])
def test_nothing_of_a_stream_is_left_in_the_next(proxy: Proxy, act: str) -> None:
    for _ in range(3):
        assert told(proxy) == fresh()
        assert told(proxy, act) == fresh()
        assert told(proxy) == fresh()


def test_an_object_that_is_kept_is_not_used_again(proxy: Proxy) -> None:
    told(proxy)
    assert told(proxy, "keep") == fresh()
    assert told(proxy, "mark") == fresh(kept=["kept 0"])
    assert told(proxy, "keep") == fresh(kept=["kept 0"])
    for _ in range(3):
        assert told(proxy) == fresh(kept=["kept 0", "kept 1"])


def test_an_attribute_can_stand_in_for_a_method_of_its_own_stream(proxy: Proxy) -> None:
    told(proxy)
    for _ in range(3):
        assert told(proxy, "hide") == fresh(response="the object's")
        assert told(proxy) == fresh()
        assert told(proxy, "mark") == fresh()


def test_a_class_that_changes_has_its_new_methods_from_then_on(proxy: Proxy) -> None:
    told(proxy)
    assert told(proxy, "change method") == fresh(response="the changed class's")
    assert told(proxy) == fresh(response="the changed class's")
    assert told(proxy, "change base") == fresh(response="the base's")
    assert told(proxy) == fresh(response="the base's")


def test_a_class_under_the_same_name_is_used_from_then_on(proxy: Proxy) -> None:
    told(proxy)
    assert told(proxy, "exchange") == fresh()
    for _ in range(3):
        assert told(proxy) == fresh(kind="Exchanged", response="Exchanged's")
    assert told(proxy, "change factory") == fresh(kind="Exchanged", response="Exchanged's")
    for _ in range(3):
        assert told(proxy) == fresh(kind="MadeOtherwise", response="MadeOtherwise's")


def test_streams_with_slots_only_are_made_and_forgotten_as_others(proxy: Proxy) -> None:
    told(proxy)
    assert told(proxy, "deal in slots") == fresh()
    slotted = {"kind": "SlottedStream", "response": "SlottedStream's"}
    for _ in range(2):
        assert told(proxy) == fresh(**slotted)
        assert told(proxy, "mark") == fresh(**slotted)
    assert told(proxy, "keep") == fresh(**slotted)
    assert told(proxy) == fresh(**slotted, kept=["kept 0"])


def test_a_constructor_that_a_class_gets_is_called_from_then_on(proxy: Proxy) -> None:
    told(proxy)
    assert told(proxy, "change constructor") == fresh()
    for _ in range(3):
        assert told(proxy) == fresh(attributes=["mark"])
