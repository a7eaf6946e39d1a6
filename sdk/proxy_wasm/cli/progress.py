"""What a long step is doing, told on a terminal and nowhere else."""

import sys
from collections.abc import Callable


def terminal_progress() -> Callable[[str], None] | None:
    """A function that tells what begins on stderr; `None` where that is no terminal."""
    if not sys.stderr.isatty():
        return None

    def tell(step: str) -> None:
        print(f"{step} ...", file=sys.stderr, flush=True)

    return tell
