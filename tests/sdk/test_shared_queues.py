from collections.abc import Callable

import pytest

from proxy_wasm import HostError, PluginContext, SharedQueue, Status, UnknownQueueError
from proxy_wasm.emulator import Emulator, native_guest
from proxy_wasm.emulator.shared_state import SharedState
from proxy_wasm.shared_queues import SharedQueue as Queue

plugins: list["Consumer"] = []


class Consumer(PluginContext):
    def on_configure(self) -> None:
        plugins.append(self)
        self.ready: list[tuple[SharedQueue, list[bytes]]] = []
        self.jobs = self.shared_queue("jobs")
        self.events = self.shared_queue("events")
        self.jobs_again = self.shared_queue("jobs")

    def on_queue_ready(self, queue: SharedQueue) -> None:
        self.ready.append((queue, list(queue.drain())))


@pytest.fixture
def shared() -> SharedState:
    plugins.clear()
    return SharedState()


def start(shared: SharedState, vm_id: str) -> Consumer:
    Emulator(native_guest({"": Consumer}), vm_id=vm_id, shared=shared).start_plugin()
    return plugins[-1]


def test_each_queue_of_a_plugin_is_told_of_by_the_object_that_it_got(shared: SharedState) -> None:
    consumer = start(shared, "consumer")
    start(shared, "other").resolve_queue("consumer", "events").enqueue("e")
    shared.run_posted()
    assert consumer.ready == [(consumer.events, [b"e"])]
    assert consumer.ready[0][0] is consumer.events


def test_a_queue_of_ones_own_vms_is_found_without_a_vm_id(shared: SharedState) -> None:
    consumer = start(shared, "consumer")
    assert consumer.resolve_queue("", "jobs").id == consumer.jobs.id
    assert repr(consumer.jobs) == "<SharedQueue 'jobs'>"


def test_registering_a_queue_again_gives_the_same_object(shared: SharedState) -> None:
    consumer = start(shared, "consumer")
    assert consumer.jobs_again is consumer.jobs


def test_a_queue_that_is_not_there_is_named(shared: SharedState) -> None:
    consumer = start(shared, "consumer")
    with pytest.raises(UnknownQueueError, match="no shared queue 'nope' of vm_id 'else'") as raised:
        consumer.resolve_queue("else", "nope")
    assert (raised.value.vm_id, raised.value.name) == ("else", "nope")
    with pytest.raises(UnknownQueueError, match="no shared queue 'nope' of this VM's own vm_id"):
        consumer.resolve_queue("", "nope")


class Gone:
    """The hostcalls of a proxy that has no queues."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def enqueue_shared_queue(self, queue_id: int, value: bytes) -> None:
        raise HostError("enqueue_shared_queue", self._status)

    def dequeue_shared_queue(self, queue_id: int) -> bytes:
        raise HostError("dequeue_shared_queue", self._status)


def uses(status: Status) -> list[Callable[[], object]]:
    queue = Queue(Gone(status), 7, "jobs", "consumer")  # pyright: ignore[reportArgumentType] - those that are needed
    return [lambda: queue.enqueue(b""), queue.dequeue, lambda: list(queue.drain())]


def test_a_queue_whose_consumers_are_gone_is_unknown() -> None:
    for use in uses(Status.NOT_FOUND):
        with pytest.raises(UnknownQueueError, match="no shared queue 'jobs' of vm_id 'consumer'"):
            use()


def test_other_refusals_of_the_proxy_are_raised_as_they_are() -> None:
    for use in uses(Status.INTERNAL_FAILURE):
        with pytest.raises(HostError, match="INTERNAL_FAILURE"):
            use()
