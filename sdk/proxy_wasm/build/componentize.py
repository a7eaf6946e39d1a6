"""componentize-py, run on an extension: from sources to a component with a snapshot of the started interpreter.

It runs as a process of its own: its Rust code cannot be interrupted and keeps hundreds of megabytes. Its Python function is
called rather than its command, because the command adds the `site-packages` of whatever environment it finds to the guest's path.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from proxy_wasm.abi import wit
from proxy_wasm.build.errors import BuildError, ComponentizeError
from proxy_wasm.build.inputs import DEPENDENCIES, EXTENSION, SDK, Inputs
from proxy_wasm.build.settings import Project
from proxy_wasm.build.tracebacks import explain

APP = "proxy_wasm.guest.app"
"""The module that becomes the component."""

_FOLDERS = (SDK, EXTENSION, DEPENDENCIES)
_TIME = 315532800
"""1980-01-01, the modification time of every staged file: the importer notes it."""

_PROGRAM = """
import json, sys
from componentize_py import componentize
arguments = json.load(sys.stdin)
try:
    componentize(**arguments)
except AssertionError as error:
    sys.stderr.write(str(error))
    sys.exit(1)
"""


def componentize(inputs: Inputs, project: Project) -> bytes:
    """The component made from `inputs`.

    Raises `SourceError` where the extension's code raises when it is imported, and `ComponentizeError` for any other failure.
    """
    with tempfile.TemporaryDirectory(prefix="proxy-wasm-") as name:
        folder = Path(name)
        _stage(inputs.files, folder)
        (folder / "world.wit").write_text(inputs.world, "utf-8")
        output = folder / "component.wasm"
        process = _run(_arguments(folder, output))
        if process.returncode or not output.is_file():
            raise _failure(process, project)
        return output.read_bytes()


def _stage(files: Mapping[str, bytes], folder: Path) -> None:
    for name in _FOLDERS:
        (folder / name).mkdir()
    for name, contents in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
        os.utime(path, (_TIME, _TIME))


def _arguments(folder: Path, output: Path) -> dict[str, object]:
    return {
        "wit_path": [str(folder / "world.wit")],
        "worlds": [wit.WORLD],
        "features": [],
        "all_features": False,
        "world_module": None,
        "python_path": [str(folder / name) for name in _FOLDERS],
        "module_worlds": [],
        "app_name": APP,
        "output_path": str(output),
        "stub_wasi": True,
        "import_interface_names": [],
        "export_interface_names": [],
        "full_names": False,
        "intersect_world": None,
    }


def _run(arguments: dict[str, object]) -> subprocess.CompletedProcess[str]:
    # A backtrace of Rust frames says nothing to an extension's author.
    environment = {**os.environ, "RUST_BACKTRACE": "0", "RUST_LIB_BACKTRACE": "0"}
    return subprocess.run(
        [sys.executable, "-P", "-c", _PROGRAM],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        errors="replace",
        env=environment,
        check=False,
    )


def _failure(process: subprocess.CompletedProcess[str], project: Project) -> BuildError:
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        return ComponentizeError(f"componentize-py was ended by {name}; it needs about 1 GB of memory")
    if "No module named 'componentize_py'" in process.stderr:
        return ComponentizeError(f"componentize-py is not installed for {sys.executable}; install proxy-wasm again")
    output, _, causes = process.stderr.partition("\nCaused by:\n")
    if error := explain(output.rstrip() + "\n", project):
        return error
    reason = _last_line(causes) or _last_line(output) or f"it ended with status {process.returncode} and said nothing"
    return ComponentizeError(f"componentize-py failed: {reason}")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.partition("\nStack backtrace:")[0].splitlines() if line.strip()]
    return lines[-1] if lines else ""
