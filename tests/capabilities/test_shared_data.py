import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from proxy_wasm.envoy import WasmFilter
from proxy_wasm.testing import Proxy, StartProxy

if TYPE_CHECKING:
    from conftest import Build, RunningEnvoy, StartEnvoy

WORKERS = 4


def act(proxy: Proxy, name: str, *arguments: object) -> Any:  # noqa: ANN401 - JSON is what it is
    return proxy.get("/", headers={"act": json.dumps([name, *arguments])}).json()


def start_counter(start_proxy: StartProxy, vm_id: str = "") -> Proxy:
    return start_proxy("shared_state", root_id="counter", vm_id=vm_id)


def test_what_one_stream_writes_another_reads(start_proxy: StartProxy) -> None:
    proxy = start_counter(start_proxy)
    assert act(proxy, "get", "colour") is None
    act(proxy, "set", "colour", "green")
    assert act(proxy, "get", "colour") == "green"
    act(proxy, "set", "colour", "")
    assert act(proxy, "get", "colour") == ""


def test_of_two_writers_that_read_the_same_the_second_is_refused(start_proxy: StartProxy) -> None:
    proxy = start_counter(start_proxy)
    act(proxy, "set", "there", "before")
    assert act(proxy, "swap_twice", "there") == [[True, False], "first"]


def test_of_two_creators_the_second_is_refused(start_proxy: StartProxy) -> None:
    assert act(start_counter(start_proxy), "swap_twice", "new") == [[True, False], "first"]


def test_an_update_that_others_always_overtake_fails_and_says_what_to_do(start_proxy: StartProxy) -> None:
    proxy = start_counter(start_proxy)
    name, message = act(proxy, "update_against", "contended", 3)
    assert name == "UpdateConflictError"
    assert message.startswith(
        "shared data b'contended': changed by others in each of 3 attempts to update it; allow more attempts"
    )
    assert act(proxy, "get", "contended") == "theirs"


def test_plugins_share_data_where_they_have_the_same_vm_id(start_proxy: StartProxy) -> None:
    writer, reader = (start_counter(start_proxy, "shared-data-one") for _ in range(2))
    stranger = start_counter(start_proxy, "shared-data-other")
    act(writer, "set", "colour", "red")
    assert act(reader, "get", "colour") == "red"
    assert act(stranger, "get", "colour") is None


@pytest.fixture(scope="module")
def envoy(start_envoy: "StartEnvoy", built: "Build") -> "RunningEnvoy":
    counter = WasmFilter(built("shared_state"), root_id="counter", vm_id="counting")
    return start_envoy({"counter": counter}, concurrency=WORKERS)


def count(envoy: "RunningEnvoy", keys: list[str], times: int, requests: int) -> list[Any]:
    """What requests that count at the same time report."""

    def ask(_: int) -> Any:  # noqa: ANN401 - JSON is what it is
        return envoy.ask("counter", {"act": json.dumps(["count", keys, times])})

    with ThreadPoolExecutor(2 * WORKERS) as clients:
        return list(clients.map(ask, range(requests)))


def test_four_workers_count_to_ten_thousand_without_a_loss(envoy: "RunningEnvoy") -> None:
    counted: list[Any] = []
    while (
        len(counted) < 40 or len({answer["worker"] for answer in counted}) < WORKERS
    ):  # any of them may take a connection
        counted += count(envoy, ["total"], times=250, requests=8)
    reached = sorted(number for answer in counted for number in answer["reached"])
    assert reached == list(range(1, len(reached) + 1))
    assert len(reached) >= 10_000


def test_four_workers_that_create_the_same_keys_lose_nothing(envoy: "RunningEnvoy") -> None:
    keys = [f"key-{number}" for number in range(400)]
    counted = count(envoy, keys, times=1, requests=16)
    reached = sorted(number for answer in counted for number in answer["reached"])
    assert reached == sorted(list(range(1, 17)) * len(keys))
