"""Three plugins: one that counts in shared data, one that enqueues what requests bring, one that consumes it. They answer in JSON."""

import json
import logging
import uuid
from typing import Any

from proxy_wasm import Action, Headers, HttpContext, PluginContext, SharedQueue, UnknownQueueError, UpdateConflictError

logger = logging.getLogger(__name__)


class Counter(PluginContext):
    def on_configure(self) -> None:
        self.worker = uuid.uuid4().hex
        """Another one in every VM."""

    def http_context(self) -> HttpContext[Any]:
        return CountingStream(self)


class CountingStream(HttpContext[Counter]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action:
        act, *arguments = json.loads(headers["act"])
        return self.send_local_response(200, body=json.dumps(getattr(self, act)(*arguments)))

    def count(self, keys: list[str], times: int) -> object:
        """Add one to each key, that often; what the counts were on the way, who counted, and how many attempts it took."""
        calls = 0

        def add_one(value: bytes | None) -> str:
            nonlocal calls
            calls += 1
            return str(int(value or 0) + 1)

        reached = [int(self.shared_data.update(key, add_one, attempts=100_000)) for _ in range(times) for key in keys]
        return {"worker": self.plugin.worker, "reached": reached, "calls": calls}

    def get(self, key: str) -> object:
        value = self.shared_data.get(key)
        return None if value is None else value.decode()

    def set(self, key: str, value: str) -> object:
        return self.shared_data.set(key, value)

    def swap_twice(self, key: str) -> object:
        """Two writers that have read the same: whose writing succeeds, and what is there after."""
        _, cas = self.shared_data.get_with_cas(key)
        written = [self.shared_data.compare_and_swap(key, value, cas) for value in ("first", "second")]
        return [written, self.get(key)]

    def update_against(self, key: str, attempts: int) -> object:
        """Update while somebody else changes the value each time."""

        def meanwhile(value: bytes | None) -> bytes:
            self.shared_data.set(key, "theirs")
            return b"ours"

        try:
            return self.shared_data.update(key, meanwhile, attempts=attempts).decode()
        except UpdateConflictError as error:
            return [type(error).__name__, str(error)]


class Producer(PluginContext):
    def http_context(self) -> HttpContext[Any]:
        return ProducingStream(self)


class ProducingStream(HttpContext[Producer]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action:
        try:
            queue = self.resolve_queue(headers.get("vm-id", ""), headers["queue"])
        except UnknownQueueError as error:
            return self.send_local_response(404, body=str(error))
        for item in headers.getall("item"):
            queue.enqueue(item)
        return self.send_local_response(200)


class Consumer(PluginContext):
    """Its configuration names its queues; one whose name begins with "kept" is consumed by requests only."""

    def on_configure(self) -> None:
        self.consumed = self.counter("consumed")
        self.queues = [self.shared_queue(name) for name in self.configuration.json()]

    def on_queue_ready(self, queue: SharedQueue) -> None:
        if queue.name.startswith("kept"):
            return
        for item in queue.drain():
            logger.info("%s: %s", queue.name, item.decode())
            self.consumed.increment()

    def http_context(self) -> HttpContext[Any]:
        return ConsumingStream(self)


class ConsumingStream(HttpContext[Consumer]):
    def on_request_headers(self, headers: Headers, end_of_stream: bool) -> Action:
        (queue,) = (queue for queue in self.plugin.queues if queue.name == headers["queue"])
        items = [queue.dequeue()] if headers.get("one") else list(queue.drain())
        return self.send_local_response(
            200, body=json.dumps([item if item is None else item.decode() for item in items])
        )
