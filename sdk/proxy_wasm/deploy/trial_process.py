"""The process of one trial: a request as JSON on stdin, `{"problem": ...}` on stdout; see `proxy_wasm.deploy.trial`."""

import base64
import json
import math
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from proxy_wasm.emulator import Emulator, EmulatorError, wasm_guest
from proxy_wasm.emulator.clusters import Cluster, Silent


class _EveryCluster(Mapping[str, Cluster]):
    """Any name is a cluster: which ones the proxy has is not known here."""

    def __getitem__(self, name: str) -> Cluster:
        return Silent()

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def problem_of(request: Mapping[str, Any]) -> str:
    """Why a proxy must not get what is asked about; empty where it may."""
    try:
        guest = wasm_guest(Path(request["module"]).read_bytes())
        with Emulator(
            guest,
            vm_configuration=base64.b64decode(request["vm_configuration"]),
            environment=request["environment"],
            clusters=_EveryCluster(),
            allowed_capabilities=request["capabilities"],
        ) as emulator:
            emulator.start_plugin(base64.b64decode(request["configuration"]), root_id=request["root_id"])
    except (EmulatorError, OSError) as error:
        return "\n".join(line for line in str(error).splitlines() if line.strip())
    return ""


def _be_first_to_go(seconds: float) -> None:
    """End by itself, should the agent be gone; and let the kernel choose this process where memory runs out."""
    if hasattr(signal, "alarm"):
        signal.alarm(math.ceil(seconds) + 1)
    with suppress(OSError):
        Path(f"/proc/{os.getpid()}/oom_score_adj").write_text("1000", "ascii")


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    _be_first_to_go(request["seconds"])
    answer = sys.stdout
    sys.stdout = sys.stderr  # whatever prints meanwhile
    json.dump({"problem": problem_of(request)}, answer)


if __name__ == "__main__":
    main()
