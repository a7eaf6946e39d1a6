"""What a filter may do, and what it may try: functions by name, whose results can be written as JSON."""

# What works, and what must fail, is tried as authors would.
# ruff: noqa: BLE001, DTZ005, ICN001, PLC0415, PLW1510, PTH102, PTH109, PTH110, PTH116, PTH123, PTH208, S605, SIM115

import asyncio
import base64
import dataclasses
import datetime
import decimal
import functools
import hashlib
import hmac
import io
import json
import logging
import os
import random
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import typing
import urllib.parse
import uuid
import warnings
import zlib
from collections.abc import Callable
from typing import Any, NoReturn

from proxy_wasm import HttpContext, PluginContext, fingerprints, make_fingerprint
from proxy_wasm.abi import hostcalls
from proxy_wasm.fingerprints import KEY_SIZE, fingerprint_with

ERRORS_AT_IMPORT = sys.stderr
AT_IMPORT = (random.random(), time.time())

logger = logging.getLogger(__name__)
own_logger = logging.getLogger(f"{__name__}.own")
own_logger.propagate = False
own_logger.addHandler(logging.StreamHandler())

ACTS: dict[str, Callable[[], Any]] = {}


def act(function: Callable[[], Any]) -> Callable[[], Any]:
    ACTS[function.__name__.replace("_", " ")] = function
    return function


# Output


@act
def print_words() -> None:
    print("two", "words")
    print(1, 2, 3, sep=" and ")
    print("one ", end="")
    print("line")


@act
def print_lines() -> None:
    print("first\nsecond\n\nthird")
    sys.stdout.write("fourth\nfifth\n")


@act
def print_without_an_end() -> None:
    print("no end", end="", flush=True)


@act
def print_long_text() -> None:
    print("x" * 50_000, "y")


@act
def print_odd_text() -> None:
    print("caf\xe9 \udcff", "nul\0")


@act
def print_errors() -> None:
    print("an", "error", file=sys.stderr)
    print("kept", "since the import", file=ERRORS_AT_IMPORT)
    own_logger.warning("logged by %s", "a handler of its own")


@act
def print_bytes() -> None:
    os.write(1, b"bytes to a descriptor\n")
    sys.stdout.buffer.write(b"bytes to a buffer\n")


@act
def log() -> None:
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logger.log(level, "level %d", level)


@act
def warn() -> None:
    warnings.warn("careful", stacklevel=1)


# Time and chance


@act
def clocks() -> dict[str, float]:
    return {
        "time": time.time(),
        "now": datetime.datetime.now().timestamp(),
        "utc": datetime.datetime.now(datetime.UTC).timestamp(),
        "localtime": time.mktime(time.localtime()),
        "time_ns": time.time_ns() / 1e9,
        "import": AT_IMPORT[1],
    }


@act
def monotonic() -> list[float]:
    return [time.monotonic(), time.perf_counter(), time.monotonic()]


@act
def chance() -> dict[str, Any]:
    return {
        "random": random.random(),
        "choices": random.choices(range(1000), k=5),
        "Random": random.Random().random(),
        "SystemRandom": random.SystemRandom().random(),
        "secrets": secrets.token_hex(16),
        "urandom": os.urandom(100_000).hex()[-32:],
        "uuid4": uuid.uuid4(),
        "uuid1": uuid.uuid1(),
        "compare_digest": None,
    }


# The standard library


@dataclasses.dataclass(order=True)
class Version:
    major: int
    minor: int = 0


@act
def library() -> dict[str, Any]:
    return {
        "sha256": hashlib.sha256(b"abc").hexdigest(),
        "md5": hashlib.md5(b"abc", usedforsecurity=False).hexdigest(),
        "sha3": hashlib.new("sha3_256", b"abc").hexdigest(),
        "blake2b": hashlib.blake2b(b"abc", digest_size=8).hexdigest(),
        "hmac": hmac.new(b"key", b"abc", "sha256").hexdigest(),
        "digest": hmac.digest(b"key", b"abc", "sha1").hex(),
        "compare": hmac.compare_digest(b"abc", b"abc"),
        "json": json.dumps(json.loads('{"b": [1, 2.5, null, "\\u00e9"]}'), ensure_ascii=False),
        "re": re.sub(r"(?P<word>\w+) (\d+)", r"\2 \g<word>", "abc 123"),
        "base64": base64.b64encode(b"abc\xff").decode(),
        "zlib": len(zlib.decompress(zlib.compress(b"a" * 100_000))),
        "crc32": zlib.crc32(b"abc"),
        "decimal": decimal.Decimal("0.1") + decimal.Decimal("0.2"),
        "url": urllib.parse.urlsplit("http://a:80/b?c=d%20e").query,
        "date": datetime.datetime.fromisoformat("2024-02-29T12:00:00+02:00").isoformat(),
        "strptime": datetime.datetime.strptime("29/Feb/2024 +0000", "%d/%b/%Y %z").isoformat(),
        "dataclass": Version(1, 2) > Version(1),
        "pow": pow(3, 2**127, 2**61 - 1),
        "encoded": ["\xe9".encode(name).hex() for name in ("utf-8", "utf-16-le", "utf-32-be", "latin-1")],
        "json in bytes": [json.loads('["\xe9"]'.encode(name)) for name in ("utf-8", "utf-8-sig", "utf-16", "utf-32")],
        "stringio": io.StringIO("a\nb").readlines(),
    }


@act
def surroundings() -> dict[str, Any]:
    return {"environ": dict(os.environ), "argv": sys.argv, "exists": os.path.exists("/"), "cwd": os.getcwd()}


# What there is not


def attempt(function: Callable[[], Any]) -> str:
    try:
        result = function()
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return f"it worked: {result!r}"


def _import_wave() -> object:
    import wave

    return wave


def _import_nothing() -> object:
    import surely_not_there  # pyright: ignore[reportMissingImports]

    return surely_not_there  # pyright: ignore[reportUnknownVariableType]


def _import_from_own_package() -> object:
    from recursion import surely_not_there  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]

    return surely_not_there  # pyright: ignore[reportUnknownVariableType]


ABSENT: dict[str, Callable[[], Any]] = {
    "open": lambda: open("/etc/passwd"),
    "open for writing": lambda: open("file", "w"),
    "os.open": lambda: os.open("file", os.O_RDONLY),
    "os.listdir": lambda: os.listdir("/"),
    "os.mkdir": lambda: os.mkdir("folder"),
    "os.stat": lambda: os.stat("/"),
    "tempfile": tempfile.TemporaryFile,
    "input": input,
    "socket": socket.socket,
    "socket pair": socket.socketpair,
    "connection": lambda: socket.create_connection(("127.0.0.1", 80)),
    "subprocess": lambda: subprocess.run(["ls"]),
    "shell": lambda: subprocess.getoutput("ls"),
    "encoding": lambda: b"text".decode("cp1252"),
    "thread": lambda: threading.Thread(target=print).start(),
    "timer": lambda: threading.Timer(1, print).start(),
    "sleep": lambda: time.sleep(0.1),
    "asyncio": lambda: asyncio.run(asyncio.sleep(0)),
    "import": _import_wave,
    "import of nothing": _import_nothing,
    "import from a package": _import_from_own_package,
    "import of a submodule": lambda: __import__("recursion.surely_not_there"),
    "import by name": lambda: __import__("wave"),
}


@act
def absent() -> dict[str, str]:
    return {name: attempt(function) for name, function in ABSENT.items()}


# What ends programs, or one callback


class Raising:
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __del__(self) -> None:
        raise self.error("in __del__")


class Unspeakable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise self


def raise_(error: BaseException) -> NoReturn:
    raise error


def stop_iteration() -> None:
    next(iter(()))


ENDS: dict[str, Callable[[], Any]] = {
    "sys.exit": lambda: sys.exit("good bye"),
    "os._exit": lambda: os._exit(3),
    "os.abort": os.abort,
    "SIGTERM": lambda: signal.raise_signal(signal.SIGTERM),
    "SIGABRT": lambda: signal.raise_signal(signal.SIGABRT),
    "SIGINT": lambda: signal.raise_signal(signal.SIGINT),
    "KeyboardInterrupt": lambda: raise_(KeyboardInterrupt("pressed")),
    "GeneratorExit": lambda: raise_(GeneratorExit("left")),
    "StopIteration": stop_iteration,
    "unspeakable": lambda: raise_(Unspeakable()),
    "group": lambda: raise_(BaseExceptionGroup("several", [SystemExit(1), ValueError("wrong")])),
}
for _name, _function in ENDS.items():
    ACTS[f"end by {_name}"] = _function


@act
def handle_a_signal() -> list[int]:
    received: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    signal.raise_signal(signal.SIGTERM)
    return received


@act
def raise_in_del() -> None:
    for error in (ValueError, SystemExit, KeyboardInterrupt):
        Raising(error)


@act
def leave_a_coroutine() -> None:
    async def coroutine() -> None: ...

    coroutine()  # pyright: ignore[reportUnusedCoroutine]


# Hostcalls


@act
def wrong_arguments() -> dict[str, str]:
    """Attempts at hostcalls with arguments that are none of theirs."""
    calls: Any = hostcalls.current()
    attempts: dict[str, Callable[[], Any]] = {
        "too few": calls.get_property,
        "too many": lambda: calls.get_property(b"node", b"id"),
        "by name": lambda: calls.get_property(path=b"node"),
        "text for bytes": lambda: calls.get_property("node"),
        "a number for bytes": lambda: calls.log(2, 5),
        "bytes for a number": lambda: calls.log(b"2", b""),
        "a negative number": lambda: calls.log(-1, b""),
        "a large number": lambda: calls.log(1 << 32, b""),
        "a large offset": lambda: calls.increment_metric(0, 1 << 63),
        "a large value": lambda: calls.record_metric(0, 1 << 64),
        "a large status": lambda: calls.send_local_response(200, b"", b"", b"", 1 << 31),
        "unknown map": lambda: calls.get_header_map_pairs(99),
    }
    return {name: _outcome(attempt) for name, attempt in attempts.items()}


@act
def fingerprints_that_differ() -> list[object]:
    return [
        (seed, size, type(secret).__name__)
        for seed in range(16)
        for key in [bytes((index * 7 + seed * 13) & 255 for index in range(KEY_SIZE))]
        for size in range(72)
        for secret in (
            bytes((index * 31 + seed) & 255 for index in range(size)),
            "aé"[seed & 1] * size,
            "\udcff" * size,
        )
        if fingerprints.with_key(key)(secret) != fingerprint_with(key, secret)
    ]


@act
def wrong_arguments_for_a_fingerprint() -> list[str]:
    fingerprint: Any = make_fingerprint()
    return [
        _outcome(lambda arguments=arguments: fingerprint(*arguments)) for arguments in ((), (1,), ("a", "b"), (None,))
    ]


def _outcome(attempt: Callable[[], Any]) -> str:
    try:
        return repr(attempt())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


# Memory


def blocks() -> None:
    kept: list[bytes] = []
    while True:
        kept.append(bytes(10_000_000))


def texts() -> None:
    kept: list[str] = []
    while True:
        kept.append(f"{len(kept):01000}")


def doubling() -> None:
    kept = b"a"
    while True:
        kept += kept


def a_dict() -> None:
    kept: dict[int, bytes] = {}
    while True:
        kept[len(kept)] = bytes(2000)


MEMORY: dict[str, Callable[[], Any]] = {
    "blocks": blocks,
    "texts": texts,
    "doubling": doubling,
    "a dict": a_dict,
    "one huge block": lambda: bytes(2**31 - 100),
    "one huge number": lambda: 1 << 2**33,
    "one huge list": lambda: [0] * 2**29,
}
for _name, _function in MEMORY.items():
    ACTS[f"allocate {_name}"] = _function


# What compiled modules keep


@act
def own_docstring() -> str | None:
    """Kept, since an author may read it."""
    return own_docstring.__doc__


@act
def own_annotations() -> list[str]:
    return sorted(own_annotations.__annotations__)


@act
def lines_of_the_library() -> list[tuple[str, bool]]:
    try:
        return json.loads("{")
    except ValueError as error:
        return [(frame.name, bool(frame.lineno)) for frame in traceback.extract_tb(error.__traceback__)]


@act
def generic_classes() -> list[str]:
    class Own(HttpContext[PluginContext]): ...

    return [base.__name__ for base in Own.__mro__[:2]]


@act
def input_ends() -> list[object]:
    try:
        return [sys.stdin.read(), sys.stdin is sys.__stdin__]
    except OSError as error:
        return [type(error).__name__, sys.stdin is sys.__stdin__]


@act
def dispatch_by_annotation() -> str:
    @functools.singledispatch
    def kind(value: object) -> str:
        return "object"

    @kind.register
    def _(value: int) -> str:
        return "int"

    return f"{kind(1)} {kind('')}"


@act
def hints_of_a_function() -> list[str]:
    def annotated(number: "int", text: "str | None") -> None: ...

    return [str(hint) for hint in typing.get_type_hints(annotated).values()]
