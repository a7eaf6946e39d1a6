from typing import TYPE_CHECKING

from proxy_wasm.envoy import WasmFilter
from proxy_wasm.testing import Proxy, StartProxy

if TYPE_CHECKING:
    from conftest import Build, StartEnvoy


def start_both(start_proxy: StartProxy, vm_id: str, queue: str) -> tuple[Proxy, Proxy]:
    """A consumer of `queue` in VMs with `vm_id`, and a producer in VMs of its own."""
    consumer = start_proxy("shared_state", [queue], root_id="consumer", vm_id=vm_id)
    return consumer, start_proxy("shared_state", root_id="producer", vm_id=f"{vm_id}-producer")


def enqueue(producer: Proxy, vm_id: str, queue: str, *items: str) -> int:
    pairs = [("vm-id", vm_id), ("queue", queue), *(("item", item) for item in items)]
    return producer.get("/", headers=pairs).status


def test_what_one_vm_enqueues_another_one_is_told_of_and_takes_in_order(start_proxy: StartProxy) -> None:
    consumer, producer = start_both(start_proxy, "queue-told", "jobs")
    assert enqueue(producer, "queue-told", "jobs", "a", "b", "c") == 200
    assert [record.message for record in consumer.logs if "jobs: " in record.message] == [
        "jobs: a",
        "jobs: b",
        "jobs: c",
    ]


def test_items_wait_until_they_are_taken(start_proxy: StartProxy) -> None:
    consumer, producer = start_both(start_proxy, "queue-kept", "kept")
    enqueue(producer, "queue-kept", "kept", "a", "b", "c")
    assert consumer.get("/", headers={"queue": "kept", "one": "1"}).json() == ["a"]
    assert consumer.get("/", headers={"queue": "kept"}).json() == ["b", "c"]
    assert consumer.get("/", headers={"queue": "kept"}).json() == []
    assert consumer.get("/", headers={"queue": "kept", "one": "1"}).json() == [None]


def test_a_queue_that_nobody_has_registered_is_refused_with_what_to_do(start_proxy: StartProxy) -> None:
    _, producer = start_both(start_proxy, "queue-known", "known")
    exchange = producer.get("/", headers={"vm-id": "queue-known", "queue": "unknown"})
    assert exchange.status == 404
    assert exchange.text == (
        "no shared queue 'unknown' of vm_id 'queue-known': the plugin that consumes it has to call shared_queue('unknown') before, "
        "in on_configure, in a VM with that vm_id"
    )


def test_queues_of_other_vms_with_the_same_name_are_other_queues(start_proxy: StartProxy) -> None:
    one, producer = start_both(start_proxy, "queue-one", "kept")
    other, _ = start_both(start_proxy, "queue-other", "kept")
    enqueue(producer, "queue-other", "kept", "x")
    assert one.get("/", headers={"queue": "kept"}).json() == []
    assert other.get("/", headers={"queue": "kept"}).json() == ["x"]


def test_every_item_reaches_one_of_several_workers_once(start_envoy: "StartEnvoy", built: "Build") -> None:
    module = built("shared_state")
    consumer = WasmFilter(module, b'["jobs"]', root_id="consumer", vm_id="consumer")
    producer = WasmFilter(module, root_id="producer", vm_id="producer")
    envoy = start_envoy({"consumer": consumer, "producer": producer}, concurrency=4)
    for number in range(50):
        envoy.ask("producer", {"vm-id": "consumer", "queue": "jobs", "item": str(number)})
    envoy.process.wait_for(
        lambda: envoy.process.admin.stats("wasmcustom.consumed").get("wasmcustom.consumed") == 50, "consume", 10
    )
    said = [line.wasm.message for line in envoy.process.new_log_lines() if line.wasm is not None]
    assert sorted(said) == sorted(f"jobs: {number}" for number in range(50))
