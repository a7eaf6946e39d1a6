"""What Python offers to a process, made fit for a filter, which is none: it cannot end, must not wait, and has a log for a terminal."""

import errno
import os
import posix
import sys
import time
from importlib import import_module
from io import BufferedReader, TextIOWrapper
from typing import Any, NoReturn

NO_DEBUGGER = (
    "breakpoint(): a compiled filter has no terminal for a debugger; run it natively, as `pytest -s --proxy-hosts native` and "
    "`proxy-wasm request --host native` do"
)

_signal = import_module("_signal")  # built into the interpreter, where `signal` would bring more
_raise_signal = _signal.raise_signal
_sleep_for_no_time = time.sleep


def adapt() -> None:
    """Change the interpreter; before the author's modules are imported, which may keep what they find."""
    _write_lines()
    _read_little()
    for module in (posix, os):
        _set(module, "_exit", _exit)
        _set(module, "abort", _abort)
    _set(_signal, "raise_signal", _raise_handled_signal)
    if signal := sys.modules.get("signal"):
        _set(signal, "raise_signal", _raise_handled_signal)
    _set(time, "sleep", _sleep)
    _set(sys, "breakpointhook", _break)


def _set(module: object, name: str, function: object) -> None:
    setattr(module, name, function)


def _write_lines() -> None:
    """Write whole lines, each of which becomes one message: componentize-py makes `print("a", "b")` four writes."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace", line_buffering=True, write_through=False)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - it is a TextIOWrapper


def _read_little() -> None:
    """Give standard input, which is at its end, a buffer of less than Python's 128 KiB."""
    stream: Any = vars(sys)["stdin"]
    if isinstance(sys.stdin, TextIOWrapper):
        encoding, errors = stream.encoding, stream.errors
        buffer: Any = BufferedReader(stream.detach().detach(), 16)
        sys.stdin = sys.__stdin__ = TextIOWrapper(buffer, encoding, errors)  # pyright: ignore[reportAttributeAccessIssue] - Python's own name for it


# The originals of the following end the VM, and with it every stream of the proxy's worker.


def _exit(status: int) -> NoReturn:
    raise SystemExit(status)


def _abort() -> NoReturn:
    raise SystemExit("os.abort()")


def _raise_handled_signal(signalnum: int, /) -> None:
    if _signal.getsignal(signalnum) == _signal.SIG_DFL:
        raise SystemExit(f"signal {int(signalnum)}")
    _raise_signal(signalnum)


def _sleep(seconds: float, /) -> None:
    """In place of the original, which would return at once: the proxy gives no way to wait, and whoever polls would do so for ever."""
    if seconds > 0:
        raise OSError(errno.ENOTSUP, f"cannot sleep for {seconds} s: a proxy's worker waits for nothing but events")
    _sleep_for_no_time(seconds)


def _break(*_arguments: object, **_options: object) -> NoReturn:
    """`breakpoint()`, in place of the original, which would find no terminal, and no `pdb` either."""
    raise RuntimeError(NO_DEBUGGER)
