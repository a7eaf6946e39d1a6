"""Many requests through one Envoy worker at full speed: whether every answer is right, and memory stays the same.

    python benchmarks/soak.py                        # 100,000 requests, then 200,000 more
    python benchmarks/soak.py --first 5000 --further 15000

Requests that basic_auth denies, accepts and does not mind are mixed, on several connections at once and pipelined on each. Every status is
compared with the one that is due. What Envoy's memory grows by in the second part is printed; status 1 where a status was wrong or the growth is
above the target. Envoy answers the accepted requests itself, so that no upstream slows it down.
"""

import argparse
import base64
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from proxy_wasm.bench.load import CONNECTIONS, LoadFailed, Wire, counted
from proxy_wasm.build import build
from proxy_wasm.envoy import EnvoyProcess, WasmFilter, bootstrap, encode_request, listener

EXTENSION = Path(__file__).parents[1] / "extensions" / "basic_auth"
CONFIGURATION = {
    "basic_auth_rules": [{"prefix": "/admin", "request_methods": ["GET", "POST"], "credentials": ["alice:secret"]}],
    "forward_username_header": "x-authenticated-user",
    "remove_authorization_header": True,
}
TARGET = 3.0
"""MB that Envoy's memory may grow by in the second part."""


def _request(method: str, path: str, credentials: str | None = None) -> bytes:
    headers = [(b"host", b"example.com"), (b"user-agent", b"soak"), (b"accept", b"*/*")]
    if credentials is not None:
        headers.append((b"authorization", b"Basic " + base64.b64encode(credentials.encode())))
    return encode_request(method, path, headers)


MIX = [
    (_request("GET", "/admin/users"), 401),
    (_request("GET", "/admin/users", "alice:secret"), 200),
    (_request("GET", "/public"), 200),
    (_request("POST", "/admin", "alice:secret"), 200),
    (_request("GET", "/admin/users", "alice:wrong"), 401),
    (_request("GET", "/admin/users?a=b", "mallory:" + "x" * 200), 401),
    (_request("PUT", "/admin", "alice:wrong"), 200),
    (_request("GET", "//admin/%75sers"), 401),
]
"""Requests, and the status that is due for each."""


def soak(address: tuple[str, int], count: int, mix: Sequence[tuple[bytes, int]]) -> Counter[tuple[int, int]]:
    """Send at least `count` requests of `mix`; how often each pair of due and actual status came."""
    wires = [Wire(data, due) for data, due in mix]
    try:
        outcomes = counted(address, wires, count)
    except LoadFailed as error:
        raise SystemExit(str(error)) from error
    return Counter({(due, actual): times for (due, actual), times in outcomes.items() if due is not None})


def resident_megabytes(pid: int) -> float:
    """The memory that a process has in use."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    (kilobytes,) = re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kilobytes) * 1024 / 1e6


def proxy(module: Path) -> EnvoyProcess:
    """An Envoy with one worker and basic_auth in it that answers accepted requests itself."""
    configured = listener("soak", [WasmFilter(module, json.dumps(CONFIGURATION).encode())])
    manager = configured["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    answer = {"status": 200, "body": {"inline_string": "ok\n"}}
    host["routes"] = [{"match": {"prefix": "/"}, "direct_response": answer}]
    return EnvoyProcess(bootstrap(listeners=[configured]), wasm_log_level="warning")


def report(
    outcomes: Counter[tuple[int, int]], seconds: list[float], resident: list[float], target: float, *, workers: int
) -> bool:
    """Print what came out; whether a status was wrong or the growth above the target."""
    total = outcomes.total()
    print(
        f"{total:,} requests in {sum(seconds):.1f} s, {total / sum(seconds):,.0f} a second, "
        f"on {workers} worker{'s' if workers > 1 else ''} with {CONNECTIONS} connections"
    )
    for (due, actual), count in sorted(outcomes.items()):
        print(f"  {count:>9,} answered with {actual}" + ("" if due == actual else f" instead of {due}"))
    growth = resident[1] - resident[0]
    missed = any(due != actual for due, actual in outcomes) or growth > target
    print(f"memory after the first part: {resident[0]:.1f} MB; after all: {resident[1]:.1f} MB")
    print(f"growth {growth:+.1f} MB, target {target:.1f}: {'MISSED' if missed else 'met'}")
    return missed


def main() -> int:
    """Measure, print, and return 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=100_000, help="requests before memory is measured")
    parser.add_argument("--further", type=int, default=200_000, help="requests in which it must not grow")
    parser.add_argument("--target", type=float, default=TARGET, help="MB that it may grow by")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    module = build(EXTENSION).path
    with proxy(module) as envoy:
        address = envoy.admin.listeners()["soak"]
        outcomes = Counter[tuple[int, int]]()
        resident: list[float] = []
        seconds: list[float] = []
        for count in (arguments.first, arguments.further):
            start = time.perf_counter()
            outcomes += soak(address, count, MIX)
            seconds.append(time.perf_counter() - start)
            resident.append(resident_megabytes(envoy.pid))
    missed = report(outcomes, seconds, resident, arguments.target, workers=1)
    if arguments.json:
        wrong = sum(count for (due, actual), count in outcomes.items() if due != actual)
        figures = {
            "requests": outcomes.total(),
            "wrong": wrong,
            "seconds": seconds,
            "resident_megabytes": resident,
        }
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
