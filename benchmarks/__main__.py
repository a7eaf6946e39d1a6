"""Every benchmark of this folder, one after the other; status 1 where one misses a target."""

import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run them with their defaults."""
    folder = Path(__file__).parent
    programs = {path.stem: [str(path)] for path in folder.glob("*.py") if path.name != Path(__file__).name}
    programs |= {path.parent.name: ["-m", f"benchmarks.{path.parent.name}"] for path in folder.glob("*/__main__.py")}
    missed = False
    for name, arguments in sorted(programs.items()):
        print(f"== {name}", flush=True)
        missed |= subprocess.run([sys.executable, *arguments], cwd=folder.parent, check=False).returncode != 0
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
