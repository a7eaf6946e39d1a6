"""What else than headers' methods is a built-in function in a compiled guest: fingerprints of headers, counters."""

from collections.abc import Callable, Iterator
from typing import Any

from proxy_wasm import Headers, PluginContext, make_headers_fingerprint
from proxy_wasm.abi import hostcalls
from proxy_wasm.abi.enums import MapType
from proxy_wasm.fingerprints import KEY_SIZE, headers_fingerprint_with, specification, with_specification

NAMES: tuple[tuple[str, ...], ...] = (
    ("x-one",),
    ("x-many", "X-One", "x-one"),
    (":method", ":authority", ":path", "authorization"),
    ("host", ":path"),
    ("absent", "x-empty"),
    ("x" * 255, "x-long"),
    ("x-long", "x-many"),
)
PAIRS: tuple[tuple[tuple[str, str | bytes], ...], ...] = (
    (),
    (("x-one", "1"),),
    (("x-many", "ab"), ("x-many", "c")),
    (("x-many", "a"), ("x-one", "1"), ("X-Many", "bc")),
    (("x-empty", ""), ("x-empty", "")),
    (("x-one", b"\xff\xfe caf\xc3\xa9"), ("authorization", "Basic YTpi")),
    (("authorization", "Basic YTpi"), ("authorization", "Basic YTpi")),
    (("x-long", "long " * 1200), ("x" * 255, "255"), ("x-many", "a"), ("x-many", "b")),
    (("x-long", "long " * 5000), ("x-many", "?"), ("x-many", "")),
)
PATHS = ("/", "/?", "/path?query", "/path", "?", "/path?query?more", "/" + "long" * 300)


def fingerprints_that_differ(headers: Headers) -> tuple[int, list[str]]:
    """How many fingerprints of headers were compared, and those that are not what Python makes, or the same for other headers."""
    plain = Headers(hostcalls.current(), MapType.HTTP_REQUEST_HEADERS)  # reads nothing but what the host tells
    before = plain.raw
    found: list[str] = []
    seen: dict[tuple[tuple[str, ...], bool, str], object] = {}
    count = 0
    for pairs, path in _maps():
        headers.replace([*((name, value) for name, value in before if name != b":path"), (":path", path), *pairs])
        for names in NAMES:
            for query in (False, True):
                count += 1
                specified = specification(bytes(range(KEY_SIZE)), names, query=query)
                made = with_specification(specified)(headers)
                if made != headers_fingerprint_with(specified, plain):
                    found.append(f"of {names} with {pairs!r:.80} and {path!r:.40}: other digits than in Python")
                values = _values(plain, names, query=query)
                if seen.setdefault((names, query, made), values) != values:
                    found.append(f"of {names} with {pairs!r:.80} and {path!r:.40}: the digits of other headers")
    headers.replace(before)
    return count, found


def _maps() -> Iterator[tuple[tuple[tuple[str, str | bytes], ...], str]]:
    for pairs in PAIRS:
        yield pairs, "/"
    for path in PATHS:
        yield (("x-one", "1"),), path


def _values(headers: Headers, names: tuple[str, ...], *, query: bool) -> object:
    values = [headers.getall(name) or ([headers[name]] if name in headers else []) for name in names]
    return [
        [value if query or name != ":path" else value.partition("?")[0] for value in found]
        for name, found in zip(names, values, strict=True)
    ]


def wrong_arguments(headers: Headers) -> list[str]:
    """What fingerprints of headers make of arguments that they do not take, and of a map that is not there."""
    fingerprint: Any = make_headers_fingerprint("x-one")
    arguments: tuple[tuple[object, ...], ...] = ((), (headers, headers), ("x-one",), (None,))
    return [_outcome(lambda arguments=arguments: fingerprint(*arguments)) for arguments in arguments]


def countings(plugin: PluginContext) -> list[tuple[str, int]]:
    """What a counter makes of arguments, and what it stands at then."""
    counter: Any = plugin.counter("own_functions")
    calls: tuple[Callable[[], object], ...] = (
        counter.increment,
        lambda: counter.increment(1),
        lambda: counter.increment(n=2),
        lambda: counter.increment(0),
        lambda: counter.increment(True),  # noqa: FBT003 - an int, too
        lambda: counter.increment(1 << 40),
        lambda: counter.increment(-1),
        lambda: counter.increment(1 << 63),
        lambda: counter.increment(1, 2),
        lambda: counter.increment(m=1),
        lambda: counter.increment("1"),
    )
    made = [(_outcome(call), counter.value) for call in calls]
    known, counter._id = counter._id, 4_000_000_000
    made.append((_outcome(counter.increment), 0))
    del counter._id
    made.append((_outcome(counter.increment), 0))
    counter._id = known
    return made


def _outcome(attempt: Callable[[], Any]) -> str:
    try:
        return repr(attempt())
    except Exception as error:  # noqa: BLE001 - whatever it is
        return f"{type(error).__name__}: {error}"
