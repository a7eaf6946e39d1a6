"""What asking OPA costs a request: opa_authz with and without its cache, beside Envoy's own ext_authz filter asking the same OPA.

    python benchmarks/opa_authz.py                       # 7 rounds of 5 seconds for each of the four
    python benchmarks/opa_authz.py --rounds 3 --seconds 1 --json opa_authz.json

One Envoy with one worker has a listener for each: without a filter, with ext_authz, and with opa_authz twice. ext_authz asks an HTTP service (`ext_authz_service.py`, on
aiohttp), which asks OPA; opa_authz asks OPA itself. In every round each listener is loaded twice, in an order that changes: over one connection, which tells
how long a request takes (the middle one of all), and over sixteen, which tells the CPU time that all processes (Envoy, the service, OPA) take for a request. What is compared is what each adds to a
request without a filter, round by round. With a warm cache opa_authz may add at most a fifth of what ext_authz does, in time and in CPU; status 1 where it adds more.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from proxy_wasm.bench import load
from proxy_wasm.bench.in_envoy import cpu_seconds
from proxy_wasm.bench.load import Wire
from proxy_wasm.bench.report import machine
from proxy_wasm.build import build
from proxy_wasm.envoy import EnvoyProcess, WasmFilter, bootstrap, cluster, encode_request, listener
from proxy_wasm.envoy.configuration import Json, answering_listener

EXTENSION = Path(__file__).parents[1] / "extensions" / "opa_authz"
sys.path.insert(0, str(EXTENSION / "opa_server"))

from opa_process import POLICIES, OpaServer, running_opa  # noqa: E402 - found by the line above

SHARE = 0.2
"""Of what ext_authz adds, what opa_authz may add with a warm cache."""
CONNECTIONS = 16
WARM = 300
"""Requests before the first round."""
BASE, EXT_AUTHZ, ASKING, CACHED = "without a filter", "ext_authz", "opa_authz, no cache", "opa_authz, warm cache"
LATENCY, CPU, RATE = "time of a request", "CPU of a request", "requests per second"

Rounds = dict[str, dict[str, list[float]]]
"""By listener and figure, the rounds."""

REQUEST = encode_request(
    "GET",
    "/public/items?category=books&page=2",
    [
        (b"host", b"shop.example.com"),
        (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        (b"accept-language", b"en-US,en;q=0.5"),
        (b"accept-encoding", b"gzip, deflate, br, zstd"),
        (b"authorization", b"Bearer 3f1b7c52d2a84f0bb0a1c55c9e8a4d7e"),
        (b"x-request-id", b"6e1f2e74-7f6b-4a53-9d35-2f7a4d8f1c90"),
        (b"cache-control", b"no-cache"),
    ],
)


def opa_authz(module: Path, **fields: object) -> Json:
    """The filter's entry in Envoy's configuration."""
    configuration = {"opa_cluster": "opa", "decision_path": "allow_list/allow", "timeout_ms": 10_000, **fields}
    return WasmFilter(module, json.dumps(configuration).encode()).to_json()


def ext_authz() -> Json:
    """Envoy's own filter, which asks the service whether a request may pass."""
    service: Json = {
        "server_uri": {"uri": "http://authorization", "cluster": "authorization", "timeout": "10s"},
        "authorization_request": {"allowed_headers": {"patterns": [{"safe_regex": {"regex": ".*"}}]}},
    }
    typed: Json = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "http_service": service,
    }
    return {"name": "envoy.filters.http.ext_authz", "typed_config": typed}


def with_filter(name: str, entry: Json | None) -> Json:
    """A listener with that filter before the router."""
    configured = listener(name, [])
    if entry is not None:
        configured["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"].insert(0, entry)
    return configured


@contextmanager
def authorization_service(opa: OpaServer) -> Generator[tuple[int, tuple[str, int]]]:
    """The process id and the address of the service that ext_authz asks."""
    program = Path(__file__).with_name("ext_authz") / "ext_authz_service.py"
    command = [sys.executable, str(program), f"http://{opa.host}:{opa.port}/v1/data/allow_list/allow"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            host, _, port = (process.stdout.readline() if process.stdout else "").strip().rpartition(":")
            yield process.pid, (host, int(port))
        finally:
            process.terminate()


def measure(rounds: int, seconds: float) -> tuple[Rounds, str]:
    """The rounds, and which OPA it was."""
    module = build(EXTENSION).path
    cache = {"ttl_seconds": 3600, "key": ["method", "path", "headers.authorization", "source_principal"]}
    entries: dict[str, Json | None] = {
        BASE: None,
        EXT_AUTHZ: ext_authz(),
        ASKING: opa_authz(module),
        CACHED: opa_authz(module, cache=cache),
    }
    with ExitStack() as stack:
        opa = stack.enter_context(running_opa())
        opa.load(POLICIES)
        service, address = stack.enter_context(authorization_service(opa))
        upstream = stack.enter_context(EnvoyProcess(bootstrap(listeners=[answering_listener("upstream")])))
        clusters = [
            cluster(*upstream.admin.listeners()["upstream"]),
            cluster(opa.host, opa.port, name="opa"),
            cluster(*address, name="authorization"),
        ]
        listeners = [with_filter(name, entry) for name, entry in entries.items()]
        envoy = stack.enter_context(
            EnvoyProcess(bootstrap(clusters=clusters, listeners=listeners), wasm_log_level="warning")
        )
        addresses = envoy.admin.listeners()
        wire = Wire(REQUEST, 204)
        for name in entries:
            outcomes = load.counted(addresses[name], [wire], WARM)
            if set(outcomes) != {(204, 204)}:
                sys.exit(f"{name}: requests were not all let through: {dict(outcomes)}")
        found: Rounds = {name: {LATENCY: [], CPU: [], RATE: []} for name in entries}
        pids = [envoy.pid, service, opa.pid]
        for number in range(rounds):
            names = list(entries)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                load_one(found[name], addresses[name], wire, seconds, pids)
    return found, opa.name


def load_one(
    found: dict[str, list[float]], address: tuple[str, int], wire: Wire, seconds: float, pids: list[int]
) -> None:
    """One round of one listener."""
    found[LATENCY].append(statistics.median(times_of_requests(address, wire, seconds)))
    before = sum(map(cpu_seconds, pids))
    many = load.timed(address, [wire], seconds, connections=CONNECTIONS)
    time.sleep(0.05)  # the last of it is written down
    found[CPU].append((sum(map(cpu_seconds, pids)) - before) / many.requests)
    found[RATE].append(many.requests / many.seconds)
    if many.refused:
        sys.exit("some requests were refused")


def times_of_requests(address: tuple[str, int], wire: Wire, seconds: float) -> list[float]:
    """How long each request takes, one after the other over one connection."""
    times: list[float] = []
    deadline = time.perf_counter() + seconds
    with socket.create_connection(address, load.SILENCE) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.perf_counter() < deadline:
            start = time.perf_counter()
            client.sendall(wire.data)
            received = b""
            while (end := load.response_end(received, 0)) is None:
                received += client.recv(65536) or sys.exit("the proxy closed a connection")
            times.append(time.perf_counter() - start)
            if end[0] != wire.due:
                sys.exit(f"a request was answered with {end[0]}")
    return times


def added(found: Rounds, name: str, figure: str) -> list[float]:
    """What a listener adds, round by round."""
    return [value - base for value, base in zip(found[name][figure], found[BASE][figure], strict=True)]


def report(found: Rounds) -> bool:
    """Print a table; whether a target is missed."""
    print(f"{'':24}{'time':>10}{'added':>10}{'CPU':>10}{'added':>10}{'requests/s':>13}")
    for name, figures in found.items():
        row = "".join(
            f"{statistics.median(values) * 1e6:7.0f} µs"
            for values in (figures[LATENCY], added(found, name, LATENCY), figures[CPU], added(found, name, CPU))
        )
        print(f"{name:24}{row}{statistics.median(figures[RATE]):13,.0f}")
    missed = False
    print()
    for figure in (LATENCY, CPU):
        pairs = zip(added(found, CACHED, figure), added(found, EXT_AUTHZ, figure), strict=True)
        shares = [ours / theirs for ours, theirs in pairs]
        share = statistics.median(shares)
        missed |= share > SHARE
        verdict = "met" if share <= SHARE else "MISSED"
        spread = f"{min(shares):.1%} to {max(shares):.1%}"
        print(f"{figure}, warm cache beside ext_authz: {share:.1%} ({spread}), target {SHARE:.0%}: {verdict}")
    return missed


def main() -> int:
    """Measure, print, and return 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="of load, for each listener and number of connections"
    )
    parser.add_argument("--json", type=Path, help="write every measurement there")
    arguments = parser.parse_args()
    found, opa = measure(arguments.rounds, arguments.seconds)
    print(f"{machine()}; {opa}; {load.generator()}; medians of {arguments.rounds} rounds\n")
    missed = report(found)
    if arguments.json:
        document: Mapping[str, Any] = {"machine": machine(), "opa": opa, "load": load.generator(), "seconds": found}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
