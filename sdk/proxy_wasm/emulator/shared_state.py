"""What VMs of one proxy share: key-value data, queues, metrics, the event loop (proxy-wasm-cpp-host, `shared_data.cc`, `shared_queue.cc`)."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy_wasm.abi.enums import Status
from proxy_wasm.abi.hostcalls import HostError
from proxy_wasm.emulator.errors import NeverIdle
from proxy_wasm.emulator.metrics import MetricStore

_MOST_POSTED = 100_000


class SharedData:
    """Values by `vm_id` and key, each with the number of its last change (`cas`)."""

    def __init__(self) -> None:
        self._values: dict[tuple[bytes, bytes], tuple[bytes, int]] = {}
        self._last_cas = 0

    def get(self, vm_id: bytes, key: bytes) -> tuple[bytes, int]:
        found = self._values.get((vm_id, key))
        if found is None:
            raise HostError("get_shared_data", Status.NOT_FOUND)
        return found

    def set(self, vm_id: bytes, key: bytes, value: bytes, cas: int) -> None:
        """A `cas` of 0 matches always; so does any where the key is absent."""
        found = self._values.get((vm_id, key))
        if found is not None and cas not in (0, found[1]):
            raise HostError("set_shared_data", Status.CAS_MISMATCH)
        self._last_cas += 1
        self._values[vm_id, key] = (value, self._last_cas)


@dataclass(slots=True)
class _Queue:
    notify: Callable[[int], None]
    items: deque[bytes] = field(default_factory=deque[bytes])


class SharedQueues:
    """Queues by `vm_id` and name; whoever registered one last hears of new items."""

    def __init__(self) -> None:
        self._ids: dict[tuple[bytes, bytes], int] = {}
        self._queues: dict[int, _Queue] = {}

    def register(self, vm_id: bytes, name: bytes, notify: Callable[[int], None]) -> int:
        """The queue's id. What it holds stays when it is registered again."""
        queue_id = self._ids.setdefault((vm_id, name), len(self._ids) + 1)
        queue = self._queues.setdefault(queue_id, _Queue(notify))
        queue.notify = notify
        return queue_id

    def resolve(self, vm_id: bytes, name: bytes) -> int:
        queue_id = self._ids.get((vm_id, name))
        if queue_id is None:
            raise HostError("resolve_shared_queue", Status.NOT_FOUND)
        return queue_id

    def enqueue(self, queue_id: int, value: bytes) -> None:
        queue = self._find("enqueue_shared_queue", queue_id)
        queue.items.append(value)
        queue.notify(queue_id)

    def dequeue(self, queue_id: int) -> bytes:
        queue = self._find("dequeue_shared_queue", queue_id)
        if not queue.items:
            raise HostError("dequeue_shared_queue", Status.EMPTY)
        return queue.items.popleft()

    def _find(self, hostcall: str, queue_id: int) -> _Queue:
        queue = self._queues.get(queue_id)
        if queue is None:
            raise HostError(hostcall, Status.NOT_FOUND)
        return queue


class SharedState:
    """Give one to several emulators, and their VMs are VMs of one proxy."""

    def __init__(self) -> None:
        self.data = SharedData()
        self.queues = SharedQueues()
        self.metrics = MetricStore()
        self._posted: deque[Callable[[], None]] = deque()

    def post(self, action: Callable[[], None]) -> None:
        """Do `action` once the proxy is done with the event at hand."""
        self._posted.append(action)

    def post_first(self, action: Callable[[], None]) -> None:
        """The same, but before what others wait for."""
        self._posted.appendleft(action)

    def run_posted(self) -> None:
        """The event is over: do what waited for that, and what these actions post in turn. Raises `NeverIdle` where that has no end."""
        for _ in range(_MOST_POSTED):
            if not self._posted:
                return
            self._posted.popleft()()
        self._posted.clear()
        msg = f"{_MOST_POSTED} callbacks and answers followed from one event, and there is no end: does the guest call out, or fill a queue, whenever it is told of an answer, or of the queue?"
        raise NeverIdle(msg)
