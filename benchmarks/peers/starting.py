"""How long an Envoy takes until it answers, and the memory that it takes with more and more workers."""

import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.peers.contenders import GO, PEERS, PYTHON, C
from benchmarks.peers.modules import BASIC_AUTH, Modules
from benchmarks.peers.proxies import Scene, WorkFailed
from benchmarks.peers.results import Results, Size, Start
from benchmarks.peers.works import WORKS

from proxy_wasm.bench import load
from proxy_wasm.envoy import send

WORK = WORKS[BASIC_AUTH]
WORKERS = (1, 2, 4, 8)
REQUESTS = 4000
"""After which memory is looked at: every worker has had some."""


def measure(
    results: Results, scene: Scene, modules: Modules, peers: Sequence[str], progress: Callable[[str], None]
) -> None:
    """Fill in sizes and starts, in rounds that start each peer's Envoy once with each number of workers."""
    rounds = results.options["rounds"]
    results.sizes += [_size(peer, modules.of(peer, BASIC_AUTH)) for peer in (PYTHON, GO, C) if peer in peers]
    starts = [Start(peer, workers) for workers in WORKERS for peer in peers]
    for number in range(rounds):
        progress(f"starts, round {number + 1} of {rounds}")
        turn = number % len(starts)
        for start in starts[turn:] + starts[:turn]:
            _start(start, scene, modules)
    results.starts += starts


def _start(start: Start, scene: Scene, modules: Modules) -> None:
    peer = PEERS[start.peer]
    began = time.perf_counter()
    with scene.proxy(peer, [WORK], modules, concurrency=start.workers, checked=False) as proxy:
        address = proxy.addresses[WORK.name]
        reply = send(address, WORK.wire.data)
        elapsed = time.perf_counter() - began
        if reply.message is None or b"200" not in reply.message.start:
            raise WorkFailed(f"{peer.title}, {start.workers} workers: the first request was not let through")
        load.counted(address, [WORK.wire, WORK.wire], REQUESTS)
        proxy.raise_failures(WORK.name)
        start.ready.append(elapsed)
        start.resident.append(proxy.resident_bytes)


def _size(peer: str, module: Path) -> Size:
    data = module.read_bytes()
    return Size(peer, len(data), len(zlib.compress(data, 9)))
