"""Whether a plugin starts with a configuration: it is tried in the emulator before any proxy gets it.

The trial is a process of its own with a limit to its time, since nothing is known of the module yet: one that never returns, or that takes all
memory, ends its trial and nothing else.
"""

import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals

from proxy_wasm.deploy.errors import Refused

SECONDS = 120.0
"""How long a trial may take unless told. The first one of a large module compiles it."""

_PROCESS = "proxy_wasm.deploy.trial_process"
_LAST_WORDS = 500
_MOST_WORDS = 4000


@dataclass(frozen=True, slots=True)
class Trial:
    """A module and all that a proxy would tell the plugin in it."""

    module: Path
    configuration: bytes | None = None
    vm_configuration: bytes | None = None
    root_id: str = ""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    capabilities: tuple[str, ...] = ()
    """The hostcalls and callbacks that alone the plugin gets; all of them where none is named."""

    def to_json(self) -> dict[str, object]:
        """What the process of the trial is given."""
        return {
            "module": str(self.module.absolute()),
            "configuration": base64.b64encode(self.configuration or b"").decode(),
            "vm_configuration": base64.b64encode(self.vm_configuration or b"").decode(),
            "root_id": self.root_id,
            "environment": dict(self.environment),
            "capabilities": list(self.capabilities),
        }


def try_out(trial: Trial, seconds: float = SECONDS) -> None:
    """Load the module as Envoy would, start the VM, and configure the plugin.

    Every cluster that the plugin calls meanwhile exists, and never answers. Raises `Refused` with the reason: no module, another ABI, a trap, the
    plugin's own words against its configuration, or no end within `seconds`.
    """
    request = json.dumps({**trial.to_json(), "seconds": seconds})
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", _PROCESS],  # nothing from the current folder
            input=request.encode(),
            capture_output=True,
            timeout=seconds,
            check=False,
            start_new_session=True,  # Ctrl-C is for the agent
        )
    except subprocess.TimeoutExpired:
        raise Refused(f"it did not start within {seconds:g} seconds") from None
    if done.returncode < 0:
        raise Refused(f"its trial was ended by {Signals(-done.returncode).name}")
    if done.returncode > 0:
        words = done.stderr.decode("utf-8", "replace").strip()[-_LAST_WORDS:]
        raise Refused(f"its trial failed with status {done.returncode}: {words}")
    problem = json.loads(done.stdout)["problem"]
    if problem:
        raise Refused(problem if len(problem) <= _MOST_WORDS else f"{problem[:_MOST_WORDS]} ...")
