"""Whether a request costs the same after many others, beside many open streams, and in proportion to its headers; and what it costs that a filter remembers requests."""

import itertools
import socket
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from benchmarks.peers.contenders import PEERS
from benchmarks.peers.modules import Modules
from benchmarks.peers.proxies import CONNECTIONS, Proxy, Scene, WorkFailed
from benchmarks.peers.results import Curve, Results
from benchmarks.peers.works import HEADERS, PATH, WORKS, Work

from proxy_wasm.bench import load
from proxy_wasm.bench.load import Wire
from proxy_wasm.envoy import encode_request

Progress = Callable[[str], None]

WORK = WORKS["header_edit"]
HEADER_COUNTS = (1, 2, 4, 8, 16, 24, 32, 48)
STREAM_COUNTS = (1, 10, 100, 1000)
PATHS_WORK = WORKS["basic_auth"]
PATH_COUNTS = (1, 100, 1000, 4000)
"""The last is far more than basic_auth remembers, so that it judges each request anew."""
FIRST = (1, 10, 100, 1000)
"""Numbers of requests after which the first costs are told."""
STEPS = 10
"""Equal parts of all requests whose costs are compared."""
TURN = 10_000
"""Requests after which it is another peer's turn."""
_ARRIVAL_SECONDS = 20


def over_requests(results: Results, scene: Scene, modules: Modules, peers: Sequence[str], progress: Progress) -> None:
    """What each request costs from the first one of a fresh Envoy to the last of many; the peers take turns, so that what disturbs one disturbs all."""
    total = results.options["requests"]
    marks = sorted({*(count for count in FIRST if count < total // STEPS), *_steps(total)})
    with ExitStack() as stack:
        proxies = [
            (stack.enter_context(scene.proxy(PEERS[peer], [WORK], modules, checked=False)), Curve("requests", peer))
            for peer in peers
        ]
        sent = 0
        for turn, mark in enumerate(marks):
            progress(f"{mark:,} of {total:,} requests")
            taken = {curve.peer: 0.0 for _, curve in proxies}
            for share in _shares(mark - sent):
                for proxy, curve in _rotated(proxies, turn):
                    before = proxy.cpu_seconds
                    _send(proxy, share)
                    taken[curve.peer] += proxy.cpu_seconds - before
            for proxy, curve in proxies:
                curve.cpu[mark] = [taken[curve.peer] / (mark - sent)]
                curve.resident[mark] = proxy.resident_bytes
                proxy.raise_failures(WORK.name)
            sent = mark
        results.curves += [curve for _, curve in proxies]


def _shares(count: int) -> list[int]:
    """Parts of so many requests, each of them `TURN` at most."""
    return [min(TURN, count - start) for start in range(0, count, TURN)]


def _steps(total: int) -> list[int]:
    return [max(1, total * number // STEPS) for number in range(1, STEPS + 1)]


def _send(proxy: Proxy, count: int) -> None:
    batches = itertools.repeat((WORK.wire,), count)
    outcomes = load.send_all(proxy.addresses[WORK.name], iter(batches), connections=min(count, CONNECTIONS))
    if wrong := {actual for due, actual in outcomes if due != actual}:
        raise WorkFailed(f"{proxy.peer.title}: answered with {wrong}")


def over_streams(results: Results, scene: Scene, modules: Modules, peers: Sequence[str], progress: Progress) -> None:
    """What a request costs while other streams wait for the rest of their bodies."""
    rounds, seconds = results.options["rounds"], results.options["seconds"]
    curves = [Curve("streams", peer) for peer in peers]
    with ExitStack() as stack:
        proxies = [stack.enter_context(scene.proxy(PEERS[peer], [WORK], modules)) for peer in peers]
        for proxy in proxies:
            scene.check(proxy, WORK)
        for number in range(rounds):
            progress(f"open streams, round {number + 1} of {rounds}")
            for count in STREAM_COUNTS:
                for proxy, curve in _rotated(list(zip(proxies, curves, strict=True)), number):
                    with _open_streams(proxy, count):
                        curve.cpu.setdefault(count, []).append(proxy.cost(WORK.name, [WORK.wire], seconds)[0])
                        curve.resident.setdefault(count, proxy.resident_bytes)
    results.curves += curves


@contextmanager
def _open_streams(proxy: Proxy, count: int) -> Generator[None]:
    """So many requests whose headers have passed the filter and whose bodies are not whole; they are ended afterwards."""
    data = encode_request("POST", PATH, [*HEADERS, (b"content-length", b"2")])
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(proxy.addresses[WORK.name], load.SILENCE))
            for _ in range(count)
        ]
        for client in clients:
            client.sendall(data + b"a")
        deadline = time.monotonic() + _ARRIVAL_SECONDS
        while proxy.envoy.admin.stats("^cluster.upstream.upstream_rq_active$").popitem()[1] < count:
            if time.monotonic() > deadline:
                raise WorkFailed(f"{proxy.peer.title}: {count} streams could not be opened")
            time.sleep(0.02)
        yield
        for client in clients:
            client.sendall(b"b")
        for client in clients:
            if b" 200 " not in client.recv(4096):
                raise WorkFailed(f"{proxy.peer.title}: a stream that was open for a while was not answered")


def over_headers(results: Results, scene: Scene, modules: Modules, peers: Sequence[str], progress: Progress) -> None:
    """What a request costs by the number of its headers, all of which are read."""
    wires = {count: [_with_headers(count)] for count in HEADER_COUNTS}
    _over_wires(results, scene, modules, [Curve("headers", peer) for peer in peers], WORK, wires, progress)


def over_paths(results: Results, scene: Scene, modules: Modules, peers: Sequence[str], progress: Progress) -> None:
    """What basic_auth costs when requests for so many paths come in turn."""
    wires = {count: [_with_path(number) for number in range(count)] for count in PATH_COUNTS}
    _over_wires(results, scene, modules, [Curve("paths", peer) for peer in peers], PATHS_WORK, wires, progress)


def _over_wires(
    results: Results,
    scene: Scene,
    modules: Modules,
    curves: Sequence[Curve],
    work: Work,
    wires: Mapping[int, Sequence[Wire]],
    progress: Progress,
) -> None:
    """Fill in `curves`, which are of one kind: the cost of requests of `wires`, by the number that they are under."""
    rounds, seconds = results.options["rounds"], results.options["seconds"]
    with ExitStack() as stack:
        proxies = [stack.enter_context(scene.proxy(PEERS[curve.peer], [work], modules)) for curve in curves]
        for proxy in proxies:
            scene.check(proxy, work)
        for number in range(rounds):
            progress(f"numbers of {curves[0].kind}, round {number + 1} of {rounds}")
            for count, those in wires.items():
                for proxy, curve in _rotated(list(zip(proxies, curves, strict=True)), number):
                    curve.cpu.setdefault(count, []).append(proxy.cost(work.name, those, seconds)[0])
    results.curves += curves


def _with_path(number: int) -> Wire:
    return Wire(encode_request("GET", f"/catalog/items/{number:05}?page=2", HEADERS), 200)


def _with_headers(count: int) -> Wire:
    """A request with so many headers, of like sizes."""
    headers = [(b"host", b"shop.example.com")]
    headers += [(b"x-header-%02d" % number, b"value %02d of a header" % number) for number in range(1, count)]
    return Wire(encode_request("GET", PATH, headers), 200)


def _rotated(pairs: list[tuple[Proxy, Curve]], number: int) -> list[tuple[Proxy, Curve]]:
    turn = number % len(pairs)
    return pairs[turn:] + pairs[:turn]
