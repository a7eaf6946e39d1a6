"""An extension's update under load: whether a single request fails while Envoy goes from one version to the next.

    python benchmarks/update_under_load.py                # 2 minutes
    python benchmarks/update_under_load.py --seconds 20

Two versions of a filter in Python are built, which answer with the status 201 and 202. `proxy-wasm serve` publishes the first to an Envoy with two workers,
that is under load from then on. After a third of the time its file is replaced by the second version, and after another third by one that is
damaged. Every answer is counted; status 1 where one has any other status, a connection broke, or the second version did not come.
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from proxy_wasm.bench.load import LoadFailed, Wire, batches_of, send_all
from proxy_wasm.build import build
from proxy_wasm.envoy import EnvoyProcess, bootstrap, encode_request, listener
from proxy_wasm.envoy.discovery import discovered_filter

WORKERS = 2
CONNECTIONS = 16
UPDATE_SECONDS = 60

PLUGIN = """
from proxy_wasm import Headers, HttpContext, PluginContext


class Shop(PluginContext):
    def http_context(self) -> HttpContext["Shop"]:
        return Stream(self)


class Stream(HttpContext[Shop]):
    def on_response_headers(self, headers: Headers, end_of_stream: bool) -> None:
        headers[":status"] = "STATUS"
"""
PROJECT = """
[project]
name = "shop"
[tool.proxy-wasm]
plugin = "shop:Shop"
"""
SETTINGS = """
interval = 0.2
[extensions.shop]
module = "shop.wasm"
"""


def built(folder: Path, status: int) -> bytes:
    """The module of the version that answers with `status`."""
    project = folder / str(status)
    project.mkdir()
    (project / "shop.py").write_text(PLUGIN.replace("STATUS", str(status)))
    (project / "pyproject.toml").write_text(PROJECT)
    return build(project).module


def replace(path: Path, content: bytes) -> None:
    """Put a file in the place of another."""
    aside = path.with_suffix(".aside")
    aside.write_bytes(content)
    aside.replace(path)


@dataclass(slots=True)
class Load:
    """Requests without a pause, in a thread."""

    address: tuple[str, int]
    statuses: Counter[int] = field(default_factory=Counter[int])
    failure: str = ""
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        wire = Wire(encode_request("GET", "/", [(b"host", b"shop")]))
        batches = itertools.takewhile(lambda _: not self._over.is_set(), batches_of([wire], 1))
        try:
            outcomes = send_all(self.address, batches, connections=CONNECTIONS)
        except (LoadFailed, OSError) as error:
            self.failure = str(error)
        else:
            for (_, status), count in outcomes.items():
                self.statuses[status] += count

    def end(self) -> None:
        """Wait for the last answers."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()


def wait_for(condition: Callable[[], bool], what: str) -> float:
    """How many seconds it took until `condition` came true."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > UPDATE_SECONDS:
            raise SystemExit(f"{what}: not within {UPDATE_SECONDS} seconds")
        time.sleep(0.05)
    return time.monotonic() - start


def proxy(folder: Path) -> EnvoyProcess:
    """An Envoy that answers every request with 200, but for the filter that it gets from the agent."""
    configured = listener("shop", [])
    manager = configured["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    host["routes"] = [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]
    manager["http_filters"].insert(0, discovered_filter("shop", folder / "served" / "shop.json"))
    return EnvoyProcess(bootstrap(listeners=[configured]), concurrency=WORKERS, wasm_log_level="warning")


def measure(folder: Path, seconds: float) -> Load:
    """Update under load; what came of the requests."""
    first, second = built(folder, 201), built(folder, 202)
    replace(folder / "shop.wasm", first)
    (folder / "serve.toml").write_text(SETTINGS)
    served = folder / "served" / "shop.json"
    log = folder / "serve.log"
    with ExitStack() as stack:
        output = stack.enter_context(log.open("wb"))
        command = [sys.executable, "-m", "proxy_wasm.cli", "serve", str(folder / "serve.toml")]
        agent = stack.enter_context(subprocess.Popen(command, stdout=output, stderr=output))
        stack.callback(agent.terminate)
        wait_for(lambda: "published" in log.read_text(), "the first version")
        envoy = stack.enter_context(proxy(folder))
        load = Load(envoy.admin.listeners()["shop"])
        load.start()
        stack.callback(load.end)
        time.sleep(seconds / 3)
        before = served.read_bytes()
        replace(folder / "shop.wasm", second)
        tried = wait_for(lambda: served.read_bytes() != before, "the second version's trial")
        prefix = "extension_config_discovery.http_filter.shop.config_reload"
        taken = wait_for(lambda: envoy.admin.stats(f"^{prefix}$")[prefix] > 1, "the second version in Envoy")
        print(f"published {tried:.1f} s after the module was replaced, taken by Envoy {taken:.1f} s after that")
        time.sleep(seconds / 3)
        replace(folder / "shop.wasm", second[:-1000])
        refused = wait_for(lambda: "refused" in log.read_text(), "the damaged module's refusal")
        print(f"a damaged module refused after {refused:.1f} s")
        time.sleep(seconds / 3)
        load.end()
    return load


def main() -> int:
    """Measure; status 1 where anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="of load")
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="proxy-wasm-") as folder:
        load = measure(Path(folder), options.seconds)
    print(f"{load.statuses.total():,} requests, {time.monotonic() - start:.0f} s with builds and starts")
    for status, count in sorted(load.statuses.items()):
        print(f"  {count:>9,} answered with {status}")
    if load.failure:
        print(load.failure)
    return int(bool(load.failure) or set(load.statuses) != {201, 202})


if __name__ == "__main__":
    sys.exit(main())
