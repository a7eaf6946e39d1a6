"""What is written to the proxy's log when an exception leaves an author's code."""

import traceback
from contextlib import suppress
from types import TracebackType

from proxy_wasm.abi.enums import LogLevel
from proxy_wasm.abi.hostcalls import Hostcalls
from proxy_wasm.log import log_bytes

LONGEST_REPORT = 16_384
"""In bytes. A traceback can be as long as the recursion was deep."""

_OWN_FILES = __file__.removesuffix("failures.py")
_ENDING_MODULES = ("bdb", "_pytest.outcomes")
_LOG_FAILED = suppress(BaseException)
"""A log that cannot be written must not decide over a request."""
_STILL_RUNNING = suppress(RuntimeError)
"""For our own frames. Made beforehand, since it is entered where memory is short."""

_UNSPEAKABLE = b"an exception left a callback, and another its report (out of memory, most likely)"


def report(hostcalls: Hostcalls, where: str, error: BaseException) -> None:
    """Log `error` with its traceback, which starts where the author's code does. Never raises, even where memory is short."""
    try:
        frames = error.__traceback__
        if isinstance(error, MemoryError):
            forget_locals(error)
        lines = traceback.format_exception(type(error), error, _beyond_own(frames))
        text = _shortened(log_bytes(f"exception in {where}\n{''.join(lines)}".rstrip("\n")))
    except BaseException:  # noqa: BLE001 - MemoryError, or an author's __str__: this is the last resort
        text = _UNSPEAKABLE
    log_error(hostcalls, text)


def _beyond_own(frames: TracebackType | None) -> TracebackType | None:
    """The frames without those of this package that led to the author's code; below the first, which caught the error, where none did."""
    below = frames
    while below is not None and below.tb_frame.f_code.co_filename.startswith(_OWN_FILES):
        below = below.tb_next
    return below or (None if frames is None else frames.tb_next)


def is_for_the_test(error: BaseException) -> bool:
    """Whether an exception in a native filter is meant for the Python it runs in: Ctrl-C, `quit` in a debugger, what ends a test."""
    kinds = type(error).__mro__
    return KeyboardInterrupt in kinds or any(kind.__module__ in _ENDING_MODULES for kind in kinds)


def log_error(hostcalls: Hostcalls, message: bytes) -> None:
    """Write to the proxy's log at level error. Never raises."""
    with _LOG_FAILED:
        hostcalls.log(int(LogLevel.ERROR), message)


def forget_locals(error: BaseException) -> None:
    """Free what the frames of the traceback hold: the memory that ran out, most likely."""
    frames = error.__traceback__
    while frames is not None:
        with _STILL_RUNNING:
            frames.tb_frame.clear()
        frames = frames.tb_next


def _shortened(text: bytes) -> bytes:
    if len(text) <= LONGEST_REPORT:
        return text
    head, tail = text[: LONGEST_REPORT // 4], text[-LONGEST_REPORT * 3 // 4 :]
    return head[: head.rfind(b"\n") + 1] + b"  ...\n" + tail[tail.find(b"\n") + 1 :]
