"""`proxy-wasm build DIR`."""

from pathlib import Path

from proxy_wasm.build import BuildError, SettingsError, build
from proxy_wasm.cli.errors import told
from proxy_wasm.cli.progress import terminal_progress
from proxy_wasm.cli.text import size


def run(directory: Path, output: Path | None) -> int:
    """Build, and print the module's path with its size."""
    with told(BuildError, bad_input=(SettingsError,)):
        result = build(directory, output=output, progress=terminal_progress())
    how = "unchanged" if result.reused else f"built in {sum(result.seconds.values()):.1f} s"
    print(f"{result.path} ({size(len(result.module))}, {how})")
    return 0
