"""SIGTERM and Ctrl-C, which end a command in the same way."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def terminated_like_interrupted() -> Generator[None]:
    """Let SIGTERM end this program as Ctrl-C does, so that what it has started ends with it.

    Ctrl-C, too: a shell script starts what it runs in the background with SIGINT ignored.
    """

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
