"""Many requests that each wait for something, through two workers at full speed: whether every answer is right, and memory stays the same.

    python benchmarks/soak_waiting.py                        # 100,000 requests, then 400,000 more
    python benchmarks/soak_waiting.py --first 5000 --further 15000

Requests wait for one callout or two at once, for a timer, or for a timeout, and count in shared data, while the plugin ticks and asks in the
background. Callouts go to a second Envoy. At the end every request must have been counted. Status 1 where a status or a count was wrong,
where a stream was left over, or where memory has grown by more than the target.
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from soak import report, resident_megabytes, soak

from proxy_wasm.bench.load import SILENCE
from proxy_wasm.build import build
from proxy_wasm.envoy import EnvoyProcess, WasmFilter, bootstrap, cluster, encode_request, listener
from proxy_wasm.envoy.configuration import Json

FILTER = Path(__file__).parent / "waiting"
TARGET = 5.0
"""MB that Envoy's memory may grow by in the second part."""
WORKERS = 2

OK = 200
_DUE = {"/call": OK, "/both": OK, "/deny": 403, "/sleep": OK, "/late": 504, "/": OK, "/call ": OK, "/both ": OK}
MIX = [
    (encode_request("GET", path.strip(), [(b"host", b"example.com"), (b"user-agent", b"soak")]), status)
    for path, status in _DUE.items()
]
"""Requests, and the status that is due for each."""


def answering(name: str, filters: list[WasmFilter], body: str) -> Json:
    """A listener that answers whatever passes its filters."""
    configured = listener(name, filters)
    (host,) = configured["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    answer = {"status": 200, "body": {"inline_string": body}}
    host["routes"] = [{"match": {"prefix": "/"}, "direct_response": answer}]
    return configured


def custom(envoy: EnvoyProcess) -> dict[str, int]:
    """The filter's metrics."""
    return {name.removeprefix("wasmcustom.soak."): value for name, value in envoy.admin.stats("^wasmcustom").items()}


def settled(envoy: EnvoyProcess) -> dict[str, int] | None:
    """The metrics, once no stream is left; `None` before."""
    metrics = custom(envoy)
    return metrics if metrics["living"] == 0 else None


def main() -> int:
    """Measure, print, and return 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=100_000, help="requests before memory is measured")
    parser.add_argument("--further", type=int, default=400_000, help="requests in which it must not grow")
    parser.add_argument("--target", type=float, default=TARGET, help="MB that it may grow by")
    arguments = parser.parse_args()
    module = build(FILTER).path
    outcomes = Counter[tuple[int, int]]()
    resident: list[float] = []
    seconds: list[float] = []
    with EnvoyProcess(bootstrap(listeners=[answering("answers", [], "alice")])) as answers:
        clusters = [cluster(*answers.admin.listeners()["answers"], name="answers")]
        configuration = bootstrap(
            clusters=clusters, listeners=[answering("soak", [WasmFilter(module, vm_id="soak")], "ok")]
        )
        with EnvoyProcess(configuration, wasm_log_level="warning", concurrency=WORKERS) as envoy:
            address = envoy.admin.listeners()["soak"]
            for count in (arguments.first, arguments.further):
                start = time.perf_counter()
                outcomes += soak(address, count, MIX)
                seconds.append(time.perf_counter() - start)
                resident.append(resident_megabytes(envoy.pid))
            metrics = envoy.wait_for(lambda: settled(envoy), "the end of all streams", SILENCE)
            lines = [line for line in envoy.new_log_lines() if line.logger == "wasm"]
    missed = report(outcomes, seconds, resident, arguments.target, workers=WORKERS)
    print(f"metrics: {metrics}")
    for line in lines:
        print(line)
    # What was denied or late has returned before it was counted.
    counted = metrics["finished"] == sum(count for (due, _), count in outcomes.items() if due == OK)
    print(f"every request was finished: {counted}; log lines: {len(lines)}")
    return int(missed or not counted or metrics["cancelled"] > 0 or bool(lines))


if __name__ == "__main__":
    sys.exit(main())
