"""Every benchmark of this folder, one after the other; status 1 where one misses a target."""

import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run them with their defaults."""
    programs = sorted(path for path in Path(__file__).parent.glob("*.py") if path.name != Path(__file__).name)
    missed = False
    for program in programs:
        print(f"== {program.stem}", flush=True)
        missed |= subprocess.run([sys.executable, str(program)], check=False).returncode != 0
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
