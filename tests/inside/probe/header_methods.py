"""The methods of `Headers` that are built-in functions in a compiled guest, held against the methods that they stand for."""

import logging
import operator
from collections.abc import Callable, Iterator
from typing import Any

from proxy_wasm import Headers
from proxy_wasm.abi import hostcalls
from proxy_wasm.abi.enums import MapType

logger = logging.getLogger(__name__)

KEYS: tuple[Any, ...] = (
    "x-one",
    "X-One",
    "x-many",
    "X-MANY",
    "x-bytes",
    "x-empty",
    ":path",
    "absent",
    "",
    b"x-one",
    b"absent",
    "x-\udcff",
    "x-é",
    "x\0one",
    "x\none",
    "x" * 200,
    "\ud800",
    None,
    5,
    ("x-one",),
)
VALUES: tuple[Any, ...] = (
    "plain",
    "",
    "käse",
    "a\udcffb",
    b"\xff\x00",
    b"bytes",
    "line\r\nbreak",
    "nul\0",
    "\ud800",
    None,
    7,
    "long " * 500,
)


def differences(headers: Headers) -> tuple[int, list[str]]:
    """How many calls were compared, and those that came to something else."""
    plain = Headers(hostcalls.current(), MapType.HTTP_REQUEST_HEADERS)
    found: list[str] = []
    count = 0
    for description, call in calls():
        count += 1
        before = plain.raw
        expected = outcome(call, plain)
        changed = plain.raw
        plain.replace(before)
        actual = outcome(call, headers)
        if (actual, plain.raw) != (expected, changed):
            found.append(f"{description}: {actual} instead of {expected}")
        plain.replace(before)
    for description, change in changes():
        count += 1
        before = plain.raw
        change(plain)
        expected = readings(plain)
        plain.replace(before)
        headers.multi_items()
        readings(headers)
        change(headers)
        actual = readings(headers)
        plain.replace(before)
        if actual != expected:
            found.append(f"after all were read, {description}: {actual} instead of {expected}")
    return count, found


def changes() -> Iterator[tuple[str, Callable[[Headers], object]]]:
    """Ways in which a map changes, or does not, after all of it was read."""
    raw = hostcalls.current()
    of_request = int(MapType.HTTP_REQUEST_HEADERS)
    yield "nothing", lambda _: None
    for key in ("x-one", "x-many", "new", ":path"):
        yield f"[{key!r}]", lambda headers, key=key: headers.__setitem__(key, "other")
        yield f"add {key!r}", lambda headers, key=key: headers.add(key, "other")
        yield f"discard {key!r}", lambda headers, key=key: headers.discard(key)
        encoded = key.encode()
        yield f"raw replace {key!r}", lambda _, key=encoded: raw.replace_header_map_value(of_request, key, b"raw")
        yield f"raw add {key!r}", lambda _, key=encoded: raw.add_header_map_value(of_request, key, b"raw")
        yield f"raw remove {key!r}", lambda _, key=encoded: raw.remove_header_map_value(of_request, key)
    yield "replace", lambda headers: headers.replace([*headers.raw, (b"new", b"last")])
    yield "log", lambda _: logger.info("text")


def readings(headers: Headers) -> list[object]:
    """What the readers of a map tell of it."""
    keys = ("x-one", "X-One", "x-many", "x-bytes", "x-empty", "new", ":path", ":method", "host", "absent")
    return [
        headers.multi_items(),
        headers.path(),
        *((headers.get(key), headers.getall(key), key in headers) for key in keys),
    ]


def outcome(call: Callable[[Any], object], headers: Headers) -> str:
    """What a call returns or raises."""
    try:
        return repr(call(headers))
    except Exception as error:  # noqa: BLE001 - whatever it is
        return f"{type(error).__name__}: {error}"


def calls() -> Iterator[tuple[str, Callable[[Any], object]]]:
    """Every method with every key, and value."""
    yield "multi_items", lambda headers: headers.multi_items()
    yield "path", lambda headers: headers.path()
    yield "path with an argument", lambda headers: headers.path(1)
    yield "items", lambda headers: dict(headers.items())
    yield "multi_items with an argument", lambda headers: headers.multi_items(1)
    for key in KEYS:
        yield f"get {key!r}", lambda headers, key=key: headers.get(key)
        yield f"get {key!r} or 7", lambda headers, key=key: headers.get(key, 7)
        yield f"[{key!r}]", lambda headers, key=key: headers[key]
        yield f"{key!r} in", lambda headers, key=key: key in headers
        yield f"getall {key!r}", lambda headers, key=key: headers.getall(key)
        yield f"discard {key!r}", lambda headers, key=key: headers.discard(key)
        yield f"del [{key!r}]", lambda headers, key=key: operator.delitem(headers, key)
        yield f"pop {key!r}", lambda headers, key=key: headers.pop(key, None)
        for value in VALUES:
            yield f"[{key!r}] = {value!r}", lambda headers, key=key, value=value: operator.setitem(headers, key, value)
            yield f"setitem {key!r} {value!r}", lambda headers, key=key, value=value: headers.__setitem__(key, value)
            yield f"add {key!r} {value!r}", lambda headers, key=key, value=value: headers.add(key, value)
