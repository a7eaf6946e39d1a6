"""Fail where the last measured tests left too many branches of the linker or the dispatcher out."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

LEAST_PERCENT = 95
PARTS = {
    "linker": ("sdk/proxy_wasm/build/linker/",),
    "module readers": ("sdk/proxy_wasm/build/wasm/",),
    "dispatcher": (
        "sdk/proxy_wasm/dispatcher.py",
        "sdk/proxy_wasm/directions.py",
        "sdk/proxy_wasm/http_callbacks.py",
        "sdk/proxy_wasm/plugin_callbacks.py",
        "sdk/proxy_wasm/tasks.py",
        "sdk/proxy_wasm/tcp_callbacks.py",
        "sdk/proxy_wasm/timers.py",
        "sdk/proxy_wasm/vm_state.py",
    ),
}


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        subprocess.run([sys.executable, "-m", "coverage", "json", "-q", "-o", report], check=True)
        files = json.loads(report.read_text())["files"]
    subprocess.run([sys.executable, "-m", "coverage", "report", "--skip-covered"], check=True)
    failed = False
    for part, prefixes in PARTS.items():
        summaries = [entry["summary"] for name, entry in files.items() if Path(name).as_posix().startswith(prefixes)]
        total = sum(summary["num_branches"] for summary in summaries)
        covered = sum(summary["covered_branches"] for summary in summaries)
        percent = 100 * covered / total if total else 0.0
        verdict = "" if percent >= LEAST_PERCENT else f", at least {LEAST_PERCENT} % are needed"
        print(f"{part}: {covered} of {total} branches, {percent:.1f} %{verdict}")
        failed |= bool(verdict)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
