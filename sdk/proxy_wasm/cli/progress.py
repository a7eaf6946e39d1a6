"""What a long step is doing, told on a terminal and nowhere else."""

import sys
from collections.abc import Callable


def terminal_progress() -> Callable[[str], None]:
    """A function that tells what begins on stderr, if that is a terminal."""
    shown = sys.stderr.isatty()

    def tell(step: str) -> None:
        if shown:
            print(f"{step} ...", file=sys.stderr, flush=True)

    return tell
