"""Shared queues: what one VM enqueues, another one, of whatever filter and thread of the same proxy process, dequeues."""

from collections.abc import Iterator

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.hostcalls import Hostcalls, HostError
from proxy_wasm.body import Data, octets
from proxy_wasm.errors import UnknownQueueError


class SharedQueue:
    """A queue of bytes, first in, first out; made by `shared_queue` of a plugin that consumes it, `resolve_queue` elsewhere.

    It may be used in every callback. It is there until the last VM with the `vm_id` of its consumer is gone; from then on its methods raise
    `UnknownQueueError`.
    """

    __slots__ = ("_hostcalls", "id", "name", "vm_id")

    name: str
    """Its name within `vm_id`."""
    vm_id: str | None
    """The `vm_id` of the VMs that consume it; `None` where these are this VM's own."""
    id: int
    """The proxy's number for it."""

    def __init__(self, hostcalls: Hostcalls, queue_id: int, name: str, vm_id: str | None = None) -> None:
        self.name = name
        self.vm_id = vm_id
        self.id = queue_id
        self._hostcalls = hostcalls

    def __repr__(self) -> str:
        return f"<SharedQueue {self.name!r}>"

    def enqueue(self, data: Data, /) -> None:
        """Add `data` at the end, and wake the consumer: `on_queue_ready` of the plugin that registered the queue last."""
        try:
            self._hostcalls.enqueue_shared_queue(self.id, octets(data))
        except HostError as error:
            raise self._explained(error) from None

    def dequeue(self) -> bytes | None:
        """Take what is first in the queue; `None` where it is empty."""
        try:
            return self._hostcalls.dequeue_shared_queue(self.id)
        except HostError as error:
            if error.status is Status.EMPTY:
                return None
            raise self._explained(error) from None

    def drain(self) -> Iterator[bytes]:
        """Take everything, what is added meanwhile included: `for item in queue.drain()`."""
        while (data := self.dequeue()) is not None:
            yield data

    def _explained(self, error: HostError) -> Exception:
        return UnknownQueueError(self.name, self.vm_id) if error.status is Status.NOT_FOUND else error


def register(hostcalls: Hostcalls, name: str) -> SharedQueue:
    """The queue `name` of this VM's `vm_id`, made if need be; from now on the calling plugin hears of what arrives."""
    return SharedQueue(hostcalls, hostcalls.register_shared_queue(octets(name)), name)


def resolve(hostcalls: Hostcalls, vm_id: str, name: str) -> SharedQueue:
    """The queue that VMs with `vm_id` (this VM's own, if empty) consume; `UnknownQueueError` where none has registered it."""
    try:
        return SharedQueue(hostcalls, hostcalls.resolve_shared_queue(octets(vm_id), octets(name)), name, vm_id or None)
    except HostError as error:
        if error.status is Status.NOT_FOUND:
            raise UnknownQueueError(name, vm_id or None) from None
        raise
